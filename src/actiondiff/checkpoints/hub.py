"""Finds the file or folder of weights that a user names, and downloads it from the hub if needed."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)

from actiondiff.checkpoints.folders import VARIANTS, has_weights, patterns
from actiondiff.errors import WeightsError

__all__ = ["SVD_PARTS", "locate"]

SVD_PARTS = ("unet", "image_encoder", "vae", "vae_encoder", "latent_encoder")
_SVD_ADVICE = (
    "Give the path of a .safetensors file, of a converted or diffusers folder, or a hub id owner/name."
)
_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
_FILE_SUFFIXES = (".safetensors", ".ckpt", ".pt", ".pth", ".tar", ".bin")


def locate(
    path_or_hub_id: str | os.PathLike[str],
    *,
    parts: Sequence[str] = SVD_PARTS,
    extra: Sequence[str] = (),
    advice: str = _SVD_ADVICE,
) -> Path:
    """The file or folder of weights; an id `owner/name` that is no path is downloaded from the hub.

    Args:
        path_or_hub_id: Path or hub id that the user gave.
        parts: Folders of the repository to download; the empty name is its top folder.
        extra: Further files of the repository to download, such as those of a tokenizer.
        advice: What to give instead of a path that does not exist, for messages.

    Raises:
        WeightsError: If there is no such path or repository, or it cannot be downloaded.
    """
    name = os.fspath(path_or_hub_id)
    path = Path(name).expanduser()
    if path.exists():
        return path
    if not _HUB_ID.fullmatch(name) or name.endswith(_FILE_SUFFIXES):
        raise WeightsError(f"no weights at {name}. {advice}")
    return _download(name, parts, extra)


def _download(hub_id: str, parts: Sequence[str], extra: Sequence[str]) -> Path:
    """Folder of the downloaded repository, in full precision if it has that, else its fp16 variant."""
    page = f"https://huggingface.co/{hub_id}"
    try:
        return _snapshot(hub_id, parts, extra)
    except GatedRepoError:
        raise WeightsError(
            f"{hub_id} is gated: accept its licence on {page}, then log in with `hf auth login` (or set "
            "HF_TOKEN) and try again."
        ) from None
    except (RepositoryNotFoundError, HFValidationError):
        raise WeightsError(
            f"no weights at {hub_id}: neither a path here nor a repository on the hub that you can access. "
            "Check the name; log in with `hf auth login` if it is private."
        ) from None
    except (LocalEntryNotFoundError, OfflineModeIsEnabled):
        raise WeightsError(
            f"{hub_id} is no path here, not complete in the hub's local cache, and the hub cannot be reached "
            f"(or HF_HUB_OFFLINE is set). Download it where there is a network (`hf download {hub_id} "
            "--local-dir FOLDER`) and give its path."
        ) from None
    except WeightsError:
        raise
    except Exception as error:  # classes of the download client's errors change between versions
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise WeightsError(
            f"{hub_id} could not be downloaded: {first}. Try again, or download it from {page} in another "
            "way and give its path."
        ) from error


def _snapshot(hub_id: str, parts: Sequence[str], extra: Sequence[str]) -> Path:
    problem: Exception = WeightsError(
        f"{hub_id} holds no weights in a format that is read: no .safetensors in "
        f"{', '.join(part + '/' for part in parts if part) or 'its top folder'}. Pickles on the hub are not "
        "downloaded; give another repository, or the path of a file."
    )
    for variant in VARIANTS:
        try:
            names = [*patterns(parts, variant), *extra]
            folder = Path(snapshot_download(hub_id, allow_patterns=names))
        except LocalEntryNotFoundError as error:
            problem = error  # offline; the other variant may be there
            continue
        if has_weights(folder, parts):
            return folder
    raise problem
