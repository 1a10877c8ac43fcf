"""What was predicted, by what, in one file beside the exports: a report is made of it."""

import json
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from actiondiff.errors import RunError
from actiondiff.heads.bundle import ModelConfig
from actiondiff.inference.folders import find_run
from actiondiff.inference.timeline import Timeline
from actiondiff.provenance import environment, write_text
from actiondiff.types import JSON, Bout, DecodeReport, Prediction

__all__ = ["RECORD", "add_to_record", "model_words", "read_record", "write_record"]

RECORD = "predicted.json"
_FORMAT = 1


def model_words(config: ModelConfig) -> str:
    """What made predictions: `actiondiff 0.1.0 (tiny t20.layer9)`."""
    return f"actiondiff {version('actiondiff')} ({config.backbone['name']} {' '.join(config.keys)})"


def write_record(
    folder: str | os.PathLike[str],
    results: Sequence[tuple[str, Prediction | Timeline | DecodeReport]],
    *,
    run: str | os.PathLike[str],
    config: ModelConfig,
    dtype: str | None = None,
    abstain_below: float = 0.0,
    truth: Mapping[str, Sequence[Bout]] | None = None,
    scores: Mapping[str, Any] | None = None,
    made: datetime | None = None,
) -> None:
    """Write `predicted.json`.

    Args:
        folder: Where to.
        results: Video and what was predicted of it, or the report that says why nothing was.
        run: The model's folder or hub id.
        config: The model's config.
        dtype: Arithmetic of the backbone; that of its training's features if None.
        abstain_below: Probability below which nothing was said.
        truth: Video -> labelled bouts, where they are known.
        scores: What was scored with them.
        made: When; now if None.
    """
    timelines = [result for _, result in results if isinstance(result, Timeline)]
    facts: dict[str, Any] = {
        "format": _FORMAT,
        "kind": "timelines" if timelines else "clips",
        "run": str(run),
        "model": model_words(config),
        "dtype": dtype or config.backbone.get("dtype"),
        "labels": list(config.labels),
        "activation": config.activation,
        "abstain_below": abstain_below,
        "options": timelines[0].options.model_dump() if timelines else {},
        "thresholds": dict(timelines[0].thresholds) if timelines else {},
        "made": (made or datetime.now(UTC)).isoformat(timespec="seconds"),
        "videos": [_video(name, result, truth) for name, result in results],
        "scores": scores,
        "calibration": _calibration(run),
        "environment": environment(),
    }
    _write(folder, facts)


def add_to_record(folder: str | os.PathLike[str], facts: Mapping[str, Any]) -> None:
    """Add to a record what was found later.

    Raises:
        RunError: If there is none, or it is not in order.
    """
    _write(folder, {**read_record(folder), **facts})


def read_record(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """Read what `write_record` wrote.

    Raises:
        RunError: If it is absent or not in order.
    """
    path = Path(folder) / RECORD
    try:
        facts = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{path} cannot be read ({error}); run actiondiff predict again.") from None
    if not isinstance(facts, dict) or facts.get("format") != _FORMAT:
        raise RunError(f"{path} is of another version; run actiondiff predict again.")
    return facts


def _write(folder: str | os.PathLike[str], facts: Mapping[str, Any]) -> None:
    write_text(Path(folder) / RECORD, json.dumps(facts, indent=1) + "\n")


def _calibration(run: str | os.PathLike[str]) -> JSON:
    """What the training found of the model's confidence; None if it is not known."""
    path = find_run(run) / "metrics.json"
    found: JSON = json.loads(path.read_text("utf-8")).get("calibration") if path.is_file() else None
    return found


def _video(
    name: str, result: Prediction | Timeline | DecodeReport, truth: Mapping[str, Sequence[Bout]] | None
) -> JSON:
    report = result if isinstance(result, DecodeReport) else result.report
    facts: dict[str, JSON] = {
        "video": name,
        "status": report.status if report else "ok",
        "reason": report.reason if report else "",
        "coverage": report.coverage if report else 1.0,
    }
    if isinstance(result, DecodeReport):
        return facts
    facts["padding_share"] = result.padding_share
    if isinstance(result, Prediction):
        return {**facts, "probabilities": dict(result.probabilities)}
    known = truth.get(name) if truth else None
    return {
        **facts,
        "end_seconds": result.end_seconds,
        "bouts": _bouts(result.bouts),
        "truth": None if known is None else _bouts(known),
    }


def _bouts(bouts: Sequence[Bout]) -> list[JSON]:
    return [
        [b.label, round(b.start_seconds, 3), round(b.end_seconds, 3), round(b.probability, 4)] for b in bouts
    ]
