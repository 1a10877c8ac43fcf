"""Baselines: their converters against independent networks, their windows, options and mistakes."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from tests.conftest import random_frames
from torch import Tensor
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    DINOv3ViTConfig,
    DINOv3ViTModel,
    VJEPA2Config,
    VJEPA2Model,
)

from actiondiff import FeatureStore, Frames, load_backbone, read_video
from actiondiff.backbones import base
from actiondiff.backbones.base import WindowBatch, build_backbone, find_spec, make_options, shipped_specs
from actiondiff.backbones.engine.windows import window_generator
from actiondiff.backbones.frozen import fit_to
from actiondiff.backbones.image import build_dinov3
from actiondiff.backbones.sd import build_networks, signal_shares
from actiondiff.backbones.videomae import build_videomae
from actiondiff.backbones.vjepa import build_vjepa2, position_table
from actiondiff.cli.main import run
from actiondiff.errors import UnknownNameError, UsageError, WeightsError
from actiondiff.testing import check_backbone
from actiondiff.types import FeatureKey
from actiondiff.video.write import write_video

C, DEPTH, HEADS, PATCH, SIDE, L = 40, 2, 4, 8, 24, 4  # C is no multiple of 6: the position table is cut
ENCODER = {
    "hidden_size": C,
    "num_hidden_layers": DEPTH,
    "num_attention_heads": HEADS,
    "intermediate_size": 96,
    "patch_size": PATCH,
    "image_size": SIDE,
    "num_frames": L,
    "tubelet_size": 2,
    "layer_norm_eps": 1e-6,
}
VJEPA2 = {
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "mlp_ratio": 2.0,
    "patch_size": 8,
    "tubelet_size": 2,
    "layer_norm_eps": 1e-6,
    "hidden_act": "gelu",
}
DINOV3 = {
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 96,
    "patch_size": 8,
    "num_register_tokens": 3,
}
SD: dict[str, dict[str, Any]] = {
    "unet": {
        "in_channels": 4,
        "out_channels": 4,
        "block_out_channels": [32, 32, 64, 64],
        "layers_per_block": 2,
        "cross_attention_dim": 32,
        "attention_head_dim": [2, 2, 4, 4],
        "use_linear_projection": True,
    },
    "vae": {
        "block_out_channels": [16, 32],
        "layers_per_block": 1,
        "latent_channels": 4,
        "norm_num_groups": 8,
    },
    "text_encoder": {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "vocab_size": 49408,
        "max_position_embeddings": 77,
        "hidden_act": "gelu",
    },
}
SMALL: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "vjepa-l": ({"encoder": ENCODER}, {"height": SIDE, "width": SIDE, "window": L}),
    "videomaev2-g": ({"encoder": ENCODER}, {"height": SIDE, "width": SIDE, "window": L}),
    "vjepa2-l": ({"encoder": VJEPA2}, {"height": SIDE, "width": SIDE, "window": L}),
    "dinov3-l": ({"encoder": DINOV3}, {"height": SIDE, "width": 40, "window": 3}),
    "sd21": (SD, {"height": 16, "width": 32, "window": 2}),
}


def load(name: str, weights: Path | None = None, **options: Any) -> Any:
    """A small backbone of that name; with random weights where none are given."""
    architecture, defaults = SMALL[name]
    spec = find_spec(name if weights else f"random-{name}")
    layer = spec.layer if name == "sd21" else f"layer{DEPTH}"
    change = {"architecture": architecture, "layer": layer, "defaults": {**spec.defaults, **defaults}}
    spec = spec.model_copy(update=change)
    return build_backbone(spec, make_options(spec, device="cpu", threads=1, **options), weights)


def video(count: int = L, seed: int = 0, height: int = 30, width: int = 44) -> Frames:
    return random_frames(count, seed, height=height, width=width)


def batch_of(backbone: Any, *videos: Frames, num_real: tuple[int, ...] = ()) -> WindowBatch:
    pixels = torch.stack([backbone.preprocess(torch.from_numpy(v.pixels)) for v in videos])
    real = num_real or tuple(map(len, videos))
    return WindowBatch(pixels, real, tuple(v.identity for v in videos), (0,) * len(videos))


def maps_of(backbone: Any, windows: WindowBatch, timestep: int = 0) -> dict[str, Tensor]:
    found = backbone.maps(windows, [FeatureKey(timestep, tap) for tap in backbone.taps])
    return {key.layer: value for key, value in found.items()}


def test_videomae_without_normalisation_sees_pixels_from_0_to_1():
    """Frames that normalisation would turn into others are given to the network with and without it."""
    frames = video()
    plain, usual = load("videomaev2-g", normalise="none"), load("videomaev2-g")
    windows = batch_of(plain, frames)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    unit = (windows.pixels + 1) / 2
    inverse = unit * std[:, None, None] + mean[:, None, None]  # normalised, this is `unit`
    shifted = WindowBatch(inverse * 2 - 1, windows.num_real, windows.identities, windows.first_frames)
    ours, expected = maps_of(plain, windows), maps_of(usual, shifted)
    assert all(torch.allclose(ours[tap], expected[tap], rtol=1e-4, atol=1e-5) for tap in ours)
    assert not torch.allclose(ours[f"layer{DEPTH}"], maps_of(usual, windows)[f"layer{DEPTH}"], atol=1e-3)
    assert plain.settings["normalise"] == "none"
    assert "normalise" not in usual.settings  # as in stores of earlier versions


def normalised(pixels: Tensor) -> Tensor:
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    return ((pixels + 1) / 2 - mean[:, None, None]) / std[:, None, None]


def error(ours: Tensor, theirs: Tensor) -> float:
    assert ours.shape == theirs.shape
    return float((ours - theirs).norm() / theirs.norm())


# -- the original networks of V-JEPA and VideoMAE v2, in plain operations on their own names --------------


def draw_originals(*, separate_biases: bool, seed: int = 0) -> dict[str, Tensor]:
    """Random tensors with the original names; every bias and norm is drawn too."""
    generator = torch.Generator().manual_seed(seed)
    shapes: dict[str, tuple[int, ...]] = {
        "patch_embed.proj.weight": (C, 3, 2, PATCH, PATCH),
        "patch_embed.proj.bias": (C,),
        "norm.weight": (C,),
        "norm.bias": (C,),
    }
    for i in range(DEPTH):
        for name in ("norm1", "norm2"):
            shapes |= {f"blocks.{i}.{name}.weight": (C,), f"blocks.{i}.{name}.bias": (C,)}
        for name, rows, columns in (
            ("attn.qkv", 3 * C, C),
            ("attn.proj", C, C),
            ("mlp.fc1", 96, C),
            ("mlp.fc2", C, 96),
        ):
            shapes |= {f"blocks.{i}.{name}.weight": (rows, columns), f"blocks.{i}.{name}.bias": (rows,)}
        if separate_biases:
            del shapes[f"blocks.{i}.attn.qkv.bias"]
            shapes |= {f"blocks.{i}.attn.q_bias": (C,), f"blocks.{i}.attn.v_bias": (C,)}
    drawn = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    return {
        name: tensor / 0.3 / tensor[0].numel() ** 0.5 if tensor.ndim > 1 else tensor * 0.5 + 0.3
        for name, tensor in drawn.items()
    }


def original_layers(weights: dict[str, Tensor], pixels: Tensor, positions: Tensor) -> list[Tensor]:
    """(B, L, 3, H, W) normalised -> tokens (B, S h w, C) after each block, the last one after the norm."""
    conv = F.conv3d(
        pixels.transpose(1, 2),
        weights["patch_embed.proj.weight"],
        weights["patch_embed.proj.bias"],
        stride=(2, PATCH, PATCH),
    )
    x = conv.flatten(2).transpose(1, 2) + positions
    outputs = []
    for i in range(DEPTH):
        own = {k.removeprefix(f"blocks.{i}."): v for k, v in weights.items() if k.startswith(f"blocks.{i}.")}
        bias = own.get("attn.qkv.bias")
        if bias is None:
            bias = torch.cat([own["attn.q_bias"], torch.zeros(C), own["attn.v_bias"]])
        y = F.layer_norm(x, (C,), own["norm1.weight"], own["norm1.bias"], 1e-6)
        qkv = (y @ own["attn.qkv.weight"].T + bias).reshape(*y.shape[:2], 3, HEADS, C // HEADS)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        attended = ((q @ k.transpose(-1, -2)) * (C // HEADS) ** -0.5).softmax(-1) @ v
        x = x + attended.transpose(1, 2).flatten(2) @ own["attn.proj.weight"].T + own["attn.proj.bias"]
        y = F.layer_norm(x, (C,), own["norm2.weight"], own["norm2.bias"], 1e-6)
        y = F.gelu(y @ own["mlp.fc1.weight"].T + own["mlp.fc1.bias"])
        x = x + y @ own["mlp.fc2.weight"].T + own["mlp.fc2.bias"]
        outputs.append(x)
    outputs[-1] = F.layer_norm(x, (C,), weights["norm.weight"], weights["norm.bias"], 1e-6)
    return outputs


def as_maps(tokens: Tensor) -> Tensor:
    grid = SIDE // PATCH
    B = len(tokens)
    return torch.stack(
        [tokens.reshape(B, L // 2, grid, grid, C)[..., c] for c in range(C)], dim=2
    )  # (B, S, C, h, w)


def vjepa_positions() -> Tensor:
    """Channel by channel: a third each for time, row and column, cut to C."""
    grid, third = SIDE // PATCH, 2 * -(-C // 6)
    table = np.zeros((L // 2 * grid * grid, 3 * third))
    for place in range(len(table)):
        t, row, column = place // grid**2, place // grid % grid, place % grid
        for axis, position in enumerate((t, row, column)):
            for k in range(third // 2):
                angle = position / 10000 ** (k / (third / 2))
                table[place, axis * third + k] = np.sin(angle)
                table[place, axis * third + third // 2 + k] = np.cos(angle)
    return torch.from_numpy(table[:, :C]).float()[None]


def videomae_positions() -> Tensor:
    """Even channels sin, odd cos, of the token's number in the whole window."""
    count = L // 2 * (SIDE // PATCH) ** 2
    table = np.zeros((count, C))
    for place in range(count):
        for c in range(C):
            angle = place / 10000 ** (2 * (c // 2) / C)
            table[place, c] = np.cos(angle) if c % 2 else np.sin(angle)
    return torch.from_numpy(table).float()[None]


def vjepa_file(folder: Path, *, pickled: bool) -> tuple[Path, dict[str, Tensor]]:
    """A checkpoint as V-JEPA's authors save it; the online encoder's weights are other ones."""
    weights = draw_originals(separate_biases=False)
    inner = {f"module.backbone.{name}": tensor for name, tensor in weights.items()}
    inner["module.backbone.pos_embed"] = vjepa_positions()
    online = {name: tensor + 1 for name, tensor in inner.items()}
    if pickled:
        content = {
            "encoder": online,
            "predictor": {"module.backbone.mask_tokens": torch.zeros(3)},
            "target_encoder": inner,
            "opt": {"state": {0: {"step": 3}}, "param_groups": [{"lr": 0.1}]},
            "epoch": 7,
        }
        torch.save(content, folder / "vitl16.pth.tar")
        return folder / "vitl16.pth.tar", weights
    flat = {f"target_encoder.{name}": tensor for name, tensor in inner.items()}
    save_file(flat | {f"encoder.{name}": t for name, t in online.items()}, folder / "vitl16.safetensors")
    return folder / "vitl16.safetensors", weights


def videomae_source(folder: Path, layout: str) -> tuple[Path, dict[str, Tensor]]:
    """VideoMAE v2 as its authors pickle it, the same without pickle, and as the hub has it."""
    weights = draw_originals(separate_biases=True)
    encoder = {f"encoder.{name}": tensor for name, tensor in weights.items()}
    rest = {"mask_token": torch.zeros(1, 1, 8), "decoder.blocks.0.norm1.weight": torch.ones(8)}
    if layout == "pickle":
        torch.save({"model": encoder | rest, "epoch": 1200}, folder / "vit_g.pth")
        return folder / "vit_g.pth", weights
    if layout == "safetensors":
        save_file(encoder | rest, folder / "vit_g.safetensors")
        return folder / "vit_g.safetensors", weights
    hub = {f"model.{name.replace('norm.', 'fc_norm.') if name.startswith('norm.') else name}": tensor
           for name, tensor in weights.items()}  # fmt: skip
    save_file(hub, folder / "model.safetensors")
    config = {"embed_dim": C, "depth": DEPTH, "num_heads": HEADS, "patch_size": PATCH, "img_size": SIDE}
    (folder / "config.json").write_text(
        json.dumps({"model_config": config, "auto_map": {"AutoModel": "x.Y"}})
    )
    return folder, weights


@pytest.mark.parametrize("pickled", [True, False])
def test_vjepa_equals_the_original_network(tmp_path, pickled):
    path, weights = vjepa_file(tmp_path, pickled=pickled)
    backbone = load("vjepa-l", path)
    windows = batch_of(backbone, video(), video(seed=1))
    layers = original_layers(weights, normalised(windows.pixels), vjepa_positions())
    found = maps_of(backbone, windows)
    for number, tokens in enumerate(layers, start=1):
        assert error(found[f"layer{number}"], as_maps(tokens)) < 1e-5


@pytest.mark.parametrize("layout", ["pickle", "safetensors", "hub"])
def test_videomae_equals_the_original_network(tmp_path, layout):
    path, weights = videomae_source(tmp_path, layout)
    backbone = load("videomaev2-g", path)
    windows = batch_of(backbone, video(), video(seed=1))
    layers = original_layers(weights, normalised(windows.pixels), videomae_positions())
    found = maps_of(backbone, windows)
    for number, tokens in enumerate(layers, start=1):
        assert error(found[f"layer{number}"], as_maps(tokens)) < 1e-5


def test_one_identity_whatever_the_file(tmp_path):
    found = {}
    for layout in ("pickle", "safetensors", "hub"):
        (tmp_path / layout).mkdir()
        path, _ = videomae_source(tmp_path / layout, layout)
        found[layout] = load("videomaev2-g", path).settings["weights"]
    assert len(set(found.values())) == 1
    changed = load_file(tmp_path / "safetensors" / "vit_g.safetensors")
    changed["encoder.blocks.1.attn.q_bias"][0] += 1
    save_file(changed, tmp_path / "changed.safetensors")
    assert load("videomaev2-g", tmp_path / "changed.safetensors").settings["weights"] not in found.values()


def test_position_tables():
    assert (position_table(ENCODER) - vjepa_positions()).abs().max() < 1e-6
    assert (build_videomae(ENCODER).embeddings.position_embeddings - videomae_positions()).abs().max() < 1e-6
    assert position_table(shipped_specs()["vjepa-h"].architecture["encoder"]).shape == (1, 1568, 1280)


# -- networks that transformers and diffusers have themselves: their own forward ---------------------------


@torch.no_grad()
def jitter(model: torch.nn.Module) -> Any:
    """Draw every weight, those included that begin as zeros or ones."""
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        drawn = torch.randn(parameter.shape, generator=generator)
        fan_in = parameter[0].numel() if parameter.ndim > 1 else 4
        parameter.copy_(drawn / fan_in**0.5 + (0.5 if parameter.ndim == 1 else 0))
    return model.eval()


@torch.no_grad()
@pytest.mark.parametrize(("side", "window"), [(24, 4), (32, 6)])
def test_vjepa2_equals_the_library_at_any_square_and_window(tmp_path, side, window):
    small = {"pred_hidden_size": 24, "pred_num_attention_heads": 2, "pred_num_hidden_layers": 1}
    model = jitter(VJEPA2Model(VJEPA2Config(**VJEPA2, **small, crop_size=side)))
    model.save_pretrained(tmp_path)
    backbone = load("vjepa2-l", tmp_path, height=side, width=side, window=window)
    windows = batch_of(backbone, video(window), video(window, seed=1))
    stock = model(normalised(windows.pixels), skip_predictor=True, output_hidden_states=True)
    grid = side // 8
    found = maps_of(backbone, windows)["layer2"].permute(0, 1, 3, 4, 2)
    assert error(found, stock.last_hidden_state.reshape(2, window // 2, grid, grid, 48)) < 1e-5
    # the trap: with another crop size the same network tells rows and frames apart in the wrong places
    model.encoder.layer[0].attention.grid_size += 1
    wrong = model(normalised(windows.pixels), skip_predictor=True).last_hidden_state
    assert error(found, wrong.reshape(found.shape)) > 1e-2


@torch.no_grad()
@pytest.mark.parametrize("names", ["as saved", "behind model."])
def test_dinov3_equals_the_library_on_every_frame(tmp_path, names):
    model = jitter(DINOv3ViTModel(DINOv3ViTConfig(**DINOV3, image_size=32)))
    model.save_pretrained(tmp_path)
    if names == "behind model.":
        save_file({k: v.contiguous() for k, v in model.state_dict().items()}, tmp_path / "model.safetensors")
    else:
        assert "layer.0.norm1.weight" in load_file(tmp_path / "model.safetensors")
    backbone = load("dinov3-l", tmp_path)
    windows = batch_of(backbone, video(3), video(3, seed=1))
    stock = model(normalised(windows.pixels).flatten(0, 1))
    found = maps_of(backbone, windows)
    patches = stock.last_hidden_state[:, 4:].reshape(2, 3, 3, 5, 48)
    assert error(found["layer2"].permute(0, 1, 3, 4, 2), patches) < 1e-5
    assert error(found["cls"][..., 0, 0], stock.pooler_output.reshape(2, 3, 48)) < 1e-5
    one = maps_of(backbone, WindowBatch(windows.pixels[:, 1:2], (1, 1), windows.identities, (4, 4)))
    assert error(found["layer2"][:, 1:2], one["layer2"]) < 1e-5  # frames do not see each other


def diffusers_folder(folder: Path, *, old_names: bool = False) -> tuple[Any, Any, Any]:
    unet = jitter(UNet2DConditionModel(**SD["unet"]))
    levels = len(SD["vae"]["block_out_channels"])
    blocks = {
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
    }
    vae = jitter(AutoencoderKL(**SD["vae"], **blocks))
    text = jitter(CLIPTextModel(CLIPTextConfig(**SD["text_encoder"])))
    for name, model in (("unet", unet), ("vae", vae), ("text_encoder", text)):
        model.save_pretrained(folder / name)
    if old_names:
        path = folder / "vae" / "diffusion_pytorch_model.safetensors"
        old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
        tensors = load_file(path)
        for new, before in old.items():
            tensors = {name.replace(f"attentions.0.{new}", f"attentions.0.{before}"): tensor
                       for name, tensor in tensors.items()}  # fmt: skip
        save_file(tensors, path)
    return unet, vae, text


@torch.no_grad()
@pytest.mark.parametrize(("noise", "old_names"), [("none", False), ("forward", True)])
def test_stable_diffusion_equals_the_library(tmp_path, noise, old_names):
    unet, vae, text = diffusers_folder(tmp_path, old_names=old_names)
    backbone = load("sd21", tmp_path, noise=noise, seed=5)
    first, second = video(2), video(2, seed=1)
    windows = batch_of(backbone, first, second)
    # everything again, by the libraries' own means; DIFT's timestep 261 is our 738
    scheduler = DDPMScheduler(1000, 0.00085, 0.012, "scaled_linear")
    latents = vae.encode(windows.pixels.flatten(0, 1)).latent_dist.mean * 0.18215
    shape = (2, *latents.shape[1:])
    drawn = [
        torch.randn(shape, generator=window_generator(5, v.identity, 0, "forward")) for v in (first, second)
    ]
    scale = 1.0 if noise == "forward" else 0.0
    sample = scheduler.add_noise(latents, scale * torch.cat(drawn), torch.full((4,), 261))
    ids = torch.tensor([[49406, 49407] + [0] * 75])
    prompt = text(ids).last_hidden_state.expand(4, -1, -1)
    captured: dict[str, Tensor] = {}
    modules = [unet.conv_in]
    for block in unet.down_blocks[:3]:
        modules += [*block.attentions, block.downsamplers[0]]
    modules += [*unet.down_blocks[3].resnets, unet.mid_block]
    named = {f"layer{n}": module for n, module in enumerate(modules, start=1)}
    for tap, module in (named | {f"up{n}": block for n, block in enumerate(unet.up_blocks)}).items():
        module.register_forward_hook(
            lambda _m, _i, out, tap=tap: captured.__setitem__(tap, out[0] if isinstance(out, tuple) else out)
        )
    unet(sample, 261, prompt)
    found = maps_of(backbone, windows, timestep=738)
    assert found.keys() == captured.keys()
    assert len(found) == 17
    for tap, value in found.items():
        assert error(value.flatten(0, 1), captured[tap]) < 1e-5, tap


def test_signal_shares_are_the_published_schedule_backwards():
    theirs = DDPMScheduler(1000, 0.00085, 0.012, "scaled_linear").alphas_cumprod
    assert (signal_shares(1000).flip(0) - theirs).abs().max() < 1e-5
    assert signal_shares(1000)[0] < 0.01 < 0.99 < signal_shares(1000)[-1]


def test_nothing_behind_the_asked_layer_is_read():
    backbone = load("sd21")
    backbone.extract(video(2), layers=[1])
    assert backbone.unet.loaded == {"time_embedding", "conv_in"}
    backbone.extract(video(2), layers=[9])
    assert "down_blocks.2.attentions.1" in backbone.unet.loaded
    behind = ("down_blocks.2.downsamplers", "down_blocks.3", "mid_block", "up_blocks")
    assert not [name for name in backbone.unet.loaded if name.startswith(behind)]
    vit = load("vjepa2-l")
    vit.extract(video(), layers=[1])
    assert vit.parts.loaded == {"encoder.embeddings", "encoder.layer.0"}


@pytest.mark.parametrize(
    ("build", "millions"),
    [
        # counts of the published models, as the libraries' authors state them
        (lambda s: build_vjepa2(s["vjepa2-l"].architecture["encoder"], side=256), 303.9),
        (lambda s: build_dinov3(s["dinov3-l"].architecture["encoder"]), 303.1),
        (lambda s: build_videomae(s["videomaev2-g"].architecture["encoder"]), 1011.6),
        (lambda s: build_networks(s["sd21"].architecture)["unet"](), 865.9),
        (lambda s: build_networks(s["sd21"].architecture)["vae"](), 34.16),
        (lambda s: build_networks(s["sd21"].architecture)["text_encoder"](), 340.4),
    ],
)
def test_full_size_architectures(build, millions):
    count = sum(parameter.numel() for parameter in build(shipped_specs()).parameters())
    assert count / 1e6 == pytest.approx(millions, rel=2e-3)


# -- windows and tokens ------------------------------------------------------------------------------------


def test_the_last_odd_frame_has_its_token():
    backbone = load("vjepa-l")
    features = backbone.extract(video(7))
    assert features.frame_index.tolist() == [0, 8, 16, 24]  # frames 0, 2, 4 and the lone 6
    assert features.seconds.tolist() == [0, 0.4, 0.8, 1.2]
    changed = video(7).pixels.copy()
    changed[6] = 255 - changed[6]
    other = backbone.extract(Frames(changed))
    assert np.abs(other[0, 2][3] - features[0, 2][3]).max() > 1e-3


def test_a_segment_token_is_the_mean_over_steps_with_real_frames():
    steps, segment = load("vjepa-l"), load("vjepa-l", tokens="segment")
    assert (steps.settings["tokens"], segment.settings["tokens"]) == ("tubelet", "segment")
    pair = (video(), video(seed=1))
    windows = batch_of(steps, *pair, num_real=(4, 1))
    every, whole = maps_of(steps, windows)["layer2"], maps_of(segment, windows)["layer2"]
    assert whole.shape[1] == 1
    assert torch.equal(whole[0, 0], every[0].mean(0))
    assert torch.equal(whole[1, 0], every[1, 0])  # the second step is padding
    assert segment.extract(video(9)).frame_index.tolist() == [0, 16, 32]


def test_frames_of_an_image_model_do_not_depend_on_the_window():
    short, long = (load("dinov3-l", window=n).extract(video(6))[0, 2] for n in (2, 5))
    np.testing.assert_allclose(short, long, atol=1e-5)


def test_pixels_are_mean_colours_and_motion_their_change():
    frames = video(5, height=16, width=32)
    values = frames.pixels.astype(np.float64).reshape(5, 8, 2, 8, 4, 3).mean((2, 4)) / 127.5 - 1
    expected = values.transpose(0, 3, 1, 2).reshape(5, 192)
    found = load_backbone("pixels", device="cpu", threads=1).extract(frames)[0, 1]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    change = np.diff(expected, axis=0)
    motion = load_backbone("motion", device="cpu", threads=1).extract(frames)[0, 1]
    np.testing.assert_allclose(motion, [change[0], *change], atol=1e-6)


@pytest.mark.parametrize("padding", ["black", "repeat"])
def test_motion_sees_neither_padding_nor_other_windows(padding):
    motion = load_backbone("motion", device="cpu", threads=1, window=3, padding=padding)
    tokens = motion.extract(video(4))[0, 1]
    assert np.array_equal(tokens[0], tokens[1])
    assert not tokens[3].any()  # alone in its window
    assert tokens[2].any()


def test_grid_of_the_pixel_controls_can_be_chosen():
    assert load_backbone("pixels", height=8, width=16, device="cpu").extract(video(2))[0, 1].shape == (2, 384)


# -- frames to pixels --------------------------------------------------------------------------------------


def test_crop_keeps_the_aspect_ratio_and_the_centre():
    frame = torch.zeros(1, 20, 60, 3, dtype=torch.uint8)
    frame[:, :, 20:40] = 255  # a white square in the middle
    assert torch.equal(fit_to(frame, 20, 20, crop=True), torch.ones(1, 3, 20, 20))
    tall = fit_to(frame.transpose(1, 2).contiguous(), 10, 10, crop=True)
    assert torch.allclose(tall[..., 1:-1, :], torch.ones(1, 3, 8, 10))
    squashed = fit_to(frame, 20, 30, crop=False)
    assert squashed[..., 2].max() == -1
    assert torch.allclose(squashed[..., 12:18], torch.ones(1))
    assert squashed.mean() == pytest.approx(-1 / 3, abs=0.01)  # the whole frame is there


@pytest.mark.parametrize("shape", [(8, 8), (9, 300), (301, 10), (24, 24)])
def test_any_frame_becomes_the_size(shape):
    pixels = torch.randint(0, 256, (2, *shape, 3), dtype=torch.uint8)
    for crop in (True, False):
        found = fit_to(pixels, 24, 24, crop=crop)
        assert found.shape == (2, 3, 24, 24)
        assert found.is_contiguous()
        assert found.abs().max() <= 1 + 1e-5


# -- options, settings, mistakes ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("vjepa-l", {"fit": "squash"}),
        ("vjepa-l", {"seed": 1}),
        ("vjepa2-l", {"window": 2}),
        ("vjepa2-l", {"dtype": "bfloat16"}),
        ("dinov3-l", {"fit": "crop"}),
        ("sd21", {"noise": "forward"}),
        ("sd21", {"seed": 1}),
        ("sd21", {"width": 16}),
    ],
)
def test_every_option_has_an_effect_and_is_in_the_settings(name, option):
    plain, changed = load(name), load(name, **option)
    assert plain.settings != changed.settings
    key = (plain.spec.timestep, plain.spec.layer)
    ours, theirs = (backbone.extract(video(2))[key] for backbone in (plain, changed))
    assert np.abs(ours - theirs).max() > 1e-5


def test_the_seed_is_a_setting_only_where_something_is_drawn(tmp_path):
    path, _ = vjepa_file(tmp_path, pickled=False)
    assert "seed" not in load("vjepa-l", path).settings
    assert load("vjepa-l").settings["seed"] == 0
    diffusers_folder(tmp_path)
    assert "seed" not in load("sd21", tmp_path).settings
    assert load("sd21", tmp_path, noise="forward", seed=3).settings["seed"] == 3


@pytest.mark.parametrize("name", ["vjepa-l", "dinov3-l", "sd21"])
def test_half_precision_is_near(name):
    full, half = (load(name, dtype=dtype) for dtype in ("float32", "bfloat16"))
    key = (full.spec.timestep, full.spec.layer)
    ours, theirs = (torch.from_numpy(backbone.extract(video(4))[key]) for backbone in (half, full))
    assert 0 < error(ours, theirs) < 5e-2


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: load("vjepa-l", height=32, width=32), "positions for 24x24"),
        (lambda: load("videomaev2-g", window=6), "window must be 4"),
        (lambda: load("vjepa2-l", width=32), "must be equal"),
        (lambda: load("vjepa2-l", height=20, width=20), "multiples of 8"),
        (lambda: load("vjepa2-l", window=5), "multiple of 2"),
        (lambda: load("dinov3-l", height=20), "multiples of 8"),
        (lambda: load("sd21", height=15), "multiples of 2"),
        (lambda: load("vjepa-l", padding="shift"), "overlap"),
        (lambda: load("vjepa-l", embedding="own"), "vjepa-l has no option embedding"),
        (lambda: load("dinov3-l", tokens="segment"), "no option tokens"),
        (lambda: load_backbone("tiny", tokens="segment"), "tiny has no option tokens"),
        (lambda: load_backbone("pixels", seed=4), "pixels has no option seed"),
        (lambda: load_backbone("pixels", weights="x.safetensors"), "has no weights"),
        (lambda: load_backbone("random-motion"), "no weights that could be random"),
        (lambda: load_backbone("random-vjepa-h", weights="x.safetensors"), "draws its weights"),
        (lambda: load("vjepa-l").extract(video(), timesteps=[1]), "timestep 1"),
    ],
)
def test_mistakes_are_named(call, text):
    with pytest.raises(UsageError, match=text):
        call()


