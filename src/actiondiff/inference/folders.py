"""Where trained models are found and published: folders of training runs, and the Hugging Face hub."""

import logging
import os
from pathlib import Path

from actiondiff.errors import RunError
from actiondiff.heads.bundle import CONFIG
from actiondiff.outputs import inside

__all__ = ["BEST", "CARD", "find_model_folder", "upload_folder"]

BEST = "best-seed.txt"
CARD = "README.md"
_log = logging.getLogger(__name__)


def find_model_folder(path: str | os.PathLike[str]) -> Path:
    """The folder that holds the model: the given one, that of its best seed, or a download from the hub.

    Args:
        path: Folder of a training run, or a hub id `owner/name`.

    Raises:
        RunError: If there is no such folder and no such model on the hub.
    """
    folder = Path(path)
    if not folder.exists():
        return _download(str(path))
    # A run with several seeds has one folder per seed, and a file that names the best one.
    best = folder / BEST
    if best.is_file() and not (folder / CONFIG).exists():
        name = best.read_text("utf-8", "replace").strip()
        chosen = inside(folder, name, error=RunError, origin=best)
        _log.info("%s holds several training runs; %s is used, the best by its metrics.json.", folder, name)
        return chosen
    return folder


def _download(repo_id: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    if repo_id.count("/") != 1 or repo_id.startswith((".", "/")):
        raise RunError(
            f"there is no folder {repo_id}; give the one that actiondiff train wrote, or a hub id."
        )
    try:
        return Path(snapshot_download(repo_id, allow_patterns=["*.json", "*.safetensors", "*.md"]))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise RunError(
            f"there is no folder {repo_id}, and the hub has no such model ({type(error).__name__}). Check "
            "the name and the connection, or give the folder that actiondiff train wrote."
        ) from None


def upload_folder(folder: Path, repo_id: str, *, private: bool, token: str | None) -> str:
    """Upload a folder to a model repository on the hub, which is created if it does not exist.

    Args:
        folder: Folder with the files of a model.
        repo_id: Name of the repository, `owner/name`.
        private: Whether a new repository is private.
        token: Access token; the one that `hf auth login` stored if None.

    Returns:
        The address of the repository's page.

    Raises:
        RunError: If the hub refuses the upload.
    """
    from huggingface_hub import HfApi

    api = HfApi(token=token)
    try:
        api.create_repo(repo_id, repo_type="model", private=private, exist_ok=True)
        page = api.upload_folder(repo_id=repo_id, folder_path=folder, commit_message="ActionDiff head")
    except Exception as error:  # raised by the hub's client, or by the network library below it
        raise RunError(
            f"the hub does not accept {repo_id} ({type(error).__name__}: {error}). Check that the name is "
            "owner/name, the connection, and that you are logged in (hf auth login)."
        ) from error
    return str(page)
