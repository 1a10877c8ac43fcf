"""Pre-training: the loss falls, a cut changes nothing, and what is written is a backbone."""

import json

import numpy as np
import pytest
import torch
from diffusers import UNetSpatioTemporalConditionModel
from diffusers.models.resnet import SpatioTemporalResBlock

import actiondiff as ad
from actiondiff.builtin.pretraining.diffusion import Denoiser, choose_conditioning, denoising_loss
from actiondiff.builtin.pretraining.options import PretrainingOptions
from actiondiff.builtin.pretraining.pretrain import Pretraining, pretrain
from actiondiff.builtin.pretraining.samples import denoise
from actiondiff.cli import main
from actiondiff.errors import RunError, UsageError
from actiondiff.training.stage import Deadline, TrainingStage

ARCHITECTURE = {
    "unet": {
        "block_out_channels": [32, 32, 32, 32], "layers_per_block": 2, "num_attention_heads": [1, 1, 1, 1],
        "cross_attention_dim": 8, "addition_time_embed_dim": 8, "projection_class_embeddings_input_dim": 24,
    },
    "vae": {
        "block_out_channels": [8, 8, 8], "layers_per_block": 1, "latent_channels": 4, "norm_num_groups": 4,
    },
    "clip": {
        "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
        "patch_size": 16, "image_size": 64, "projection_dim": 8, "hidden_act": "gelu",
    },
}  # fmt: skip
FEW = PretrainingOptions(
    autoencoder_steps=2, autoencoder_batch=4, half_size_steps=2, half_size_batch=2, full_size_steps=2,
    full_size_batch=2, warmup_steps=1, bfloat16=False,
)  # fmt: skip


def run(folder, deadline=None, options=FEW):
    training = Pretraining(folder, options, architecture=ARCHITECTURE)
    return training, training.run(deadline or Deadline(None), lambda line: None)


