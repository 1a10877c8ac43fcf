"""What the guard of a domain says about held-out clips, in words."""

from collections.abc import Sequence
from pathlib import Path

from actiondiff.evaluation.results import read_training_metrics
from actiondiff.outputs.words import counted

__all__ = ["outside_words"]


def outside_words(name: str, runs: Sequence[Path]) -> str:
    """Say how many held-out clips lie outside what the heads of their folds have learnt from."""
    tests = [test for run in runs if (test := read_training_metrics(run).test) is not None]
    num_outside = sum(test.outside.num_clips for test in tests if test.outside is not None)
    clips = counted(sum(test.num_clips for test in tests), "held-out clip")
    lie = "lies" if num_outside == 1 else "lie"
    return (
        f"guard of {name}: {num_outside} of {clips} {lie} outside what the head of the fold has learnt from."
    )