def test_unknown_layers_name_the_nearest():
    with pytest.raises(UnknownNameError, match="layer2"):
        load("vjepa-l").extract(video(), layers=[3])


def test_weights_that_are_needed_or_absent():
    with pytest.raises(WeightsError, match=r"vjepa-h needs weights.*random-vjepa-h"):
        load_backbone("vjepa-h")
    with pytest.raises(WeightsError, match=r"no weights at nowhere\.pth\.tar.*such as vith16\.pth\.tar"):
        load("vjepa-l", Path("nowhere.pth.tar"))


def test_a_fine_tuned_videomae_is_refused(tmp_path):
    tensors = draw_originals(separate_biases=True) | {"head.weight": torch.zeros(710, C)}
    torch.save({"module": tensors}, tmp_path / "vit_g_ft.pth")
    with pytest.raises(WeightsError, match="fine-tuned"):
        load("videomaev2-g", tmp_path / "vit_g_ft.pth")


def test_vjepa2_never_fills_the_place_of_vjepa(tmp_path):
    inner = {f"module.backbone.{k}": v for k, v in draw_originals(separate_biases=False).items()}
    torch.save({"target_encoder": inner}, tmp_path / "vitl.pt")  # no table of positions, as V-JEPA 2 has none
    with pytest.raises(WeightsError, match=r"lacks 1 of.*position_embeddings.*not V-JEPA 2"):
        load("vjepa-l", tmp_path / "vitl.pt")


