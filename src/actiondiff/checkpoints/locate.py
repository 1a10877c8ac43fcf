"""Where this machine keeps its weights: the folder named by the environment variable ACTIONDIFF_WEIGHTS."""

import os
from pathlib import Path

__all__ = ["VARIABLE", "find_weights", "weights_folder"]

VARIABLE = "ACTIONDIFF_WEIGHTS"


def weights_folder() -> Path | None:
    """The folder of default weights; None if the variable is not set."""
    value = os.environ.get(VARIABLE)
    return Path(value).expanduser() if value else None


def find_weights(name: str) -> Path | None:
    """The default weights of a backbone: `NAME/` or `NAME.safetensors`, with - or _; None if absent."""
    folder = weights_folder()
    if folder is None:
        return None
    stems = (name, name.replace("-", "_"))
    candidates = [folder / f"{stem}{suffix}" for stem in stems for suffix in ("", ".safetensors")]
    return next((path for path in candidates if path.exists()), None)
