"""An independent formulation of the U-Net's layers, and a small text tower with its tokenizer."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import UNetSpatioTemporalConditionModel
from transformers import CLIPTextConfig, CLIPTextModelWithProjection

from actiondiff.backbones.base import find_spec
from actiondiff.backbones.svd.random_checkpoint import RandomCheckpoint
from actiondiff.backbones.svd.schedule import input_scale, noise_condition, sigmas


@pytest.fixture(scope="session")
def stock_layers() -> Callable[..., dict[int, torch.Tensor]]:
    """Diffusers' own forward of the network `tiny`, whose frames all share one context.

    `stock_layers(encoded, timestep, context (1, n, D))` gives the 13 layers, taken by hooks.
    """
    spec = find_spec("tiny")
    unet = UNetSpatioTemporalConditionModel(**spec.architecture["unet"]).eval()
    unet.load_state_dict(RandomCheckpoint(spec.architecture, 0).tensors("unet"))
    for module in unet.modules():
        if isinstance(module, torch.nn.GroupNorm) and module.eps == 1e-6:
            module.eps = 1e-5
    for block in unet.modules():  # the transformers' own norms keep theirs
        if type(block).__name__ == "TransformerSpatioTemporalModel":
            block.norm.eps = 1e-6
    down, captured = unet.down_blocks, {}
    modules = [unet.conv_in]
    for block in down[:3]:
        modules += [*block.attentions, block.downsamplers[0]]
    modules += [*down[3].resnets, unet.mid_block]
    for number, module in enumerate(modules, start=1):
        module.register_forward_hook(
            lambda _m, _i, out, number=number: captured.__setitem__(
                number, out[0] if isinstance(out, tuple) else out
            )
        )

    @torch.no_grad()
    def run(encoded, timestep, context):
        captured.clear()
        sigma = sigmas(30)[timestep]
        sample = torch.cat([encoded.latents * input_scale(sigma), encoded.conditioning], dim=2)
        unet(sample, noise_condition(sigma), context, torch.tensor([[6.0, 127.0, 0.02]]))
        return dict(captured)

    return run


LETTERS = "abcdefghijklmnopqrstuvwxyz"
TOKENS = [*LETTERS, *(f"{letter}</w>" for letter in LETTERS), "<|startoftext|>", "<|endoftext|>"]
BEGIN, END = TOKENS.index("<|startoftext|>"), TOKENS.index("<|endoftext|>")


@pytest.fixture(scope="session")
def make_text_folder() -> Callable[..., Path]:
    """`make_text_folder(folder, width=32, **config)` writes a text tower in transformers' layout."""

    def make(folder: Path, *, width: int = 32, **changes: object) -> Path:
        torch.manual_seed(0)
        fields = {
            "vocab_size": len(TOKENS),
            "hidden_size": 16,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "max_position_embeddings": 12,
            "projection_dim": width,
            "hidden_act": "gelu",
            "bos_token_id": BEGIN,
            "eos_token_id": END,
            "pad_token_id": END,
        }
        model = CLIPTextModelWithProjection(CLIPTextConfig(**{**fields, **changes}))
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.5)
        model.save_pretrained(folder)
        (folder / "vocab.json").write_text(json.dumps({t: n for n, t in enumerate(TOKENS)}), "utf-8")
        (folder / "merges.txt").write_text("#version: 0.2\n", "utf-8")
        (folder / "tokenizer_config.json").write_text(
            json.dumps({"tokenizer_class": "CLIPTokenizer", "model_max_length": 12}), "utf-8"
        )
        return folder

    return make


@pytest.fixture(scope="session")
def text_folder(make_text_folder, tmp_path_factory) -> Path:
    """A text tower whose projection fits the network `tiny`; not to be changed."""
    return make_text_folder(tmp_path_factory.mktemp("text"))