def broken(tmp_path: Path, what: str) -> Path:
    path, _ = videomae_source(tmp_path, "safetensors")
    tensors = load_file(path)
    match what:
        case "missing":
            del tensors["encoder.blocks.1.attn.proj.bias"]
        case "shape":
            tensors["encoder.norm.weight"] = torch.ones(C + 1)
        case "unknown":
            tensors["encoder.blocks.1.gamma_1"] = torch.ones(C)
        case "other model":
            tensors = {"conv.weight": torch.ones(3)}
        case "cut short":
            path.write_bytes(path.read_bytes()[:-10])
            return path
    save_file(tensors, path)
    return path


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("missing", r"lacks 1 of the .*output\.dense\.bias"),
        ("shape", r"norm\.weight has shape \(41,\); this backbone needs \(40,\)"),
        ("unknown", "1 tensors that this network does not have"),
        ("other model", r"holds no tensor patch_embed\.proj\.weight; it has conv\.weight"),
        ("cut short", "is cut short"),
    ],
)
def test_files_that_do_not_fit(tmp_path, what, text):
    with pytest.raises(WeightsError, match=text):
        load("videomaev2-g", broken(tmp_path, what))


def test_more_blocks_than_the_architecture_has(tmp_path):
    path, _ = videomae_source(tmp_path, "safetensors")
    tensors = load_file(path)
    more = {name.replace("blocks.1", "blocks.2"): tensor.clone() for name, tensor in tensors.items()}
    save_file(tensors | more, path)
    with pytest.raises(WeightsError, match="no such tensor"):
        load("videomaev2-g", path)


