"""Training of a study's head, and the choice of its epoch by one of four rules."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypedDict

import numpy as np
from safetensors.torch import load_file, save_file

from actiondiff.errors import RunError
from actiondiff.evaluation.judge import METRICS
from actiondiff.evaluation.options import ProtocolOptions
from actiondiff.evaluation.results import EpochChoice, FitSummary
from actiondiff.experiments.data import DomainFold, StudyData
from actiondiff.heads.inputs import Head
from actiondiff.heads.predict import Activation
from actiondiff.provenance import atomic_path, fingerprint, write_text
from actiondiff.training.fit import FitResult, fit
from actiondiff.training.loop import EpochRow
from actiondiff.training.options import FIRST_RESOLVED, TrainingOptions
from actiondiff.types import JSON

__all__ = ["SelectedHead", "train_and_select"]

_CURVES_FILE, _EPOCH_WEIGHTS = "left_out.json", ".kept.safetensors"
_CLIPS_OF_RULE = {
    "source-validation": "held-out clips of the source",
    "leave-one-source-domain-out": "domains of the source, each left out in turn",
    "released": "the test clips themselves, as released",
    "oracle": "the test clips themselves",
}


@dataclass(frozen=True)
class SelectedHead:
    """A trained head, and how its epoch was chosen.

    Attributes:
        head: The head with the weights of the chosen epoch.
        fit: How it was fitted.
        selection: How the epoch was chosen. `target_looks` counts how often the test clips were scored before
            the head was final.
    """

    head: Head
    fit: FitSummary
    selection: EpochChoice


def train_and_select(
    build: Callable[[], Head],
    data: StudyData,
    protocol: ProtocolOptions,
    options: TrainingOptions,
    *,
    activation: Activation,
    seed: int,
    folder: Path,
    progress: Callable[[EpochRow], None],
) -> SelectedHead:
    """Train a head, and give it the weights of the epoch that the protocol's rule chooses.

    Args:
        build: Returns a new head with its initial weights.
        data: Clips of the study; which of them may be looked at depends on the rule.
        protocol: Names the rule.
        options: Options of training.
        activation: `sigmoid` for multi-label tasks.
        seed: Seed of training.
        folder: Folder of the run. Work that is found there is not repeated.
        progress: Called with the row of each epoch.

    Raises:
        RunError: If the folder holds work of another training run.
    """
    if protocol.metric != "auto" and options.metric == "auto":
        options = options.model_copy(update={"metric": protocol.metric})
    if protocol.selection == "leave-one-source-domain-out":
        setup = _Setup(build, options, activation, seed, progress)
        return _select_by_left_out_domains(setup, data, protocol, folder)

    # All other rules compare the epochs of one training run on one set of clips.
    head = build()
    judged_on = data.test if protocol.looks_at_target else data.validation
    result = fit(
        head,
        data.train,
        judged_on,
        options,
        activation=activation,
        seed=seed,
        folder=folder,
        progress=progress,
    )

    # Write down what the rule looked at.
    keeps_last = result.selected_on == "last"
    oracle: dict[str, float | None] | None = None
    if protocol.looks_at_target:
        scored = [name for name in METRICS if name in result.history[0]]
        oracle = {name: max(row[name] for row in result.history) for name in scored}
    selection = EpochChoice(
        rule=protocol.selection,
        metric=result.selected_on,
        epoch=result.best_epoch,
        score=None if keeps_last else result.history[result.best_epoch - 1][result.selected_on],
        target_looks=len(result.history) if protocol.looks_at_target else 0,
        oracle=oracle,
    )
    return SelectedHead(head, _summary(result, None if keeps_last else protocol.selection), selection)


@dataclass(frozen=True)
class _Setup:
    """What the training runs have in common when each domain is left out; see `train_and_select`."""

    build: Callable[[], Head]
    options: TrainingOptions
    activation: Activation
    seed: int
    progress: Callable[[EpochRow], None]


class _Curve(TypedDict):
    """Scores of a domain that was left out, as in `left_out.json`.

    `metric` names the score, `scores` has one number per epoch, `of` is a fingerprint of the training run.
    """

    metric: str
    scores: list[float]
    of: str


def _select_by_left_out_domains(
    setup: _Setup, data: StudyData, protocol: ProtocolOptions, folder: Path
) -> SelectedHead:
    """Train without each domain of the source, then on all, and keep the epoch that was best on average."""
    # Train without each domain, and see after which epoch the domains score best on average.
    head = setup.build()
    curves = _curves(setup, data, folder)
    metric = next(iter(curves.values()))["metric"]
    scores = np.array([curve["scores"] for curve in curves.values()])  # (domains, epochs); empty for `last`
    epoch = None if metric == "last" else 1 + int(scores.mean(0).argmax())

    # Train on the whole source, and save the weights after that epoch.
    def save_epoch(row: EpochRow) -> None:
        if row["epoch"] == epoch:
            with atomic_path(folder / _EPOCH_WEIGHTS) as aside:
                save_file(head.state_dict(), aside)
        setup.progress(row)

    result = fit(
        head,
        data.train,
        None,
        setup.options,
        activation=setup.activation,
        seed=setup.seed,
        folder=folder,
        progress=save_epoch,
    )
    by_domain: dict[str, float | None] = {}
    score = None
    if epoch is None:
        epoch = result.best_epoch
    else:
        head.load_state_dict(load_file(folder / _EPOCH_WEIGHTS))
        (folder / _EPOCH_WEIGHTS).unlink()
        by_domain = {value: curve["scores"][epoch - 1] for value, curve in curves.items()}
        score = float(scores[:, epoch - 1].mean())

    # Write down what the rule looked at.
    result = replace(result, best_epoch=epoch, selected_on=metric)
    selection = EpochChoice(
        rule=protocol.selection, metric=metric, epoch=epoch, score=score, by_domain=by_domain, target_looks=0
    )
    return SelectedHead(head, _summary(result, None if score is None else protocol.selection), selection)


def _curves(setup: _Setup, data: StudyData, folder: Path) -> dict[str, _Curve]:
    """Train without each domain of the source: domain -> its scores. What is in the folder is not redone.

    Raises:
        RunError: If those in the folder are of another training run.
    """
    path = folder / _CURVES_FILE
    curves: dict[str, _Curve] = json.loads(path.read_text("utf-8")) if path.exists() else {}
    for number, (value, fold) in enumerate(data.domain_folds.items()):
        fingerprint_of_fold = _fingerprint_of_fold(setup, fold)
        if value in curves and curves[value]["of"] != fingerprint_of_fold:
            raise RunError(f"{path} is of another training run. Use another folder, or delete it.")
        if value in curves:
            continue
        result = fit(
            setup.build(),
            fold.train,
            fold.validation,
            setup.options,
            activation=setup.activation,
            seed=setup.seed,
            folder=folder / "logs" / f"without-{number}",
            progress=setup.progress,
        )
        metric = result.selected_on
        scores = [] if metric == "last" else [row[metric] for row in result.history]
        curves[value] = {"metric": metric, "scores": scores, "of": fingerprint_of_fold}
        write_text(path, json.dumps(curves, indent=2))
    return curves


def _fingerprint_of_fold(setup: _Setup, fold: DomainFold) -> str:
    """Fingerprint of a training run without a domain: its clips by name, its options and its seed."""
    clips: list[JSON] = [
        f"{clip.video} {clip.start_seconds} {clip.end_seconds} {';'.join(clip.labels)}"
        for side in fold
        for clip in side.examples
    ]
    return fingerprint(
        {
            "clips": clips,
            "training": setup.options.model_dump(exclude=FIRST_RESOLVED),
            "head": setup.build().options.model_dump(),
            "seed": setup.seed,
            "width": fold.train.token_width,
        }
    )


def _summary(result: FitResult, rule: str | None) -> FitSummary:
    """Summarise how a head was fitted; a rule of None means that the last epoch was kept."""
    chosen = f"the best by {result.selected_on} on {_CLIPS_OF_RULE[rule]}" if rule else "the last"
    return FitSummary(
        best_epoch=result.best_epoch,
        selected_on=result.selected_on,
        num_train=result.num_train,
        num_validation=result.num_validation,
        num_cut=result.num_cut,
        num_epochs=len(result.history),
        selection=chosen,
    )
