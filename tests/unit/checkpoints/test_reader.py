"""One interface to single file, converted folder, diffusers folder and hub; one identity for all."""

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError, RepositoryNotFoundError
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from actiondiff.checkpoints import hub
from actiondiff.checkpoints.convert import convert_weights
from actiondiff.checkpoints.reader import open_checkpoint
from actiondiff.checkpoints.tensorfile import TensorFile
from actiondiff.errors import UnknownNameError, WeightsError

HEAD_DIMS = {"unet_head_dim": 16, "clip_head_dim": 8}  # of the small models in conftest.py


@pytest.fixture(scope="module")
def diffusers_folder(models, tmp_path_factory) -> Path:
    return models.save_folder(tmp_path_factory.mktemp("diffusers"))


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the tensors that are read from any file, in order."""
    found: list[str] = []
    read = TensorFile.read

    def recorded(self: TensorFile, name: str) -> torch.Tensor:
        found.append(name)
        return read(self, name)

    monkeypatch.setattr(TensorFile, "read", recorded)
    return found


def variants(models, original: Path, folder: Path, tmp_path: Path) -> dict[str, object]:
    """The same values in every form."""
    single16 = tmp_path / "half.safetensors"
    state = {name: t if "first_stage" in name else t.half() for name, t in load_file(original).items()}
    save_file(state, single16)
    convert_weights(original, tmp_path / "half", **HEAD_DIMS)
    convert_weights(original, tmp_path / "full", dtype="float32", **HEAD_DIMS)
    models.save_folder(tmp_path / "shards", max_shard_size="300KB")
    found = {name: open_checkpoint(tmp_path / name) for name in ("half", "full", "shards")}
    found |= {path.name: open_checkpoint(path, **HEAD_DIMS) for path in (original, single16)}
    return found | {"diffusers": open_checkpoint(folder)}


def test_every_form_gives_the_same_bits_and_identity(models, original, diffusers_folder, tmp_path):
    found = variants(models, original, diffusers_folder, tmp_path)
    assert (tmp_path / "shards" / "unet" / "diffusion_pytorch_model.safetensors.index.json").exists()
    expected = {
        "unet": models.unet.state_dict(),
        "image_encoder": models.image_encoder.state_dict(),
        "vae": {
            n: t for n, t in models.vae.state_dict().items() if n.startswith(("encoder.", "quant_conv."))
        },
    }
    for form, checkpoint in found.items():
        assert checkpoint.one_vae, form
        assert set(checkpoint.components) == set(expected), form
        for component, state in expected.items():
            assert checkpoint.keys(component) == state.keys(), (form, component)
            read = checkpoint.tensors(component, dtype=torch.float32)
            assert all(torch.equal(read[name], state[name]) for name in state), (form, component)
    assert len({checkpoint.identity for checkpoint in found.values()}) == 1


def test_configurations_rebuild_the_models(models, original, diffusers_folder, tmp_path):
    convert_weights(original, tmp_path / "converted", **HEAD_DIMS)
    for checkpoint in (
        open_checkpoint(original, **HEAD_DIMS),
        open_checkpoint(tmp_path / "converted"),
        open_checkpoint(diffusers_folder),
    ):
        unet = type(models.unet)(**checkpoint.unet_config)
        for name, value in models.unet.config.items():
            ours = unet.config.get(name)
            assert name.startswith("_") or (
                list(ours) == list(value) if isinstance(value, tuple) else ours == value
            )
        clip = type(models.image_encoder.config)(**checkpoint.clip_config)
        for name, value in checkpoint.clip_config.items():
            assert getattr(clip, name) == getattr(models.image_encoder.config, name) == value
        vae = checkpoint.vae_config
        assert (list(vae["block_out_channels"]), vae["layers_per_block"]) == ([32, 32, 64], 2)
        assert (vae["latent_channels"], vae["scaling_factor"]) == (4, 0.18215)


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float16, torch.bfloat16, torch.float32])
def test_every_dtype_is_read_exactly(original_state, tmp_path, dtype):
    state = {name: tensor.to(dtype) for name, tensor in original_state.items()}
    save_file(state, tmp_path / "x.safetensors")
    checkpoint = open_checkpoint(tmp_path / "x.safetensors", **HEAD_DIMS)
    name, key = "conv_in.weight", "model.diffusion_model.input_blocks.0.0.weight"
    assert checkpoint.tensors("unet", [name])[name].dtype == dtype
    cast = checkpoint.tensors("unet", [name], dtype=torch.float32)[name]
    assert torch.equal(cast, state[key].float())
    as_float = {n: t.float() for n, t in state.items()}
    save_file(as_float, tmp_path / "y.safetensors")
    same = open_checkpoint(tmp_path / "y.safetensors", **HEAD_DIMS)
    assert checkpoint.one_vae
    assert same.one_vae == (dtype == torch.float32)  # what counts as equal depends on the rounding
    for component in ("unet", "image_encoder", "vae"):
        assert checkpoint._digest(component) == same._digest(component)


def test_only_what_is_asked_for_is_read(original, reads):
    checkpoint = open_checkpoint(original, **HEAD_DIMS)
    wanted = {name for name in checkpoint.keys("unet") if name.startswith("down_blocks.0.")}
    dead = {name for name in wanted if ".attn2.to_q" in name or ".attn2.to_k" in name or ".norm2." in name}
    assert reads == []
    tensors = checkpoint.tensors("unet", wanted - dead)
    assert tensors.keys() == wanted - dead
    assert len(reads) == len(set(reads)) == len(wanted - dead)
    assert not any("attn2.to_q" in name or "input_blocks.4" in name for name in reads)


def test_identity_covers_what_layers_can_need_and_nothing_else(original_state, tmp_path):
    def identity(change: str) -> str:
        path = tmp_path / "x.safetensors"
        state = dict(original_state)
        if change:
            state[change] = state[change] + 0.5
        save_file(state, path)
        return open_checkpoint(path, **HEAD_DIMS).identity

    whole = identity("")
    diffusion = "model.diffusion_model."
    for name in (
        diffusion + "middle_block.2.in_layers.2.weight",
        diffusion + "input_blocks.1.1.transformer_blocks.0.attn2.to_q.weight",
        "conditioner.embedders.0.open_clip.model.visual.proj",
        "conditioner.embedders.3.encoder.quant_conv.bias",
        "first_stage_model.encoder.conv_in.weight",
    ):
        assert identity(name) != whole, name
    assert identity(diffusion + "output_blocks.0.0.in_layers.2.weight") == whole
    assert identity("conditioner.embedders.3.encoder.post_quant_conv.weight") == whole


def test_identity_tells_head_widths_apart(original, tmp_path):
    """Other heads make other features of the same weights, from a folder as from the file."""
    widths = ({"unet_head_dim": 16, "clip_head_dim": 8}, {"unet_head_dim": 16, "clip_head_dim": 16},
              {"unet_head_dim": 32, "clip_head_dim": 8})  # fmt: skip
    found = [open_checkpoint(original, **options).identity for options in widths]
    assert len(set(found)) == 3
    for number, options in enumerate(widths):
        convert_weights(original, tmp_path / str(number), **options)
        assert open_checkpoint(tmp_path / str(number)).identity == found[number]


def test_identity_is_kept_until_the_file_changes(original, original_state, tmp_path, reads, cache):
    path = tmp_path / "x.safetensors"
    shutil.copy(original, path)
    first = open_checkpoint(path, **HEAD_DIMS).identity
    hashed = len(reads)
    again = open_checkpoint(path, **HEAD_DIMS)
    assert again.one_vae
    compared = len(reads) - hashed
    assert again.identity == first
    assert len(reads) - hashed == compared  # nothing was read but to compare the encoders
    save_file(original_state | {"model.diffusion_model.time_embed.0.bias": torch.ones(128)}, path)
    os.utime(path, ns=(1, 1))
    assert open_checkpoint(path, **HEAD_DIMS).identity != first


def test_identity_needs_no_cache(original, cache):
    cache.write_text("a file where the folder should be")
    assert len(open_checkpoint(original, **HEAD_DIMS).identity) == 64


def test_identity_of_a_converted_folder_is_that_of_its_tensors(original, tmp_path, reads):
    """Whatever its files say of themselves; and tensors of the same bytes are hashed once."""
    report = convert_weights(original, tmp_path / "w", dtype="float32", **HEAD_DIMS)
    assert open_checkpoint(tmp_path / "w").identity == report.identity
    shutil.copytree(tmp_path / "w", tmp_path / "copy")
    reads.clear()
    assert open_checkpoint(tmp_path / "copy").identity == report.identity
    assert reads == []
    file = tmp_path / "w" / "vae_encoder" / "model.safetensors"
    times = file.stat()
    with safe_open(file, "pt") as opened:
        metadata = opened.metadata()
    changed = {name: torch.zeros_like(tensor) for name, tensor in load_file(file).items()}
    save_file(changed, file, metadata=metadata)
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert file.stat().st_size == times.st_size
    assert open_checkpoint(tmp_path / "w").identity != report.identity


@pytest.mark.parametrize(
    "name", ["encoder.conv_in.weight", "encoder.conv_out.bias", "encoder.conv_out.weight"]
)
def test_two_encoders_that_differ_are_both_offered(original_state, tmp_path, name):
    state = dict(original_state)
    key = f"first_stage_model.{name}"
    state[key] = state[key] + 1e-3 * state[key].abs().max()
    save_file(state, tmp_path / "x.safetensors")
    checkpoint = open_checkpoint(tmp_path / "x.safetensors", **HEAD_DIMS)
    assert not checkpoint.one_vae
    assert torch.equal(checkpoint.tensors("latent_encoder", [name])[name], state[key])
    assert "quant_conv.weight" not in checkpoint.keys("latent_encoder")
    assert not torch.equal(checkpoint.tensors("vae", [name])[name], state[key])
    report = convert_weights(tmp_path / "x.safetensors", tmp_path / "w", dtype="float32", **HEAD_DIMS)
    converted = open_checkpoint(tmp_path / "w")
    assert not report.one_vae
    assert not converted.one_vae
    assert torch.equal(converted.tensors("latent_encoder", [name])[name], state[key])
    assert converted.identity == checkpoint.identity


def test_one_encoder_is_not_offered_twice(original):
    with pytest.raises(UnknownNameError, match="latent_encoder"):
        open_checkpoint(original, **HEAD_DIMS).tensors("latent_encoder")


def test_unet_alone_and_its_first_blocks_alone(original_state, tmp_path):
    prefix = "model.diffusion_model."
    first = ("time_embed", "label_emb", "input_blocks.0.", "input_blocks.1.", "input_blocks.2.")
    state = {n: t for n, t in original_state.items() if n.startswith(tuple(prefix + part for part in first))}
    save_file(state, tmp_path / "x.safetensors")
    checkpoint = open_checkpoint(tmp_path / "x.safetensors", unet_head_dim=16)
    assert (checkpoint.clip_config, checkpoint.vae_config, checkpoint.one_vae) == (None, None, True)
    assert checkpoint.unet_config["block_out_channels"] == [32] * 4
    assert len(checkpoint.keys("unet")) == len(state)
    assert checkpoint.components == ("unet",)
    with pytest.raises(WeightsError, match=r"lacks 1 of the 2 tensors needed for unet: mid_block\.resnets"):
        checkpoint.tensors("unet", ["conv_in.bias", "mid_block.resnets.0.spatial_res_block.norm1.bias"])


def test_golden_files(shared_dir, tmp_path):
    source = shared_dir / "goldens" / "sgm_tiny_unet.safetensors"
    listed = json.loads((shared_dir / "goldens" / "sgm_tiny_config.json").read_text())
    checkpoint = open_checkpoint(source, unet_head_dim=16, clip_head_dim=16)
    for ours, theirs in (
        (checkpoint.unet_config, listed["diffusers_unet"]),
        (checkpoint.clip_config, listed["hf_clip"]),
        (checkpoint.vae_config, listed["diffusers_vae"]),
    ):
        shared = ours.keys() & theirs.keys()
        assert len(shared) >= 4
        assert {name: ours[name] for name in shared} == {name: theirs[name] for name in shared}
    assert not checkpoint.one_vae
    convert_weights(source, tmp_path / "w", dtype="float16", unet_head_dim=16, clip_head_dim=16)
    assert open_checkpoint(tmp_path / "w").identity == checkpoint.identity  # its values are float16-exact
    mini = open_checkpoint(shared_dir / "goldens" / "sgm_mini64_unet.safetensors")
    assert mini.unet_config["num_attention_heads"][0] == 1
    assert mini.clip_config is None


# -- what cannot be used -----------------------------------------------------------------------------------


def test_other_models(original_state, diffusers_folder, tmp_path):
    path = tmp_path / "x.safetensors"

    def refused(state: dict[str, torch.Tensor]) -> str:
        save_file(state, path)
        with pytest.raises(WeightsError) as caught:
            open_checkpoint(path, **HEAD_DIMS)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "holds none of the tensors" in refused({"model.layers.0.weight": torch.ones(3)})
    still = {n: t for n, t in original_state.items() if "time_stack" not in n}
    assert "no temporal modules" in refused(still)
    bent = original_state | {"model.diffusion_model.middle_block.1.proj_in.weight": torch.ones(96, 95)}
    assert "(96, 95)" in refused(bent)
    flat = original_state | {"conditioner.embedders.0.open_clip.model.visual.proj": torch.ones(96)}
    assert "cannot become visual_projection.weight" in refused(flat)
    whole = original_state | {"model.diffusion_model.out.2.bias": torch.ones(4, dtype=torch.int32)}
    assert "floating-point" in refused(whole)
    lone = {n: t for n, t in original_state.items() if not n.startswith("first_stage_model.")}
    assert "one of its two VAE encoders" in refused(lone)
    assert "holds none" in refused(
        load_file(diffusers_folder / "unet" / "diffusion_pytorch_model.safetensors")
    )


def test_head_widths_that_cannot_be(original, diffusers_folder):
    with pytest.raises(WeightsError, match=r"no multiple of the attention head width 64.*--unet-head-dim"):
        open_checkpoint(original, clip_head_dim=8)
    with pytest.raises(WeightsError, match=r"no multiple of the attention head width 80.*--clip-head-dim"):
        open_checkpoint(original, unet_head_dim=16)
    assert open_checkpoint(diffusers_folder, **HEAD_DIMS).unet_config["num_attention_heads"] == [2, 4, 4, 6]
    with pytest.raises(WeightsError, match=r"head width of 64 was given for the unet.*\[16\]"):
        open_checkpoint(diffusers_folder, unet_head_dim=64)


def test_folders_that_are_damaged(diffusers_folder, original, tmp_path):
    def broken(change) -> str:
        folder = tmp_path / "x"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(diffusers_folder, folder)
        change(folder)
        with pytest.raises(WeightsError) as caught:
            open_checkpoint(folder)
        return str(caught.value)

    def bin_only(folder: Path) -> None:
        file = folder / "vae" / "diffusion_pytorch_model.safetensors"
        file.rename(file.with_suffix(".bin"))

    def other_class(folder: Path) -> None:
        config = folder / "unet" / "config.json"
        config.write_text(config.read_text().replace("UNetSpatioTemporal", "UNet2D"))

    def shards(folder: Path) -> None:
        file = folder / "vae" / "diffusion_pytorch_model.safetensors"
        file.rename(folder / "vae" / "unused")
        index = {"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}
        (folder / "vae" / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))

    assert "Pickles (.bin) are not read" in broken(bin_only)
    assert "class UNet2DConditionModel; allowed: UNetSpatioTemporal" in broken(other_class)
    assert "lacks one.safetensors, two.safetensors" in broken(shards)
    assert "lacks config.json" in broken(lambda folder: (folder / "unet" / "config.json").unlink())
    assert "is not valid JSON" in broken(lambda folder: (folder / "unet" / "config.json").write_text("{"))
    assert "lacks unet/" in broken(lambda folder: shutil.rmtree(folder / "unet"))
    shutil.rmtree(tmp_path / "x")
    (tmp_path / "x").mkdir()
    shutil.copy(original, tmp_path / "x" / "svd.safetensors")
    with pytest.raises(WeightsError, match=r"give the file itself: .*svd\.safetensors"):
        open_checkpoint(tmp_path / "x")


def test_full_precision_is_preferred_and_fp16_accepted(models, diffusers_folder, tmp_path):
    folder = tmp_path / "x"
    shutil.copytree(diffusers_folder, folder)
    models.save_folder(folder, variant="fp16")  # the library writes the values as they are
    assert (folder / "unet" / "diffusion_pytorch_model.fp16.safetensors").exists()
    assert {file.name for file in open_checkpoint(folder).contents.files} == {
        "diffusion_pytorch_model.safetensors",
        "model.safetensors",
    }
    for part in ("unet", "vae", "image_encoder"):
        next((folder / part).glob("*l.safetensors")).unlink()
    assert open_checkpoint(folder).identity == open_checkpoint(diffusers_folder).identity


# -- the hub -----------------------------------------------------------------------------------------------


class Response:
    """As much of an HTTP answer as the hub's errors look at."""

    headers: dict[str, str] = {}  # noqa: RUF012
    status_code = 403
    request = None


