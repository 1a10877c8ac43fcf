"""Names from other people's files do not lead out of a folder."""

from pathlib import Path

import pytest

from actiondiff.errors import StoreError, UsageError
from actiondiff.outputs import checked_identity, inside

LEADING_OUT = [
    "../x",
    "a/../../x",
    "/etc/x",
    "C:\\x",
    "C:x",
    "\\\\host\\x",
    "..\\x",
    "",
    " ",
    None,
    3,
    "a\0b",
]


@pytest.mark.parametrize("name", LEADING_OUT)
def test_names_that_lead_out_are_refused(name):
    with pytest.raises(StoreError, match=r"index\.csv names the file"):
        inside("store", name, error=StoreError, origin="index.csv")


def test_names_inside_are_paths():
    assert inside("store", "ab/cd..e.csv", error=StoreError, origin="index.csv") == Path("store/ab/cd..e.csv")


@pytest.mark.parametrize("text", ["../../x", "a/b", "", "a", "a.b", "x" * 201, None, 7, "ab\n"])
def test_an_identity_is_a_hash(text):
    with pytest.raises(UsageError, match="an identity is a hash"):
        checked_identity(text)
    assert checked_identity("ab12") == "ab12"
