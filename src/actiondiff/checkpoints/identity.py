"""The weights' identity: one hash of their values, whatever file, folder or dtype they are stored in.

Values are hashed as float32, which holds float16, bfloat16 and float8 exactly: a float32 file of
float16-exact values and its float16 conversion have one identity. Hashing a full model takes seconds, so
results are kept: in the files that this package writes, else in the user's cache.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from actiondiff.checkpoints.architecture import attention_heads
from actiondiff.provenance import canonical_json, write_text
from actiondiff.types import JSON

__all__ = ["DIGEST_FIELD", "Digest", "cache_folder", "combined", "recall", "remember"]

DIGEST_FIELD = "actiondiff.digest"
"""Field of a written file's metadata that holds its component's digest; other tools that rewrite the file
drop it, and then it is computed anew."""

_FORMAT = 1


class Digest:
    """Hash of a component's tensors, fed one by one in any order."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def add(self, name: str, tensor: Tensor) -> None:
        """Take in one tensor of the component."""
        values = tensor.detach().to(torch.float32).contiguous().numpy().astype("<f4", copy=False)
        self._lines.append(f"{name} {tuple(tensor.shape)} {hashlib.sha256(values.data).hexdigest()}\n")

    def hexdigest(self) -> str:
        """sha256 over names, shapes and values."""
        return hashlib.sha256("".join(sorted(self._lines)).encode()).hexdigest()


def combined(digests: Mapping[str, str], configs: Mapping[str, Mapping[str, Any]]) -> str:
    """The identity of a checkpoint: its components' digests, and the numbers of attention heads.

    Shapes do not tell the heads, and other heads make other numbers of the same weights.
    """
    heads: JSON = {
        component: list[JSON](attention_heads(config))
        for component, config in configs.items()
        if "num_attention_heads" in config
    }
    return hashlib.sha256(canonical_json([dict(digests), heads]).encode()).hexdigest()


def cache_folder() -> Path:
    """Where hashes are kept: ACTIONDIFF_CACHE, else `actiondiff` in XDG_CACHE_HOME or ~/.cache."""
    given = os.environ.get("ACTIONDIFF_CACHE")
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "actiondiff"


def _place(files: Iterable[Path]) -> Path:
    """Where the hash of these files, as they are now, is kept; another size or time is another place."""
    states = [(path.resolve().as_posix(), path.stat()) for path in sorted(files)]
    key = canonical_json([_FORMAT, [[name, state.st_size, state.st_mtime_ns] for name, state in states]])
    return cache_folder() / "digests" / hashlib.sha256(key.encode()).hexdigest()


def recall(files: Iterable[Path]) -> dict[str, str]:
    """The kept digests of these files' components; empty if there are none that can be read."""
    try:
        return dict(json.loads(_place(files).read_text("utf-8")))
    except (OSError, RuntimeError, ValueError, TypeError):  # RuntimeError: the user has no home folder
        return {}


def remember(files: Iterable[Path], digests: Mapping[str, str]) -> None:
    """Keep the digests of these files' components; does nothing where the cache cannot be written."""
    try:
        write_text(_place(files), canonical_json(dict(digests)))
    except (OSError, RuntimeError):
        return
