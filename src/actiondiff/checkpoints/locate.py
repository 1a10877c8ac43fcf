"""Finds default weights: in the folder that ACTIONDIFF_WEIGHTS names, else in the user's own."""

import os
from pathlib import Path

from platformdirs import user_data_path

__all__ = ["PICKLE_SUFFIXES", "VARIABLE", "find_weights", "weights_folder"]

VARIABLE = "ACTIONDIFF_WEIGHTS"
PICKLE_SUFFIXES = (
    ".pth.tar",
    ".pth",
    ".pt",
)  # suffixes of the baselines' original files, of which only tensors are loaded


def weights_folder() -> Path | None:
    """The folder of default weights, which need not exist.

    It is the one that ACTIONDIFF_WEIGHTS names, else `weights` in the system's folder for data of this
    program; None if the variable is not set and the user has no home folder.
    """
    value = os.environ.get(VARIABLE)
    if value:
        return Path(value).expanduser()
    try:
        Path.home()  # platformdirs would name a folder "~" below the current one
    except RuntimeError:
        return None
    return user_data_path("actiondiff", appauthor=False) / "weights"


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
