"""Conversion: what it writes, how it accounts for every tensor, and what it refuses."""

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import UNetSpatioTemporalConditionModel
from safetensors.torch import load_file, save_file
from transformers import CLIPVisionModelWithProjection

from actiondiff.checkpoints import convert
from actiondiff.checkpoints.convert import convert_weights
from actiondiff.checkpoints.reader import open_checkpoint
from actiondiff.checkpoints.tensorfile import TensorFile
from actiondiff.cli.main import run
from actiondiff.errors import UsageError, WeightsError
from actiondiff.outputs import claim
from actiondiff.provenance import sha256_of_file, write_text

HEAD_DIMS = {"unet_head_dim": 16, "clip_head_dim": 8}  # of the small models in conftest.py
DIFFUSION = "model.diffusion_model."
VISUAL = "conditioner.embedders.0.open_clip.model.visual."


@pytest.fixture
def saved(original_state, tmp_path):
    """Save the original with changes; None removes a tensor."""

    def save(changes: dict[str, torch.Tensor | None]) -> Path:
        state = {n: t for n, t in (original_state | changes).items() if t is not None}
        save_file(state, tmp_path / "changed.safetensors")
        return tmp_path / "changed.safetensors"

    return save


def nothing_left(folder: Path) -> bool:
    return not [path for path in folder.iterdir() if path.name.startswith((".w", "w"))]


@pytest.mark.parametrize(
    ("dtype", "itemsize"), [("float32", 4), ("float16", 2), ("bfloat16", 2)]
)  # fmt: skip
def test_the_libraries_load_the_folder(models, original, tmp_path, dtype, itemsize):
    report = convert_weights(original, tmp_path / "w", dtype=dtype, **HEAD_DIMS)
    assert report.unet_complete
    unet, missing = UNetSpatioTemporalConditionModel.from_pretrained(
        tmp_path / "w" / "unet", torch_dtype=getattr(torch, dtype), output_loading_info=True
    )
    assert not any(missing.values())
    clip, missing = CLIPVisionModelWithProjection.from_pretrained(
        tmp_path / "w" / "image_encoder", dtype=getattr(torch, dtype), output_loading_info=True
    )
    assert not any(missing.values())
    for loaded, model in ((unet, models.unet), (clip, models.image_encoder)):
        state = loaded.state_dict()
        assert state.keys() == model.state_dict().keys()
        for name, tensor in model.state_dict().items():
            assert torch.equal(state[name], tensor.to(getattr(torch, dtype))), name
    with torch.inference_mode():
        pixels = torch.linspace(-1, 1, 3 * 42 * 42).reshape(1, 3, 42, 42)
        same = CLIPVisionModelWithProjection.from_pretrained(tmp_path / "w" / "image_encoder").float()
        theirs = models.image_encoder(pixels).image_embeds
        assert torch.allclose(
            same(pixels).image_embeds, theirs, rtol=0.05 if itemsize == 2 else 1e-6, atol=1e-3
        )
    stored = load_file(tmp_path / "w" / "vae_encoder" / "model.safetensors")
    vae = models.vae.state_dict()
    assert all(torch.equal(tensor, vae[name].to(tensor.dtype)) for name, tensor in stored.items())
    files = [*(tmp_path / "w").glob("*/*.safetensors")]
    assert len(files) == 3
    assert report.num_bytes == sum(file.stat().st_size for file in files)
    assert {info.dtype for file in files for info in TensorFile(file).tensors.values()} == {
        getattr(torch, dtype)
    }


