"""Export of predictions to CSV and JSON, and the list of videos that failed."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

from actiondiff.provenance import write_csv, write_text
from actiondiff.types import DecodeReport, Prediction

__all__ = ["CLIP_FILES", "CLIP_FORMATS", "FAILURES", "write_failures", "write_predictions"]

CLIP_FILES = {"csv": ("predictions.csv",), "json": ("predictions.json",)}
"""Format -> files that it is written to."""

CLIP_FORMATS = tuple(CLIP_FILES)
FAILURES = "failures.csv"
_COLUMNS = ("video", "status", "label", "probability", "coverage", "padding_share", "num_tokens", "num_spans")


def write_predictions(
    folder: str | os.PathLike[str],
    predictions: Sequence[Prediction],
    formats: Sequence[str],
    *,
    abstain_below: float = 0.0,
) -> None:
    """Write `predictions.csv`, `predictions.json` or both, with one row per video.

    After the fixed columns, the CSV file has one column p(label) for each label. Videos that failed have no
    row (see `write_failures`).

    Args:
        folder: Folder to write to; created if it does not exist.
        predictions: The predictions of one model.
        formats: Names of `CLIP_FORMATS`.
        abstain_below: If the highest probability is below this, `label` is left empty.
    """
    rows = [_row(prediction, abstain_below) for prediction in predictions]
    if "csv" in formats:
        labels = list(predictions[0].probabilities) if predictions else []
        lines = [
            [*row.values(), *[f"{value:.6f}" for value in prediction.probabilities.values()]]
            for row, prediction in zip(rows, predictions, strict=True)
        ]
        columns = [*_COLUMNS, *[f"p({label})" for label in labels]]
        write_csv(Path(folder) / "predictions.csv", columns, lines, line_end="\r\n")
    if "json" in formats:
        items = [
            {**row, "probabilities": dict(p.probabilities)} for row, p in zip(rows, predictions, strict=True)
        ]
        write_text(Path(folder) / "predictions.json", json.dumps(items, indent=2) + "\n")


def write_failures(folder: str | os.PathLike[str], reports: Sequence[tuple[str, DecodeReport]]) -> None:
    """Write `failures.csv`: the video, status and reason for each video that failed or is partial."""
    lines = [[video, report.status, report.reason] for video, report in reports]
    write_csv(Path(folder) / FAILURES, ["video", "status", "reason"], lines, line_end="\r\n")


def _row(prediction: Prediction, abstain_below: float) -> dict[str, str | int | float]:
    """The fixed columns of one prediction."""
    label, probability = prediction.top(1)[0]
    label = label if probability >= abstain_below else ""
    report = prediction.report
    values = (
        prediction.video,
        report.status if report else "ok",
        label,
        round(probability, 6),
        round(report.coverage if report else 1.0, 4),
        round(prediction.padding_share, 4),
        prediction.num_tokens,
        prediction.num_spans,
    )
    return dict(zip(_COLUMNS, values, strict=True))
