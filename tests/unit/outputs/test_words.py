"""Numbers of things in sentences."""

import pytest

from actiondiff.outputs.words import counted


@pytest.mark.parametrize(
    ("number", "words"), [(0, "0 bouts"), (1, "1 bout"), (2, "2 bouts"), (1000, "1000 bouts")]
)
def test_one_is_singular(number, words):
    assert counted(number, "bout") == words


def test_a_verb_follows_the_number():
    assert counted(1, "clip was", "clips were") == "1 clip was"
    assert counted(3, "clip was", "clips were") == "3 clips were"