def test_every_tensor_is_accounted_for(original, original_state, saved, tmp_path):
    path = saved({"model_ema.decay": torch.ones(1), DIFFUSION + "out.3.weight": torch.ones(2),
                  DIFFUSION + "input_blocks.1.0.in_layers.0.gain": torch.ones(2)})  # fmt: skip
    with pytest.raises(WeightsError, match=r"holds 2 tensors that these networks do not have: .*out\.3"):
        convert_weights(path, tmp_path / "w", **HEAD_DIMS)
    report = convert_weights(path, tmp_path / "w", allow_unknown=True, **HEAD_DIMS)
    assert set(report.unknown) == {
        "model_ema.decay",
        DIFFUSION + "out.3.weight",
        DIFFUSION + "input_blocks.1.0.in_layers.0.gain",
    }
    assert len(report.not_needed) == 9
    assert report.num_used + len(report.not_needed) + len(report.unknown) == len(original_state) + 3
    record = json.loads((tmp_path / "w" / "conversion.json").read_text())
    assert record["unknown"] == list(report.unknown)
    assert record["source_sha256"] == sha256_of_file(path)
    assert record["identity"] == report.identity == open_checkpoint(tmp_path / "w").identity
    assert record["one_vae"] is True
    assert record["made_with"]["versions"]["torch"]
    with pytest.raises(WeightsError, match=r"3 tensors that are not known: .*model_ema\.decay"):
        convert_weights(path, tmp_path / "w2", strict=True, **HEAD_DIMS)
    assert not (tmp_path / "w2").exists()
    assert convert_weights(original, tmp_path / "w2", strict=True, **HEAD_DIMS).unknown == ()


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (DIFFUSION + "middle_block.1.proj_in.bias", "1 needed tensors are missing.*mid_block.attentions.0"),
        (DIFFUSION + "time_embed.2.bias", "unet: time_embedding.linear_2.bias"),
        (VISUAL + "transformer.resblocks.1.attn.in_proj_bias", "3 needed tensors are missing"),
        ("conditioner.embedders.3.encoder.quant_conv.bias", "vae: quant_conv.bias"),
        ("first_stage_model.encoder.norm_out.bias", "latent_encoder: encoder.conv_norm_out.bias"),
        (DIFFUSION + "output_blocks.1.0.time_mixer.mix_factor", "unet: up_blocks.0.resnets.1.time_mixer"),
        (DIFFUSION + "input_blocks.0.0.weight", "'conv_in.weight'"),
        (VISUAL + "class_embedding", "class_embedding"),
    ],
)
def test_a_missing_tensor_is_an_error(saved, tmp_path, key, message):
    with pytest.raises(WeightsError, match=message):
        convert_weights(saved({key: None}), tmp_path / "w", **HEAD_DIMS)
    assert nothing_left(tmp_path)


@pytest.mark.parametrize(
    ("prefix", "message"),
    [
        (VISUAL, "has no image_encoder"),
        (("first_stage_model.", "conditioner.embedders.3."), "has no vae"),
        ("first_stage_model.", "one of its two VAE encoders"),
        (DIFFUSION, "none of the tensors of Stable Video Diffusion"),
    ],
)
def test_a_missing_part_is_an_error(original_state, saved, tmp_path, prefix, message):
    path = saved({name: None for name in original_state if name.startswith(prefix)})
    with pytest.raises(WeightsError, match=message):
        convert_weights(path, tmp_path / "w", **HEAD_DIMS)


def test_decoder_half_may_be_left_out_as_a_whole(original_state, saved, tmp_path):
    behind = (DIFFUSION + "output_blocks.", DIFFUSION + "out.")
    path = saved({name: None for name in original_state if name.startswith(behind)})
    report = convert_weights(path, tmp_path / "w", **HEAD_DIMS)
    assert not report.unet_complete
    assert not any(name.startswith("up_blocks") for name in open_checkpoint(tmp_path / "w").keys("unet"))