def test_a_cut_changes_nothing(tmp_path):
    whole, finished = run(tmp_path / "whole")
    assert finished
    rounds = 0
    while not (found := run(tmp_path / "cut", Deadline(0)))[1]:  # one step at a time
        rounds += 1
    assert rounds >= 3
    for ours, theirs in zip(whole.denoiser.parameters(), found[0].denoiser.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    logs = [(tmp_path / name / "log.jsonl").read_text() for name in ("whole", "cut")]
    assert logs[0] == logs[1]
    assert [json.loads(line)["stage"] for line in logs[0].splitlines()] == (
        ["autoencoder"] * 2 + ["half-size"] * 2 + ["full-size"] * 2
    )


def test_lines_of_lost_steps_leave_the_log(tmp_path):
    model = torch.nn.Linear(2, 1)
    for steps in (2, 4):
        stage = TrainingStage("toy", tmp_path, model, steps, 0.1, 1)
        state = stage.folder / "toy.state"
        kept = state.read_bytes() if state.exists() else b""
        stage.run(
            lambda asked: [torch.ones(3, 2)] * len(asked),
            lambda step, x: (model(x).square().mean(), {}),
            Deadline(None),
            lambda line: None,
        )
    state.write_bytes(kept)  # as if the last two steps had not been kept
    again = TrainingStage("toy", tmp_path, model, 4, 0.1, 1)
    assert again.restore().step == 2
    assert [json.loads(line)["step"] for line in (tmp_path / "log.jsonl").read_text().splitlines()] == [1, 2]


def test_a_loss_that_is_not_finite_ends_the_run(tmp_path):
    model = torch.nn.Linear(2, 1)
    stage = TrainingStage("toy", tmp_path, model, 2, 0.1, 1)
    with pytest.raises(RunError, match="toy is nan at step 0"):
        stage.run(
            lambda asked: [torch.full((1, 2), torch.nan)],
            lambda step, x: (model(x).mean(), {}),
            Deadline(None),
            lambda line: None,
        )


def test_a_folder_has_one_run(tmp_path):
    Pretraining(tmp_path, FEW, architecture=ARCHITECTURE)
    with pytest.raises(UsageError, match="other options"):
        Pretraining(tmp_path, FEW.model_copy(update={"seed": 1}), architecture=ARCHITECTURE)
    with pytest.raises(UsageError, match="no diffusion model yet"):
        Pretraining(tmp_path, FEW, architecture=ARCHITECTURE).export(tmp_path / "tiny")


@pytest.mark.parametrize("name", ["settings.json", "notes.txt", "log.jsonl"])
def test_files_of_others_stay(tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(UsageError, match=r"would be replaced|neither empty nor") as caught:
        pretrain(tmp_path, FEW)
    assert "\n" not in str(caught.value)
    assert (tmp_path / name).read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == [name]


def test_a_run_is_continued_unless_its_files_were_changed(tmp_path):
    assert not pretrain(tmp_path, FEW, minutes=0)
    assert not pretrain(tmp_path, FEW, minutes=0)
    (tmp_path / "autoencoder.state").write_bytes(b"mine")
    with pytest.raises(UsageError, match=r"autoencoder\.state would be replaced.*--overwrite"):
        pretrain(tmp_path, FEW)
    assert (tmp_path / "autoencoder.state").read_bytes() == b"mine"


def test_what_is_written_is_a_backbone_of_the_right_latents(tmp_path):
    pretrain(tmp_path / "run", FEW)
    folder = tmp_path / "run" / "tiny"
    assert {path.name for path in folder.iterdir()} == {"unet", "image_encoder", "vae_encoder", "origin.json"}
    assert sum(path.stat().st_size for path in folder.rglob("*.safetensors")) < 15e6
    backbone = ad.load_backbone("tiny", weights=folder)
    clip = (np.random.default_rng(0).random((8, 64, 64, 3)) * 255).astype(np.uint8)
    index = np.arange(len(clip))
    tokens = backbone.extract(ad.Frames(pixels=clip, seconds=index / 6.25, frame_index=index))[20, 3]
    assert tokens.shape == (8, 32)
    assert np.isfinite(tokens).all()
    assert (tmp_path / "run" / "samples-0.png").stat().st_size > 1000


def test_latents_have_svds_size(tmp_path):
    training, _ = run(tmp_path)
    clips = training._batches("half-size")(range(1))
    frames = next(iter(clips)).flatten(0, 1)
    latents, _ = training.autoencoder.encode(frames)
    assert 0.5 < float(0.18215 * latents.std()) < 2


def test_conditioning_shows_what_it_says():
    options = PretrainingOptions(first_frame=0.4, complete=0.2, dropout=0.0)
    chosen = choose_conditioning(4000, 8, options, torch.Generator().manual_seed(0))
    first = (chosen.frame == 0).all(1)
    assert abs(float(first.float().mean()) - 0.4) < 0.03
    assert chosen.latents[first].all()
    own = chosen.latents[~first]
    assert (chosen.frame[~first] == torch.arange(8)).all()
    assert 0.2 < float(own.all(1).float().mean()) < 0.6  # the share of complete ones, and some by chance
    assert abs(float(own.float().mean()) - (0.2 / 0.6 + 0.5 * 0.4 / 0.6)) < 0.03
    of_any = options.model_copy(update={"first_frame": 0.0, "any_frame": 0.8})
    chosen = choose_conditioning(4000, 8, of_any, torch.Generator().manual_seed(0))
    one = (chosen.frame == chosen.frame[:, :1]).all(1)
    assert abs(float(one.float().mean()) - 0.8) < 0.03
    assert set(chosen.frame[one, 0].tolist()) == set(range(8))
    dropped = choose_conditioning(4000, 8, options.model_copy(update={"dropout": 0.3}), torch.Generator())
    assert abs(float((~dropped.embedding).all(1).float().mean()) - 0.3) < 0.06
    assert not torch.equal(dropped.embedding, dropped.latents)


def test_the_objective_is_the_denoising_error_weighted_by_level():
    """The squared error of v is (1 + 1 / sigma^2) times that of the clean latents."""
    torch.manual_seed(0)
    model = Denoiser(ARCHITECTURE["unet"], ARCHITECTURE["clip"])
    frames, latents = torch.rand(2, 4, 3, 64, 64), 5 * torch.randn(2, 4, 4, 8, 8)
    options = PretrainingOptions(dropout=1.0, noise_std=0.0, noise_mean=0.3)
    with torch.no_grad():
        loss, levels = denoising_loss(model, frames, latents, options, torch.Generator().manual_seed(7))
    random = torch.Generator().manual_seed(7)
    torch.randn(2, generator=random)
    noise = torch.randn(latents.shape, generator=random)
    sigma = torch.full((2,), 0.3).exp()
    clean = 0.18215 * latents
    with torch.no_grad():
        seen = denoise(
            model, clean + float(sigma[0]) * noise, sigma, torch.zeros_like(latents), torch.zeros(2, 4, 8)
        )
    weighted = (seen - clean).square().mean() * (1 + float(sigma[0]) ** -2)
    assert float(loss) == pytest.approx(float(weighted), rel=1e-4)
    assert levels == {"sigma<10": pytest.approx(float(loss), abs=1e-4)}


def test_shares_of_windows_are_at_most_all():
    with pytest.raises(ValueError, match=r"at most 1 together; got 0\.6 \+ 0\.3 \+ 0\.2"):
        PretrainingOptions(first_frame=0.6, any_frame=0.3, complete=0.2)


def test_what_the_command_says_of_options_names_them(tmp_path, capsys):
    assert main.run(["pretrain-tiny", str(tmp_path), "--first-frame", "0.9", "--any-frame", "0.9"]) == 1
    said = (
        "actiondiff: first-frame, any-frame and complete are shares of the same windows, at most 1 together;"
    )
    assert capsys.readouterr().err.startswith(said)
    assert main.run(["pretrain-tiny", str(tmp_path), "--rate", "-1"]) == 1
    assert capsys.readouterr().err == "actiondiff: --rate: Input should be greater than 0; got -1.0.\n"
    assert not list(tmp_path.iterdir())


class Watched(Denoiser):
    """Remembers what it was given."""

    def forward(self, noised, sigma, latents, embeddings):
        self.given = (noised, latents)
        return torch.zeros_like(noised)


def test_noise_in_conditioning_latents_has_the_size_that_is_asked_for():
    """One level a window, in units of the network's latents; what is to be denoised stays as it was."""
    model = Watched(ARCHITECTURE["unet"], ARCHITECTURE["clip"])
    frames, latents = torch.rand(40, 2, 3, 64, 64), 5 * torch.randn(40, 2, 4, 8, 8)
    given = {}
    for mean in (None, -1.0, 0.5):
        options = PretrainingOptions(
            dropout=0.0, complete=1.0, first_frame=0.0, conditioning_noise_mean=mean,
            conditioning_noise_std=0.3,
        )  # fmt: skip
        with torch.no_grad():
            denoising_loss(model, frames, latents, options, torch.Generator().manual_seed(3))
        given[mean] = model.given
    assert torch.equal(given[None][1], latents)
    for mean in (-1.0, 0.5):
        assert torch.equal(given[mean][0], given[None][0])
        levels = (0.18215 * (given[mean][1] - latents)).std(dim=(1, 2, 3, 4)).log()
        assert float(levels.mean()) == pytest.approx(mean, abs=0.15)
        assert float(levels.std()) == pytest.approx(0.3, abs=0.1)


def test_the_network_is_the_one_that_features_come_from(tmp_path):
    """Where all frames share one embedding, diffusers' own forward gives the same."""
    torch.manual_seed(0)
    model = Denoiser(ARCHITECTURE["unet"], ARCHITECTURE["clip"]).eval()
    stock = UNetSpatioTemporalConditionModel(**ARCHITECTURE["unet"])
    stock.load_state_dict(model.unet.state_dict())
    for block in stock.modules():
        if isinstance(block, SpatioTemporalResBlock):
            for norm in block.modules():
                if isinstance(norm, torch.nn.GroupNorm):
                    norm.eps = 1e-5
    noised, latents = torch.randn(2, 4, 4, 8, 8), torch.randn(2, 4, 4, 8, 8)
    shared = torch.randn(2, 1, 8).expand(-1, 4, -1)  # the stock forward knows one embedding for all frames
    sigma = torch.tensor([0.5, 3.0])
    scaled = noised / (sigma[:, None, None, None, None] ** 2 + 1).sqrt()
    with torch.no_grad():
        ours = model(noised, sigma, latents, shared)
        theirs = stock(
            torch.cat([scaled, latents], dim=2), 0.25 * sigma.log(), shared[:, :1],
            added_time_ids=torch.tensor([[6.0, 127.0, 0.02]] * 2),
        ).sample  # fmt: skip
    assert float((ours - theirs).norm() / theirs.norm()) < 1e-4


def test_the_loss_falls(tmp_path):
    options = PretrainingOptions(
        autoencoder_steps=32, autoencoder_batch=16, half_size_steps=20, half_size_batch=4, full_size_steps=1,
        full_size_batch=2, warmup_steps=3,
    )  # fmt: skip
    run(tmp_path, options=options)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    for stage in ("autoencoder", "half-size"):
        losses = [line["loss"] for line in lines if line["stage"] == stage]
        assert np.mean(losses[-10:]) < 0.8 * np.mean(losses[:3])
