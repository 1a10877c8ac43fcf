"""The page of a reproduction: ours beside theirs, claims with verdicts, controls, costs, figures."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from actiondiff.evaluation.judge import METRICS
from actiondiff.paper.figures import cost_plot, distribution, frequency_bars
from actiondiff.paper.transfer_report import transfer_items
from actiondiff.report.card import percent
from actiondiff.report.html import Item, Notes, Page, Provenance, Section, Text
from actiondiff.report.sweep_report import heatmaps, test_table
from actiondiff.report.tables import Grid, Score

__all__ = ["reproduction_page"]

Row = Mapping[str, Any]
_RULES = {
    "source-validation": "ours",
    "leave-one-source-domain-out": "ours, by left-out domains",
    "released": "ours, chosen on test",
    "oracle": "ours, best on test",
}


def reproduction_page(folder: Path) -> Page:
    """What was run of a table or figure, and what it says.

    Args:
        folder: Of a finished reproduction.
    """
    found = json.loads((folder / "reproduction.json").read_text("utf-8"))
    rows: list[Row] = found["rows"]
    warnings = [found["stand_in"]] if found["stand_in"] else []
    warnings += [f"Left out: {name}: {reason}" for name, reason in found["left_out"].items()]
    sections = [
        Section(
            "What was run",
            (Text(found["description"]), *([Notes(tuple(warnings), "warning")] if warnings else [])),
        ),
        Section("Ours beside theirs", (_beside(rows), *_others(found["others"]))),
        Section("Controls", (_controls(found["controls"]),) if found["controls"] else ()),
        Section("Claims", (_claims(found["claims"]),) if found["claims"] else ()),
        Section("Layers and timesteps", tuple(_panels(found))),
        Section("From type to type", tuple(_matrices(found))),
        Section("What features cost", (_costs(rows), *_cost_plots(rows))),
        Section("Clips", tuple(_distributions(found["distributions"]))),
        Section("Provenance", (_folders(rows), *_provenance(found))),
    ]
    mark = "STAND-IN, " if found["watermark"] else ""
    lead = f"{mark}{len(rows)} studies of {found['target']} of arXiv 2509.08908v3."
    return Page(f"Reproduction of {found['target']}", lead, sections, watermark=found["watermark"])


def _beside(rows: Sequence[Row]) -> Grid:
    """A line a study, a column a rule by which its epoch was chosen."""
    rules = list(dict.fromkeys(row["rule"] for row in rows))
    lines: dict[tuple[str, str], dict[str, Row]] = {}
    for row in rows:
        lines.setdefault((row["label"], row["backbone"]), {})[row["rule"]] = row
    cells = []
    for (label, _), by_rule in lines.items():
        row = next(iter(by_rule.values()))
        scores = [
            str(Score(found["score"], found["low"], found["high"])) if (found := by_rule.get(rule)) else "–"
            for rule in rules
        ]
        about = f"{_features(row)}; {METRICS[row['metric']]} of {row['num_test']} clips"
        note = row["why_not"] and f"not comparable: {row['why_not']}"
        cells.append((label, about, *scores, _printed(row["published"]), percent(row["floor"]), note))
    titles = ("study", "features and metric", *[_RULES[rule] for rule in rules], "published",
              "prior floor", "note")  # fmt: skip
    note = (
        f"95 % intervals over groups and seeds ({rows[0]['num_seeds'] if rows else 0} seeds a study). The "
        "prior floor is what guessing by the training clips' class frequencies scores. The epoch is "
        "chosen on held-out clips of the source; chosen on test, as released, it is no test."
    )
    left = frozenset({"features and metric", "note"})
    return Grid(titles, tuple(cells), "Every study of this table or figure", note, left=left)


def _others(others: Sequence[Row]) -> list[Grid]:
    known = [entry for entry in others if entry["score"] is not None]
    if not known:
        return []
    cells = tuple(
        (
            entry["row"],
            entry["column"],
            _printed(entry),
            METRICS[entry["metric"]] if entry["metric"] else "not known",
            entry["note"] if entry["comparable"] else f"not comparable: {entry['note']}",
        )
        for entry in known
    )
    titles = ("method", "column", "published", "metric", "note")
    left = frozenset({"column", "metric", "note"})
    return [Grid(titles, cells, "Published by others", "Not run here.", left=left)]


def _controls(controls: Sequence[Row]) -> Grid:
    cells = tuple(
        (
            entry["protocol"],
            entry["study"],
            METRICS[entry["metric"]],
            _spanned(entry["score"]),
            _spanned(entry["prior"]),
            "yes" if entry["above"] else "NO",
            _spanned(entry["permuted"]),
            "yes" if entry["permuted_at_prior"] else "NO",
        )
        for entry in controls
    )
    titles = ("protocol", "study", "metric", "score", "prior", "above the prior's interval",
              "labels permuted", "then at the prior")  # fmt: skip
    note = (
        "The same study was trained three times more with the training clips' labels exchanged among them; "
        "it is at the prior unless the whole 95 % interval of its excess, over clips and permutations, is "
        "above 0."
    )
    return Grid(
        titles, cells, "Does it learn, and only from labels?", note, left=frozenset({"study", "metric"})
    )


def _claims(claims: Sequence[Row]) -> Grid:
    cells = tuple(
        (
            claim["id"],
            claim["outcome"],
            "–" if claim["margin"] is None else f"{claim['margin']:+.2f}",
            str(claim["num_test"]),
            claim["test"],
            claim["said"],
            claim["note"],
        )
        for claim in claims
    )
    titles = ("claim", "verdict", "published margin", "N", "test", "found", "note")
    note = "holds: the whole 95 % interval of the difference is above 0. contradicted: below."
    return Grid(
        titles, cells, "The paper's claims", note, left=frozenset({"verdict", "test", "found", "note"})
    )


def _panels(found: Mapping[str, Any]) -> list[Item]:
    points = [
        {**row, **row["varied"], "test": row["score"], "test_floor": row["floor"]} for row in found["rows"]
    ]
    items: list[Item] = list(heatmaps(points)) if points else []
    for panel, cells in found["cells"].items():
        best = sorted(cells, key=lambda cell: cell["p"])[:5]
        rows = tuple((cell["cell"], f"{100 * cell['gain']:+.1f}", f"{cell['p']:.3f}") for cell in best)
        caption = f"Panel {panel}: cells that gain most over {best[0]['reference']}"
        note = f"p by the largest of {len(cells)} cells when signs of whole groups are flipped."
        items.append(Grid(("cell", "mean gain over clips", "p"), rows, caption, note))
    return [*items, test_table(found["tests"])] if found["tests"] else items


def _matrices(found: Mapping[str, Any]) -> list[Item]:
    tables = {name: pd.DataFrame(rows).set_index("source") for name, rows in found["matrices"].items()}
    if not tables or tables["accuracy"].isna().any(axis=None):
        return []
    tables = {name: frame.astype(float) for name, frame in tables.items()}
    held = {str(name): float(value) for name, value in tables["held out"]["held out"].items()}

    def whole(name: str) -> pd.DataFrame | None:
        return None if tables[name].isna().any(axis=None) else tables[name]

    items = transfer_items(
        tables["accuracy"], prior=tables["prior"], similarity=tables["similarity"],
        balanced=whole("balanced accuracy"), matched=whole("matched in size"), distance=tables["distance"],
        held_out=held if all(value == value for value in held.values()) else None,
    )  # fmt: skip
    shares = tables["frequencies"]
    return [*items, frequency_bars(shares, title="Actions of each type (figure S14)")]


def _costs(rows: Sequence[Row]) -> Grid:
    seen = {(row["backbone"], row["feature"]): row for row in rows}
    cells = tuple(
        (
            f"{_features(row)} {row['feature']}",
            "–" if row["parameters"] is None else f"{row['parameters'] / 1e6:,.0f} M",
            "–" if row["teraflop"] is None else f"{row['teraflop']:.3g}",
            str(row["width"]),
            row["pretraining"],
        )
        for row in seen.values()
    )
    titles = ("features", "parameters", "TFLOP per second of video", "token width", "pre-training")
    note = "Of video at 25 frames per second; two operations a multiplication, up to the layer that is read."
    return Grid(titles, cells, "What features cost", note, left=frozenset({"pre-training"}))


def _cost_plots(rows: Sequence[Row]) -> list[Item]:
    """One a protocol, where two backbones at least have a score and a cost."""
    items: list[Item] = []
    for protocol in dict.fromkeys(row["protocol"] for row in rows):
        mine = [r for r in rows if r["protocol"] == protocol and r["teraflop"] and r["score"] is not None]
        best = {row["backbone"]: row for row in reversed(mine)}  # the first of each
        if len(best) < 2:
            continue
        frame = pd.DataFrame(
            [
                {"name": name, "teraflop": row["teraflop"], "score": row["score"], "low": row["low"],
                 "high": row["high"]}
                for name, row in best.items()
            ]
        )  # fmt: skip
        first = next(iter(best.values()))
        items.append(
            cost_plot(
                frame, title=f"Score against cost: {protocol}", value_title=METRICS[first["metric"]],
                name=f"cost-{protocol}", floor=first["floor"],
            )
        )  # fmt: skip
    return items


def _distributions(found: Mapping[str, Sequence[Row]]) -> list[Item]:
    items: list[Item] = []
    for protocol, rows in found.items():
        frame = pd.DataFrame(rows).set_index("class")
        items.append(
            distribution(frame, title=f"Clips a class: {protocol}", name=f"classes-{protocol}")
        )  # as figures S6 to S10
    return items


def _folders(rows: Sequence[Row]) -> Grid:
    cells = tuple((f"{row['label']} ({row['rule']})", row["folder"]) for row in rows)
    return Grid(("study", "run"), cells, "Where each run is", left=frozenset({"run"}))


def _provenance(found: Mapping[str, Any]) -> tuple[Item, ...]:
    return (
        Provenance(found["seconds"], "Seconds that each part took"),
        Provenance(found["environment"], "Versions and machine"),
    )


def _features(row: Row) -> str:
    return f"{row['backbone']} for {row['in_place_of']}" if row["in_place_of"] else str(row["backbone"])


def _printed(published: Row | None) -> str:
    return "–" if not published or published["score"] is None else f"{published['score']:.2f} %"


def _spanned(contrast: Row) -> str:
    return str(Score(contrast["value"], contrast["low"], contrast["high"]))
