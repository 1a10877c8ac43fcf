"""Verdicts on the paper's claims about a table or figure, from finished sweeps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from actiondiff.datasets.base import Table
from actiondiff.evaluation.frequencies import frequencies, frequency_correlation, prior_matrix
from actiondiff.experiments.grid import Cell
from actiondiff.experiments.grid_tests import (
    ScoredCell,
    best_of_many,
    early_and_last,
    early_gain,
    scored_cells,
)
from actiondiff.experiments.sweep import SweepResult
from actiondiff.paper.claims import Claim, judge_claim, judge_contrast, load_claims
from actiondiff.paper.datasets.animal_kingdom import ANIMAL_TYPES, taxonomic_distances
from actiondiff.paper.matrix_claims import OPEN, judge_by_matrices
from actiondiff.paper.results import ClaimResult

__all__ = ["SweptStudy", "judge_claims", "matrices"]


@dataclass(frozen=True)
class SweptStudy:
    """A study with the sweep that holds its run.

    Attributes:
        cell: The study's place in the grid.
        result: The sweep.
    """

    cell: Cell
    result: SweepResult

    @property
    def folder(self) -> Path:
        """Folder of the study's run."""
        return self.result.folder / "runs" / self.cell.slug

    @property
    def is_trained(self) -> bool:
        """Whether the study has a finished run."""
        return len(self.result.studies) > 0 and self.cell.name in set(self.result.studies["point"])


def judge_claims(
    recipe: str, swept: Sequence[SweptStudy], tables: Mapping[str, pd.DataFrame]
) -> tuple[list[ClaimResult], dict[str, pd.DataFrame]]:
    """Judge each claim about a recipe by the studies that were trained.

    Args:
        recipe: Name of the recipe, like `paper/table1`.
        swept: The studies.
        tables: Figure 4's tables (see `matrices`); empty for other targets.

    Returns:
        The claims with their verdicts; and panel -> its cells against the last timestep (figure 5).
    """
    cells: dict[str, pd.DataFrame] = {}
    results = []
    for claim in load_claims().values():
        if claim.recipe != recipe:
            continue
        if claim.test in ("mantel", "pairs", "gain"):
            results.append(_result(claim, *judge_by_matrices(claim, tables)))
        elif claim.test == "none" or claim.against is None:
            results.append(_result(claim, OPEN, f"{claim.says}: {OPEN}; {claim.note}."))
        elif claim.test == "within-layer":
            results.append(_within_layer(claim, swept))
        elif claim.test == "interaction":
            results.append(_by_interaction(claim, swept, cells))
        else:
            results.append(_by_difference(claim, swept))
    return results, cells


def matrices(table: Table, swept: Sequence[SweptStudy]) -> dict[str, pd.DataFrame]:
    """Figure 4's tables over the nine animal types, as far as they were trained; means over seeds.

    Args:
        table: Clips of the protocol `animal-types`.
        swept: The studies.

    Returns:
        `accuracy` and `balanced accuracy` (the diagonal on training clips), `matched in size`, `held out`
        (the diagonal alone, in one column), `clips` (the number of each type's clips), `frequencies` of
        actions, `prior`, `similarity` and `distance`.
    """
    # Each case may be run on several kinds of features; the first one (the deterministic one) counts.
    first: dict[str, object] = {}
    swept = [e for e in swept if first.setdefault(e.cell.case, e.cell.extraction) == e.cell.extraction]
    names = {entry.cell.name for entry in swept}
    frame = pd.concat([result.domains for result in {id(e.result): e.result for e in swept}.values()])
    frame = frame[frame["point"].isin(names)]
    order = [name for name in ANIMAL_TYPES if name in set(frame["source"]) & set(frame["domain"])]

    def grid(case: str, value: str) -> pd.DataFrame:
        own = frame[frame["case"] == case]
        return own.pivot_table(index="source", columns="domain", values=value).reindex(order, columns=order)

    distances = taxonomic_distances(table)
    held_out = grid("held-out clips", "score")
    return {
        "accuracy": grid("training clips", "score"),
        "balanced accuracy": grid("training clips", "balanced_accuracy"),
        "matched in size": grid("matched in size", "score"),
        "held out": pd.DataFrame({"held out": np.diag(held_out)}, index=order),
        "clips": pd.DataFrame({"clips": [table.counts("animal_type")[name] for name in order]}, index=order),
        "frequencies": frequencies(table, "animal_type", domains=order),
        "prior": prior_matrix(table, "animal_type", domains=order),
        "similarity": frequency_correlation(table, "animal_type", domains=order),
        "distance": pd.DataFrame(
            [[float(distances[a, b]) for b in order] for a in order], index=order, columns=order
        ),
    }