def answers(monkeypatch: pytest.MonkeyPatch, answer) -> list[list[str]]:
    asked: list[list[str]] = []

    def snapshot_download(repo_id: str, *, allow_patterns: list[str]) -> str:
        asked.append(allow_patterns)
        if isinstance(answer, Exception):
            raise answer
        return str(answer)

    monkeypatch.setattr(hub, "snapshot_download", snapshot_download)
    return asked


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (
            GatedRepoError("gated", response=Response()),
            "accept its licence on https://huggingface.co/owner/name",
        ),
        (RepositoryNotFoundError("no", response=Response()), "neither a path here nor a repository"),
        (LocalEntryNotFoundError("offline"), "HF_HUB_OFFLINE"),
        (OSError("disk full\nat line 3"), "could not be downloaded: disk full. Try"),
        (RuntimeError(), "could not be downloaded: RuntimeError"),
    ],
)
def test_hub_refusals(monkeypatch, answer, message):
    answers(monkeypatch, answer)
    with pytest.raises(WeightsError, match=message) as caught:
        open_checkpoint("owner/name")
    assert "\n" not in str(caught.value)


def test_hub_folder(monkeypatch, diffusers_folder):
    asked = answers(monkeypatch, diffusers_folder)
    assert open_checkpoint("owner/name").identity == open_checkpoint(diffusers_folder).identity
    (patterns,) = asked
    assert "unet/diffusion_pytorch_model.safetensors" in patterns
    assert not any("fp16" in pattern or pattern.startswith("*") for pattern in patterns)


