import json
import logging
import os
import random
import signal
from itertools import chain

import numpy as np
import pytest
import torch
from tests.conftest import read_rows

from actiondiff.datasets.packing import PackedFeatures
from actiondiff.errors import RunError, UsageError
from actiondiff.heads import build_head
from actiondiff.heads.options import HeadOptions
from actiondiff.heads.predict import predict_probabilities
from actiondiff.training import loop
from actiondiff.training.fit import fit
from actiondiff.training.options import TrainingOptions

HEAD = HeadOptions(layers=1, heads=2, max_tokens=9)
OPTIONS = TrainingOptions(epochs=5, warmup_epochs=1, learning_rate=3e-3, batch_size=8)


@pytest.fixture
def clips(make_clips):
    return make_clips(44, 0), make_clips(24, 1)


def trained(clips, folder, *, head=HEAD, options=OPTIONS, activation="softmax", seed=0, progress=None):
    network = build_head(head, 8, 4)
    result = fit(
        network,
        *clips,
        options,
        activation=activation,
        seed=seed,
        folder=folder,
        device="cpu",
        progress=progress,
    )
    return network, result


def same_weights(a, b):
    return all(
        torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    )


@pytest.mark.parametrize("name", ["transformer", "mean-linear", "attentive", "linear", "mlp"])
def test_every_head_learns(clips, tmp_path, name):
    options = OPTIONS.model_copy(update={"epochs": 20})
    head, result = trained(clips, tmp_path, head=HEAD.model_copy(update={"name": name}), options=options)
    assert result.history[-1]["train_loss"] < result.history[0]["train_loss"]
    right = predict_probabilities(head, clips[1], "softmax").argmax(1) == clips[1].targets.numpy().argmax(1)
    assert right.mean() > 0.8
    assert not head.training


@pytest.mark.parametrize("loss", ["sigmoid-focal", "softmax-focal", "cross-entropy", "bce", "mse"])
def test_every_loss_learns(clips, tmp_path, loss):
    options = OPTIONS.model_copy(update={"loss": loss, "epochs": 12, "learning_rate": 1e-2})
    _, result = trained(
        clips, tmp_path, head=HEAD.model_copy(update={"name": "mean-linear"}), options=options
    )
    assert max(row["accuracy"] for row in result.history) > 0.8


def test_history_log_and_counts(clips, tmp_path):
    rows = []
    _, result = trained(clips, tmp_path, head=HEAD.model_copy(update={"max_tokens": 6}), progress=rows.append)
    assert list(result.history) == rows
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4, 5]
    assert set(rows[0]) == {
        "epoch", "train_loss", "learning_rate", "accuracy", "balanced_accuracy", "micro_map", "macro_map",
    }  # fmt: skip
    assert rows[0]["learning_rate"] == pytest.approx(3e-3 * 5 / 6)  # the last of 6 warm-up steps, from 0
    assert rows[-1]["learning_rate"] < 1e-4
    assert (result.num_train, result.num_validation) == (44, 24)
    assert result.num_cut == int((clips[0].lengths > 6).sum()) > 0
    logged = read_rows(tmp_path / "logs/metrics.csv")
    assert [float(line["train_loss"]) for line in logged] == [row["train_loss"] for row in rows]
    assert os.listdir(tmp_path) == ["logs"]


def test_every_epoch_sees_every_clip_once_in_an_order_of_its_own(clips, tmp_path, monkeypatch):
    seen, batch = [], PackedFeatures.batch

    def spy(self, indices, *, max_tokens):
        seen.append(indices.tolist())
        return batch(self, indices, max_tokens=max_tokens)

    monkeypatch.setattr(PackedFeatures, "batch", spy)
    trained(clips, tmp_path)
    assert [len(indices) for indices in seen] == [8, 8, 8, 8, 8, 4] * 5
    orders = [list(chain(*seen[6 * epoch : 6 * epoch + 6])) for epoch in range(5)]
    assert all(sorted(order) == list(range(44)) for order in orders)
    assert len(set(map(tuple, orders))) == 5


