"""What finished sweeps say of the paper's claims about a table or figure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from actiondiff.datasets.base import Table
from actiondiff.evaluation.frequencies import frequencies, frequency_correlation, prior_matrix
from actiondiff.evaluation.matrices import correlate, mantel
from actiondiff.experiments.grid import Cell
from actiondiff.experiments.grid_tests import ScoredCell, best_of_many, early_gain, scored_cells
from actiondiff.experiments.sweep import SweepResult
from actiondiff.paper.claims import Claim, judge_claim, judge_contrast, load_claims
from actiondiff.paper.datasets.animal_kingdom import ANIMAL_TYPES, taxonomic_distances

__all__ = ["JudgedClaim", "SweptStudy", "judge_claims", "matrices"]

_OPEN = "not tested"


@dataclass(frozen=True)
class SweptStudy:
    """A study with the sweep that holds its run."""

    point: Cell
    result: SweepResult

    @property
    def folder(self) -> Path:
        """Its run's."""
        return self.result.folder / "runs" / self.point.slug

    @property
    def is_there(self) -> bool:
        """Whether it was trained."""
        return len(self.result.studies) > 0 and self.point.name in set(self.result.studies["point"])


@dataclass(frozen=True)
class JudgedClaim:
    """A claim and what was found.

    Attributes:
        claim: The claim.
        outcome: `holds`, `not shown`, `contradicted`, or `not tested`.
        said: In a sentence.
    """

    claim: Claim
    outcome: str
    said: str


def judge_claims(
    recipe: str, swept: Sequence[SweptStudy], tables: Mapping[str, pd.DataFrame]
) -> tuple[list[JudgedClaim], dict[str, pd.DataFrame]]:
    """Each claim about a recipe, judged by what was trained of it.

    Args:
        recipe: Its name, like `paper/table1`.
        swept: The studies.
        tables: For figure 4, see `matrices`.

    Returns:
        The claims; panel -> its cells against the last timestep (figure 5).
    """
    cells: dict[str, pd.DataFrame] = {}
    judged = []
    for claim in load_claims().values():
        if claim.recipe != recipe:
            continue
        if claim.test == "mantel":
            judged.append(_by_matrix(claim, tables))
        elif claim.test == "none" or claim.against is None:
            judged.append(JudgedClaim(claim, _OPEN, f"{claim.says}: {_OPEN}; {claim.note}."))
        elif claim.test == "interaction":
            judged.append(_by_interaction(claim, swept, cells))
        else:
            judged.append(_by_difference(claim, swept))
    return judged, cells


def matrices(table: Table, swept: Sequence[SweptStudy]) -> dict[str, pd.DataFrame]:
    """Figure 4's tables over the nine animal types, as far as they were trained; means over seeds.

    Returns:
        `accuracy` and `balanced accuracy` (the diagonal on training clips), `matched in size`, `held out`
        (the diagonal alone, one column), `frequencies` of actions, `prior`, `similarity`, `distance`.
    """
    kinds: dict[str, object] = {}  # one kind of features a case: the first
    swept = [e for e in swept if kinds.setdefault(e.point.case, e.point.extraction) == e.point.extraction]
    names = {entry.point.name for entry in swept}
    frame = pd.concat([result.domains for result in {id(e.result): e.result for e in swept}.values()])
    frame = frame[frame["point"].isin(names)]
    order = [name for name in ANIMAL_TYPES if name in set(frame["source"]) & set(frame["domain"])]

    def grid(case: str, value: str) -> pd.DataFrame:
        mine = frame[frame["case"] == case]
        return mine.pivot_table(index="source", columns="domain", values=value).reindex(order, columns=order)

    distances = taxonomic_distances(table)
    held = grid("held-out clips", "score")
    return {
        "accuracy": grid("training clips", "score"),
        "balanced accuracy": grid("training clips", "balanced_accuracy"),
        "matched in size": grid("matched in size", "score"),
        "held out": pd.DataFrame({"held out": np.diag(held)}, index=order),
        "frequencies": frequencies(table, "animal_type", domains=order),
        "prior": prior_matrix(table, "animal_type", domains=order),
        "similarity": frequency_correlation(table, "animal_type", domains=order),
        "distance": pd.DataFrame(
            [[float(distances[a, b]) for b in order] for a in order], index=order, columns=order
        ),
    }


