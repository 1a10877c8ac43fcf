"""Files as the networks' own authors publish them, against the libraries' networks with the same values.

The original names are written here from the libraries' names, by code that shares nothing with the key maps.
"""

import argparse
import json
import re

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.loaders.single_file_utils import (
    convert_ldm_unet_checkpoint,
    convert_ldm_vae_checkpoint,
)
from safetensors.torch import save_file
from tests.conftest import random_frames
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    DINOv3ViTConfig,
    DINOv3ViTModel,
    VideoPrismVisionConfig,
    VideoPrismVisionModel,
    VJEPA2Config,
    VJEPA2Model,
)

from actiondiff.backbones.base import WindowBatch, build_backbone, find_spec, make_options
from actiondiff.errors import WeightsError
from actiondiff.types import FeatureKey

VJEPA2 = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2, "mlp_ratio": 2.0,
          "patch_size": 8, "tubelet_size": 2, "layer_norm_eps": 1e-6, "hidden_act": "gelu"}  # fmt: skip
DINOV3 = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 96,
          "patch_size": 8, "num_register_tokens": 3}  # fmt: skip
VIDEOMAE = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 96,
            "patch_size": 8, "image_size": 24, "num_frames": 4, "tubelet_size": 2,
            "layer_norm_eps": 1e-6}  # fmt: skip
VIDEOPRISM = {"hidden_size": 48, "num_attention_heads": 4, "intermediate_size": 96, "num_spatial_layers": 2,
              "num_temporal_layers": 2, "image_size": 24, "num_frames": 4, "tubelet_size": [1, 8, 8],
              "layer_norm_eps": 1e-6, "hidden_act": "gelu_python"}  # fmt: skip
SD = {
    "unet": {"in_channels": 4, "out_channels": 4, "block_out_channels": [32, 32, 64, 64],
             "layers_per_block": 2, "cross_attention_dim": 32, "attention_head_dim": [2, 2, 4, 4],
             "use_linear_projection": True},
    "vae": {"block_out_channels": [16, 32], "layers_per_block": 1, "latent_channels": 4,
            "norm_num_groups": 8},
    "text_encoder": {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
                     "num_attention_heads": 2, "vocab_size": 49408, "max_position_embeddings": 77,
                     "hidden_act": "gelu"},
}  # fmt: skip
SMALL = {
    "vjepa2-l": ({"encoder": VJEPA2}, {"height": 24, "width": 24, "window": 4}),
    "dinov3-l": ({"encoder": DINOV3}, {"height": 24, "width": 40, "window": 4}),
    "vjepa-l": ({"encoder": VIDEOMAE}, {"height": 24, "width": 24, "window": 4}),
    "videomaev2-g": ({"encoder": VIDEOMAE}, {"height": 24, "width": 24, "window": 4}),
    "videoprism-b": ({"encoder": VIDEOPRISM}, {"height": 24, "width": 24, "window": 4}),
    "sd21": (SD, {"height": 16, "width": 32, "window": 2}),
}


def load(name, weights):
    architecture, defaults = SMALL[name]
    spec = find_spec(name)
    layer = {"sd21": spec.layer, "videoprism-b": "layer4"}.get(name, "layer2")
    change = {"architecture": architecture, "layer": layer, "defaults": {**spec.defaults, **defaults}}
    spec = spec.model_copy(update=change)
    return build_backbone(spec, make_options(spec, device="cpu", threads=1), weights)


def maps_of(backbone):
    frames = random_frames(int(backbone.options.window))
    pixels = backbone.preprocess(torch.from_numpy(frames.pixels))[None]
    windows = WindowBatch(pixels, (len(frames),), (frames.identity,), (0,))
    timestep = backbone.spec.timestep
    return pixels, backbone.maps(windows, [FeatureKey(timestep, tap) for tap in backbone.taps])


def normalised(pixels):
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    return ((pixels + 1) / 2 - mean[:, None, None]) / std[:, None, None]


def error(ours, theirs):
    assert ours.shape == theirs.shape
    return float((ours - theirs).norm() / theirs.norm())


@torch.no_grad()
def jitter(model):
    """Draw every weight, those included that begin as zeros or ones."""
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        drawn = torch.randn(parameter.shape, generator=generator)
        fan_in = parameter[0].numel() if parameter.ndim > 1 else 4
        parameter.copy_(drawn / fan_in**0.5 + (0.5 if parameter.ndim == 1 else 0))
    return model.eval()


def renamed(state, rules):
    """Names changed by regular expressions, in order."""
    result = {}
    for name, tensor in state.items():
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        result[name] = tensor.clone().contiguous()
    return result


def packed(state, names, target):
    """Query, key and value of each block as one tensor."""
    result = dict(state)
    for name in [name for name in state if names[0] in name]:
        parts = [result.pop(name.replace(names[0], other)) for other in names]
        result[name.replace(names[0], target)] = torch.cat(parts)
    return result


