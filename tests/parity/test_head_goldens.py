"""The head, losses, mixup, schedule and average precision against what the released code computed."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from actiondiff.datasets.packing import Batch, pack_arrays
from actiondiff.evaluation.metrics import average_precisions, summary
from actiondiff.heads import build_head
from actiondiff.heads.options import HeadOptions
from actiondiff.heads.transformer import sinusoids
from actiondiff.training.augment import mixup
from actiondiff.training.loop import Training
from actiondiff.training.losses import loss_function, sigmoid_focal
from actiondiff.training.options import TrainingOptions


@pytest.fixture(scope="module")
def goldens(shared_dir):
    return load_file(shared_dir / "goldens/head_io.safetensors")


@pytest.fixture(scope="module")
def config(shared_dir):
    return json.loads((shared_dir / "goldens/head_config.json").read_text())


@pytest.fixture(scope="module")
def head(shared_dir, config):
    options = HeadOptions(
        layers=config["layers"], heads=config["heads"], ff_mult=config["ff_mult"], max_tokens=12
    )
    head = build_head(options, config["embed_dim"], config["num_classes"])
    weights = load_file(shared_dir / "goldens/head_tiny.safetensors")
    assert set(head.state_dict()) == set(weights)
    head.load_state_dict(weights)
    return head.eval()


@pytest.mark.parametrize("grad", [False, True], ids=["fused kernels", "plain kernels"])
def test_logits(head, goldens, grad):
    mask = goldens["mask"].bool()
    with torch.set_grad_enabled(grad):
        logits = head(goldens["features"], mask)
        without_mask = head(goldens["features_nomask"], torch.ones_like(mask))
    torch.testing.assert_close(logits, goldens["logits"], rtol=0, atol=2e-6)
    torch.testing.assert_close(without_mask, goldens["logits_nomask"], rtol=0, atol=2e-6)


def test_steps_inside_the_head(head, goldens):
    with torch.no_grad():
        embedded = head.embed(goldens["features"])
        first = head.encoder.layers[0](embedded, src_key_padding_mask=_hidden(goldens["mask"]))
    torch.testing.assert_close(embedded, goldens["encoder_input"], rtol=0, atol=1e-6)
    real = ~_hidden(goldens["mask"])
    torch.testing.assert_close(first[real], goldens["layer0_output"][real], rtol=0, atol=2e-6)


def _hidden(mask):
    return torch.nn.functional.pad(mask, (1, 0), value=1) == 0


def test_positions(goldens):
    torch.testing.assert_close(sinusoids(13, 32), goldens["pos_encoding_first13"], rtol=0, atol=1e-6)
    torch.testing.assert_close(sinusoids(3, 1280), goldens["pos_encoding_1280_first3"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", ["hard", "soft"])
@pytest.mark.parametrize(("alpha", "gamma"), [(1.0, 2.0), (0.25, 2.0), (0.25, 0.0), (1.0, 1.0)])
def test_focal_loss(goldens, alpha, gamma, kind):
    logits, targets = goldens["loss_logits"], goldens[f"targets_{kind}"]
    options = TrainingOptions(loss="sigmoid-focal", focal_alpha=alpha, focal_gamma=gamma)
    expected = goldens[f"focal.alpha{alpha}.gamma{gamma}.{kind}"]
    torch.testing.assert_close(loss_function(options)(logits, targets), expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("kind", ["hard", "soft"])
def test_focal_loss_of_each_value(goldens, kind):
    logits, targets = goldens["loss_logits"], goldens[f"targets_{kind}"]
    expected = goldens[f"focal.alpha0.25.gamma2.0.{kind}.none"]
    ours = torch.stack(
        [
            torch.stack([sigmoid_focal(x, t, alpha=0.25, gamma=2.0) for x, t in zip(*pair, strict=True)])
            for pair in zip(logits, targets, strict=True)
        ]
    )
    torch.testing.assert_close(ours, expected, rtol=1e-6, atol=1e-9)


def test_gradient_of_the_focal_loss(goldens):
    logits = goldens["loss_logits"].clone().requires_grad_()
    sigmoid_focal(logits, goldens["targets_soft"], alpha=0.25, gamma=2.0).backward()
    torch.testing.assert_close(
        logits.grad, goldens["focal.alpha0.25.gamma2.0.soft.grad"], rtol=1e-5, atol=1e-8
    )


@pytest.mark.parametrize(
    ("loss", "golden", "kind"),
    [
        ("bce", "bce.hard", "hard"),
        ("bce", "bce.soft", "soft"),
        ("mse", "mse.hard", "hard"),
        ("mse", "mse.soft", "soft"),
        ("cross-entropy", "ce.onehot", "onehot"),
        ("cross-entropy", "ce.softone", "softone"),
    ],
)
def test_other_losses(goldens, loss, golden, kind):
    value = loss_function(TrainingOptions(loss=loss))(goldens["loss_logits"], goldens[f"targets_{kind}"])
    torch.testing.assert_close(value, goldens[golden], rtol=1e-6, atol=0)


def test_mixup(goldens, config):
    share = np.random.RandomState(config["mixup_seed"]).beta(config["mixup_alpha"], config["mixup_alpha"])
    assert share == float(goldens["mixup_lam"])
    batch = Batch(goldens["features"], goldens["mask"].bool(), goldens["targets_hard"][:5])
    mixed = mixup(batch, share=share, partner=goldens["mixup_index"])
    torch.testing.assert_close(mixed.tokens, goldens["mixup_features"], rtol=0, atol=1e-6)
    torch.testing.assert_close(mixed.targets, goldens["mixup_targets"], rtol=0, atol=1e-6)
    assert torch.equal(mixed.mask, goldens["mask"].bool())


def test_schedule(goldens):
    """As the rate of a torch optimizer, whose first update has rate 0."""
    training = Training(
        build_head(HeadOptions(layers=1, heads=2, max_tokens=4), 8, 2),
        pack_arrays([np.zeros((1, 8), np.float32)] * 10),
        None,
        TrainingOptions(batch_size=1, learning_rate=1.0, epochs=15, warmup_epochs=4),
        activation="sigmoid",
        metric="last",
        seed=0,
        settings={},
        progress=None,
    )
    configured = training.configure_optimizers()
    optimizer, schedule = configured["optimizer"], configured["lr_scheduler"]["scheduler"]
    rates = []
    for _ in range(151):
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    assert rates[0] == 0
    np.testing.assert_allclose(rates, goldens["schedule_w4_e15_s10"].numpy(), rtol=0, atol=1e-12)


def test_average_precision(goldens):
    """Class 8 has no clips: torchmetrics' macro average counts it as 0, ours leaves it out."""
    probabilities, targets = goldens["map_predictions"].numpy(), goldens["map_targets"].numpy()
    totals = summary(probabilities, targets, multi_label=True)
    assert totals["micro_map"] == pytest.approx(float(goldens["map_micro"]), abs=1e-6)
    assert totals["macro_map"] == pytest.approx(float(goldens["map_macro"]) * 9 / 8, abs=1e-6)
    ours = average_precisions(probabilities, targets.astype(bool))
    assert np.isnan(ours[8])
    np.testing.assert_allclose(ours[:8], goldens["map_per_class"][:8], rtol=0, atol=1e-6)
