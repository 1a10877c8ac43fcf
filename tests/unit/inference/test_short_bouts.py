"""A hint where most bouts are shorter than what each score is computed from."""

import pytest

from actiondiff.inference.options import short_bouts_hint


@pytest.mark.parametrize(
    ("lengths", "smooth", "advice"),
    [
        ([0.2] * 12, 0.0, "--smooth-seconds 2.6 or --min-seconds 1.3 gives fewer"),
        ([0.2] * 12, 2.56, "; --min-seconds 1.3 gives fewer"),
        ([0.2] * 5 + [3.0] * 7, 0.0, ""),  # most are long enough
        ([0.2] * 3, 0.0, ""),  # too few
        ([], 0.0, ""),
    ],
)
def test_hint(lengths, smooth, advice):
    hint = short_bouts_hint(lengths, 2.56, smooth)
    assert advice in hint
    assert bool(hint) is bool(advice)
