"""Finds default weights in the folder that the environment variable ACTIONDIFF_WEIGHTS names."""

import os
from pathlib import Path

__all__ = ["PICKLE_SUFFIXES", "VARIABLE", "find_weights", "weights_folder"]

VARIABLE = "ACTIONDIFF_WEIGHTS"
PICKLE_SUFFIXES = (
    ".pth.tar",
    ".pth",
    ".pt",
)  # suffixes of the baselines' original files, of which only tensors are loaded


def weights_folder() -> Path | None:
    """The folder of default weights; None if the variable is not set."""
    value = os.environ.get(VARIABLE)
    return Path(value).expanduser() if value else None


def find_weights(name: str) -> Path | None:
    """The default weights of a backbone; None if absent.

    They are `NAME/`, `NAME.safetensors`, or an original file renamed to `NAME.pth.tar`, `NAME.pth` or
    `NAME.pt`, in this order, each with - or _.
    """
    folder = weights_folder()
    if folder is None:
        return None
    stems = (name, name.replace("-", "_"))
    suffixes = ("", ".safetensors", *PICKLE_SUFFIXES)
    paths = [folder / f"{stem}{suffix}" for suffix in suffixes for stem in stems]
    return next((path for path in paths if path.exists()), None)