@torch.no_grad()
@pytest.mark.parametrize("form", ["vitl.pt", "encoder alone.pt", "flat.safetensors"])
def test_vjepa2_of_its_authors(tmp_path, form):
    small = {"pred_hidden_size": 24, "pred_num_attention_heads": 2, "pred_num_hidden_layers": 1}
    model = jitter(VJEPA2Model(VJEPA2Config(**VJEPA2, **small, crop_size=24)))
    state = {n.removeprefix("encoder."): t for n, t in model.state_dict().items() if n.startswith("encoder.")}
    state = packed(state, ("attention.query", "attention.key", "attention.value"), "attention.qkv")
    rules = [("embeddings.patch_embeddings", "patch_embed"), (r"^layer\.", "blocks."), ("attention", "attn"),
             ("layernorm", "norm"), ("^", "module.backbone.")]  # fmt: skip
    state = renamed(state, rules)
    path = tmp_path / form
    if form == "vitl.pt":
        online = {name: tensor + 1 for name, tensor in state.items()}
        torch.save({"encoder": online, "predictor": {"x": torch.ones(2)}, "target_encoder": state}, path)
    elif form.endswith(".pt"):
        torch.save({"encoder": state, "epoch": 3}, path)
    else:
        save_file(state, path)
    backbone = load("vjepa2-l", path)
    pixels, outputs = maps_of(backbone)
    stock = model(normalised(pixels), skip_predictor=True).last_hidden_state
    assert error(outputs[FeatureKey.of(0, 2)].permute(0, 1, 3, 4, 2), stock.reshape(1, 2, 3, 3, 48)) < 1e-5
    model.save_pretrained(tmp_path / "hub")
    assert backbone.settings["weights"] == load("vjepa2-l", tmp_path / "hub").settings["weights"]


@torch.no_grad()
def test_dinov3_of_its_authors(tmp_path):
    """The original has a masked bias of the keys, which must have no effect."""
    model = jitter(DINOv3ViTModel(DINOv3ViTConfig(**DINOV3, image_size=32)))
    state = dict(model.state_dict())
    for number in range(2):
        name = f"model.layer.{number}.attention.k_proj.bias"
        assert name not in state
        state[name] = torch.full((48,), 7.0)
    state = packed(state, ("attention.q_proj", "attention.k_proj", "attention.v_proj"), "attn.qkv")
    rules = [(r"embeddings\.register_tokens", "storage_tokens"), ("patch_embeddings", "patch_embed.proj"),
             (r"^embeddings\.", ""), (r"model\.layer\.", "blocks."), ("attention.o_proj", "attn.proj"),
             (r"layer_scale(\d)\.lambda1", r"ls\1.gamma"), ("up_proj", "fc1"),
             ("down_proj", "fc2")]  # fmt: skip
    state = renamed(state, rules)
    state["mask_token"] = state["mask_token"][0]
    state["rope_embed.periods"] = torch.ones(6)
    state |= {f"blocks.{i}.attn.qkv.bias_mask": torch.ones(144) for i in range(2)}
    torch.save(state, tmp_path / "dinov3.pth")
    backbone = load("dinov3-l", tmp_path / "dinov3.pth")
    pixels, outputs = maps_of(backbone)
    stock = model(normalised(pixels)[0])
    patches = stock.last_hidden_state[:, 4:].reshape(1, 4, 3, 5, 48)
    assert error(outputs[FeatureKey.of(0, 2)].permute(0, 1, 3, 4, 2), patches) < 1e-5
    model.save_pretrained(tmp_path / "hub")
    assert backbone.settings["weights"] == load("dinov3-l", tmp_path / "hub").settings["weights"]