def test_hub_falls_back_to_fp16(monkeypatch, models, tmp_path):
    models.save_folder(tmp_path / "half", variant="fp16")
    (tmp_path / "nothing").mkdir()
    asked: list[list[str]] = []

    def snapshot_download(repo_id: str, *, allow_patterns: list[str]) -> str:
        asked.append(allow_patterns)
        return str(tmp_path / ("nothing", "half")[len(asked) - 1])

    monkeypatch.setattr(hub, "snapshot_download", snapshot_download)
    assert open_checkpoint("owner/name").vae_config
    assert "unet/diffusion_pytorch_model.safetensors" in asked[0]
    assert "unet/diffusion_pytorch_model.fp16.safetensors" in asked[1]


def test_a_repository_without_weights(monkeypatch, tmp_path):
    asked = answers(monkeypatch, tmp_path)
    with pytest.raises(WeightsError, match=r"owner/name holds no weights.*no \.safetensors in unet/"):
        open_checkpoint("owner/name")
    assert len(asked) == 2


def test_offline_for_real():
    with pytest.raises(WeightsError, match="cannot be reached"):
        open_checkpoint("actiondiff-tests/no-such-repository")


def test_a_path_wins_over_a_hub_id(monkeypatch, diffusers_folder, tmp_path):
    asked = answers(monkeypatch, RuntimeError("must not be asked"))
    shutil.copytree(diffusers_folder, tmp_path / "owner" / "name")
    monkeypatch.chdir(tmp_path)
    assert open_checkpoint("owner/name").vae_config
    assert asked == []


@pytest.mark.parametrize(
    "name", ["weights/svd_xt.safetensors", "/no/such/place", "./a/b", "nothing", "a/b/c"]
)
def test_paths_that_do_not_exist(monkeypatch, name):
    answers(monkeypatch, RuntimeError("must not be asked"))
    with pytest.raises(WeightsError, match="no weights at"):
        open_checkpoint(name)
