"""The key map against the list at real size, and against names it must not take."""

import json
from pathlib import Path

import pytest
import torch

from actiondiff.checkpoints.keymap import KeyMap

COMPONENTS = {
    "unet": "unet",
    "vae": "vae_encoder_of_conditioner",
    "latent_encoder": "vae_encoder_of_first_stage",
    "image_encoder": "image_encoder",
}
HOW = {"[squeeze 1x1 kernel]": "squeeze", "[transpose]": "transpose"}


def test_every_name_at_real_size(shared_dir: Path):
    listed = json.loads((shared_dir / "goldens" / "sgm_to_diffusers_keys.json").read_text())
    assert [len(listed[name]) for name in COMPONENTS.values()] == [1428, 108, 106, 392]
    for component, name in COMPONENTS.items():
        for key, value in listed[name].items():
            found = KeyMap.svd().match(key)
            assert {target.component for target in found} == {component}, key
            if isinstance(value, list):
                assert [target.name for target in found] == value
                assert [(target.how, target.part) for target in found] == [("split", i) for i in range(3)]
            else:
                target, _, how = value.partition(" ")
                assert [(t.name, t.how) for t in found] == [(target, HOW.get(how, "same"))], key


def test_names_left_out_of_the_golden_file_are_known(shared_dir: Path):
    omitted = json.loads((shared_dir / "goldens" / "sgm_tiny_config.json").read_text())["omitted_keys"]
    for key in omitted:
        found = KeyMap.svd().match(key)
        assert found if key.startswith("model.diffusion_model.") else found == (), key


@pytest.mark.parametrize(
    "key",
    [
        "first_stage_model.decoder2.conv_in.weight",
        "model.diffusion_model.input_blocks.12.0.in_layers.0.weight",
        "model.diffusion_model.input_blocks.3.0.opx.weight",
        "model.diffusion_model.input_blocks.1.0.in_layers.1.weight",
        "model_ema.decay",
        "conditioner.embedders.0.open_clip.model.visual.transformer.resblocks.x.ln_1.weight",
    ],
)
def test_unknown_names_are_not_taken(key: str):
    assert KeyMap.svd().match(key) is None


def test_ways_to_change_a_tensor():
    def become(key: str, tensor: torch.Tensor) -> list[torch.Tensor]:
        return [target.apply(tensor) for target in KeyMap.svd().match(key)]

    visual = "conditioner.embedders.0.open_clip.model.visual."
    matrix = torch.arange(6.0).reshape(2, 3)
    assert torch.equal(become(visual + "proj", matrix)[0], matrix.T)
    kernel = matrix[:, :, None, None]
    assert torch.equal(become("first_stage_model.encoder.mid.attn_1.q.weight", kernel)[0], matrix)
    rows = torch.arange(12.0).reshape(6, 2)
    parts = become(visual + "transformer.resblocks.7.attn.in_proj_weight", rows)
    assert [part.tolist() for part in parts] == [rows[:2].tolist(), rows[2:4].tolist(), rows[4:].tolist()]
