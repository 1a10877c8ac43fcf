"""Page of a reproduction: our scores beside published ones, claims, controls, costs and figures."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from actiondiff.evaluation.judge import METRICS
from actiondiff.evaluation.matrices import correlate, mantel
from actiondiff.experiments.grid import Published
from actiondiff.paper.figures import (
    correlation_matrix,
    cost_plot,
    distribution,
    frequency_bars,
    gain_matrix,
    pair_scatter,
    transfer_matrix,
)
from actiondiff.paper.results import ClaimResult, ControlResult, FrameRow, Interval, Reproduction, StudyResult
from actiondiff.report.card import percent
from actiondiff.report.html import Page, Section
from actiondiff.report.items import Item, Notes, Provenance, Text
from actiondiff.report.sweep_report import heatmaps, test_table
from actiondiff.report.tables import ReportTable, Score

__all__ = ["relation_table", "reproduction_page", "transfer_items"]

_RULES = {
    "source-validation": "ours",
    "leave-one-source-domain-out": "ours, by left-out domains",
    "released": "ours, chosen on test",
    "oracle": "ours, best on test",
}
_SIMILARITY, _DISTANCE = "correlation of action frequencies", "taxonomic distance"


def reproduction_page(results: Reproduction) -> Page:
    """Page of a finished reproduction.

    Args:
        results: The results, from `actiondiff.paper.results.read_reproduction`.
    """
    warnings = [results.stand_in] if results.stand_in else []
    warnings += [f"Left out: {name}: {reason}" for name, reason in results.left_out.items()]
    notes = [Notes(tuple(warnings), "warning")] if warnings else []
    studies = results.studies
    sections = [
        Section("What was run", (Text(results.description), *notes)),
        Section("Ours beside theirs", (_beside(studies), *_others(results.others))),
        Section("Controls", (_controls(results.controls),) if results.controls else ()),
        Section("Claims", (_claims(results.claims),) if results.claims else ()),
        Section("Layers and timesteps", tuple(_panels(results))),
        Section("From type to type", tuple(_matrices(results.matrices))),
        Section("What features cost", (_costs(studies), *_cost_plots(studies))),
        Section("Clips", tuple(_distributions(results.distributions))),
        Section(
            "Provenance",
            (
                _folders(studies),
                Provenance(results.seconds, "Seconds that each part took"),
                Provenance(results.environment, "Versions and machine"),
            ),
        ),
    ]
    mark = "STAND-IN, " if results.watermark else ""
    lead = f"{mark}{len(studies)} studies of {results.target} of arXiv 2509.08908v3."
    return Page(f"Reproduction of {results.target}", lead, sections, watermark=results.watermark)


def _beside(studies: Sequence[StudyResult]) -> ReportTable:
    """One row per study, one column per rule by which its epoch was selected."""
    rules = list(dict.fromkeys(study.rule for study in studies))
    by_study: dict[tuple[str, str], dict[str, StudyResult]] = {}
    for study in studies:
        by_study.setdefault((study.label, study.backbone), {})[study.rule] = study
    cells = []
    for (label, _), by_rule in by_study.items():
        first = next(iter(by_rule.values()))
        scores = [
            str(Score(by_rule[rule].score, by_rule[rule].low, by_rule[rule].high)) if rule in by_rule else "–"
            for rule in rules
        ]
        about = f"{first.features}; {METRICS[first.metric]} of {first.num_test} clips"
        note = first.why_not and f"not comparable: {first.why_not}"
        cells.append((label, about, *scores, _printed(first.published), percent(first.floor), note))
    titles = ("study", "features and metric", *[_RULES[rule] for rule in rules], "published",
              "prior floor", "note")  # fmt: skip
    note = (
        f"95 % intervals over groups and seeds ({studies[0].num_seeds if studies else 0} seeds per study). "
        "The prior floor is the score of guessing by the training clips' class frequencies. The epoch is "
        "chosen on held-out clips of the source; where it is chosen on the test clips, as in the released "
        "code, the score is not that of an untouched test."
    )
    left = frozenset({"features and metric", "note"})
    return ReportTable(titles, tuple(cells), "Every study of this table or figure", note, left=left)


def _others(others: Sequence[Published]) -> list[ReportTable]:
    """Numbers of methods that are not run here; nothing if there is none."""
    cells = tuple(
        (
            entry.row,
            entry.column,
            _printed(entry),
            METRICS[entry.metric] if entry.metric else "not known",
            entry.note if entry.comparable else f"not comparable: {entry.note}",
        )
        for entry in others
        if entry.score is not None
    )
    if not cells:
        return []
    titles = ("method", "column", "published", "metric", "note")
    left = frozenset({"column", "metric", "note"})
    return [ReportTable(titles, cells, "Published by others", "These methods are not run here.", left=left)]


def _controls(controls: Sequence[ControlResult]) -> ReportTable:
    cells = tuple(
        (
            control.protocol,
            control.study,
            METRICS[control.metric],
            _spanned(control.score),
            _spanned(control.prior),
            "yes" if control.above else "NO",
            _spanned(control.permuted),
            "yes" if control.permuted_at_prior else "NO",
        )
        for control in controls
    )
    titles = ("protocol", "study", "metric", "score", "prior", "above the prior's interval",
              "labels permuted", "then at the prior")  # fmt: skip
    note = (
        "The same study was trained three more times with the labels of the training clips exchanged among "
        "them. It counts as being at the prior unless the whole 95 % interval of its excess over the prior, "
        "over clips and permutations, is above 0."
    )
    return ReportTable(
        titles, cells, "Does it learn, and only from labels?", note, left=frozenset({"study", "metric"})
    )


def _claims(claims: Sequence[ClaimResult]) -> ReportTable:
    cells = tuple(
        (
            claim.id,
            claim.outcome,
            "–" if claim.margin is None else f"{claim.margin:+.2f}",
            str(claim.num_test),
            claim.test,
            claim.sentence,
            claim.note,
        )
        for claim in claims
    )
    titles = ("claim", "verdict", "published margin", "N", "test", "result", "note")
    note = "holds: the whole 95 % interval of the difference is above 0. contradicted: it is below 0."
    return ReportTable(
        titles, cells, "The paper's claims", note, left=frozenset({"verdict", "test", "result", "note"})
    )


def _panels(results: Reproduction) -> list[Item]:
    """Figure 5: heatmaps by layer and timestep, the cells that gain most, and the tests."""
    rows = [
        {**study.model_dump(), **study.varied, "test": study.score, "test_floor": study.floor}
        for study in results.studies
    ]
    items: list[Item] = list(heatmaps(rows)) if rows else []
    for panel, cells in results.cells.items():
        frame = pd.DataFrame(cells)
        best = frame.sort_values("p", kind="stable").head(5)
        lines = tuple(
            (str(cell["cell"]), f"{100 * cell['gain']:+.1f}", f"{cell['p']:.3f}")
            for cell in best.to_dict("records")
        )
        caption = f"Panel {panel}: cells that gain most over {best['reference'].iloc[0]}"
        note = f"p is that of the largest of {len(cells)} cells when the signs of whole groups are flipped."
        items.append(ReportTable(("cell", "mean gain over clips", "p"), lines, caption, note))
    return [*items, test_table(results.tests)] if results.tests else items


def _matrices(matrices: Mapping[str, Sequence[FrameRow]]) -> list[Item]:
    """Figure 4 and the figures that explain it; nothing unless every type was trained and tested."""
    tables = {name: pd.DataFrame(rows).set_index("source") for name, rows in matrices.items()}
    if not tables or tables["accuracy"].isna().any(axis=None):
        return []
    tables = {name: frame.astype(float) for name, frame in tables.items()}
    held_out = {str(name): float(value) for name, value in tables["held out"]["held out"].items()}

    def complete(name: str) -> pd.DataFrame | None:
        return None if tables[name].isna().any(axis=None) else tables[name]

    items = transfer_items(
        tables["accuracy"],
        prior=tables["prior"],
        similarity=tables["similarity"],
        balanced=complete("balanced accuracy"),
        matched=complete("matched in size"),
        distance=tables["distance"],
        held_out=held_out if all(value == value for value in held_out.values()) else None,
    )
    return [*items, frequency_bars(tables["frequencies"], title="Actions of each type (figure S14)")]


def _costs(studies: Sequence[StudyResult]) -> ReportTable:
    unique = {(study.backbone, study.feature): study for study in studies}
    cells = tuple(
        (
            f"{study.features} {study.feature}",
            "–" if study.parameters is None else f"{study.parameters / 1e6:,.0f} M",
            "–" if study.teraflop is None else f"{study.teraflop:.3g}",
            str(study.width),
            study.pretraining,
        )
        for study in unique.values()
    )
    titles = ("features", "parameters", "TFLOP per second of video", "token width", "pre-training")
    note = (
        "For video at 25 frames per second, up to the layer that is read; a multiplication with its addition "
        "counts as two operations."
    )
    return ReportTable(titles, cells, "What features cost", note, left=frozenset({"pre-training"}))


def _cost_plots(studies: Sequence[StudyResult]) -> list[Item]:
    """One plot per protocol with at least two backbones that have a score and a cost."""
    items: list[Item] = []
    for protocol in dict.fromkeys(study.protocol for study in studies):
        own = [s for s in studies if s.protocol == protocol and s.teraflop and s.score is not None]
        best = {study.backbone: study for study in reversed(own)}  # the first study of each backbone
        if len(best) < 2:
            continue
        frame = pd.DataFrame(
            [
                {"name": name, "teraflop": study.teraflop, "score": study.score, "low": study.low,
                 "high": study.high}
                for name, study in best.items()
            ]
        )  # fmt: skip
        first = next(iter(best.values()))
        plot = cost_plot(
            frame, title=f"Score against cost: {protocol}", value_title=METRICS[first.metric],
            name=f"cost-{protocol}", floor=first.floor,
        )  # fmt: skip
        items.append(plot)
    return items


def _distributions(distributions: Mapping[str, Sequence[FrameRow]]) -> list[Item]:
    """One bar chart per protocol, as figures S6 to S10."""
    return [
        distribution(
            pd.DataFrame(rows).set_index("class"),
            title=f"Clips per class: {protocol}",
            name=f"classes-{protocol}",
        )
        for protocol, rows in distributions.items()
    ]


def _folders(studies: Sequence[StudyResult]) -> ReportTable:
    cells = tuple((f"{study.label} ({study.rule})", study.folder) for study in studies)
    return ReportTable(("study", "run"), cells, "Folder of each run", left=frozenset({"run"}))


def _printed(published: Published | None) -> str:
    return "–" if not published or published.score is None else f"{published.score:.2f} %"


def _spanned(interval: Interval) -> str:
    return str(Score(interval.value, interval.low, interval.high))


def transfer_items(
    accuracy: pd.DataFrame,
    *,
    prior: pd.DataFrame,
    similarity: pd.DataFrame,
    balanced: pd.DataFrame | None = None,
    matched: pd.DataFrame | None = None,
    distance: pd.DataFrame | None = None,
    held_out: Mapping[str, float] | None = None,
    note: str = "",
) -> list[Item]:
    """Figures 4, S12, S13, S15 and S16, and the correlations that put S13 in its place.

    All tables have the domains, in one order, as index (trained on) and columns (tested on).

    Args:
        accuracy: Accuracy in [0, 1].
        prior: Accuracy of guessing the source's most frequent class.
        similarity: Correlation of the domains' class frequencies.
        balanced: Balanced accuracy.
        matched: Accuracy with training sets of one size.
        distance: Taxonomic distance.
        held_out: Domain -> accuracy on held-out clips of its own.
        note: Caption of figure 4: what was trained, on what.

    Raises:
        UsageError: If the tables are over different domains, or lack a number off the diagonal.
    """
    measures = {"accuracy": accuracy, "prior's accuracy": prior, "gain over the prior": accuracy - prior}
    measures |= {"balanced accuracy": balanced} if balanced is not None else {}
    measures |= {"accuracy, sizes matched": matched} if matched is not None else {}
    likenesses = {_SIMILARITY: similarity, **({_DISTANCE: distance} if distance is not None else {})}
    items: list[Item] = [
        transfer_matrix(
            accuracy, title="Accuracy from each to each (figure 4)", held_out=held_out, caption=note
        ),
        transfer_matrix(
            prior, title="Guessing the source's most frequent action (figure S15)", name="prior",
            caption="This guess uses no video.",
        ),
        gain_matrix(accuracy, prior, title="Gain over the guess (figure S16)"),
        correlation_matrix(
            similarity, title="How alike action frequencies are (figure S12)",
            caption="Pearson correlation of the shares of the actions in two domains' clips.",
        ),
        relation_table(likenesses, measures),
    ]  # fmt: skip
    # Figure S13, and the same with what the model adds to the guess.
    drawn = [("accuracy", _SIMILARITY), ("gain over the prior", _SIMILARITY)]
    drawn += [("gain over the prior", _DISTANCE)] if distance is not None else []
    for measure, likeness in drawn:
        of_paper = " (figure S13)" if measure == "accuracy" else ""
        title = f"{measure.capitalize()} against {likeness}{of_paper}"
        name = f"{measure} {likeness}".replace(" ", "-")
        items.append(
            pair_scatter(
                likenesses[likeness], measures[measure], title=title, first_title=likeness,
                second_title=measure, name=name,
            )
        )  # fmt: skip
    return items


def relation_table(
    likenesses: Mapping[str, pd.DataFrame], measures: Mapping[str, pd.DataFrame]
) -> ReportTable:
    """Correlation of each measure with each likeness, over ordered pairs of different domains.

    Args:
        likenesses: Name -> how alike two domains are.
        measures: Name -> result of training on one domain and testing on the other.

    Raises:
        UsageError: If a matrix lacks a number off its diagonal, or they differ in size.
    """
    rows = []
    for likeness, first in likenesses.items():
        for measure, second in measures.items():
            a, b = first.to_numpy(dtype=np.float64), second.to_numpy(dtype=np.float64)
            relation = correlate(a, b)
            p = mantel(a, b, method="pearson").p, mantel(a, b, method="spearman").p
            r, rho = f"{relation.pearson:.2f}", f"{relation.spearman:.2f}"
            rows.append((f"{measure} against {likeness}", r, f"{p[0]:.2g}", rho, f"{p[1]:.2g}"))
    return ReportTable(
        ("relation", "Pearson r", "Mantel p", "Spearman rho", "Mantel p of rho"),
        tuple(rows),
        "What correlates with accuracy on other domains",
        "If the accuracy of the prior, which uses no video, correlates with likeness as closely as the "
        "model's does, then the likeness of frequencies explains the relation. p is from permutations of "
        "whole domains.",
    )
