"""The page of a training and its test, from the files in its folder."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from actiondiff.errors import RunError
from actiondiff.evaluation.judge import METRICS
from actiondiff.report.card import percent
from actiondiff.report.clips import Mistake, label_mistakes, pictures, worst_confusions
from actiondiff.report.figures import bars
from actiondiff.report.html import Gallery, Item, Notes, Page, Provenance, Section, Text
from actiondiff.report.run_figures import class_bars, confusion_matrix, learning_curve
from actiondiff.report.sureness_figures import coverage_curve, reliability_diagram
from actiondiff.report.tables import Grid, Score, class_table, metric_table, score_table

__all__ = ["evaluation_page", "run_page", "seeds_page"]

_SHOWN = 25  # leaks and missing clips that are listed; all are in metrics.json
Roots = Sequence[str | os.PathLike[str]]


def run_page(folder: str | os.PathLike[str], *, roots: Roots = ()) -> Page:
    """What was trained, on what, and what it is worth.

    Args:
        folder: Of a run.
        roots: Folders in which the videos may be, for the frames of clips that were named wrongly.

    Raises:
        RunError: If the folder lacks a file of a run.
    """
    folder = Path(folder)
    metrics, config = (_json(folder / name) for name in ("metrics.json", "config.json"))
    recipe = _recipe(folder)
    sections = [
        Section("What was run", tuple(_what(metrics, config, recipe))),
        Section("Numbers", tuple(_numbers(metrics))),
        *_test_sections(folder, metrics, config["labels"], roots, metrics.get("train_clips_per_class")),
        Section("Training", tuple(_training(folder, metrics))),
        Section("Leakage audit", tuple(_audit(metrics))),
        Section("Provenance", tuple(_provenance(metrics, config, recipe))),
    ]
    lead = (
        f"A head that names {len(config['labels'])} actions from the feature {metrics['feature']} of the "
        f"frozen backbone {config['backbone']['name']}. {_headline(metrics)}"
    )
    return Page(f"Run {folder.resolve().name}", lead, sections, watermark=metrics.get("watermark", ""))


def seeds_page(folder: str | os.PathLike[str], *, roots: Roots = ()) -> Page:
    """The same training with several seeds: their spread, then the page of the one that is taken.

    Raises:
        RunError: If the folder lacks a file of a run.
    """
    folder = Path(folder)
    metrics = _json(folder / "metrics.json")
    page = run_page(folder / metrics["best"], roots=roots)
    known = {name: scores for name, scores in metrics["seeds"].items() if scores}
    names = [name for name in METRICS if name in metrics["mean"]]
    rows = [(seed, *[percent(scores[name]) for name in names]) for seed, scores in known.items()]
    rows.append(("mean", *[percent(metrics["mean"][name]) for name in names]))
    rows.append(("standard deviation", *[f"{100 * metrics['sd'][name]:.1f}" for name in names]))
    grid = Grid(
        ("seed", *[METRICS[name] for name in names]), tuple(rows), "Test scores of each seed",
        "Seeds differ in the head's first weights and the order of clips; each side's clips are the same.",
    )  # fmt: skip
    text = Text(f"{metrics['best']} is the one that is taken: {metrics['why_best']}. What follows is of it.")
    return Page(
        f"Run {folder.resolve().name}: {len(metrics['seeds'])} seeds",
        page.lead,
        [Section("Seeds", (grid, text)), *page.sections],
        watermark=page.watermark,
    )


def evaluation_page(folder: str | os.PathLike[str], *, roots: Roots = ()) -> Page:
    """A trained model's test on further clips, as `actiondiff evaluate -o` wrote it.

    Raises:
        RunError: If the folder lacks a file of an evaluation.
    """
    folder = Path(folder)
    metrics = _json(folder / "metrics.json")
    labels = [entry["label"] for entry in metrics["scores"]["per_class"]]
    about = [
        Text(f"The model {metrics['run']} on the labelled clips of {metrics['table']}."),
        Text(
            f"{metrics['num_left_out_as_trained_on']} clips were left out: it was trained or chosen on them."
        ),
    ]
    sections = [
        Section("What was run", tuple(about)),
        Section("Numbers", tuple(_numbers({**metrics, "test": metrics}))),
        *_test_sections(folder, {"test": metrics}, labels, roots, None),
        Section("Provenance", (Provenance(metrics["environment"], "Versions and machine"),)),
    ]
    return Page(f"Evaluation {folder.resolve().name}", _headline({"test": metrics}), sections)


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise RunError(f"{path} is missing; a report needs a finished run, evaluation or sweep.") from None
    except ValueError as error:
        raise RunError(f"{path} cannot be read ({error}); write the run anew.") from None


def _recipe(folder: Path) -> Mapping[str, Any]:
    path = folder / "recipe.yaml"
    return yaml.safe_load(path.read_text("utf-8")) if path.is_file() else {}


def _headline(metrics: Mapping[str, Any]) -> str:
    side = metrics["test"]
    if not side:
        return "No clips were tested: nothing is known of how good it is."
    name = _primary(side)
    low_high = side["intervals"].get(name)
    score = Score(side["scores"][name], *(low_high or ()))
    floor = percent(side["prior_floor"][name])
    return f"On {side['num_clips']} test clips its {METRICS[name]} is {score}; guessing scores {floor}."


def _primary(side: Mapping[str, Any]) -> str:
    return "accuracy" if side["scores"]["accuracy"] is not None else "micro_map"


def _what(metrics: Mapping[str, Any], config: Mapping[str, Any], recipe: Mapping[str, Any]) -> list[Item]:
    counts, fit = metrics["counts"], metrics["fit"]
    protocol = recipe.get("protocol", {})
    rows = (
        (
            "feature",
            f"{', '.join(config['keys'])} of {config['backbone']['name']}, {config['token_width']} wide",
        ),
        ("head", f"{config['head']['name']}, tokens {config['head'].get('input', 'plain')}"),
        ("task", f"{metrics['task']}, {len(config['labels'])} classes"),
        ("split", metrics["split"]),
        (
            "clips",
            f"{counts['train']} to train, {counts['validation']} to validate, {counts['test']} to test",
        ),
        ("epochs", f"{fit['num_epochs']}, of which {fit['best_epoch']} is kept: {fit['selection']}"),
        ("selection", str(protocol.get("selection", "source-validation"))),
    )
    grid = Grid(("what", "in this run"), rows, "The run at a glance", left=frozenset({"in this run"}))
    described = [Text(recipe["description"])] if recipe.get("description") else []
    return [grid, *described]


def _numbers(metrics: Mapping[str, Any]) -> list[Item]:
    items: list[Item] = [Notes(tuple(metrics["cautions"]), "warning")] if metrics["cautions"] else []
    missing = metrics.get("missing", [])
    if missing:
        shown = ", ".join(f"{item['video']} ({item['reason']})" for item in missing[:5])
        items.append(
            Notes((f"{len(missing)} clips had no features and were left out: {shown} ...",), "warning")
        )
    side = metrics["test"]
    if not side:
        return items or [Text("No clips were tested.")]
    items.append(metric_table(side, caption="Scores on the test clips"))
    domains = side.get("by_domain", {})
    if domains:
        names = [name for name in METRICS if side["scores"].get(name) is not None]
        scores = {d: {METRICS[n]: _score(s, n) for n in names} for d, s in domains.items()}
        note = "; ".join(f"{d}: {s['num_clips']} clips" for d, s in domains.items())
        items.append(score_table(scores, caption="Scores in each domain", corner="domain", note=note))
        first = _primary(side)
        floor = {d: s["prior_floor"][first] for d, s in domains.items()}
        items.append(
            bars(
                {METRICS[first]: {d: _score(s, first) for d, s in domains.items()}},
                title="Each domain", name="domains", floor=floor, value_title=f"{METRICS[first]} (%)",
                caption="95 % intervals over groups. Dashed: what guessing by class frequencies scores.",
            )
        )  # fmt: skip
    return items


def _score(side: Mapping[str, Any], name: str) -> Score:
    return Score(side["scores"][name], *side["intervals"].get(name, ()))


def _test_sections(
    folder: Path,
    metrics: Mapping[str, Any],
    labels: Sequence[str],
    roots: Roots,
    counts: Mapping[str, int] | None,
) -> list[Section]:
    """Classes, confusions and confidence: what needs each test clip's probabilities."""
    side = metrics["test"]
    if not side:
        return []
    per_class = side["scores"]["per_class"]
    precisions = {entry["label"]: entry["average_precision"] for entry in per_class}
    support = {entry["label"]: entry["support"] for entry in per_class}
    classes: list[Item] = [
        class_bars(
            precisions, support, title="Average precision of each class", average=side["scores"]["macro_map"]
        ),
        class_table(per_class, counts, caption="Each class on the test clips"),
    ]
    confusion = side["scores"]["confusion"]
    if confusion is not None:
        classes.insert(0, confusion_matrix(np.array(confusion), labels))
    path = next((p for n in ("predictions.csv.gz", "predictions.csv") if (p := folder / n).is_file()), None)
    if path is None:
        return [Section("Classes", tuple(classes))]
    predictions = pd.read_csv(
        path,
        keep_default_na=False,  # a class may be called NA
        na_values={"start_seconds": [""], "end_seconds": [""]},
        dtype={"video": str, "label": str, "predicted": str},
    )
    single = confusion is not None
    mistakes = worst_confusions(predictions) if single else label_mistakes(predictions, labels)
    return [
        Section("Classes", tuple(classes)),
        Section("Worst mistakes", tuple(_mistakes(mistakes, roots))),
        Section("How sure it is", tuple(_sureness(predictions, labels)) if single else ()),
    ]


