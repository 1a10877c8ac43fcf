"""Small checkpoints in the original's names, made from diffusers' and transformers' own models.

The names are turned back here by code of its own, which shares nothing with the package's key map: where
both agree with the libraries' strict loading, the map is right.
"""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKLTemporalDecoder, UNetSpatioTemporalConditionModel
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

State = dict[str, Tensor]

UNET = {
    "block_out_channels": (32, 64, 64, 96),
    "num_attention_heads": (2, 4, 4, 6),
    "cross_attention_dim": 32,
    "addition_time_embed_dim": 16,
    "projection_class_embeddings_input_dim": 48,
}
CLIP = {
    "hidden_size": 32,
    "intermediate_size": 96,
    "projection_dim": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 42,
    "patch_size": 14,
    "hidden_act": "gelu",
}
VAE = {
    "block_out_channels": (32, 32, 64),
    "down_block_types": ("DownEncoderBlock2D",) * 3,
    "layers_per_block": 2,
    "sample_size": 32,
}
HEAD_DIMS = {"unet_head_dim": 16, "clip_head_dim": 8}

RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}


def _rewrite(name: str, rules: list[tuple[str, str | Callable[[re.Match[str]], str]]]) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


def _unet_name(name: str) -> str:
    def down(match: re.Match[str]) -> str:
        block, kind, number = int(match[1]), match[2], int(match[3])
        if kind == "downsamplers":
            return f"input_blocks.{3 * block + 3}.0.op"
        return f"input_blocks.{3 * block + number + 1}.{int(kind == 'attentions')}"

    def up(match: re.Match[str]) -> str:
        block, kind, number = int(match[1]), match[2], int(match[3])
        if kind == "upsamplers":
            return f"output_blocks.{3 * block + 2}.{1 if block == 0 else 2}.conv"
        return f"output_blocks.{3 * block + number}.{int(kind == 'attentions')}"

    inner = [(rf"spatial_res_block\.{ours}\b", theirs) for ours, theirs in RESNET.items()]
    inner += [(rf"temporal_res_block\.{ours}\b", f"time_stack.{theirs}") for ours, theirs in RESNET.items()]
    return "model.diffusion_model." + _rewrite(
        name,
        [
            (r"^time_embedding\.linear_1", "time_embed.0"),
            (r"^time_embedding\.linear_2", "time_embed.2"),
            (r"^add_embedding\.linear_1", "label_emb.0.0"),
            (r"^add_embedding\.linear_2", "label_emb.0.2"),
            (r"^conv_in\b", "input_blocks.0.0"),
            (r"^conv_norm_out\b", "out.0"),
            (r"^conv_out\b", "out.2"),
            (r"^down_blocks\.(\d)\.(\w+)\.(\d)(?:\.conv(?=\.\w+$))?", down),
            (r"^mid_block\.resnets\.0", "middle_block.0"),
            (r"^mid_block\.attentions\.0", "middle_block.1"),
            (r"^mid_block\.resnets\.1", "middle_block.2"),
            (r"^up_blocks\.(\d)\.(\w+)\.(\d)(?:\.conv(?=\.\w+$))?", up),
            (r"temporal_transformer_blocks", "time_stack"),
            (r"time_pos_embed\.linear_1", "time_pos_embed.0"),
            (r"time_pos_embed\.linear_2", "time_pos_embed.2"),
            *inner,
        ],
    )


