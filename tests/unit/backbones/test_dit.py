"""Video diffusion transformers against diffusers' own forward passes, on folders as diffusers saves them."""

import copy
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import (
    AutoencoderKLCogVideoX,
    AutoencoderKLLTXVideo,
    AutoencoderKLWan,
    CogVideoXDDIMScheduler,
    CogVideoXTransformer3DModel,
    FlowMatchEulerDiscreteScheduler,
    LTXVideoTransformer3DModel,
    WanTransformer3DModel,
)
from safetensors.torch import save_file
from tests.conftest import random_frames
from tests.unit.backbones.dits import SMALL_DITS
from tests.unit.backbones.test_original_files import error, jitter
from transformers import T5Config, T5EncoderModel, UMT5Config, UMT5EncoderModel

from actiondiff.backbones.base import (
    WindowBatch,
    backbone_from_settings,
    build_backbone,
    find_spec,
    make_options,
    shipped_specs,
)
from actiondiff.backbones.check import check_baseline
from actiondiff.backbones.dit import prompt as prompts
from actiondiff.backbones.dit.models import FAMILIES
from actiondiff.backbones.dit.schedule import noise_levels
from actiondiff.backbones.engine.counting import count_window
from actiondiff.backbones.engine.encoding import EncodesAgain
from actiondiff.backbones.svd.check import suggested_options
from actiondiff.backbones.svd.schedule import sigmas
from actiondiff.checkpoints.keymap import KeyMap
from actiondiff.cli.main import run
from actiondiff.errors import UsageError, WeightsError
from actiondiff.types import FeatureKey
from actiondiff.video.decode import read_video

NAMES = list(SMALL_DITS)
CLASSES = {
    "wan21": (WanTransformer3DModel, AutoencoderKLWan, UMT5EncoderModel, UMT5Config),
    "ltx-video": (LTXVideoTransformer3DModel, AutoencoderKLLTXVideo, T5EncoderModel, T5Config),
    "cogvideox-2b": (CogVideoXTransformer3DModel, AutoencoderKLCogVideoX, T5EncoderModel, T5Config),
}


def small(name, **changes):
    spec = find_spec(name)
    change = SMALL_DITS[name.removeprefix("random-")]
    defaults = {**spec.defaults, **change["defaults"], "threads": 1}
    return spec.model_copy(update={**change, "defaults": defaults, "layer": "layer2", **changes})


def load(name, weights=None, **options):
    spec = small(name)
    return build_backbone(spec, make_options(spec, device="cpu", **options), weights)


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """Name -> folder as diffusers saves it, and the networks that were saved."""
    made = {}

    def make(name):
        if name in made:
            return made[name]
        folder = tmp_path_factory.mktemp(name)
        parts = SMALL_DITS[name]["architecture"]
        transformer_class, vae_class, text_class, text_config = CLASSES[name]
        text = {key: value for key, value in parts["text_encoder"].items() if key != "model_type"}
        networks = {
            "transformer": jitter(transformer_class.from_config(parts["transformer"])),
            "vae": jitter(vae_class.from_config(parts["vae"])),
            "text_encoder": jitter(text_class(text_config(**text))),
        }
        if name == "ltx-video":  # statistics of its latents are in the file, not in the configuration
            networks["vae"].latents_mean += torch.linspace(-1, 1, 8)
            networks["vae"].latents_std *= torch.linspace(0.5, 2, 8)
        for part, network in networks.items():
            network.save_pretrained(folder / part)
        flow = FlowMatchEulerDiscreteScheduler()
        scheduler = CogVideoXDDIMScheduler(**parts["scheduler"]) if name == "cogvideox-2b" else flow
        scheduler.save_pretrained(folder / "scheduler")
        made[name] = folder, networks
        return made[name]

    return make


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ACTIONDIFF_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def windows_of(backbone, count=2):
    frames = [random_frames(int(backbone.options.window), seed=seed) for seed in range(count)]
    pixels = torch.stack([backbone.preprocess(torch.from_numpy(video.pixels)) for video in frames])
    lengths = (pixels.shape[1],) * count
    return WindowBatch(pixels, lengths, tuple(video.identity for video in frames), (0,) * count)


