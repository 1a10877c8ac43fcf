"""Identity of weights: one hash of their values, whatever file, folder or dtype they are stored in.

Values are hashed as float32, which holds float16, bfloat16 and float8 exactly: a float32 file with values
that float16 holds exactly has the same identity as its float16 conversion. Digests are stored in the user's
cache under the sha256 of the files, which takes less time to compute than they do.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from platformdirs import user_cache_path
from torch import Tensor

from actiondiff.checkpoints.architecture import attention_heads
from actiondiff.provenance import canonical_json, sha256_of_file, write_text
from actiondiff.types import JSON

__all__ = ["DIGEST_FIELD", "Digest", "cache_folder", "combined", "recall", "remember"]

DIGEST_FIELD = "actiondiff.digest"
"""Metadata field of a written file that holds the digest of its component, for people. It is not believed:
other tools may change the tensors and keep the field."""

_FORMAT = 2


class Digest:
    """Hash of a component's tensors, which are added one by one in any order."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def add(self, name: str, tensor: Tensor) -> None:
        """Add one tensor of the component."""
        values = tensor.detach().to("cpu", torch.float32).contiguous().numpy().astype("<f4", copy=False)
        self._lines.append(f"{name} {tuple(tensor.shape)} {hashlib.sha256(values.data).hexdigest()}\n")

    def hexdigest(self) -> str:
        """sha256 over names, shapes and values."""
        return hashlib.sha256("".join(sorted(self._lines)).encode()).hexdigest()


def combined(digests: Mapping[str, str], configs: Mapping[str, Mapping[str, Any]]) -> str:
    """The identity of a checkpoint, from its components' digests and their numbers of attention heads.

    Shapes do not reveal the number of attention heads, and the same weights give other results with another
    number.
    """
    heads: JSON = {
        component: list[JSON](attention_heads(config))
        for component, config in configs.items()
        if "num_attention_heads" in config
    }
    return hashlib.sha256(canonical_json([dict(digests), heads]).encode()).hexdigest()


def cache_folder() -> Path:
    """Folder of stored hashes: ACTIONDIFF_CACHE, else the system's folder for caches of this program.

    Raises:
        RuntimeError: If the user has no home folder.
    """
    chosen = os.environ.get("ACTIONDIFF_CACHE")
    if chosen:
        return Path(chosen)
    Path.home()  # platformdirs would name a folder "~" below the current one
    return user_cache_path("actiondiff", appauthor=False)


def _cache_file(files: Iterable[Path]) -> Path:
    """Cache file for the digests of these files; it depends on all their bytes and their order."""
    key = canonical_json([_FORMAT, [sha256_of_file(path) for path in sorted(files)]])
    return cache_folder() / "digests" / hashlib.sha256(key.encode()).hexdigest()


def recall(files: Iterable[Path]) -> dict[str, str]:
    """Stored digests of these files' components; empty if none can be read."""
    try:
        return dict(json.loads(_cache_file(files).read_text("utf-8")))
    except (OSError, RuntimeError, ValueError, TypeError):  # RuntimeError: the user has no home folder
        return {}


def remember(files: Iterable[Path], digests: Mapping[str, str]) -> None:
    """Store the digests of these files' components, unless the cache cannot be written."""
    try:
        write_text(_cache_file(files), canonical_json(dict(digests)))
    except (OSError, RuntimeError):
        return