def ldm_names(unet, vae, text):
    """The three networks under the names of Stable Diffusion's original file."""

    def down(match):
        block, kind, number = int(match[1]), match[2], int(match[3])
        if kind == "downsamplers":
            return f"input_blocks.{3 * block + 3}.0.op"
        return f"input_blocks.{3 * block + number + 1}.{int(kind == 'attentions')}"

    def up(match):
        block, kind, number = int(match[1]), match[2], int(match[3])
        if kind == "upsamplers":
            return f"output_blocks.{3 * block + 2}.{1 if block == 0 else 2}.conv"
        return f"output_blocks.{3 * block + number}.{int(kind == 'attentions')}"

    state = renamed(unet.state_dict(), [
        (r"^time_embedding\.linear_1", "time_embed.0"), (r"^time_embedding\.linear_2", "time_embed.2"),
        (r"^conv_in\b", "input_blocks.0.0"), (r"^conv_norm_out\b", "out.0"), (r"^conv_out\b", "out.2"),
        (r"^down_blocks\.(\d)\.(\w+)\.(\d)(?:\.conv(?=\.\w+$))?", down),
        (r"^up_blocks\.(\d)\.(\w+)\.(\d)(?:\.conv(?=\.\w+$))?", up),
        (r"^mid_block\.resnets\.0", "middle_block.0"), (r"^mid_block\.attentions\.0", "middle_block.1"),
        (r"^mid_block\.resnets\.1", "middle_block.2"),
        (r"(blocks\.\d+\.0|middle_block\.[02])\.norm1", r"\1.in_layers.0"),
        (r"(blocks\.\d+\.0|middle_block\.[02])\.conv1", r"\1.in_layers.2"),
        (r"(blocks\.\d+\.0|middle_block\.[02])\.norm2", r"\1.out_layers.0"),
        (r"(blocks\.\d+\.0|middle_block\.[02])\.conv2", r"\1.out_layers.3"),
        (r"time_emb_proj", "emb_layers.1"), (r"conv_shortcut", "skip_connection"),
        (r"^", "model.diffusion_model."),
    ])  # fmt: skip
    first = renamed(vae.state_dict(), [
        (r"down_blocks\.(\d)\.resnets\.(\d)", r"down.\1.block.\2"),
        (r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample"),
        (r"mid_block\.resnets\.0", "mid.block_1"), (r"mid_block\.resnets\.1", "mid.block_2"),
        (r"mid_block\.attentions\.0\.group_norm", "mid.attn_1.norm"),
        (r"mid_block\.attentions\.0\.to_out\.0", "mid.attn_1.proj_out"),
        (r"mid_block\.attentions\.0\.to_(\w)", r"mid.attn_1.\1"),
        (r"conv_shortcut", "nin_shortcut"), (r"conv_norm_out", "norm_out"), (r"^", "first_stage_model."),
    ])  # fmt: skip
    for name in first:
        if "attn_1" in name and name.endswith("weight") and "norm" not in name:
            first[name] = first[name][:, :, None, None]
    first = {n: t for n, t in first.items() if "decoder" not in n or n.endswith("decoder.conv_in.weight")}
    first["first_stage_model.post_quant_conv.weight"] = torch.ones(4, 4, 1, 1)
    tower = packed(text.state_dict(), ("q_proj.", "k_proj.", "v_proj."), "in_proj_")
    tower = renamed(tower, [
        (r"^(text_model\.)?embeddings\.token_embedding", "token_embedding"),
        (r"^(text_model\.)?embeddings\.position_embedding\.weight", "positional_embedding"),
        (r"^(text_model\.)?final_layer_norm", "ln_final"),
        (r"^(text_model\.)?encoder\.layers\.", "transformer.resblocks."),
        (r"self_attn\.", "attn."), (r"layer_norm(\d)", r"ln_\1"), (r"mlp\.fc1", "mlp.c_fc"),
        (r"mlp\.fc2", "mlp.c_proj"), (r"^", "cond_stage_model.model."),
    ])  # fmt: skip
    last = {
        n.replace("resblocks.1.", "resblocks.23."): t * 0 for n, t in tower.items() if "resblocks.1." in n
    }
    rest = {"betas": torch.ones(3), "model_ema.decay": torch.ones(1),
            "cond_stage_model.model.text_projection": torch.ones(32, 32),
            "cond_stage_model.model.logit_scale": torch.ones(())}  # fmt: skip
    return state | first | tower | last | rest


@torch.no_grad()
def test_stable_diffusion_of_its_authors(tmp_path):
    unet = jitter(UNet2DConditionModel(**SD["unet"]))
    kinds = {"down_block_types": ["DownEncoderBlock2D"] * 2, "up_block_types": ["UpDecoderBlock2D"] * 2}
    vae = jitter(AutoencoderKL(**SD["vae"], **kinds))
    text = jitter(CLIPTextModel(CLIPTextConfig(**SD["text_encoder"])))
    for name, model in (("unet", unet), ("vae", vae), ("text_encoder", text)):
        model.save_pretrained(tmp_path / "folder" / name)
    state = ldm_names(unet, vae, text)
    # The names written here are the original ones: diffusers' own converter brings them back.
    back = convert_ldm_unet_checkpoint(dict(state), unet.config)
    assert {name: tuple(t.shape) for name, t in back.items()} == {
        name: tuple(t.shape) for name, t in unet.state_dict().items()
    }
    assert all(torch.equal(tensor, unet.state_dict()[name]) for name, tensor in back.items())
    encoder = {n: t for n, t in vae.state_dict().items() if n.startswith(("encoder.", "quant_conv."))}
    back = convert_ldm_vae_checkpoint(dict(state), vae.config)
    assert all(torch.equal(back[name], tensor) for name, tensor in encoder.items())
    save_file(state, tmp_path / "v2-1_768-ema-pruned.safetensors")
    single = load("sd21", tmp_path / "v2-1_768-ema-pruned.safetensors")
    folder = load("sd21", tmp_path / "folder")
    assert single.settings["weights"] == folder.settings["weights"]
    ours, theirs = maps_of(single)[1], maps_of(folder)[1]
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_vjepa_files_that_hold_only_an_encoder(tmp_path):
    """Fine-tuned ones, for example; with a target encoder, that is taken."""
    generator = torch.Generator().manual_seed(0)
    names = load_names()
    draw = {name: torch.randn(shape, generator=generator) * 0.1 for name, shape in names.items()}
    wrapped = {f"module.backbone.{name}": tensor for name, tensor in draw.items()}
    torch.save({"encoder": wrapped, "epoch": 1}, tmp_path / "alone.pth.tar")
    torch.save(
        {"encoder": {n: t + 1 for n, t in wrapped.items()}, "target_encoder": wrapped},
        tmp_path / "both.pth.tar",
    )
    alone, both = (load("vjepa-l", tmp_path / f"{name}.pth.tar") for name in ("alone", "both"))
    assert alone.settings["weights"] == both.settings["weights"]
    key = FeatureKey.of(0, 2)
    assert torch.equal(maps_of(alone)[1][key], maps_of(both)[1][key])


def load_names():
    """Names and shapes of V-JEPA's original encoder."""
    C, names = 48, {"pos_embed": (1, 18, 48), "patch_embed.proj.weight": (48, 3, 2, 8, 8)}
    names |= {"patch_embed.proj.bias": (C,), "norm.weight": (C,), "norm.bias": (C,)}
    for i in range(2):
        for name, rows, columns in (("attn.qkv", 3 * C, C), ("attn.proj", C, C), ("mlp.fc1", 96, C),
                                    ("mlp.fc2", C, 96)):  # fmt: skip
            names |= {f"blocks.{i}.{name}.weight": (rows, columns), f"blocks.{i}.{name}.bias": (rows,)}
        for name in ("norm1", "norm2"):
            names |= {f"blocks.{i}.{name}.weight": (C,), f"blocks.{i}.{name}.bias": (C,)}
    return names


@pytest.mark.parametrize(
    ("extra", "named"),
    [
        ({"args": argparse.Namespace(lr=1)}, "argparse.Namespace"),
        ({"loss": np.float64(1)}, "multiarray.scalar"),
    ],
)
def test_pickles_that_could_run_code_are_refused_with_a_way_out(tmp_path, monkeypatch, extra, named):
    """The two lines of the message are run as they stand, and what they write loads."""
    state = {f"encoder.{name}": tensor for name, tensor in videomae_state().items()}
    torch.save({"model": state} | extra, tmp_path / "vit_g_hybrid_pt_1200e.pth")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WeightsError, match=named) as caught:
        load("videomaev2-g", tmp_path / "vit_g_hybrid_pt_1200e.pth")
    message = str(caught.value)
    assert "\x1b" not in message
    assert "\n" not in message
    lines = re.findall(r"`([^`]+)`", message)
    assert len(lines) == 2
    exec("\n".join(lines), {})
    assert load("videomaev2-g", tmp_path / "vit_g_hybrid_pt_1200e-tensors.pth").settings["weights"]