def test_values_that_the_dtype_cannot_hold(original_state, saved, tmp_path):
    key = DIFFUSION + "middle_block.1.proj_in.bias"
    values = original_state[key].clone()
    values[3] = -7e4
    path = saved({key: values})
    with pytest.raises(WeightsError, match=r"middle_block.1.proj_in.bias has values up to 7e\+04.*bfloat16"):
        convert_weights(path, tmp_path / "w", **HEAD_DIMS)
    assert nothing_left(tmp_path)
    convert_weights(path, tmp_path / "w", dtype="bfloat16", **HEAD_DIMS)
    values[3] = float("nan")
    with pytest.raises(WeightsError, match="that are not finite"):
        convert_weights(saved({key: values}), tmp_path / "w2", dtype="float32", **HEAD_DIMS)


@pytest.mark.parametrize("share", [0.001, 0.01, 0.5, 0.9999])
def test_a_file_cut_short(original, tmp_path, share):
    path = tmp_path / "svd.safetensors"
    content = original.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(WeightsError, match="cut short"):
        convert_weights(path, tmp_path / "w", **HEAD_DIMS)
    assert nothing_left(tmp_path)


def test_one_tensor_at_a_time(original, tmp_path, monkeypatch):
    """Between two reads for writing, the tensor read before has gone to disk."""
    events: list[str] = []
    read, plain = TensorFile.read, convert._convert

    def recorded_read(self: TensorFile, name: str) -> torch.Tensor:
        events.append("read")
        return read(self, name)

    def recorded_convert(*args: object) -> torch.Tensor:
        del events[:]
        tensor = plain(*args)
        assert events == ["read"]
        return tensor

    sizes: list[int] = []

    def progress(done: int, total: int, what: str) -> None:
        (aside,) = (path for path in tmp_path.iterdir() if path.name.endswith(".part"))
        sizes.append(sum(file.stat().st_size for file in aside.glob("*/*.safetensors")))
        assert 0 < done <= total

    monkeypatch.setattr(TensorFile, "read", recorded_read)
    monkeypatch.setattr(convert, "_convert", recorded_convert)
    report = convert_weights(original, tmp_path / "w", progress=progress, **HEAD_DIMS)
    assert len(sizes) == sum(len(TensorFile(f).tensors) for f in report.folder.glob("*/*.safetensors"))
    # what is written is on disk but for the file's buffer: nothing waits in memory until the end
    assert len(set(sizes)) > len(sizes) / 4


def test_where_the_folder_may_be(original, tmp_path):
    with pytest.raises(UsageError, match="is a folder; only the original single file"):
        convert_weights(tmp_path, tmp_path / "w")
    with pytest.raises(WeightsError, match="no file at"):
        convert_weights(tmp_path / "none.safetensors", tmp_path / "w")
    with pytest.raises(UsageError, match=r"float16, bfloat16, float32; got 'float8'"):
        convert_weights(original, tmp_path / "w", dtype="float8")
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "x").touch()
    for taken in (tmp_path / "used", tmp_path / "used" / "x"):
        with pytest.raises(UsageError, match="nothing is overwritten"):
            convert_weights(original, taken, **HEAD_DIMS)
    (tmp_path / "empty").mkdir()
    assert convert_weights(original, tmp_path / "empty", **HEAD_DIMS).folder.is_dir()
    assert (tmp_path / "empty" / "unet").is_dir()
    assert convert_weights(original, tmp_path / "a" / "b", **HEAD_DIMS).folder.is_dir()


def test_an_earlier_conversion_is_replaced_as_a_whole(original, tmp_path):
    folder = tmp_path / "w"
    convert_weights(original, folder, dtype="float32", **HEAD_DIMS)
    (folder / "notes.txt").write_text("mine")
    again = convert_weights(original, folder, dtype="bfloat16", **HEAD_DIMS)
    assert again.identity == open_checkpoint(folder).identity
    assert (folder / "notes.txt").read_text() == "mine"
    # What a person changed is neither replaced nor removed, and nothing is converted before that is said.
    config = folder / "unet/config.json"
    config.write_text(config.read_text() + "\n")
    before = {path: path.read_bytes() for path in folder.rglob("*.*") if path.is_file()}
    with pytest.raises(UsageError, match=r"unet/config\.json would be replaced.*--overwrite"):
        convert_weights(original, folder, progress=lambda *_: pytest.fail("it was converted"), **HEAD_DIMS)
    assert {path: path.read_bytes() for path in before} == before
    assert convert_weights(original, folder, overwrite=True, **HEAD_DIMS).dtype == "float16"


