"""Which epoch of a training is kept, by the four rules; what each looked at is written down."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import load_file, save_file

from actiondiff.datasets.packing import PackedFeatures
from actiondiff.errors import RunError, UsageError
from actiondiff.evaluation.judge import METRICS
from actiondiff.evaluation.options import ProtocolOptions
from actiondiff.evaluation.results import EpochChoice, FitSummary
from actiondiff.heads.inputs import Head
from actiondiff.heads.predict import Activation
from actiondiff.provenance import fingerprint, write_text
from actiondiff.training.fit import FitResult, fit
from actiondiff.training.loop import EpochRow
from actiondiff.training.options import TrainingOptions
from actiondiff.types import JSON

__all__ = ["Chosen", "Clips", "train_and_select"]

_LEFT_OUT, _KEPT = "left_out.json", ".kept.safetensors"
_ON = {
    "source-validation": "held-out clips of the source",
    "leave-one-source-domain-out": "domains of the source, each left out in turn",
    "released": "the test clips themselves, as released",
    "oracle": "the test clips themselves",
}


@dataclass(frozen=True)
class Clips:
    """What a training and its choice see.

    Attributes:
        train: To learn from.
        validation: To choose on; None for none.
        test: The target's; None for none.
        left_out: Domain of the source -> clips without it, and its clips.
    """

    train: PackedFeatures
    validation: PackedFeatures | None
    test: PackedFeatures | None
    left_out: Mapping[str, tuple[PackedFeatures, PackedFeatures]]


@dataclass(frozen=True)
class Chosen:
    """A trained head, and how its epoch was chosen.

    Attributes:
        head: With the weights of the chosen epoch.
        fit: How it was fitted.
        selection: How the epoch was chosen; `target_looks` counts the looks before the head was final.
    """

    head: Head
    fit: FitSummary
    selection: EpochChoice


def train_and_select(
    build: Callable[[], Head],
    clips: Clips,
    protocol: ProtocolOptions,
    options: TrainingOptions,
    *,
    activation: Activation,
    seed: int,
    folder: Path,
    progress: Callable[[EpochRow], None],
) -> Chosen:
    """Train a head and keep the epoch that the protocol's rule chooses.

    Args:
        build: Gives a new head with its first weights.
        clips: What may be looked at.
        protocol: Names the rule.
        options: Of training.
        activation: `sigmoid` for multi-label tasks.
        seed: Of training.
        folder: Of the run; what was done is found there again.
        progress: Called with each epoch's row.

    Raises:
        UsageError: If the rule lacks clips to choose on.
    """
    if protocol.looks_at_target and clips.test is None:
        raise UsageError(
            f"selection={protocol.selection} chooses the epoch on test clips, and there are none."
        )
    if protocol.metric != "auto" and options.metric == "auto":
        options = options.model_copy(update={"metric": protocol.metric})
    training = _Training(build, options, activation, seed, progress)
    if protocol.selection == "leave-one-source-domain-out":
        return _left_out(training, clips, protocol, folder)
    head = build()
    on = clips.test if protocol.looks_at_target else clips.validation
    result = training.fit(head, clips.train, on, folder)
    last = result.selected_on == "last"
    oracle = None
    if protocol.looks_at_target:
        scored = [name for name in METRICS if name in result.history[0]]
        oracle = {name: max(row[name] for row in result.history) for name in scored}
    selection = EpochChoice(
        rule=protocol.selection,
        metric=result.selected_on,
        epoch=result.best_epoch,
        score=None if last else result.history[result.best_epoch - 1][result.selected_on],
        target_looks=len(result.history) if protocol.looks_at_target else 0,
        oracle=oracle,
    )
    return Chosen(head, _summary(result, None if last else protocol.selection), selection)


@dataclass(frozen=True)
class _Training:
    """What several trainings of one study share."""

    build: Callable[[], Head]
    options: TrainingOptions
    activation: Activation
    seed: int
    progress: Callable[[EpochRow], None]

    def fit(
        self,
        head: Head,
        train: PackedFeatures,
        on: PackedFeatures | None,
        folder: Path,
        *,
        keep: int | None = None,
    ) -> FitResult:
        """Train a head; with `keep`, its weights of that epoch are written into the folder."""

        def told(row: EpochRow) -> None:
            if row["epoch"] == keep:
                save_file(head.state_dict(), folder / _KEPT)
            self.progress(row)

        return fit(
            head,
            train,
            on,
            self.options,
            activation=self.activation,
            seed=self.seed,
            folder=folder,
            progress=told,
        )


def _left_out(training: _Training, clips: Clips, protocol: ProtocolOptions, folder: Path) -> Chosen:
    """Train without each domain of the source in turn, then on all for as long as was best on average."""
    head = training.build()
    curves = _curves(training, clips, folder)
    metric = next(iter(curves.values()))["metric"]
    if metric == "last":
        result = training.fit(head, clips.train, None, folder)
        by_domain, score, epoch = {}, None, result.best_epoch
    else:
        scores = np.array([entry["scores"] for entry in curves.values()])  # (domains, epochs)
        epoch = 1 + int(scores.mean(0).argmax())
        by_domain = {value: entry["scores"][epoch - 1] for value, entry in curves.items()}
        score = float(scores[:, epoch - 1].mean())
        result = training.fit(head, clips.train, None, folder, keep=epoch)
        head.load_state_dict(load_file(folder / _KEPT))
        (folder / _KEPT).unlink()
    result = replace(result, best_epoch=epoch, selected_on=metric)
    selection = EpochChoice(
        rule=protocol.selection, metric=metric, epoch=epoch, score=score, by_domain=by_domain, target_looks=0
    )
    return Chosen(head, _summary(result, None if score is None else protocol.selection), selection)


def _curves(training: _Training, clips: Clips, folder: Path) -> dict[str, dict[str, Any]]:
    """Domain left out -> `metric` that chooses, `scores` after each epoch, and what was trained (`of`)."""
    path = folder / _LEFT_OUT
    known: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.exists() else {}
    for number, (value, (train, held)) in enumerate(clips.left_out.items()):
        trained = _identity(training, train, held)
        if value in known and known[value]["of"] != trained:
            raise RunError(f"{path} is of another training. Use another folder, or delete it.")
        if value in known:
            continue
        result = training.fit(training.build(), train, held, folder / "logs" / f"without-{number}")
        name = result.selected_on
        scores = [] if name == "last" else [row[name] for row in result.history]
        known[value] = {"metric": name, "scores": scores, "of": trained}
        write_text(path, json.dumps(known, indent=2))
    return known


def _identity(training: _Training, train: PackedFeatures, held: PackedFeatures) -> str:
    """Of what a training without a domain sees, as far as names tell."""
    names: list[JSON] = [
        f"{clip.video} {clip.start_seconds} {clip.end_seconds} {';'.join(clip.labels)}"
        for side in (train, held)
        for clip in side.examples
    ]
    return fingerprint(
        {
            "clips": names,
            "training": training.options.model_dump(),
            "head": training.build().options.model_dump(),
            "seed": training.seed,
            "width": train.token_width,
        }
    )


def _summary(result: FitResult, rule: str | None) -> FitSummary:
    return FitSummary(
        best_epoch=result.best_epoch,
        selected_on=result.selected_on,
        num_train=result.num_train,
        num_validation=result.num_validation,
        num_cut=result.num_cut,
        num_epochs=len(result.history),
        selection=f"the best by {result.selected_on} on {_ON[rule]}" if rule else "the last",
    )