def _vae_state(state: State, prefix: str) -> State:
    rules = [
        (r"^encoder\.", prefix),
        (r"down_blocks\.(\d)\.resnets\.(\d)", r"down.\1.block.\2"),
        (r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample"),
        (r"mid_block\.resnets\.0", "mid.block_1"),
        (r"mid_block\.resnets\.1", "mid.block_2"),
        (r"mid_block\.attentions\.0\.group_norm", "mid.attn_1.norm"),
        (r"mid_block\.attentions\.0\.to_out\.0", "mid.attn_1.proj_out"),
        (r"mid_block\.attentions\.0\.to_(\w)", r"mid.attn_1.\1"),
        (r"conv_shortcut", "nin_shortcut"),
        (r"conv_norm_out", "norm_out"),
    ]
    kernels = {name: tensor[:, :, None, None] for name, tensor in state.items() if _is_attention(name)}
    return {_rewrite(name, rules): tensor for name, tensor in (state | kernels).items()}


def _is_attention(name: str) -> bool:
    return ".attentions." in name and name.endswith("weight") and "group_norm" not in name


def _clip_state(state: State) -> State:
    visual = "conditioner.embedders.0.open_clip.model.visual."
    rules = [
        (r"^vision_model\.embeddings\.position_embedding\.weight", "positional_embedding"),
        (r"^vision_model\.embeddings\.patch_embedding", "conv1"),
        (r"^vision_model\.embeddings\.", ""),
        (r"^vision_model\.pre_layrnorm", "ln_pre"),
        (r"^vision_model\.post_layernorm", "ln_post"),
        (r"^vision_model\.encoder\.layers\.", "transformer.resblocks."),
        (r"layer_norm(\d)", r"ln_\1"),
        (r"mlp\.fc1", "mlp.c_fc"),
        (r"mlp\.fc2", "mlp.c_proj"),
        (r"self_attn\.out_proj", "attn.out_proj"),
    ]
    found = {}
    for name, tensor in state.items():
        if name == "visual_projection.weight":
            found[visual + "proj"] = tensor.T.contiguous()
        elif "q_proj" in name:
            parts = [state[name.replace("q_proj", part)] for part in ("q_proj", "k_proj", "v_proj")]
            packed = _rewrite(name, rules).replace("self_attn.q_proj.", "attn.in_proj_")
            found[visual + packed] = torch.cat(parts)
        elif "k_proj" not in name and "v_proj" not in name:
            found[visual + _rewrite(name, rules)] = tensor
    return found


def folded(vae: State) -> State:
    """The encoder with quant_conv folded into its last convolution: what the first stage holds."""
    matrix = vae["quant_conv.weight"].double()[:, :, 0, 0]
    kernel = torch.einsum("oi,ikhw->okhw", matrix, vae["encoder.conv_out.weight"].double())
    bias = matrix @ vae["encoder.conv_out.bias"].double() + vae["quant_conv.bias"].double()
    encoder = {name: tensor for name, tensor in vae.items() if name.startswith("encoder.")}
    return encoder | {"encoder.conv_out.weight": kernel.float(), "encoder.conv_out.bias": bias.float()}


class Models:
    """The libraries' models with random weights whose values float16 holds exactly."""

    def __init__(self) -> None:
        self.unet = _randomised(UNetSpatioTemporalConditionModel(**UNET), 1)
        self.image_encoder = _randomised(CLIPVisionModelWithProjection(CLIPVisionConfig(**CLIP)), 2)
        self.vae = _randomised(AutoencoderKLTemporalDecoder(**VAE), 3)

    def original(self) -> State:
        """Every tensor of the original file, under its name there."""
        vae = {n: t for n, t in self.vae.state_dict().items() if n.startswith(("encoder.", "quant_conv."))}
        conditioner = "conditioner.embedders.3.encoder."
        state = {_unet_name(name): tensor for name, tensor in self.unet.state_dict().items()}
        state |= _clip_state(self.image_encoder.state_dict())
        state |= _vae_state(folded(vae), "first_stage_model.encoder.")
        encoder = {name: tensor for name, tensor in vae.items() if name.startswith("encoder.")}
        state |= _vae_state(encoder, conditioner + "encoder.")
        state |= {conditioner + name: t for name, t in vae.items() if name.startswith("quant_conv.")}
        for name in NOT_NEEDED:
            state[name] = torch.ones(3)
        return {name: tensor.clone().contiguous() for name, tensor in state.items()}

    def save_folder(self, folder: Path, **options: object) -> Path:
        """A diffusers folder."""
        for name in ("unet", "image_encoder", "vae"):
            getattr(self, name).save_pretrained(folder / name, **options)
        return folder


NOT_NEEDED = (
    "first_stage_model.decoder.conv_in.weight",
    "first_stage_model.decoder.conv_out.time_mix_conv.weight",
    "conditioner.embedders.3.encoder.decoder.mid.attn_1.q.weight",
    "conditioner.embedders.3.encoder.post_quant_conv.weight",
    "conditioner.embedders.0.open_clip.model.token_embedding.weight",
    "conditioner.embedders.0.open_clip.model.positional_embedding",
    "conditioner.embedders.0.open_clip.model.text_projection",
    "conditioner.embedders.0.open_clip.model.ln_final.weight",
    "conditioner.embedders.0.open_clip.model.logit_scale",
)


def _randomised(model: torch.nn.Module, seed: int) -> torch.nn.Module:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in model.state_dict().values():
            tensor.copy_(torch.randn(tensor.shape, generator=generator).mul(0.1).half())
    return model.eval()


@pytest.fixture(scope="session")
def models() -> Models:
    with torch.random.fork_rng():
        return Models()


@pytest.fixture(scope="session")
def original_state(models: Models) -> State:
    """Not to be changed; take a copy."""
    return models.original()


@pytest.fixture(scope="session")
def original(original_state: State, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The original single file in float32. Its two VAE encoders are one."""
    path = tmp_path_factory.mktemp("original") / "svd_small.safetensors"
    save_file(original_state, path)
    return path


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of the test's own."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("ACTIONDIFF_CACHE", str(folder))
    return folder
