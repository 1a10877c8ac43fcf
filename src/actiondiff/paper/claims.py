"""The paper's claims, and the verdict on a claim from finished runs."""

import os
from dataclasses import dataclass
from importlib import resources
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

from actiondiff.errors import UnknownNameError, UsageError
from actiondiff.evaluation.options import Metric
from actiondiff.evaluation.paired import Contrast
from actiondiff.experiments.compare import compare
from actiondiff.experiments.run import Run

__all__ = ["Claim", "ClaimSide", "Verdict", "judge_claim", "judge_contrast", "load_claims"]

Outcome = Literal["holds", "not shown", "contradicted"]


class ClaimSide(BaseModel):
    """One side of a claim: a study of ours, or a published method."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    case: str | None = Field(None, description="Case of the recipe.")
    pair: tuple[str, str] | None = Field(
        None, description="Animal type that was trained on, and type that was tested on (figure 4)."
    )
    published: str | None = Field(None, description="Method of others, of which only the number is known.")
    score: float | None = Field(None, description="Score in per cent, as printed.")


class Claim(BaseModel):
    """A claim of the paper."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    says: str = Field(description="The claim in words.")
    recipe: str = Field(description="Recipe whose cases the two sides are.")
    ours: ClaimSide = Field(description="The side that is claimed to be better.")
    against: ClaimSide | None = Field(None, description="The side that it is compared with.")
    margin: float | None = Field(None, description="Difference in percentage points, as printed.")
    metric: Metric
    num_test: int = Field(description="Number of test clips that the claim rests on.")
    clips: int | None = Field(None, description="The margin in test clips, for single-label tests.")
    groups: str = Field("", description="What is kept whole when clips are resampled.")
    test: Literal["difference", "interaction", "within-layer", "mantel", "pairs", "gain", "none"] = Field(
        description="Test that would tell the claim from chance; none where the other side's predictions "
        "are not known."
    )
    note: str = ""


@dataclass(frozen=True)
class Verdict:
    """Verdict on a claim.

    Attributes:
        outcome: `holds` if the whole 95 % interval is above 0, `contradicted` if it is below, else
            `not shown`.
        contrast: The difference (or interaction) with its interval, in [-1, 1].
        sentence: The verdict in a sentence.
        num_seeds: Number of training runs of both sides; the sentence names numbers below five.
    """

    outcome: Outcome
    contrast: Contrast
    sentence: str
    num_seeds: tuple[int, int]


def load_claims() -> dict[str, Claim]:
    """All claims by their id, in the order of the paper."""
    text = resources.files("actiondiff.paper").joinpath("claims.yaml").read_text("utf-8")
    claims = [Claim.model_validate(entry) for entry in yaml.safe_load(text)]
    return {claim.id: claim for claim in claims}


def judge_claim(
    claim: Claim | str, ours: Run | str | os.PathLike[str], against: Run | str | os.PathLike[str]
) -> Verdict:
    """Judge a claim of the kind `difference` by two runs.

    Args:
        claim: The claim or its id.
        ours: Run of the claim's side `ours`; all its seeds count.
        against: Run of the other side.

    Raises:
        UnknownNameError: If there is no such claim.
        UsageError: If the claim is of another kind, or the runs do not have its score.
    """
    claim = _find(claim)
    if claim.test != "difference":
        raise UsageError(
            f"the claim {claim.id} is judged by {claim.test}, not by the difference of two runs."
        )
    comparison = compare(ours, against)
    if claim.metric not in comparison.differences:
        raise UsageError(f"the claim {claim.id} is about {claim.metric}, which these runs do not have.")
    difference = comparison.differences[claim.metric]
    return judge_contrast(claim, difference, comparison.num_seeds, num_clips=comparison.num_clips)


def judge_contrast(
    claim: Claim | str, contrast: Contrast, num_seeds: tuple[int, int], *, num_clips: int
) -> Verdict:
    """Judge a claim by a difference or an interaction; see `actiondiff.evaluation.paired`.

    Args:
        claim: The claim or its id.
        contrast: The difference or interaction.
        num_seeds: Number of training runs of both sides.
        num_clips: Number of test clips.

    Raises:
        UnknownNameError: If there is no such claim.
    """
    claim = _find(claim)
    outcome: Outcome = "holds" if contrast.low > 0 else "contradicted" if contrast.high < 0 else "not shown"
    span = f"{100 * contrast.low:+.1f} to {100 * contrast.high:+.1f}"
    sentence = f"{claim.says}: {outcome}; {100 * contrast.value:+.1f} points ({span}), p {contrast.p:.3f}"
    if claim.margin is not None:
        sentence += f"; published {claim.margin:+.2f}"
    if num_clips != claim.num_test:
        sentence += f"; on {num_clips} clips, published on {claim.num_test}"
    if min(num_seeds) < 5:
        sentence += f"; {num_seeds[0]} and {num_seeds[1]} seeds are fewer than five"
    return Verdict(outcome, contrast, sentence + ".", num_seeds)


def _find(claim: Claim | str) -> Claim:
    if isinstance(claim, Claim):
        return claim
    claims = load_claims()
    if claim not in claims:
        raise UnknownNameError("claim", claim, claims)
    return claims[claim]