def test_a_folder_of_another_architecture(tmp_path):
    path, _ = videomae_source(tmp_path, "hub")
    config = {"model_config": {"embed_dim": C, "num_heads": 2}}  # heads show in no shape
    (path / "config.json").write_text(json.dumps(config))
    with pytest.raises(WeightsError, match=r"model_config\.num_heads 2; this backbone has 4"):
        load("videomaev2-g", path)
    with pytest.raises(WeightsError, match="has no unet/"):
        load("sd21", path)


class Harmful:
    def __reduce__(self) -> Any:
        return (Path.touch, (Path("harm-was-done"),))


def test_pickles_never_run_code(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"model": {"x": torch.ones(1)}, "args": Harmful()}, tmp_path / "harm.pth")
    with pytest.raises(WeightsError, match="never loaded"):
        load("videomaev2-g", tmp_path / "harm.pth")
    assert not (tmp_path / "harm-was-done").exists()
    (tmp_path / "short.pth").write_bytes(b"PK\x03\x04 no more than this")
    with pytest.raises(WeightsError, match="cannot be loaded"):
        load("videomaev2-g", tmp_path / "short.pth")


# -- through the commands, with files as a user has them ---------------------------------------------------


def checkpoint(folder: Path, name: str) -> Path:
    """A small checkpoint of that backbone in its published form."""
    folder.mkdir(parents=True)
    match name:
        case "vjepa-l":
            return vjepa_file(folder, pickled=True)[0]
        case "videomaev2-g":
            return videomae_source(folder, "hub")[0]
        case "vjepa2-l":
            small = {"pred_hidden_size": 24, "pred_num_attention_heads": 2, "pred_num_hidden_layers": 1}
            jitter(VJEPA2Model(VJEPA2Config(**VJEPA2, **small, crop_size=SIDE))).save_pretrained(folder)
        case "dinov3-l":
            jitter(DINOv3ViTModel(DINOv3ViTConfig(**DINOV3, image_size=32))).save_pretrained(folder)
        case "sd21":
            diffusers_folder(folder)
    return folder


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("checkpoints")
    return {name: checkpoint(folder / name, name) for name in SMALL}