def _mistakes(mistakes: Sequence[Mistake], roots: Roots) -> list[Item]:
    if not mistakes:
        return [Text("No test clip was named wrongly.")]
    items: list[Item] = []
    absent: list[str] = []
    for mistake in mistakes:
        shown, lost = pictures(mistake.clips, roots)
        absent += lost
        said = f"{mistake.title}: {mistake.count} {'clip' if mistake.count == 1 else 'clips'}"
        items.append(
            Gallery(shown, said) if shown else Text(f"{said}. " + "; ".join(c.caption for c in mistake.clips))
        )
    if absent:
        where = ", ".join(str(root) for root in roots) or "nowhere, as no folder was given"
        items.append(
            Notes((f"Frames are missing of {len(absent)} clips, such as {absent[0]}: looked for in {where}. "
                   "Name the folder of the videos with --videos.",))
        )  # fmt: skip
    return items


def _sureness(predictions: pd.DataFrame, labels: Sequence[str]) -> list[Item]:
    confidence = predictions[[f"p({label})" for label in labels]].to_numpy(dtype=np.float64).max(axis=1)
    right = (predictions["label"] == predictions["predicted"]).to_numpy()
    return [reliability_diagram(confidence, right), coverage_curve({"this model": (confidence, right)})]


def _training(folder: Path, metrics: Mapping[str, Any]) -> list[Item]:
    path = folder / "logs" / "metrics.csv"
    if not path.is_file():
        return [Text("There is no log of the training with the run.")]
    return [learning_curve(pd.read_csv(path), best_epoch=metrics["fit"]["best_epoch"])]


def _audit(metrics: Mapping[str, Any]) -> list[Item]:
    leaks = metrics["leaks"]
    if not leaks:
        return [Text("No group and no file's content is on two sides of the split.")]
    rows = tuple((x["name"], x["kind"], x["sides"], str(x["num_clips"])) for x in leaks[:_SHOWN])
    note = f"The first {_SHOWN} of {len(leaks)}; all are in metrics.json." if len(leaks) > _SHOWN else ""
    warning = f"{len(leaks)} groups or files are on two sides of the split: scores may be too high."
    titles = ("name", "kind", "sides", "clips on the second side")
    return [
        Notes((warning,), "warning"),
        Grid(titles, rows, "What is on two sides", note, left=frozenset(titles[1:3])),
    ]


def _provenance(
    metrics: Mapping[str, Any], config: Mapping[str, Any], recipe: Mapping[str, Any]
) -> list[Item]:
    prints = {name: config[name] for name in ("feature_fingerprint", "clips_fingerprint") if name in config}
    return [
        Provenance(recipe, "Recipe"),
        Provenance({**config["features"], **prints}, "Features"),
        Provenance(metrics["environment"], "Versions and machine"),
    ]
