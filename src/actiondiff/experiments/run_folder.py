"""The folder of a run: the names of its files, and whether it may be written to."""

from contextlib import AbstractContextManager
from pathlib import Path

from actiondiff import outputs
from actiondiff.errors import RunError
from actiondiff.evaluation.results import METRICS_FILE
from actiondiff.experiments.run import CLIPS, PREDICTIONS
from actiondiff.heads.bundle import CONFIG, WEIGHTS
from actiondiff.inference.folders import BEST, CARD
from actiondiff.inference.guard import GUARD
from actiondiff.provenance import check_own_folder

__all__ = ["RECIPE", "check_run_folder", "claim_run", "claim_summary", "scores_file"]

RECIPE = "recipe.yaml"


def scores_file(side: str) -> str:
    """Name of the file with the scores of each clip of a side."""
    return PREDICTIONS if side == "test" else f"{side}.csv.gz"


def check_run_folder(folder: Path, *, num_seeds: int) -> None:
    """Make sure that a run's folder is new, or holds such a run, finished or cut short.

    Raises:
        RunError: If it holds something else.
    """
    names = check_own_folder(folder, "run", [RECIPE, "seed-*"], error=RunError, option="-o")
    has_seeds = any(name.startswith("seed-") for name in names)
    if {name for name in names if not name.startswith(".")} - {RECIPE} and has_seeds is not (num_seeds > 1):
        content = "training runs of several seeds" if has_seeds else "a single training run"
        raise RunError(f"{folder} holds {content}; give another folder (-o), or remove it.")


def claim_run(folder: Path, *, overwrite: bool) -> AbstractContextManager[outputs.OutputClaim]:
    """Claim the folder of one training run."""
    sides = (scores_file(side) for side in ("test", "validation", "in_domain"))
    names = (RECIPE, GUARD, WEIGHTS, CONFIG, CARD, CLIPS, METRICS_FILE, *sides)
    return outputs.claim(folder, "train", names, overwrite=overwrite)


def claim_summary(
    folder: Path, *, num_seeds: int, overwrite: bool
) -> AbstractContextManager[outputs.OutputClaim]:
    """Claim the folder of a study, of which only the summary of several seeds is replaced."""
    names = (RECIPE, BEST, CARD, METRICS_FILE) if num_seeds > 1 else ()
    return outputs.claim(folder, "train", names, overwrite=overwrite)
