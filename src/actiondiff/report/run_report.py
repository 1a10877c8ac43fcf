"""Pages of a training run, of a study over several seeds, and of an evaluation, from their folders."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from actiondiff.errors import RunError
from actiondiff.evaluation.judge import METRICS
from actiondiff.evaluation.options import Metric
from actiondiff.evaluation.results import (
    EvaluationMetrics,
    Leak,
    LeftOutClip,
    SeedsMetrics,
    TrainingMetrics,
    read_metrics,
    read_training_metrics,
)
from actiondiff.evaluation.scores import SideScores
from actiondiff.evaluation.verdict import chance_verdict
from actiondiff.heads.bundle import ModelConfig, read_config
from actiondiff.outputs.documents import parse_yaml
from actiondiff.outputs.words import counted
from actiondiff.provenance import plain_cells
from actiondiff.report.card import percent
from actiondiff.report.clips import Mistake, VideoRoots, label_mistakes, pictures, worst_confusions
from actiondiff.report.confidence_figures import coverage_curve, reliability_diagram
from actiondiff.report.figures import MOST_NAMES, bars
from actiondiff.report.html import Page, Section
from actiondiff.report.items import Gallery, Item, Notes, Provenance, Text
from actiondiff.report.run_figures import class_bars, confusion_matrix, learning_curve
from actiondiff.report.tables import (
    ReportTable,
    Score,
    class_table,
    confusion_table,
    metric_table,
    score_table,
)

__all__ = ["evaluation_page", "run_page", "seeds_page"]

_MANY_LEAKS, _FEW_MISSING = 25, 5  # how many are listed; all are in metrics.json


def run_page(folder: str | os.PathLike[str], *, roots: VideoRoots = ()) -> Page:
    """Build the page of a training of one seed: what was trained, on which clips, and how well it does.

    Args:
        folder: Folder of the run.
        roots: Folders that may hold the videos; used to show frames of clips that were predicted wrongly.

    Raises:
        RunError: If the folder lacks a file of a run.
    """
    folder = Path(folder)
    metrics, config = read_training_metrics(folder), read_config(folder)
    recipe = _recipe(folder)
    labels = config.labels
    sections = [
        Section("What was run", tuple(_what(metrics, config, recipe))),
        Section("Numbers", tuple(_numbers(metrics.test, metrics.cautions, metrics.missing))),
        *_test_sections(folder, metrics.test, labels, roots, metrics.train_clips_per_class),
        Section("Training", tuple(_training(folder, metrics))),
        Section("Leakage audit", tuple(_audit(metrics.leaks))),
        Section("Provenance", tuple(_provenance(metrics, config, recipe))),
    ]
    lead = (
        f"{chance_verdict(metrics.test).sentence} This head names {len(labels)} actions from the "
        f"{_frozen(config)}."
    )
    return Page(f"Run {folder.resolve().name}", lead, sections)


def seeds_page(folder: str | os.PathLike[str], *, roots: VideoRoots = ()) -> Page:
    """Build the page of a study over several seeds: their spread, then the page of the seed that predicts.

    Raises:
        RunError: If the folder lacks a file of a run.
    """
    folder = Path(folder)
    metrics = read_metrics(folder)
    if not isinstance(metrics, SeedsMetrics):
        raise RunError(f"{folder} is not the folder of a study over several seeds.")
    page = run_page(folder / metrics.best, roots=roots)
    names = [name for name in METRICS if name in metrics.mean]
    rows = [
        (seed, *[percent(scores.total(name)) for name in names])
        for seed, scores in metrics.seeds.items()
        if scores
    ]
    rows.append(("mean", *[percent(metrics.mean[name]) for name in names]))
    rows.append(("standard deviation", *[f"{100 * metrics.sd[name]:.1f}" for name in names]))
    table = ReportTable(
        ("seed", *[METRICS[name] for name in names]),
        tuple(rows),
        "Test scores of each seed",
        "Seeds differ in the head's first weights and in the order of the clips; the split is the same.",
    )
    text = Text(f"Predictions use {metrics.best}: {metrics.why_best}. The rest of this page describes it.")
    return Page(
        f"Run {folder.resolve().name}: {len(metrics.seeds)} seeds",
        page.lead,
        [Section("Seeds", (table, text)), *page.sections],
        watermark=page.watermark,
    )


def evaluation_page(folder: str | os.PathLike[str], *, roots: VideoRoots = ()) -> Page:
    """Build the page of a trained model's test on further clips, as `actiondiff evaluate -o` wrote it.

    Raises:
        RunError: If the folder lacks a file of an evaluation.
    """
    folder = Path(folder)
    metrics = read_metrics(folder)
    if not isinstance(metrics, EvaluationMetrics):
        raise RunError(f"{folder} is not the folder of an evaluation.")
    labels = [entry.label for entry in metrics.scores.per_class]
    about = [
        Text(f"The model {metrics.run} on the labelled clips of {metrics.table}."),
        Text(
            f"{counted(metrics.num_left_out_as_trained_on, 'clip was', 'clips were')} left out because the "
            "model was trained or selected on them."
        ),
    ]
    sections = [
        Section("What was run", tuple(about)),
        Section("Numbers", tuple(_numbers(metrics, metrics.cautions, metrics.missing))),
        *_test_sections(folder, metrics, labels, roots, None),
        Section("Provenance", (Provenance(metrics.environment, "Versions and machine"),)),
    ]
    return Page(f"Evaluation {folder.resolve().name}", chance_verdict(metrics).sentence, sections)


def _recipe(folder: Path) -> Mapping[str, Any]:
    path = folder / "recipe.yaml"
    return parse_yaml(path.read_text("utf-8")) if path.is_file() else {}


def _primary(side: SideScores) -> Metric:
    return "accuracy" if side.scores.accuracy is not None else "micro_map"


def _what(metrics: TrainingMetrics, config: ModelConfig, recipe: Mapping[str, Any]) -> list[Item]:
    counts, fit = metrics.counts, metrics.fit
    protocol = recipe.get("protocol", {})
    rows = (
        (
            "feature",
            f"{config.sources if config.further else _own_keys(config)}, {config.token_width} channels",
        ),
        ("head", f"{config.head.name}, input {config.head.input}"),
        ("task", f"{metrics.task}, {len(config.labels)} classes"),
        ("split", metrics.split),
        (
            "clips",
            f"{counts['train']} training, {counts['validation']} validation, {counts['test']} test",
        ),
        ("epochs", f"{fit.num_epochs}; epoch {fit.best_epoch} is used: {fit.selection}"),
        ("selection", str(protocol.get("selection", "source-validation"))),
    )
    table = ReportTable(
        ("setting", "in this run"), rows, "The run at a glance", left=frozenset({"in this run"})
    )
    described = [Text(recipe["description"])] if recipe.get("description") else []
    return [table, *described]


def _numbers(test: SideScores | None, cautions: Sequence[str], missing: Sequence[LeftOutClip]) -> list[Item]:
    # What qualifies the numbers comes before them.
    items: list[Item] = [Notes(tuple(cautions), "warning")] if cautions else []
    if missing:
        listed = ", ".join(f"{clip.video} ({clip.reason})" for clip in missing[:_FEW_MISSING])
        more = " ..." if len(missing) > _FEW_MISSING else ""
        items.append(Notes((f"{counted(len(missing), 'clip')} without features: {listed}{more}",), "warning"))
    if not test:
        return items or [Text("No clips were tested.")]
    items.append(metric_table(test, caption="Scores on the test clips"))
    return items + _domains(test)


def _domains(test: SideScores) -> list[Item]:
    """Each domain's scores as a table and, for the primary metric, as bars."""
    if not test.by_domain:
        return []
    domains = test.by_domain
    names = [name for name in METRICS if test.scores.total(name) is not None]
    scores = {
        domain: {METRICS[name]: _score(side, name) for name in names} for domain, side in domains.items()
    }
    note = "; ".join(f"{domain}: {counted(side.num_clips, 'clip')}" for domain, side in domains.items())
    first = _primary(test)
    return [
        score_table(scores, caption="Scores in each domain", corner="domain", note=note),
        bars(
            {METRICS[first]: {domain: _score(side, first) for domain, side in domains.items()}},
            title="Each domain",
            name="domains",
            floor={domain: side.prior_floor.total(first) for domain, side in domains.items()},
            value_title=f"{METRICS[first]} (%)",
            caption="Bars with 95 % intervals over groups. The dashed line is the score of guessing by class "
            "frequencies.",
        ),
    ]


