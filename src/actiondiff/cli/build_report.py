"""From a folder to its page, whatever the folder holds."""

import os
from collections.abc import Sequence
from pathlib import Path

from actiondiff import outputs
from actiondiff.errors import RunError
from actiondiff.evaluation.results import (
    METRICS_FILE,
    SeedsMetrics,
    TrainingMetrics,
    read_metrics,
)
from actiondiff.exports.record import RECORD
from actiondiff.paper.report import reproduction_page
from actiondiff.paper.results import REPRODUCTION, read_reproduction
from actiondiff.report.html import Page, write_page
from actiondiff.report.prediction_report import prediction_page
from actiondiff.report.run_report import evaluation_page, run_page, seeds_page
from actiondiff.report.sweep_report import sweep_page

__all__ = ["build_report"]


def build_report(
    folder: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    *,
    videos: Sequence[str | os.PathLike[str]] = (),
    overwrite: bool = False,
) -> Path:
    """Write the page of a run (also with several seeds), evaluation, prediction, sweep or reproduction.

    Args:
        folder: What `actiondiff train`, `evaluate`, `predict`, `sweep` or `reproduce` wrote.
        out: The page; `report.html` in the folder if None.
        videos: Folders that the videos' paths may be relative to; the working folder is tried as well.
        overwrite: Whether a page of others may be replaced.

    Returns:
        The page's path. Figures, as SVG, PNG and CSV, lie in a folder beside it.

    Raises:
        RunError: If the folder holds nothing that a report can be made of.
    """
    folder = Path(folder)
    path = Path(out) if out else folder / "report.html"
    _check_folder(folder)
    with outputs.claim_file(path, "report", others=[f"{path.stem}-figures/"], overwrite=overwrite):
        return write_page(path, _page(folder, [*videos, folder, Path()]))


def _check_folder(folder: Path) -> None:
    """Make sure that there is a folder to report on.

    Raises:
        RunError: If there is none.
    """
    if not folder.is_dir():
        raise RunError(
            f"there is no folder {folder}; give that of a run, an evaluation, predictions or a sweep."
        )


def _page(folder: Path, roots: Sequence[str | os.PathLike[str]]) -> Page:
    if (folder / REPRODUCTION).is_file():
        return reproduction_page(read_reproduction(folder))
    if (folder / "sweep.json").is_file():
        return sweep_page(folder)
    if (folder / RECORD).is_file():
        return prediction_page(folder, roots=roots)
    if not (folder / METRICS_FILE).is_file():
        raise RunError(
            f"{folder} holds no metrics.json, {RECORD}, sweep.json or reproduction.json; give the folder of "
            "a finished run, evaluation, prediction, sweep or reproduction."
        )
    metrics = read_metrics(folder)
    if isinstance(metrics, SeedsMetrics):
        return seeds_page(folder, roots=roots)
    is_training = isinstance(metrics, TrainingMetrics)
    return run_page(folder, roots=roots) if is_training else evaluation_page(folder, roots=roots)