@pytest.fixture
def small_specs(monkeypatch) -> None:
    """The baselines' names stand for the small networks of these tests."""
    small = {}
    for name, (architecture, defaults) in SMALL.items():
        spec = shipped_specs()[name]
        layer = spec.layer if name == "sd21" else f"layer{DEPTH}"
        change = {"architecture": architecture, "layer": layer, "defaults": {**spec.defaults, **defaults}}
        small[name] = spec.model_copy(update=change)
    found = {**shipped_specs(), **small}
    monkeypatch.setattr(base, "shipped_specs", lambda: found)


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    """Three readable clips, one of a single frame, and two files that hold no video."""
    folder = tmp_path_factory.mktemp("clips")
    for number, count in enumerate((13, 9, 1)):
        write_video(folder / f"{number}.mp4", video(count, seed=number, height=48, width=64).pixels, fps=8)
    (folder / "empty.mp4").touch()
    (folder / "text.avi").write_text("no video")
    return folder


@pytest.mark.parametrize("name", [*SMALL, "pixels", "motion"])
def test_every_backbone_extracts_by_command(name, checkpoints, clips, small_specs, tmp_path, capsys):
    weights = ["--weights", str(checkpoints[name])] if name in checkpoints else []
    arguments = ["extract", str(clips), "-o", str(tmp_path / "store"), "--backbone", name, *weights]
    assert run([*arguments, "--stride", "1", "--device", "cpu", "--threads", "1", "--json"]) == 3
    summary = json.loads(capsys.readouterr().out)
    assert (summary["num_done"], set(summary["failed"])) == (3, {"empty.mp4", "text.avi"})
    store = FeatureStore.open(tmp_path / "store")
    alone = base.load_backbone(name, weights=checkpoints.get(name), device="cpu", threads=1)
    key = (alone.spec.timestep, alone.spec.layer)
    for number, count in enumerate((13, 9, 1)):
        tokens = store.read(f"{number}.mp4")[key]
        assert np.array_equal(tokens, alone.extract(read_video(clips / f"{number}.mp4", stride=1))[key])
        assert len(tokens) == -(-count // alone.tubelet)


@pytest.mark.parametrize("name", SMALL)
def test_checkpoints_pass_the_contract(name, checkpoints):
    check_backbone(load(name, checkpoints[name]))


@pytest.mark.parametrize("name", SMALL)
def test_weights_check_compares_half_precision(name, checkpoints, small_specs, capsys):
    arguments = ["weights", "check", str(checkpoints[name]), "--backbone", name, "--device", "cpu"]
    assert run([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    lines = found["weights"]
    depth = ["layer4", "layer7", "layer10", "layer13"] if name == "sd21" else ["layer1", "layer2"]
    assert [line["name"] for line in lines] == [f"network, {layer}" for layer in depth]
    assert all(0 < line["error"] < 0.1 for line in lines)
    assert found["options"].keys() == {"dtype"}


def test_weights_check_in_words(checkpoints, small_specs, capsys, monkeypatch, tmp_path):
    assert run(["weights", "check", str(checkpoints["vjepa-l"]), "--backbone", "vjepa-l"]) == 0
    printed = capsys.readouterr().out
    assert "network, layer2" in printed
    assert "VAE" not in printed
    assert "Features are right on this device." in printed
    # weights of the machine's folder are found by the backbone's name
    monkeypatch.setenv("ACTIONDIFF_WEIGHTS", str(checkpoints["dinov3-l"].parent))
    assert run(["weights", "check", "--backbone", "dinov3-l"]) == 0


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--backbone", "pixels"], "pixels has no network whose precision could be checked"),
        (["--backbone", "vjepa-l"], "vjepa-l needs weights"),
        (["--backbone", "vjepa-l", "--unet-head-dim", "16"], "vjepa-l has no option unet_head_dim"),
        (["--backbone", "vjepa3"], "vjepa3"),
        (["nowhere.safetensors", "--backbone", "dinov3-l"], "no weights at nowhere.safetensors"),
        (["nowhere.safetensors"], "no weights at nowhere.safetensors"),
    ],
)
def test_weights_check_names_mistakes(arguments, text, small_specs, monkeypatch, capsys):
    monkeypatch.delenv("ACTIONDIFF_WEIGHTS", raising=False)
    assert run(["weights", "check", *arguments]) == 1
    error = capsys.readouterr().err
    assert text in error
    assert len(error.strip().splitlines()) == 1


def test_weights_of_another_model_are_refused(checkpoints, capsys):
    """The real architecture, for which these files are too small."""
    assert run(["weights", "check", str(checkpoints["vjepa2-l"]), "--backbone", "vjepa2-l"]) == 1
    assert "is another model: its config.json has hidden_size 48" in capsys.readouterr().err