@torch.no_grad()
def stock_outputs(name, networks, pixels, timestep, noise=None, rate=25):
    """Outputs of all blocks in diffusers' own forward pass, fed as diffusers' pipelines do."""
    transformer, vae, text = (networks[part] for part in ("transformer", "vae", "text_encoder"))
    outputs = []
    hooks = [
        block.register_forward_hook(lambda _module, _inputs, output: outputs.append(output))
        for block in (transformer.blocks if name == "wan21" else transformer.transformer_blocks)
    ]
    doubled = torch.cat([pixels[:, :1], pixels], dim=1).transpose(1, 2)
    latents = vae.encode(doubled).latent_dist.mode()
    B, _, steps, h, w = latents.shape
    noise = torch.zeros_like(latents) if noise is None else noise
    sigma = (1000 - timestep) / 1000
    if name == "wan21":
        mean, std = (torch.tensor(vae.config[key])[None, :, None, None, None]
                     for key in ("latents_mean", "latents_std"))  # fmt: skip
        sample = (1 - sigma) * (latents - mean) / std + sigma * noise
        ids, mask = torch.tensor([[1, 0, 0, 0, 0, 0]]), torch.tensor([[1, 0, 0, 0, 0, 0]])
        states = text(ids, mask).last_hidden_state * mask[..., None]
        transformer(sample, torch.full((B,), 1000 * sigma), states.expand(B, -1, -1))
        grid = (steps, h // 2, w // 2)
    elif name == "ltx-video":
        mean, std = (value.view(1, -1, 1, 1, 1) for value in (vae.latents_mean, vae.latents_std))
        sample = (1 - sigma) * (latents - mean) * 0.7 / std + sigma * noise
        mask = torch.tensor([[1, 0, 0, 0, 0, 0, 0]])
        states = text(torch.tensor([[1, 0, 0, 0, 0, 0, 0]]))[0]
        transformer(
            sample.flatten(2).transpose(1, 2), states.expand(B, -1, -1), torch.full((B,), 1000 * sigma),
            mask.expand(B, -1), steps, h, w, (2 / rate, 8, 8),
        )  # fmt: skip
        grid = (steps, h, w)
    else:
        scheduler = CogVideoXDDIMScheduler(**SMALL_DITS[name]["architecture"]["scheduler"])
        step = torch.tensor([999 - timestep])
        sample = scheduler.add_noise(latents * 1.3, noise, step.expand(B))
        states = text(torch.tensor([[1, 0, 0, 0, 0]]))[0]
        transformer(sample.transpose(1, 2), states.expand(B, -1, -1), step.expand(B))
        outputs = [video for video, _ in outputs]
        grid = (steps, h // 2, w // 2)
    for hook in hooks:
        hook.remove()
    return [output.unflatten(1, grid)[:, 1:].permute(0, 1, 4, 2, 3) for output in outputs]


@pytest.mark.parametrize("timestep", [0, 376, 990])
@pytest.mark.parametrize("name", NAMES)
def test_every_block_equals_diffusers_own_forward(published, name, timestep):
    folder, networks = published(name)
    backbone = load(name, folder)
    windows = windows_of(backbone)
    ours = backbone.maps(windows, [FeatureKey(timestep, tap) for tap in backbone.taps])
    theirs = stock_outputs(name, networks, windows.pixels, timestep)
    assert len(theirs) == len(backbone.taps) == 3
    for tap, values in zip(backbone.taps, theirs, strict=True):
        assert error(ours[FeatureKey(timestep, tap)], values) < 1e-5, tap
    assert error(theirs[2], theirs[1]) > 0.01  # blocks do something


def test_ltx_video_takes_the_rate_of_the_frames(published):
    folder, networks = published("ltx-video")
    slow, usual = load("ltx-video", folder, frame_rate=6.25), load("ltx-video", folder)
    windows = windows_of(slow)
    key = FeatureKey(376, "layer3")
    ours = slow.maps(windows, [key])[key]
    assert error(ours, stock_outputs("ltx-video", networks, windows.pixels, 376, rate=6.25)[2]) < 1e-5
    assert error(ours, usual.maps(windows, [key])[key]) > 1e-4
    assert slow.settings["frame_rate"] == 6.25
    assert usual.options.frame_rate == 25
    assert "frame_rate" not in usual.settings  # as in stores that were made before there was a choice
    assert load("ltx-video", folder, frame_rate=25).settings == usual.settings
    with pytest.raises(UsageError, match="is for LTX-Video"):
        load("wan21", published("wan21")[0], frame_rate=25)


@pytest.mark.parametrize("name", NAMES)
def test_noise_is_that_of_training_and_depends_on_the_window_alone(published, name):
    folder, networks = published(name)
    backbone = load(name, folder, noise="forward", seed=3)
    windows = windows_of(backbone)
    encoded = backbone.encode(windows)
    assert encoded.noise is not None
    assert abs(float(encoded.noise.std()) - 1) < 0.1
    alone = backbone.encode(
        WindowBatch(
            windows.pixels[1:], windows.num_real[1:], windows.identities[1:], windows.first_frames[1:]
        )
    )
    assert torch.equal(alone.noise, encoded.noise[1:])
    key = FeatureKey(500, "layer3")
    ours = backbone.maps(windows, [key])[key]
    theirs = stock_outputs(name, networks, windows.pixels, 500, encoded.noise)[2]
    assert error(ours, theirs) < 1e-5
    assert backbone.settings["seed"] == 3
    assert "seed" not in load(name, folder).settings


@pytest.mark.parametrize("name", NAMES)
def test_blocks_behind_the_deepest_tap_are_never_read(published, name):
    folder, _ = published(name)
    backbone = load(name, folder)
    windows = windows_of(backbone, 1)
    first = backbone.maps(windows, [FeatureKey(376, "layer1")])[FeatureKey(376, "layer1")]
    assert {part.rpartition(".")[2] for part in backbone.blocks.loaded} == {"0"}
    both = backbone.maps(windows, [FeatureKey(376, "layer1"), FeatureKey(376, "layer2")])
    assert {part.rpartition(".")[2] for part in backbone.blocks.loaded} == {"0", "1"}
    assert torch.equal(both[FeatureKey(376, "layer1")], first)


@pytest.mark.parametrize(("name", "unit"), [("wan21", 4), ("ltx-video", 2), ("cogvideox-2b", 8)])
def test_tokens_cover_the_frames_that_follow_their_time(published, name, unit):
    """A change in the second half of a window changes no latent before that, and all after it.

    CogVideoX's autoencoder normalises over 8 frames at a time, so there a change reaches back that far.
    """
    folder, _ = published(name)
    backbone = load(name, folder, window=2 * unit)
    windows = windows_of(backbone, 1)
    changed = windows.pixels.clone()
    changed[:, unit:] = 0
    latents = [
        backbone.encode(WindowBatch(pixels, (2 * unit,), ("a",), (0,))).latents
        for pixels in (windows.pixels, changed)
    ]
    steps = unit // backbone.tubelet
    differs = [
        not torch.equal(latents[0][:, :, step], latents[1][:, :, step]) for step in range(1 + 2 * steps)
    ]
    # The copy of the first frame, the latents of the first half, and those of the second.
    assert differs == [False] + [False] * steps + [True] * steps
    video = random_frames(2 * unit + 1)
    features = backbone.extract(video)
    starts = range(0, 2 * unit + 1, backbone.tubelet)
    assert features.frame_index.tolist() == [video.frame_index[p] for p in starts]


def test_timesteps_count_from_noise_and_defaults_have_the_noise_of_svd():
    own = float(sigmas(30)[20])  # noise over signal of the method's own timestep
    for name in NAMES:
        spec = shipped_specs()[name]
        levels = noise_levels(spec.architecture["scheduler"])
        ratios = [level.noise / max(level.signal, 1e-9) for level in levels]
        assert len(levels) == spec.num_timesteps == 1000
        assert ratios == sorted(ratios, reverse=True)
        assert levels[0].signal == 0
        assert levels[-1].noise < 0.06
        assert spec.timestep == min(range(1000), key=lambda index: abs(ratios[index] - own))
        depth = spec.architecture["transformer"]["num_layers"]
        assert spec.layer == f"layer{depth // 2}"


@pytest.mark.parametrize("name", NAMES)
def test_the_empty_prompt_is_computed_once_and_may_be_a_small_file(
    published, name, tmp_path, cache, monkeypatch
):
    folder, _ = published(name)
    first = load(name, folder)
    monkeypatch.setattr(prompts, "embed_empty_prompt", None)  # a second computation would fail
    again = load(name, folder)
    assert again.settings == first.settings
    (file,) = (cache / "prompts").iterdir()
    original = file.read_bytes()
    file.write_bytes(original[:20])
    with pytest.raises(TypeError):  # what is damaged is computed again, which fails here
        load(name, folder)
    file.write_bytes(original)
    lean = tmp_path / "lean"
    for part in ("transformer", "vae", "scheduler"):
        shutil.copytree(folder / part, lean / part)
    with pytest.raises(WeightsError, match=r"has no text_encoder/ to compute it with.*--text-weights"):
        load(name, lean)
    small_file = load(name, lean, text_weights=file)
    assert small_file.settings == first.settings
    window = windows_of(first, 1)
    key = FeatureKey(376, "layer2")
    assert torch.equal(small_file.maps(window, [key])[key], first.maps(window, [key])[key])


@pytest.mark.parametrize("name", NAMES)
def test_the_prompt_matters_and_is_part_of_the_settings(published, name, tmp_path):
    folder, _ = published(name)
    shape = prompts._shape(small(name))
    other = tmp_path / "other.safetensors"
    prompts.write_prompt(other, prompts.EmptyPrompt(torch.ones(shape), "another"))
    ours, theirs = load(name, folder), load(name, folder, text_weights=other)
    assert ours.settings["text_weights"] != theirs.settings["text_weights"]
    window = windows_of(ours, 1)
    key = FeatureKey(376, "layer3")
    assert not torch.equal(ours.maps(window, [key])[key], theirs.maps(window, [key])[key])
    prompts.write_prompt(other, prompts.EmptyPrompt(torch.ones(shape[0], 3), "another"))
    with pytest.raises(WeightsError, match="is no embedding of the empty prompt"):
        load(name, folder, text_weights=other)
    save_file({"empty_prompt": torch.ones(shape)}, other)
    with pytest.raises(WeightsError, match="does not say which text encoder"):
        load(name, folder, text_weights=other)
    with pytest.raises(WeightsError, match="no weights at"):
        load(name, folder, text_weights=tmp_path / "nowhere")
    with pytest.raises(WeightsError, match=r"no folder of a text encoder"):
        load(name, folder, text_weights=folder / "scheduler")


def test_of_a_hub_id_the_text_encoder_is_downloaded_too(published, monkeypatch):
    folder, _ = published("wan21")
    asked = []

    def locate(source, *, parts, **_):
        asked.append((str(source), parts))
        return folder

    monkeypatch.setattr("actiondiff.backbones.dit.published.locate", locate)
    monkeypatch.setattr("actiondiff.backbones.dit.prompt.locate", locate)
    load("wan21", "owner/name")
    assert asked == [("owner/name", ("transformer", "vae")), ("owner/name", ("text_encoder",))]


def test_a_damaged_text_encoder_is_refused(published, tmp_path):
    folder, networks = published("ltx-video")
    broken = copy.deepcopy(networks["text_encoder"])
    with torch.no_grad():
        broken.shared.weight[1] = float("nan")
    broken.save_pretrained(tmp_path)
    with pytest.raises(WeightsError, match="not finite: its weights are damaged"):
        load("ltx-video", folder, text_weights=tmp_path)


def test_settings_load_the_same_backbone_again(published, monkeypatch):
    folder, _ = published("wan21")
    first = load("wan21", folder)
    monkeypatch.setattr("actiondiff.backbones.base.find_spec", lambda _: small("wan21"))
    again = backbone_from_settings(first.settings, weights=folder, device="cpu")
    video = random_frames(9)
    assert np.array_equal(again.extract(video)[376, "layer2"], first.extract(video)[376, "layer2"])


def test_another_model_schedule_or_size_is_refused(published, tmp_path):
    folder, _ = published("wan21")
    with pytest.raises(WeightsError, match=r"_class_name WanTransformer3DModel|holds no tensor"):
        load("ltx-video", folder)
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    config = copy / "scheduler" / "scheduler_config.json"
    fields = json.loads(config.read_text("utf-8"))
    config.write_text(json.dumps(fields | {"num_train_timesteps": 500}), "utf-8")
    with pytest.raises(WeightsError, match="has num_train_timesteps 500"):
        load("wan21", copy)
    config.write_text(json.dumps(fields), "utf-8")
    encoder = copy / "text_encoder" / "config.json"
    encoder.write_text(json.dumps(json.loads(encoder.read_text("utf-8")) | {"num_heads": 4}), "utf-8")
    with pytest.raises(WeightsError, match="has num_heads 4"):
        load("wan21", copy)
    with pytest.raises(UsageError, match=r"multiples of 8 for wan21; got 20x24"):
        load("wan21", folder, height=20)
    with pytest.raises(UsageError, match="window must be a multiple of 4"):
        load("wan21", folder, window=6)
    with pytest.raises(WeightsError, match="needs weights"):
        load("wan21")
    with pytest.raises(UsageError, match="draws the empty prompt's embedding"):
        load("random-wan21", text_weights="file")


@pytest.mark.parametrize("name", NAMES)
def test_stopping_in_the_middle_costs_half_of_the_blocks(name):
    """At full depth and width; the frames are small, because nothing is computed but the count."""
    spec = find_spec(f"random-{name}")
    backbone = build_backbone(spec, make_options(spec, device="meta", height=64, width=64, window=8))
    whole, half, first = (
        count_window(spec, backbone.options, [FeatureKey(spec.timestep, tap)])
        for tap in (backbone.taps[-1], spec.layer, "layer1")
    )
    assert whole is not None
    assert half is not None
    assert first is not None
    # Beside the blocks there are the embeddings, which cost far less than one of them.
    assert half.flop_of_latents / whole.flop_of_latents == pytest.approx(0.5, abs=0.04)
    assert first.flop_of_latents < 0.2 * half.flop_of_latents
    assert whole.flop - whole.flop_of_latents == first.flop - first.flop_of_latents > 0
    transformer, autoencoder = backbone.num_parameters(backbone.taps[-1])
    assert 0.48 < backbone.num_parameters(spec.layer)[0] / transformer < 0.54
    assert autoencoder > 1e7


def test_the_prompt_is_written_for_another_machine(published, tmp_path, capsys, monkeypatch):
    folder, _ = published("wan21")
    spec = small("wan21")
    monkeypatch.setattr("actiondiff.backbones.base.find_spec", lambda _: spec)
    file = tmp_path / "prompt.safetensors"
    assert run(["weights", "prompt", "wan21", str(folder), str(file)]) == 0
    assert f"--text-weights {file}" in capsys.readouterr().out
    assert load("wan21", folder, text_weights=file).settings == load("wan21", folder).settings
    assert run(["weights", "prompt", "wan21", str(folder), str(tmp_path / "prompt.pt")]) == 1
    assert "must end in .safetensors" in capsys.readouterr().err


def test_only_transformers_have_a_prompt(tmp_path, capsys):
    assert run(["weights", "prompt", "dinov3-l", str(tmp_path), str(tmp_path / "a.safetensors")]) == 1
    assert "sees no prompt" in capsys.readouterr().err


@pytest.mark.parametrize("name", NAMES)
def test_the_identity_of_the_prompt_is_that_of_the_text_encoder(published, name, tmp_path):
    """So that machines whose sums are rounded differently agree, and another text encoder is noticed."""
    folder, networks = published(name)
    parts = SMALL_DITS[name]["architecture"]
    first = prompts.embed_empty_prompt(folder / "text_encoder", parts)
    changed = copy.deepcopy(networks["text_encoder"])
    with torch.no_grad():
        changed.encoder.block[1].layer[1].DenseReluDense.wo.weight[0, 0] += 1e-3
    changed.save_pretrained(tmp_path)
    second = prompts.embed_empty_prompt(tmp_path, parts)
    assert first.identity != second.identity
    with torch.no_grad():  # of the table, only the rows of the two tokens count
        unused = copy.deepcopy(networks["text_encoder"])
        unused.shared.weight[7] += 1
    unused.save_pretrained(tmp_path)
    assert prompts.embed_empty_prompt(tmp_path, parts).identity == first.identity


@pytest.mark.parametrize("name", NAMES)
def test_half_precision_runs_through_every_part(published, name):
    folder, _ = published(name)
    full, half = (load(name, folder, dtype=dtype) for dtype in ("float32", "bfloat16"))
    windows = windows_of(full, 1)
    keys = [FeatureKey(376, tap) for tap in full.taps]
    exact, rounded = full.maps(windows, keys), half.maps(windows, keys)
    for key in keys:
        assert rounded[key].dtype == torch.bfloat16
        assert 0 < error(rounded[key].float(), exact[key]) < 0.05


def clip_windows(backbone, shared_dir, count=2):
    """Windows of a real clip."""
    frames = read_video(shared_dir / "videos/zamba_chimp.mp4", stride=2).pixels
    length = int(backbone.options.window)
    pixels = [
        backbone.preprocess(torch.from_numpy(frames[n * length : (n + 1) * length])) for n in range(count)
    ]
    return WindowBatch(torch.stack(pixels), (length,) * count, ("chimp",) * count, tuple(range(count)))


@pytest.mark.parametrize("name", NAMES)
def test_the_autoencoder_computes_in_the_precision_that_is_asked_for(published, name, shared_dir):
    folder, _ = published(name)
    exact = load(name, folder)
    windows = clip_windows(exact, shared_dir)
    latents = exact.encode(windows).latents
    key = FeatureKey(376, "layer3")
    tokens = exact.maps(windows, [key])[key]
    assert "vae_dtype" not in exact.settings  # as in stores that were made before there was a choice
    for vae_dtype, most in (("float16", 4e-3), ("bfloat16", 3e-2)):
        half = load(name, folder, vae_dtype=vae_dtype)
        encoded = half.encode(windows)
        assert encoded.latents.dtype == torch.float32
        assert most / 1000 < error(encoded.latents, latents) < most
        assert 0 < error(half.maps(windows, [key])[key], tokens) < most
        assert half.settings["vae_dtype"] == vae_dtype
        assert next(iter(half._vae[""].parameters())).dtype == getattr(torch, vae_dtype)
        for statistic in half._family.statistics:
            assert torch.equal(getattr(half._vae[""], statistic), getattr(exact._vae[""], statistic))
        again = backbone_from_settings(half.settings, weights=folder, device="cpu")
        assert again.settings == half.settings


@pytest.fixture(autouse=True)
def small_specs(monkeypatch):
    """Lets `backbone_from_settings` find the small backbones."""
    original = find_spec

    def spec_of(name):
        return small(name) if name in NAMES else original(name)

    monkeypatch.setattr("actiondiff.backbones.base.find_spec", spec_of)


@pytest.mark.parametrize("name", NAMES)
def test_a_window_that_float16_cannot_hold_is_refused_or_encoded_again(published, name, monkeypatch):
    folder, _ = published(name)
    exact = load(name, folder)
    windows = windows_of(exact)
    latents = exact.encode(windows).latents
    half = load(name, folder, vae_dtype="float16")
    encode = half._family.encode

    def overflowing(vae, video):
        """The second window overflows in float16."""
        result = encode(vae, video)
        is_second = torch.equal(video[0, :, 1:].transpose(0, 1).float(), windows.pixels[1].half().float())
        return result * float("inf") if video.dtype == torch.float16 and is_second else result

    monkeypatch.setattr(half._family, "encode", overflowing)
    with pytest.raises(UsageError, match="not finite in float16"):
        half.encode(windows)
    with pytest.raises(UsageError, match="is for CUDA devices"):
        load(name, folder, vae_dtype="auto-float16")
    half.options = half.options.model_copy(update={"vae_dtype": "auto-float16"})  # as on CUDA
    encoded = half.encode(windows)
    assert isinstance(half, EncodesAgain)
    assert [half.is_encoded_again(name, 0) for name in windows.identities] == [False, True]
    assert torch.equal(encoded.latents[1], latents[1])
    assert 0 < error(encoded.latents[0], latents[0]) < 4e-3


def test_weights_check_compares_the_autoencoder(published, monkeypatch):
    folder, _ = published("ltx-video")
    monkeypatch.setattr("actiondiff.backbones.check._SMALLER", {})  # the small network has small frames
    lines = check_baseline("ltx-video", folder, dtype="bfloat16", device="cpu")
    assert [line.name for line in lines] == [*(f"network, layer{n}" for n in (1, 2, 3)), "VAE encoder"]
    assert 1e-4 < lines[-1].error < 3e-2
    assert suggested_options([*lines[:3], replace(lines[3], error=0.5)], "bfloat16")["vae_dtype"] == "float32"


@pytest.mark.parametrize("name", NAMES)
def test_names_and_shapes_of_the_full_size_are_those_of_the_classes(name):
    """Every tensor that diffusers' class has is either read under its own name, or listed as not needed."""
    spec = shipped_specs()[name]
    parts = spec.architecture
    family = FAMILIES[parts["transformer"]["_class_name"]](parts)
    transformer_class, vae_class, text_class, text_config = CLASSES[name]
    assert transformer_class.__name__ == parts["transformer"]["_class_name"]
    text = {key: value for key, value in parts["text_encoder"].items() if key != "model_type"}
    with torch.device("meta"):
        whole = {
            "transformer": transformer_class.from_config(parts["transformer"]),
            "vae": vae_class.from_config(parts["vae"]),
        }
        encoder = text_class(text_config(**text))
    ours = {"transformer": family.transformer(), "vae": family.vae()}
    for part, network in whole.items():
        read = {}
        for key, tensor in network.state_dict().items():
            targets = KeyMap(family.keymap).match(f"{part}.{key}")
            assert targets is not None, key
            for target in targets:
                assert (target.component, target.name, target.how) == (part, key, "same")
                read[key] = tensor.shape
        assert read == {key: tensor.shape for key, tensor in ours[part].state_dict().items()}
    names = {target.name for key in encoder.state_dict() for target in KeyMap("t5").match(key)}
    assert names == set(prompts.build_text_encoder(parts["text_encoder"]).state_dict())
