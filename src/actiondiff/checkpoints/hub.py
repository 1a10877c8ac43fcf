"""Finds the file or folder of weights that a user names, and downloads it from the hub if needed."""

import os
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)
from huggingface_hub.utils._paths import filter_repo_objects

from actiondiff.checkpoints.folders import VARIANTS, has_weights, patterns
from actiondiff.errors import WeightsError

__all__ = ["SVD_PARTS", "download", "locate", "size_on_hub"]

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
    return download(name, parts=parts, extra=extra)


def size_on_hub(hub_id: str, *, parts: Sequence[str] = SVD_PARTS, half: bool = False) -> int | None:
    """Size of the files of a repository that would be downloaded, in bytes.

    Args:
        hub_id: Id `owner/name` of the repository.
        parts: Folders of the repository to download; the empty name is its top folder.
        half: Whether the fp16 variant is preferred.

    Returns:
        The size; None if the hub cannot be reached, or does not say.
    """
    try:
        siblings = HfApi().model_info(hub_id, files_metadata=True).siblings or []
    except Exception:  # no network, a gated repository, ...: the download itself says which
        return None
    sizes = {sibling.rfilename: sibling.size or 0 for sibling in siblings}
    for variant in _variants(half):
        names = set(filter_repo_objects(sizes, allow_patterns=patterns(parts, variant)))
        if any(name.endswith(".safetensors") for name in names):
            return sum(sizes[name] for name in names)
    return None


def download(
    hub_id: str,
    *,
    parts: Sequence[str] = SVD_PARTS,
    extra: Sequence[str] = (),
    to: Path | None = None,
    half: bool = False,
) -> Path:
    """Download a repository's weights, in full precision if it has that, else its fp16 variant.

    Args:
        hub_id: Id `owner/name` of the repository.
        parts: Folders of the repository to download; the empty name is its top folder.
        extra: Further files of the repository to download, such as those of a tokenizer.
        to: Folder for the files.  [default: the hub's own cache]
        half: Whether the fp16 variant is preferred, which takes half the space.

    Returns:
        The folder.

    Raises:
        WeightsError: If there is no such repository, it holds no weights, or it cannot be downloaded.
    """
    page = f"https://huggingface.co/{hub_id}"
    try:
        return _snapshot(hub_id, parts, extra, to, _variants(half))
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


def _variants(half: bool) -> tuple[str, ...]:
    """The variants of a repository's weights, the preferred one first."""
    return VARIANTS[::-1] if half else VARIANTS


def _snapshot(
    hub_id: str, parts: Sequence[str], extra: Sequence[str], to: Path | None, variants: Sequence[str]
) -> Path:
    problem: Exception = WeightsError(
        f"{hub_id} holds no weights in a format that is read: no .safetensors in "
        f"{', '.join(part + '/' for part in parts if part) or 'its top folder'}. Pickles on the hub are not "
        "downloaded; give another repository, or the path of a file."
    )
    fetch = snapshot_download if to is None else partial(snapshot_download, local_dir=to)
    for variant in variants:
        try:
            names = [*patterns(parts, variant), *extra]
            folder = Path(fetch(hub_id, allow_patterns=names))
        except LocalEntryNotFoundError as error:
            problem = error  # offline; the other variant may be there
            continue
        if has_weights(folder, parts):
            return folder
    raise problem