def test_training_loss_is_the_mean_over_clips(clips, tmp_path):
    """With next to no learning it is the loss of the untrained head, the shorter last batch by its share."""
    options = OPTIONS.model_copy(update={"learning_rate": 1e-12, "mixup": 0.0, "loss": "cross-entropy"})
    name = {"name": "mean-linear"}
    head = build_head(HEAD.model_copy(update=name), 8, 4)
    tokens, mask, targets = clips[0].batch(range(44), max_tokens=9)
    expected = torch.nn.functional.cross_entropy(head(tokens, mask), targets).item()
    _, result = trained(clips, tmp_path, head=HEAD.model_copy(update=name), options=options)
    assert [row["train_loss"] for row in result.history] == pytest.approx([expected] * 5, rel=1e-5)


def test_best_epoch_is_kept(clips, tmp_path, monkeypatch):
    """Scores are made up so that epoch 2 is the best; the head must have the weights of that epoch."""
    made_up = iter([0.1, 0.9, 0.3, 0.9, 0.2])
    monkeypatch.setattr(
        "actiondiff.training.loop.summary", lambda *_, **__: {"accuracy": next(made_up), "micro_map": 0.0}
    )
    weights = []
    network = build_head(HEAD, 8, 4)
    result = fit(
        network, *clips, OPTIONS, activation="softmax", seed=0, folder=tmp_path, device="cpu",
        progress=lambda _: weights.append({k: v.clone() for k, v in network.state_dict().items()}),
    )  # fmt: skip
    assert (result.best_epoch, result.selected_on) == (2, "accuracy")
    assert all(torch.equal(tensor, weights[1][name]) for name, tensor in network.state_dict().items())
    assert not all(torch.equal(tensor, weights[4][name]) for name, tensor in network.state_dict().items())


@pytest.mark.parametrize(
    ("metric", "activation", "validated", "selected"),
    [
        ("auto", "softmax", True, "accuracy"),
        ("auto", "sigmoid", True, "micro_map"),
        ("macro_map", "sigmoid", True, "macro_map"),
        ("last", "softmax", True, "last"),
        ("auto", "softmax", False, "last"),
    ],
)
def test_what_is_selected_on(make_clips, tmp_path, metric, activation, validated, selected):
    count = 1 if activation == "softmax" else 2
    clips = (
        make_clips(16, 0, labels_a_clip=count),
        make_clips(16, 1, labels_a_clip=count) if validated else None,
    )
    options = OPTIONS.model_copy(update={"metric": metric, "epochs": 2})
    _, result = trained(clips, tmp_path, options=options, activation=activation)
    assert result.selected_on == selected
    if selected == "last":
        assert result.best_epoch == 2
    else:
        values = [row[selected] for row in result.history]
        assert result.best_epoch == 1 + values.index(max(values))
    assert ("accuracy" in result.history[0]) == (validated and activation == "softmax")


class KilledError(Exception):
    pass


@pytest.mark.parametrize("after", [1, 3, 4])
@pytest.mark.parametrize("validated", [True, False], ids=["validated", "last"])
def test_killed_and_resumed_equals_uninterrupted(make_clips, tmp_path, monkeypatch, after, validated):
    """Dropout, mixup, order, optimizer and schedule go on as if nothing had happened, bit for bit."""
    clips = make_clips(44, 0), make_clips(24, 1) if validated else None
    whole, expected = trained(clips, tmp_path / "whole")

    def kill(batch, **values):  # in the middle of an epoch
        calls.append(1)
        if len(calls) == 6 * after + 3:
            raise KilledError
        return original(batch, **values)

    calls, original = [], loop.mixup
    monkeypatch.setattr(loop, "mixup", kill)
    with pytest.raises(KilledError):
        trained(clips, tmp_path / "killed")
    monkeypatch.setattr(loop, "mixup", original)
    assert (tmp_path / "killed/.resume").is_dir()
    epochs = []
    resumed, result = trained(clips, tmp_path / "killed", progress=lambda row: epochs.append(row["epoch"]))
    assert epochs == list(range(after + 1, 6))
    assert result == expected
    assert same_weights(resumed, whole)
    assert not (tmp_path / "killed/.resume").exists()
    texts = [(tmp_path / name / "logs/metrics.csv").read_text() for name in ("whole", "killed")]
    assert texts[0] == texts[1]


def test_state_of_another_training_is_refused(clips, tmp_path):
    def kill(row):
        if row["epoch"] == 2:
            raise KilledError

    with pytest.raises(KilledError):
        trained(clips, tmp_path, progress=kill)
    with pytest.raises(RunError, match=r"training\.epochs: 6 against 5\).*delete .*\.resume"):
        trained(clips, tmp_path, options=OPTIONS.model_copy(update={"epochs": 6}))
    with pytest.raises(RunError, match="seed: 1 against 0"):
        trained(clips, tmp_path, seed=1)
    with pytest.raises(RunError, match="train:"):
        trained((clips[0].subset(range(1, 44)), clips[1]), tmp_path)


