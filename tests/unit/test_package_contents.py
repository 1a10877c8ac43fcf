"""What a built wheel contains, against what THIRD_PARTY.md says that it contains."""

import re
import zipfile
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from hatchling.build import build_sdist, build_wheel

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        folder = tmp_path_factory.mktemp("wheel")
        with zipfile.ZipFile(folder / build_wheel(str(folder))) as archive:
            return archive.namelist()


def listed():
    """Patterns of files in the list of THIRD_PARTY.md."""
    rows = (ROOT / "THIRD_PARTY.md").read_text("utf-8").partition("## What the package contains")[2]
    return re.findall(r"`(actiondiff/[^`]+)`", rows)


def test_every_file_of_the_wheel_is_listed_once(wheel):
    data = [name for name in wheel if name.startswith("actiondiff/") and not name.endswith(".py")]
    assert len(data) > 50
    matches = {name: [pattern for pattern in listed() if fnmatchcase(name, pattern)] for name in data}
    assert [name for name, patterns in matches.items() if len(patterns) != 1] == []
    assert {pattern for patterns in matches.values() for pattern in patterns} == set(listed())


def test_weights_are_those_of_tiny_and_there_are_no_videos(wheel):
    tensors = [name for name in wheel if name.endswith((".safetensors", ".pt", ".bin", ".npy", ".npz"))]
    assert {name.split("/")[2] for name in tensors} == {"builtin"}
    assert not [name for name in wheel if name.endswith((".mp4", ".avi", ".mkv", ".mov", ".webm"))]


def test_its_licence_and_this_list_go_along(wheel):
    names = {name.split("/", 1)[1] for name in wheel if ".dist-info/" in name}
    assert {"licenses/LICENSE", "licenses/THIRD_PARTY.md"} <= names


def test_the_source_distribution_has_what_makes_the_samples(tmp_path, monkeypatch):
    import tarfile

    monkeypatch.chdir(ROOT)
    with tarfile.open(tmp_path / build_sdist(str(tmp_path))) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    assert {"tools/make_samples.py", "THIRD_PARTY.md"} <= names
