"""Hub ids of baselines: only what is needed is asked for; the hub's own cache serves without a network."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants
from huggingface_hub.errors import GatedRepoError
from safetensors.torch import save_file

from actiondiff.checkpoints import hub
from actiondiff.checkpoints.baselines import open_baseline
from actiondiff.checkpoints.locate import find_weights
from actiondiff.errors import WeightsError

NAMES = {"embeddings.patch_embeddings.proj.weight": (4, 3, 2, 2, 2), "layernorm.weight": (4,)}
EXPECTED = {"encoder": {f"encoder.{name}": shape for name, shape in NAMES.items()}}
ARCHITECTURE = {"encoder": {"hidden_size": 4, "num_attention_heads": 2}}
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def weights(seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {f"encoder.{name}": torch.randn(shape, generator=generator) for name, shape in NAMES.items()}


def open_vjepa2(source: str | Path) -> Any:
    return open_baseline(source, "vjepa2", EXPECTED, ARCHITECTURE)


@pytest.fixture
def hub_cache(tmp_path, monkeypatch) -> Path:
    """The hub client's cache; tests are offline, so that nothing else is looked at."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    assert constants.HF_HUB_OFFLINE
    return tmp_path / "hub"


def put(cache: Path, hub_id: str, files: dict[str, Any]) -> Path:
    """A repository as the hub's client keeps it: references, and snapshots that link to contents."""
    repository = cache / f"models--{hub_id.replace('/', '--')}"
    snapshot = repository / "snapshots" / COMMIT
    for number, (name, content) in enumerate(files.items()):
        blob = repository / "blobs" / f"{number:064x}"
        blob.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".json"):
            blob.write_text(json.dumps(content), "utf-8")
        else:
            save_file(content, blob)
        (snapshot / name).parent.mkdir(parents=True, exist_ok=True)
        (snapshot / name).symlink_to(blob)
    (repository / "refs").mkdir(exist_ok=True)
    (repository / "refs" / "main").write_text(COMMIT)
    return snapshot


def test_what_was_downloaded_is_found_without_a_network(hub_cache):
    config = {"hidden_size": 4, "num_attention_heads": 2}
    snapshot = put(hub_cache, "owner/video", {"config.json": config, "model.safetensors": weights()})
    found = open_vjepa2("owner/video")
    name = "encoder.layernorm.weight"
    assert torch.equal(found.tensors("encoder", [name])[name], weights()[name])
    assert found.identity == open_vjepa2(snapshot).identity  # the same as by its path


def test_the_fp16_variant_serves_where_there_is_no_other(hub_cache):
    half = {name: tensor.half() for name, tensor in weights().items()}
    put(hub_cache, "owner/half", {"config.json": {}, "model.fp16.safetensors": half})
    name = "encoder.layernorm.weight"
    assert torch.equal(open_vjepa2("owner/half").tensors("encoder", [name])[name], half[name])


def test_a_configuration_alone_is_not_enough(hub_cache):
    put(hub_cache, "owner/partial", {"config.json": {}})
    with pytest.raises(WeightsError, match=r"owner/partial holds no weights.*in its top folder"):
        open_vjepa2("owner/partial")


def test_not_in_the_cache(hub_cache):
    with pytest.raises(WeightsError, match=r"cannot be reached.*hf download owner/video --local-dir"):
        open_vjepa2("owner/video")


def recorded(monkeypatch: pytest.MonkeyPatch, answer: Path | Exception) -> list[list[str]]:
    asked: list[list[str]] = []

    def snapshot_download(repo_id: str, *, allow_patterns: list[str]) -> str:
        asked.append(allow_patterns)
        if isinstance(answer, Exception):
            raise answer
        return str(answer)

    monkeypatch.setattr(hub, "snapshot_download", snapshot_download)
    return asked


def test_only_configuration_and_weights_are_asked_for(monkeypatch, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    save_file(weights(), tmp_path / "model.safetensors")
    asked = recorded(monkeypatch, tmp_path)
    open_vjepa2("owner/video")
    (patterns,) = asked
    assert {"config.json", "model.safetensors", "model-*.safetensors"} <= set(patterns)
    assert not [pattern for pattern in patterns if "/" in pattern or "fp16" in pattern or ".bin" in pattern]


def test_stable_diffusion_asks_for_its_parts(monkeypatch, tmp_path):
    asked = recorded(monkeypatch, tmp_path)
    with pytest.raises(WeightsError, match=r"holds no weights.*unet/, vae/, text_encoder/"):
        open_baseline("owner/sd", "stable_diffusion", {}, {})
    assert {pattern.partition("/")[0] for pattern in asked[0]} == {"unet", "vae", "text_encoder"}


def test_a_gated_repository_says_what_to_do(monkeypatch):
    class Response:
        headers: dict[str, str] = {}  # noqa: RUF012
        status_code = 403
        request = None

    recorded(monkeypatch, GatedRepoError("gated", response=Response()))
    with pytest.raises(WeightsError, match=r"accept its licence on https://huggingface\.co/owner/gated"):
        open_vjepa2("owner/gated")


# -- files as they were published --------------------------------------------------------------------------


def test_an_original_file_alone_in_a_folder(tmp_path):
    (tmp_path / "alone").mkdir()
    torch.save(weights(), tmp_path / "alone" / "any name.pth.tar")
    (tmp_path / "alone" / "README.md").write_text("where it came from")
    name = "encoder.layernorm.weight"
    assert torch.equal(open_vjepa2(tmp_path / "alone").tensors("encoder", [name])[name], weights()[name])
    torch.save(weights(1), tmp_path / "alone" / "another.pth")
    with pytest.raises(WeightsError, match=r"neither config\.json nor one file.*another\.pth, any name"):
        open_vjepa2(tmp_path / "alone")
    (tmp_path / "empty").mkdir()
    with pytest.raises(WeightsError, match="there: none"):
        open_vjepa2(tmp_path / "empty")


def test_the_machines_folder_of_weights(tmp_path, monkeypatch):
    monkeypatch.delenv("ACTIONDIFF_WEIGHTS", raising=False)
    assert find_weights("vjepa-h") is None
    monkeypatch.setenv("ACTIONDIFF_WEIGHTS", str(tmp_path))
    assert find_weights("vjepa-h") is None
    for name in ("vjepa_h.pt", "vjepa-h.pth", "vjepa_h.pth.tar", "vjepa_h.safetensors", "vjepa-h"):
        (tmp_path / name).touch()  # each goes before those that were there
        assert find_weights("vjepa-h") == tmp_path / name
    (tmp_path / "svd_xt.ckpt").touch()
    assert find_weights("svd-xt") is None  # pickles of whole training runs are no weights
