"""Layout of folders of weights as diffusers and transformers write them: which files are read."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from actiondiff.errors import WeightsError
from actiondiff.outputs import inside

__all__ = ["VARIANTS", "has_weights", "patterns", "read_json", "weight_files"]

VARIANTS = ("", ".fp16")  # full precision is preferred
_STEMS = ("diffusion_pytorch_model", "model")


def weight_files(part: Path) -> list[Path]:
    """The safetensors files of one component: one, or the shards that an index names.

    Raises:
        WeightsError: If there is none, or a shard is missing.
    """
    for variant in VARIANTS:
        for stem in _STEMS:
            single = part / f"{stem}{variant}.safetensors"
            if single.exists():
                return [single]
            index = part / f"{stem}.safetensors.index{variant}.json"
            if index.exists():
                names = read_json(index).get("weight_map")
                if not isinstance(names, dict):
                    raise WeightsError(f"{index} has no weight_map. Download it again.")
                shards = sorted(
                    {inside(part, name, error=WeightsError, origin=index) for name in names.values()}
                )
                missing = [shard.name for shard in shards if not shard.exists()]
                if missing:
                    raise WeightsError(f"{part} lacks {', '.join(missing)}. Download it again.")
                return shards
    raise WeightsError(
        f"{part} holds no weights in a format that is read; allowed: {' or '.join(_STEMS)}.safetensors, also "
        ".fp16.safetensors or shards with an index. Pickles (.bin) are not read."
    )


def read_json(path: Path) -> dict[str, Any]:
    """Content of a JSON file.

    Raises:
        WeightsError: If it is absent or not valid JSON.
    """
    try:
        fields = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise WeightsError(f"{path.parent} lacks {path.name}. Download or convert it again.") from None
    except (ValueError, RecursionError):
        raise WeightsError(f"{path} is not valid JSON. Download or convert it again.") from None
    if not isinstance(fields, dict):
        raise WeightsError(f"{path} holds no JSON object. Download or convert it again.")
    return fields


def patterns(parts: Iterable[str], variant: str) -> list[str]:
    """Patterns of the files to download from a repository: configurations and weights, without pickles.

    Args:
        parts: Folders of components; the empty name is the top folder of the repository.
        variant: One of `VARIANTS`.
    """
    names = ["config.json"]
    for stem in _STEMS:
        names += [f"{stem}{variant}.safetensors", f"{stem}{variant}-*.safetensors"]
        names += [f"{stem}.safetensors.index{variant}.json"]
    return [f"{part}/{name}" if part else name for part in parts for name in names]


def has_weights(folder: Path, parts: Iterable[str]) -> bool:
    """Whether any of the parts holds safetensors files."""
    return any(any((folder / part).glob("*.safetensors")) for part in parts)