def test_resume_state_holds_no_pickled_code(clips, tmp_path):
    def kill(row):
        if row["epoch"] == 2:
            raise KilledError

    with pytest.raises(KilledError):
        trained(clips, tmp_path, progress=kill)
    path = tmp_path / ".resume/last.ckpt"
    state = torch.load(path, weights_only=True)
    assert json.loads(state["actiondiff"]["settings"])["seed"] == 0
    torch.save({**state, "callbacks": {"x": KilledError()}}, path)
    with pytest.raises(RunError, match=r"cannot be read .UnpicklingError"):
        trained(clips, tmp_path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(RunError, match=r"cannot be read .* delete"):
        trained(clips, tmp_path)


def test_same_seed_same_bits_and_nothing_global_matters(clips, tmp_path):
    first, result = trained(clips, tmp_path / "a")
    torch.manual_seed(5)
    np.random.rand()  # noqa: NPY002
    random.seed(5)
    states = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002
    second, again = trained(clips, tmp_path / "b")
    assert result == again
    assert same_weights(first, second)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.random.get_state()[1].tolist() == states[1]  # noqa: NPY002
    assert random.getstate() == states[2]
    other, _ = trained(clips, tmp_path / "c", seed=1)
    assert not same_weights(first, other)


@pytest.mark.parametrize("standardised", [False, True])
def test_the_order_of_the_clips_changes_no_bit(make_clips, tmp_path, standardised):
    """Not of batches, mixup, statistics or scores, whether batches are formed by length or not."""
    head = HEAD.model_copy(update={"input": "standardised" if standardised else "plain"})
    options = OPTIONS.model_copy(update={"batch_size": 4, "epochs": 3})  # 11 batches: pools of 2
    clips = make_clips(44, 0), make_clips(24, 1)
    shuffled = tuple(side.subset(np.random.default_rng(3).permutation(len(side)).tolist()) for side in clips)
    first, result = trained(clips, tmp_path / "a", head=head, options=options)
    second, again = trained(shuffled, tmp_path / "b", head=head, options=options)
    assert result == again
    assert same_weights(first, second)
    other, _ = trained(
        clips, tmp_path / "c", head=head, options=options.model_copy(update={"length_pool": 1})
    )
    assert not same_weights(first, other)


def test_an_interrupted_training_goes_on_with_the_clips_in_another_order(clips, tmp_path):
    _, expected = trained(clips, tmp_path / "whole")

    def kill(row):
        if row["epoch"] == 2:
            raise KilledError

    with pytest.raises(KilledError):
        trained(clips, tmp_path / "run", progress=kill)
    _, result = trained((clips[0].subset(range(43, -1, -1)), clips[1]), tmp_path / "run")
    assert result == expected


@pytest.mark.parametrize("name", ["transformer", "mean-linear", "attentive", "linear", "mlp"])
def test_bfloat16_learns_as_float32_does(clips, tmp_path, name):
    head = HEAD.model_copy(update={"name": name})
    halved = OPTIONS.model_copy(update={"precision": "bfloat16"})
    full, expected = trained(clips, tmp_path / "full", head=head)
    half, result = trained(clips, tmp_path / "half", head=head, options=halved)
    assert not same_weights(full, half)
    assert all(tensor.dtype == torch.float32 for tensor in half.state_dict().values())
    for row, other in zip(result.history, expected.history, strict=True):
        assert row["train_loss"] == pytest.approx(other["train_loss"], rel=0.02)


def test_quiet_and_writes_to_its_folder_only(clips, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    handler, level = signal.getsignal(signal.SIGINT), logging.getLogger("lightning.pytorch").level
    trained(clips, tmp_path / "run")
    trained(clips, tmp_path / "run")  # into a folder that has logs already
    assert os.listdir(tmp_path) == ["run"]
    assert capfd.readouterr() == ("", "")
    assert signal.getsignal(signal.SIGINT) is handler
    assert logging.getLogger("lightning.pytorch").level == level


def test_interrupt_stays_an_interrupt(clips, tmp_path):
    def interrupt(_):
        raise KeyboardInterrupt

    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        trained(clips, tmp_path, progress=interrupt)
    assert signal.getsignal(signal.SIGINT) is handler


def test_standardised_input_is_measured_on_training_clips(clips, tmp_path):
    head, _ = trained(clips, tmp_path, head=HEAD.model_copy(update={"input": "standardised"}))
    torch.testing.assert_close(head.inputs.mean, clips[0].tokens.mean(0))
    torch.testing.assert_close(head.inputs.deviation, clips[0].tokens.std(0, correction=0))


def test_standardisation_of_a_trained_head_can_stay(clips, tmp_path):
    """The few clips that a person corrected are not what the head's tokens look like on the whole."""
    options = HEAD.model_copy(update={"input": "standardised"})
    head, _ = trained(clips, tmp_path / "first", head=options)
    before = {name: value.clone() for name, value in head.state_dict().items()}
    fit(
        head, clips[1], None, OPTIONS,
        activation="softmax", seed=0, folder=tmp_path / "second", device="cpu", measure=False,
    )  # fmt: skip
    torch.testing.assert_close(head.inputs.mean, before["inputs.mean"], rtol=0, atol=0)
    torch.testing.assert_close(head.inputs.deviation, before["inputs.deviation"], rtol=0, atol=0)
    assert any(not torch.equal(value, before[name]) for name, value in head.state_dict().items())


def test_cut_clips_are_warned_of(clips, tmp_path, caplog):
    _, result = trained(clips, tmp_path, head=HEAD.model_copy(update={"max_tokens": 4}))
    assert f"{result.num_cut} of 44 training clips are longer than max_tokens=4" in caplog.text


def test_divergence_is_an_error(clips, tmp_path):
    options = OPTIONS.model_copy(update={"loss": "mse", "learning_rate": 1e30})
    with pytest.raises(RunError, match=r"diverged in epoch .* Lower learning_rate"):
        trained(clips, tmp_path, options=options)


def test_what_does_not_fit_is_refused(make_clips, clips, tmp_path):
    head = build_head(HeadOptions(heads=3), 9, 4)
    with pytest.raises(UsageError, match="width 9 and names 4 classes; got 44 clips of width 8 with 4"):
        fit(head, *clips, OPTIONS, activation="softmax", seed=0, folder=tmp_path)
    several = make_clips(8, 0, labels_a_clip=2)
    with pytest.raises(UsageError, match=r"softmax needs one label per clip; 0.mp4 has"):
        trained((several, None), tmp_path)
    with pytest.raises(UsageError, match="loss=cross-entropy with sigmoid needs one label"):
        trained((several, None), tmp_path, activation="sigmoid",
                options=OPTIONS.model_copy(update={"loss": "cross-entropy"}))  # fmt: skip
    with pytest.raises(UsageError, match="metric=accuracy needs a single-label task"):
        trained((several, several), tmp_path, activation="sigmoid",
                options=OPTIONS.model_copy(update={"metric": "accuracy"}))  # fmt: skip
    with pytest.raises(UsageError, match="4 classes and 0 labels"):
        trained((clips[0], clips[1].subset([])), tmp_path)
    with pytest.raises(UsageError, match="device must be auto"):
        fit(
            build_head(HEAD, 8, 4),
            *clips,
            OPTIONS,
            activation="softmax",
            seed=0,
            folder=tmp_path,
            device="gpu0",
        )
    assert not any(tmp_path.iterdir())


def schedule_of(clips, **options):
    """The schedule of a head on these clips, one step per epoch."""
    training = loop.Training(
        build_head(HEAD, 8, 4),
        clips,
        None,
        TrainingOptions(batch_size=len(clips), learning_rate=1.0, **options),
        activation="softmax",
        metric="last",
        seed=0,
        settings={},
        progress=None,
    )
    return training.configure_optimizers()["lr_scheduler"]["scheduler"].lr_lambdas[0]


def test_rate_rises_in_a_line_and_falls_in_half_a_cosine(clips):
    factor = schedule_of(clips[0], warmup_epochs=4, epochs=12)
    factors = [factor(step) for step in range(13)]
    assert factors[:5] == [0, 0.25, 0.5, 0.75, 1]
    assert factors[8] == pytest.approx(0.5)
    assert factors[12] == 0
    assert schedule_of(clips[0], warmup_epochs=0, epochs=5)(0) == 1