def _score(side: SideScores, name: Metric) -> Score:
    return Score(side.scores.total(name), *side.intervals.get(name, ()))


def _test_sections(
    folder: Path,
    test: SideScores | None,
    labels: Sequence[str],
    roots: VideoRoots,
    counts: Mapping[str, int] | None,
) -> list[Section]:
    """Sections on classes, mistakes and confidence; the last two need each test clip's probabilities."""
    if not test:
        return []
    # Each class: bars, a table and, where clips have one label, which classes are confused.
    per_class, confusion = test.scores.per_class, test.scores.confusion
    precisions = {entry.label: entry.average_precision for entry in per_class}
    support = {entry.label: entry.support for entry in per_class}
    classes: list[Item] = [
        class_bars(
            precisions, support, title="Average precision of each class", average=test.scores.macro_map
        ),
        class_table(per_class, counts, caption="Each class on the test clips"),
    ]
    if confusion is not None:
        matrix = np.array(confusion)
        # Where the figure is too small for numbers, the largest are listed below it.
        listed = confusion_table(matrix, labels) if len(labels) > MOST_NAMES else None
        classes = [confusion_matrix(matrix, labels), *([listed] if listed else []), *classes]
    # The rest needs the predictions, which a copied run may lack.
    path = next((p for n in ("predictions.csv.gz", "predictions.csv") if (p := folder / n).is_file()), None)
    if path is None:
        return [Section("Classes", tuple(classes))]
    predictions = pd.read_csv(
        path,
        keep_default_na=False,  # a class may be called NA
        na_values={"start_seconds": [""], "end_seconds": [""]},
        dtype={"video": str, "label": str, "predicted": str},
    )
    predictions = plain_cells(predictions)
    single_label = confusion is not None
    mistakes = worst_confusions(predictions) if single_label else label_mistakes(predictions, labels)
    return [
        Section("Classes", tuple(classes)),
        Section("Worst mistakes", tuple(_mistakes(mistakes, roots))),
        Section("Confidence", tuple(_confidence(predictions, labels)) if single_label else ()),
    ]