def test_no_part_of_an_earlier_conversion_stays(original, tmp_path):
    """A `latent_encoder/` of other weights would be read with the new ones."""
    folder = tmp_path / "w"
    with claim(folder, "weights convert", ["latent_encoder/", "conversion.json"]):
        for name in ("latent_encoder/config.json", "latent_encoder/model.safetensors", "conversion.json"):
            write_text(folder / name, "earlier")
    report = convert_weights(original, folder, dtype="float32", **HEAD_DIMS)
    assert not (folder / "latent_encoder").exists()
    assert open_checkpoint(folder).identity == report.identity


def test_a_conversion_that_is_killed_at_its_end_leaves_nothing_that_can_be_read(original, tmp_path):
    """Of the files of two conversions none may be read together."""
    folder = tmp_path / "w"
    report = convert_weights(original, folder, dtype="float32", **HEAD_DIMS)
    real, moved = os.replace, []

    def stop(source, target):
        if len(moved) == 3:
            raise KeyboardInterrupt
        moved.append(target)
        real(source, target)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "replace", stop)
        with pytest.raises(KeyboardInterrupt):
            convert_weights(original, folder, dtype="bfloat16", **HEAD_DIMS)
    with pytest.raises(WeightsError, match="lacks unet/"):
        open_checkpoint(folder)
    assert convert_weights(original, folder, dtype="float32", **HEAD_DIMS).identity == report.identity


def test_a_full_disk_is_noticed_before_writing(original, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 9, 1))
    with pytest.raises(WeightsError, match="GB left"):
        convert_weights(original, tmp_path / "w", **HEAD_DIMS)
    assert nothing_left(tmp_path)


# -- the command -------------------------------------------------------------------------------------------


def test_command(saved, tmp_path, capsys):
    path = saved({"model_ema.decay": torch.ones(1)})
    options = ["--unet-head-dim", "16", "--clip-head-dim", "8"]
    assert run(["weights", "convert", str(path), str(tmp_path / "w"), *options]) == 0
    shown = capsys.readouterr()
    assert "9 known and not needed, 1 unknown" in shown.out
    assert "two are one, kept once" in shown.out
    assert "model_ema.decay" in shown.err
    assert run(["weights", "convert", str(path), str(tmp_path / "w2"), *options, "--strict"]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    arguments = [
        "weights",
        "convert",
        str(path),
        str(tmp_path / "w3"),
        *options,
        "--json",
        "--dtype",
        "bfloat16",
    ]
    assert run(arguments) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["dtype"], report["unknown"]) == ("bfloat16", ["model_ema.decay"])
    assert report["identity"] == open_checkpoint(tmp_path / "w3").identity


def test_command_on_the_golden_file(shared_dir, tmp_path, capsys):
    source = shared_dir / "goldens" / "sgm_tiny_unet.safetensors"
    options = ["--dtype", "float32", "--unet-head-dim", "16", "--clip-head-dim", "16"]
    assert run(["weights", "convert", str(source), str(tmp_path / "w"), *options]) == 0
    shown = capsys.readouterr().out
    assert "871 used, 8 known and not needed, 0 unknown" in shown
    assert "two differ, both kept" in shown
    assert "encoder half only" in shown
    ours, theirs = (
        open_checkpoint(tmp_path / "w"),
        open_checkpoint(source, unet_head_dim=16, clip_head_dim=16),
    )
    assert ours.identity == theirs.identity
    for component in theirs.components:
        expected = theirs.tensors(component, dtype=torch.float32)
        found = ours.tensors(component)
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], expected[name]) for name in expected)
