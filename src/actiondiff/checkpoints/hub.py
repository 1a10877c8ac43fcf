"""From what a user names as weights to a file or folder on this machine."""

import os
import re
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)

from actiondiff.errors import WeightsError

__all__ = ["locate"]

_FOLDERS = ("unet", "image_encoder", "vae", "vae_encoder", "latent_encoder")
_STEMS = ("diffusion_pytorch_model", "model")
_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
_FILE_SUFFIXES = (".safetensors", ".ckpt", ".pt", ".pth", ".bin")


def locate(path_or_hub_id: str | os.PathLike[str]) -> Path:
    """The file or folder; downloaded from the hub if it is an id `owner/name` and no path.

    Raises:
        WeightsError: If there is no such path or repository, or it may not, or cannot, be downloaded.
    """
    name = os.fspath(path_or_hub_id)
    path = Path(name).expanduser()
    if path.exists():
        return path
    if not _HUB_ID.fullmatch(name) or name.endswith(_FILE_SUFFIXES):
        raise WeightsError(
            f"no weights at {name}. Give the path of a .safetensors file, of a converted or diffusers "
            "folder, or a hub id owner/name."
        )
    return _download(name)


def _download(hub_id: str) -> Path:
    """The repository's folder: full precision where it has that, else its fp16 variant."""
    page = f"https://huggingface.co/{hub_id}"
    try:
        return _snapshot(hub_id)
    except GatedRepoError:
        raise WeightsError(
            f"{hub_id} is gated: accept its licence on {page}, then log in with `hf auth login` (or set "
            "HF_TOKEN) and try again."
        ) from None
    except (RepositoryNotFoundError, HFValidationError):
        raise WeightsError(
            f"no weights at {hub_id}: neither a path here nor a repository on the hub that you may see. "
            "Check the name; log in with `hf auth login` if it is private."
        ) from None
    except (LocalEntryNotFoundError, OfflineModeIsEnabled):
        raise WeightsError(
            f"{hub_id} is no path here, not (wholly) in the hub's local cache, and the hub cannot be reached "
            "(or HF_HUB_OFFLINE is set). Download it where there is a network and give its path."
        ) from None
    except Exception as error:  # the download client's own errors change their classes between versions
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise WeightsError(
            f"{hub_id} could not be downloaded: {first}. Try again, or download it from {page} by other "
            "means and give its path."
        ) from error


def _snapshot(hub_id: str) -> Path:
    try:
        folder = Path(snapshot_download(hub_id, allow_patterns=_patterns("")))
        if _has_weights(folder):
            return folder
    except LocalEntryNotFoundError:
        pass  # offline; the other variant may be there
    return Path(snapshot_download(hub_id, allow_patterns=_patterns(".fp16")))


def _patterns(variant: str) -> list[str]:
    names = ["config.json"]
    for stem in _STEMS:
        names += [f"{stem}{variant}.safetensors", f"{stem}{variant}-*.safetensors"]
        names += [f"{stem}.safetensors.index{variant}.json"]
    return [f"{folder}/{name}" for folder in _FOLDERS for name in names]


def _has_weights(folder: Path) -> bool:
    return any((folder / "unet").glob("*.safetensors"))