def _first(swept: Sequence[SweptStudy], case: str | None) -> SweptStudy | None:
    """The first study of a case, which is the deterministic one by the first rule of selection."""
    return next((entry for entry in swept if entry.point.case == case and entry.is_there), None)


def _by_difference(claim: Claim, swept: Sequence[SweptStudy]) -> JudgedClaim:
    assert claim.against is not None  # asked before
    ours, against = _first(swept, claim.ours.case), _first(swept, claim.against.case)
    if ours is None or against is None:
        missing = claim.ours.case if ours is None else claim.against.case
        return JudgedClaim(claim, _OPEN, f"{claim.says}: {_OPEN}; there is no run of {missing}.")
    verdict = judge_claim(claim, ours.folder, against.folder)
    return JudgedClaim(claim, verdict.outcome, verdict.said)


def _by_interaction(claim: Claim, swept: Sequence[SweptStudy], cells: dict[str, pd.DataFrame]) -> JudgedClaim:
    assert claim.against is not None  # asked before
    sides: dict[str, list[ScoredCell]] = {}
    for case in (claim.ours.case, claim.against.case):
        found = [entry for entry in swept if entry.point.case == case and entry.is_there]
        if not found:
            return JudgedClaim(claim, _OPEN, f"{claim.says}: {_OPEN}; there is no run of panel {case}.")
        table = pd.concat([result.studies for result in {id(e.result): e.result for e in found}.values()])
        sides[case or ""] = scored_cells([entry.point for entry in found], table, found[0].result.folder)
    outside, inside = sides.values()
    for name, side in sides.items():
        cells[name] = best_of_many(side)
    gain = early_gain(outside, inside, claim.metric)
    verdict = judge_contrast(claim, gain.contrast, gain.num_seeds, num_clips=gain.num_clips)
    out = cells[claim.ours.case or ""]
    better = int((out["p"] < 0.05).sum())
    said = (
        f"{verdict.said} Early: {gain.early[0]} out of domain, {gain.early[1]} in it; last: "
        f"{gain.last[0]} and {gain.last[1]}, each the best on held-out clips of the source. {better} of "
        f"{len(out)} cells out of domain beat the last timestep (max-statistic permutation, p < 0.05)."
    )
    return JudgedClaim(claim, verdict.outcome, said)


def _by_matrix(claim: Claim, tables: Mapping[str, pd.DataFrame]) -> JudgedClaim:
    if not tables or tables["accuracy"].isna().any(axis=None):
        return JudgedClaim(claim, _OPEN, f"{claim.says}: {_OPEN}; some types were not trained or tested.")
    alike = tables["similarity"].to_numpy()
    told = {}
    for name in ("accuracy", "prior"):
        values = tables[name].to_numpy(dtype=np.float64)
        told[name] = correlate(alike, values).pearson, mantel(alike, values, method="pearson").p
    gain = tables["accuracy"].to_numpy(dtype=np.float64) - tables["prior"].to_numpy(dtype=np.float64)
    told["gain over the prior"] = correlate(alike, gain).pearson, mantel(alike, gain, method="pearson").p
    words = "; ".join(f"{name}: r {r:.2f}, Mantel p {p:.3f}" for name, (r, p) in told.items())
    r, p = told["accuracy"]
    outcome = "holds" if p < 0.05 and r > 0 else "contradicted" if p < 0.05 else "not shown"
    if told["prior"][0] >= r:
        words += "; guessing by the source's frequencies, which sees no video, goes with them as closely"
    return JudgedClaim(claim, outcome, f"{claim.says}: {outcome}; published rho 0.74; {words}.")
