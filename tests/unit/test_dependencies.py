"""The pins of constraints.txt, the hashes of requirements.lock and the ranges of pyproject.toml agree."""

import re
import tomllib
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
WITHOUT_HASH = {"torch"}  # each of its builds has other files
ADVISORIES = {
    "lightning": ("2.6.2", "2.6.3"),
    "gradio": ("5.50.0", "6.15.0"),
    "jinja2": ("3.1.5",),
    "pillow": ("11.3.0", "12.1.1"),
    "ray": ("2.51.1", "2.53.0"),
}  # package -> versions with advisories, the last ones before the fix


def pins(name):
    """Package -> version of a file of pins."""
    text = (ROOT / name).read_text("utf-8")
    lines = re.findall(r"^([\w.-]+)==([^\s;\\]+)", text, re.MULTILINE)
    return {canonicalize_name(package): version for package, version in lines}


def ranges():
    extras = PROJECT["optional-dependencies"]
    lines = [*PROJECT["dependencies"], *(line for extra in extras.values() for line in extra)]
    return [Requirement(line) for line in lines]


def test_the_lock_has_the_versions_of_the_constraints():
    locked, pinned = pins("requirements.lock"), pins("constraints.txt")
    assert len(locked) > 100
    assert {name: version for name, version in locked.items() if pinned.get(name) != version} == {}
    assert not WITHOUT_HASH & set(locked)


def test_every_package_of_the_lock_has_hashes_and_no_host_is_named():
    text = (ROOT / "requirements.lock").read_text("utf-8")
    blocks = re.split(r"^(?=[\w.-]+==)", text, flags=re.MULTILINE)[1:]
    assert len(blocks) == len(pins("requirements.lock"))
    for block in blocks:
        first, *hashes = block.replace("\\\n", "\n").splitlines()
        assert hashes, first
        assert all(re.fullmatch(r" +--hash=sha256:[0-9a-f]{64} *", line) for line in hashes), first
    for name in ("requirements.lock", "constraints.txt", "pyproject.toml"):
        assert not re.search(r"index-url|find-links|trusted-host", (ROOT / name).read_text("utf-8"))
    assert "://" not in text


def test_all_that_an_installation_needs_is_locked():
    locked = pins("requirements.lock")
    todo = [requirement for requirement in ranges() if requirement.name != "ray"]  # not part of dev
    seen = set()
    while todo:
        requirement = todo.pop()
        name = canonicalize_name(requirement.name)
        extras = requirement.extras or {""}
        if name in WITHOUT_HASH or (name, frozenset(extras)) in seen:
            continue
        seen.add((name, frozenset(extras)))
        assert name in locked, requirement
        assert requirement.specifier.contains(locked[name], prereleases=True), requirement
        try:
            further = requires(name) or ()
        except PackageNotFoundError:
            continue  # one for other machines
        for needed in map(Requirement, further):
            if any(not needed.marker or needed.marker.evaluate({"extra": extra}) for extra in {"", *extras}):
                todo.append(needed)
    assert len(seen) > 100


@pytest.mark.parametrize("requirement", ranges(), ids=str)
def test_ranges_hold_their_pin_and_no_version_with_an_advisory(requirement):
    pinned = pins("constraints.txt")[canonicalize_name(requirement.name)]
    assert requirement.specifier.contains(pinned)
    for version in ADVISORIES.get(requirement.name, ()):
        assert not requirement.specifier.contains(version)
