"""The paper's claims, and what two finished runs say of one."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

from actiondiff.errors import UnknownNameError, UsageError
from actiondiff.evaluation.options import Metric
from actiondiff.evaluation.paired import Contrast
from actiondiff.experiments.compare import Comparison, compare
from actiondiff.experiments.run import Run

__all__ = ["Claim", "ClaimSide", "Verdict", "judge_claim", "judge_contrast", "load_claims"]

Outcome = Literal["holds", "not shown", "contradicted"]


class ClaimSide(BaseModel):
    """One side of a claim."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    case: str | None = Field(None, description="Of the recipe.")
    published: str | None = Field(None, description="A method of others, of which only the number is known.")
    score: float | None = Field(None, description="In per cent, as printed.")


class Claim(BaseModel):
    """A claim of the paper."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    says: str = Field(description="In words.")
    recipe: str = Field(description="Whose cases the sides are.")
    ours: ClaimSide
    against: ClaimSide | None = None
    margin: float | None = Field(None, description="In points, as printed.")
    metric: Metric
    num_test: int = Field(description="Clips it rests on.")
    clips: int | None = Field(None, description="The margin in clips, of single-label tests.")
    groups: str = Field("", description="What is kept whole.")
    test: Literal["difference", "interaction", "mantel", "none"] = Field(
        description="What would tell it from chance; none where the other side's predictions are not known."
    )
    note: str = ""


@dataclass(frozen=True)
class Verdict:
    """What was found of a claim.

    Attributes:
        outcome: `holds` if the whole 95 % interval is above 0, `contradicted` if below, else `not shown`.
        contrast: The difference (or interaction) with its interval, in [-1, 1].
        said: In a sentence.
        num_seeds: Trainings of both sides; fewer than five each is said.
    """

    outcome: Outcome
    contrast: Contrast
    said: str
    num_seeds: tuple[int, int]


def load_claims() -> dict[str, Claim]:
    """Id -> claim, in the paper's order."""
    text = resources.files("actiondiff.paper").joinpath("claims.yaml").read_text("utf-8")
    claims = [Claim.model_validate(entry) for entry in yaml.safe_load(text)]
    return {claim.id: claim for claim in claims}


def judge_claim(
    claim: Claim | str, ours: Run | str | os.PathLike[str], against: Run | str | os.PathLike[str]
) -> Verdict:
    """What two runs say of a claim of the kind `difference`.

    Args:
        claim: It, or its id.
        ours: The run of its side `ours`; all its seeds count.
        against: The run of the other side.

    Raises:
        UnknownNameError: If there is no such claim.
        UsageError: If the claim is of another kind, or the runs do not have its score.
    """
    claim = _find(claim)
    if claim.test != "difference":
        raise UsageError(
            f"the claim {claim.id} is judged by {claim.test}, not by the difference of two runs."
        )
    found: Comparison = compare(ours, against)
    if claim.metric not in found.differences:
        raise UsageError(f"{claim.id} is about {claim.metric}, which these runs do not have.")
    return judge_contrast(claim, found.differences[claim.metric], found.num_seeds, num_clips=found.num_clips)


def judge_contrast(
    claim: Claim | str, contrast: Contrast, num_seeds: tuple[int, int], *, num_clips: int
) -> Verdict:
    """What a difference or an interaction says of a claim; see `actiondiff.evaluation.paired`."""
    claim = _find(claim)
    outcome: Outcome = "holds" if contrast.low > 0 else "contradicted" if contrast.high < 0 else "not shown"
    span = f"{100 * contrast.low:+.1f} to {100 * contrast.high:+.1f}"
    said = f"{claim.says}: {outcome}; {100 * contrast.value:+.1f} points ({span}), p {contrast.p:.3f}"
    if claim.margin is not None:
        said += f"; published {claim.margin:+.2f}"
    if num_clips != claim.num_test:
        said += f"; on {num_clips} clips, published on {claim.num_test}"
    if min(num_seeds) < 5:
        said += f"; {num_seeds[0]} and {num_seeds[1]} seeds are fewer than five"
    return Verdict(outcome, contrast, said + ".", num_seeds)


def _find(claim: Claim | str) -> Claim:
    if isinstance(claim, Claim):
        return claim
    claims: Mapping[str, Any] = load_claims()
    if claim not in claims:
        raise UnknownNameError("claim", claim, claims)
    found: Claim = claims[claim]
    return found