def _mistakes(mistakes: Sequence[Mistake], roots: VideoRoots) -> list[Item]:
    if not mistakes:
        return [Text("All test clips were predicted correctly.")]
    items: list[Item] = []
    absent: list[str] = []
    for mistake in mistakes:
        strips, missing = pictures(mistake.clips, roots)
        absent += missing
        title = f"{mistake.title}: {mistake.count} {'clip' if mistake.count == 1 else 'clips'}"
        items.append(
            Gallery(strips, title)
            if strips
            else Text(f"{title}. " + "; ".join(c.caption for c in mistake.clips))
        )
    if absent:
        where = ", ".join(str(root) for root in roots) or "no folder, because none was given"
        items.append(
            Notes(
                (
                    f"The frames of {len(absent)} clips are missing, for example of {absent[0]} (searched: "
                    f"{where}). Name the folder of the videos with --videos.",
                )
            )
        )
    return items


def _confidence(predictions: pd.DataFrame, labels: Sequence[str]) -> list[Item]:
    confidence = predictions[[f"p({label})" for label in labels]].to_numpy(dtype=np.float64).max(axis=1)
    right = (predictions["label"] == predictions["predicted"]).to_numpy()
    return [reliability_diagram(confidence, right), coverage_curve({"this model": (confidence, right)})]


def _training(folder: Path, metrics: TrainingMetrics) -> list[Item]:
    path = folder / "logs" / "metrics.csv"
    if not path.is_file():
        return [Text("The run has no training log.")]
    return [learning_curve(pd.read_csv(path), best_epoch=metrics.fit.best_epoch)]


def _audit(leaks: Sequence[Leak]) -> list[Item]:
    if not leaks:
        return [Text("No group and no file's content is on two sides of the split.")]
    rows = tuple((leak.name, leak.kind, leak.sides, str(leak.num_clips)) for leak in leaks[:_MANY_LEAKS])
    note = (
        f"The first {_MANY_LEAKS} of {len(leaks)}; all are listed in metrics.json."
        if len(leaks) > _MANY_LEAKS
        else ""
    )
    warning = (
        f"{counted(len(leaks), 'group or file is', 'groups or files are')} on two sides of the split, so "
        "scores may be too high."
    )
    titles = ("name", "kind", "sides", "clips on the second side")
    return [
        Notes((warning,), "warning"),
        ReportTable(titles, rows, "What is on two sides of the split", note, left=frozenset(titles[1:3])),
    ]


def _own_keys(config: ModelConfig) -> str:
    return f"{', '.join(config.keys)} of {config.backbone['name']}"


def _frozen(config: ModelConfig) -> str:
    """The features and their frozen backbones, in words."""
    if config.further:
        return f"features {config.sources}, which are frozen backbones"
    several = "s" if len(config.keys) > 1 else ""
    return f"feature{several} {', '.join(config.keys)} of the frozen backbone {config.backbone['name']}"


def _provenance(metrics: TrainingMetrics, config: ModelConfig, recipe: Mapping[str, Any]) -> list[Item]:
    prints = config.model_dump(include={"feature_fingerprint", "clips_fingerprint"}, exclude_none=True)
    return [
        Provenance(recipe, "Recipe"),
        Provenance({**config.features, **prints}, "Features"),
        *(
            Provenance(
                {**other.features, "feature_fingerprint": other.feature_fingerprint}, f"Features: {name}"
            )
            for name, other in config.further.items()
        ),
        Provenance(metrics.environment, "Versions and machine"),
    ]
