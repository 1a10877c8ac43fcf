"""Export of predictions to CSV and JSON, and the list of videos that failed."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

from actiondiff.exports.individuals import has_individuals, with_individual
from actiondiff.inference.individuals import subject_of
from actiondiff.provenance import write_csv, write_text
from actiondiff.types import DecodeReport, DomainCheck, Prediction

__all__ = [
    "CLIP_FILES",
    "CLIP_FORMATS",
    "FAILURES",
    "OUTSIDE",
    "label_of",
    "write_failures",
    "write_predictions",
]

CLIP_FILES = {"csv": ("predictions.csv",), "json": ("predictions.json",)}
"""Format -> files that it is written to."""

CLIP_FORMATS = tuple(CLIP_FILES)
FAILURES = "failures.csv"
_COLUMNS = (
    "video", "status", "label", "probability", "coverage", "padding_share", "num_tokens", "num_spans",
    "distance", "outside",
)  # fmt: skip
_FAILURES = ("video", "status", "reason")
OUTSIDE = "outside"
"""Status of a video that decodes and lies outside what the model has learnt from."""


def write_predictions(
    folder: str | os.PathLike[str],
    predictions: Sequence[Prediction],
    formats: Sequence[str],
    *,
    abstain_below: float = 0.0,
    abstain_outside: bool = True,
) -> None:
    """Write `predictions.csv`, `predictions.json` or both, with one row per video.

    The status of a video that lies outside what the model has learnt from is `outside`; `distance` says how
    far (1 is the bound), and `outside` why; both are empty where that is unknown. After the fixed columns,
    the CSV file has one column p(label) for each label. Videos that failed have no row (see
    `write_failures`).

    Args:
        folder: Folder to write to; created if it does not exist.
        predictions: The predictions of one model.
        formats: Names of `CLIP_FORMATS`.
        abstain_below: If the highest probability is below this, `label` is left empty.
        abstain_outside: Whether `label` is left empty for videos that lie outside.
    """
    is_wanted = has_individuals(predictions)
    rows = [
        _row(prediction, label_of(prediction, abstain_below=abstain_below, abstain_outside=abstain_outside))
        for prediction in predictions
    ]
    if "csv" in formats:
        labels = list(predictions[0].probabilities) if predictions else []
        columns = with_individual(_COLUMNS, wanted=is_wanted)
        lines = [
            [
                *(row[name] for name in columns),
                *(f"{value:.6f}" for value in prediction.probabilities.values()),
            ]
            for row, prediction in zip(rows, predictions, strict=True)
        ]
        columns += tuple(f"p({label})" for label in labels)
        write_csv(Path(folder) / "predictions.csv", columns, lines, line_end="\r\n")
    if "json" in formats:
        items = [
            {name: row[name] for name in with_individual(_COLUMNS, wanted=bool(p.individual))}
            | {"probabilities": dict(p.probabilities)}
            for row, p in zip(rows, predictions, strict=True)
        ]
        write_text(Path(folder) / "predictions.json", json.dumps(items, indent=2) + "\n")


def write_failures(
    folder: str | os.PathLike[str],
    reports: Sequence[tuple[str, DecodeReport]],
    outside: Sequence[tuple[str, DomainCheck]] = (),
) -> None:
    """Write `failures.csv`: video, status and reason for each video that failed, is partial or lies outside.

    Of a crop, the source and the individual are named.

    Args:
        folder: Folder to write to; created if it does not exist.
        reports: Videos that failed or are partial.
        outside: Videos that lie outside what the model has learnt from.
    """
    lines = [
        *((subject_of(video), report.status, report.reason) for video, report in reports),
        *((subject_of(video), OUTSIDE, domain.reason) for video, domain in outside),
    ]
    columns = with_individual(_FAILURES, wanted=has_individuals(subject for subject, _, _ in lines))
    rows = [
        dict(zip(with_individual(_FAILURES), (subject.video, subject.individual, *why), strict=True))
        for subject, *why in lines
    ]
    write_csv(Path(folder) / FAILURES, columns, rows, line_end="\r\n")


def label_of(prediction: Prediction, *, abstain_below: float, abstain_outside: bool) -> str:
    """The most probable label; empty where the model abstains.

    Args:
        prediction: The prediction.
        abstain_below: Probability below which the model abstains.
        abstain_outside: Whether it abstains for videos that lie outside what it has learnt from.
    """
    label, probability = prediction.top(1)[0]
    is_outside = prediction.domain is not None and prediction.domain.is_outside
    return "" if probability < abstain_below or (abstain_outside and is_outside) else label


def _row(prediction: Prediction, label: str) -> dict[str, str | int | float]:
    """The fixed columns of one prediction, with the individual."""
    report, domain = prediction.report, prediction.domain
    status: str = report.status if report else "ok"
    if status == "ok" and domain and domain.is_outside:
        status = OUTSIDE
    values = (
        prediction.video,
        prediction.individual,
        status,
        label,
        round(prediction.top(1)[0][1], 6),
        round(report.coverage if report else 1.0, 4),
        round(prediction.padding_share, 4),
        prediction.num_tokens,
        prediction.num_spans,
        round(domain.distance, 4) if domain else "",
        domain.reason if domain else "",
    )
    return dict(zip(with_individual(_COLUMNS), values, strict=True))