def videomae_state():
    names = {n: s for n, s in load_names().items() if n != "pos_embed" and not n.endswith("qkv.bias")}
    names |= {f"blocks.{i}.attn.{part}_bias": (48,) for i in range(2) for part in "qv"}
    return {name: torch.ones(shape) for name, shape in names.items()}


@torch.no_grad()
def test_videoprism_equals_the_library(tmp_path):
    config = VideoPrismVisionConfig(**VIDEOPRISM)
    config._attn_implementation = "eager"
    model = jitter(VideoPrismVisionModel(config))
    model.save_pretrained(tmp_path)
    backbone = load("videoprism-b", tmp_path)
    pixels, outputs = maps_of(backbone)
    stock = model((pixels + 1) / 2)
    expected = stock.last_hidden_state.reshape(1, 4, 3, 3, 48)
    assert error(outputs[FeatureKey.of(0, 4)].permute(0, 1, 3, 4, 2), expected) < 1e-5
    within = stock.last_spatial_hidden_state.reshape(1, 4, 3, 3, 48)
    assert error(outputs[FeatureKey.of(0, 2)].permute(0, 1, 3, 4, 2), within) < 1e-5
    fields = json.loads((tmp_path / "config.json").read_text("utf-8")) | {"num_frames": 8}
    (tmp_path / "config.json").write_text(json.dumps(fields), "utf-8")
    with pytest.raises(WeightsError, match=r"another model: its config\.json has num_frames 8"):
        load("videoprism-b", tmp_path)