def _result(claim: Claim, outcome: str, sentence: str) -> ClaimResult:
    return ClaimResult.model_validate({**claim.model_dump(), "outcome": outcome, "said": sentence})


def _first(swept: Sequence[SweptStudy], case: str | None) -> SweptStudy | None:
    """The first trained study of a case: the deterministic one with the first rule of selection."""
    return next((entry for entry in swept if entry.cell.case == case and entry.is_trained), None)


def _by_difference(claim: Claim, swept: Sequence[SweptStudy]) -> ClaimResult:
    assert claim.against is not None  # checked by `judge_claims`
    ours, against = _first(swept, claim.ours.case), _first(swept, claim.against.case)
    if ours is None or against is None:
        missing = claim.ours.case if ours is None else claim.against.case
        return _result(claim, OPEN, f"{claim.says}: {OPEN}; there is no run of {missing}.")
    verdict = judge_claim(claim, ours.folder, against.folder)
    return _result(claim, verdict.outcome, verdict.sentence)


def _within_layer(claim: Claim, swept: Sequence[SweptStudy]) -> ClaimResult:
    """Whether timesteps of the layer that is best on the source beat the last one out of domain only."""
    assert claim.against is not None  # checked by `judge_claims`
    parts, beaten = [], {}
    for case in (claim.ours.case, claim.against.case):
        own = [entry for entry in swept if entry.cell.case == case and entry.is_trained]
        if not own:
            return _result(claim, OPEN, f"{claim.says}: {OPEN}; there is no run of panel {case}.")
        table = pd.concat([result.studies for result in {id(e.result): e.result for e in own}.values()])
        cells = scored_cells([entry.cell for entry in own], table, own[0].result.folder)
        layer = early_and_last(cells)[1].layer  # of the last timestep, where timesteps are compared
        tested = best_of_many([cell for cell in cells if cell.layer == layer])
        beaten[case] = int((tested["p"] < 0.05).sum())
        parts.append(
            f"panel {case}, layer {layer}: {beaten[case]} of {len(tested)} timesteps beat the last one "
            f"(max-statistic permutation, p < 0.05), the best by {100 * tested['gain'].max():+.1f} points"
        )
    outside, inside = beaten.values()
    outcome = "holds" if outside and not inside else "contradicted" if inside and not outside else "not shown"
    return _result(claim, outcome, f"{claim.says}: {outcome}; {'; '.join(parts)}.")


def _by_interaction(claim: Claim, swept: Sequence[SweptStudy], cells: dict[str, pd.DataFrame]) -> ClaimResult:
    """Whether early timesteps gain more out of domain than in it; adds each panel's cells to `cells`."""
    assert claim.against is not None  # checked by `judge_claims`
    sides: dict[str, list[ScoredCell]] = {}
    for case in (claim.ours.case, claim.against.case):
        own = [entry for entry in swept if entry.cell.case == case and entry.is_trained]
        if not own:
            return _result(claim, OPEN, f"{claim.says}: {OPEN}; there is no run of panel {case}.")
        table = pd.concat([result.studies for result in {id(e.result): e.result for e in own}.values()])
        sides[case or ""] = scored_cells([entry.cell for entry in own], table, own[0].result.folder)
    # Each cell against the last timestep, corrected for the number of cells.
    for name, side in sides.items():
        cells[name] = best_of_many(side)
    # The claim itself: the gain of early timesteps out of domain minus the same in domain.
    outside, inside = sides.values()
    gain = early_gain(outside, inside, claim.metric)
    verdict = judge_contrast(claim, gain.contrast, gain.num_seeds, num_clips=gain.num_clips)
    tested = cells[claim.ours.case or ""]
    better = int((tested["p"] < 0.05).sum())
    sentence = (
        f"{verdict.sentence} Early: {gain.early[0]} out of domain, {gain.early[1]} in it; last: "
        f"{gain.last[0]} and {gain.last[1]}, each the best on held-out clips of the source. {better} of "
        f"{len(tested)} cells out of domain beat the last timestep (max-statistic permutation, p < 0.05)."
    )
    return _result(claim, verdict.outcome, sentence)
