"""Results of a reproduction as values: what `reproduction.json` holds and the page shows."""

import json
import os
from pathlib import Path
from typing import TypeAlias

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from actiondiff.evaluation.options import Metric
from actiondiff.evaluation.paired import Contrast
from actiondiff.experiments.grid import Published
from actiondiff.paper.claims import Claim
from actiondiff.provenance import json_values, write_text

__all__ = [
    "REPRODUCTION",
    "ClaimResult",
    "ControlResult",
    "FrameRow",
    "Interval",
    "Reproduction",
    "StudyResult",
    "read_reproduction",
    "write_reproduction",
]

REPRODUCTION = "reproduction.json"
"""Name of the results file in the folder of a reproduction."""

FrameRow: TypeAlias = dict[str, bool | int | float | str | None]
"""One row of a data frame as JSON holds it; None stands for NaN."""


class Interval(BaseModel):
    """A score or a difference of scores in [-1, 1] with its 95 % interval; None where it is not defined."""

    model_config = ConfigDict(frozen=True)

    value: float | None
    low: float | None
    high: float | None
    p: float | None

    @classmethod
    def of(cls, contrast: Contrast) -> "Interval":
        """The interval of a contrast, with None in the place of NaN."""
        return cls.model_validate(json_values(vars(contrast)))


class StudyResult(BaseModel):
    """One study: what was run, its score beside the published one, and what its features cost.

    Scores are shares in [0, 1]; published scores are per cent, as printed.
    """

    model_config = ConfigDict(frozen=True)

    study: str = Field(description="Name of the study.")
    label: str = Field(description="Short name: the recipe's case and the options that vary in it.")
    case: str = Field(description="The recipe's case.")
    protocol: str = Field(description="Protocol of the dataset.")
    rule: str = Field(description="Rule by which the epoch was selected.")
    backbone: str = Field(description="Backbone and options that were used.")
    in_place_of: str = Field(description="The paper's backbone that this one stands in for; empty if none.")
    varied: dict[str, JsonValue] = Field(description="Dotted option -> value, where studies differ.")
    feature: str = Field(description="Timestep and layer.")
    width: int = Field(description="Width of a token.")
    metric: Metric
    score: float | None = Field(description="Score on the test clips, mean over seeds.")
    low: float | None = Field(description="Lower bound of its 95 % interval over groups and seeds.")
    high: float | None = Field(description="Upper bound.")
    sd: float | None = Field(description="Standard deviation over seeds; None for a single seed.")
    floor: float | None = Field(description="Score of guessing by the training clips' class frequencies.")
    validation: float | None = Field(description="Score on held-out clips of the source.")
    num_seeds: int
    num_train: int = Field(description="Number of training clips.")
    num_test: int = Field(description="Number of test clips.")
    published: Published | None = Field(description="The paper's number, if there is one.")
    comparable: bool = Field(description="Whether metric and test clips are those of the paper.")
    why_not: str = Field(description="Why it is not comparable; empty otherwise.")
    parameters: int | None = Field(description="Number of parameters that are loaded.")
    teraflop: float | None = Field(description="10^12 operations per second of video.")
    pretraining: str = Field(description="Data that the backbone was pre-trained on.")
    folder: str = Field(description="Folder of the run, relative to the reproduction's.")

    @property
    def features(self) -> str:
        """The backbone, and which one of the paper it stands in for."""
        return f"{self.backbone} for {self.in_place_of}" if self.in_place_of else self.backbone


class ControlResult(BaseModel):
    """A study set beside guessing, and beside itself trained on permuted labels."""

    model_config = ConfigDict(frozen=True)

    study: str = Field(description="Name of the study.")
    protocol: str = Field(description="Protocol of the dataset.")
    metric: Metric
    score: Interval = Field(description="Score of the study.")
    prior: Interval = Field(description="Score of guessing by class frequencies.")
    permuted: Interval = Field(description="Score with permuted labels, mean over permutations.")
    excess: Interval = Field(description="`permuted` minus `prior` on the same clips.")
    num_test: int = Field(description="Number of test clips.")
    above: bool = Field(description="Whether the score lies above the interval of the prior.")
    permuted_at_prior: bool = Field(description="Whether the permuted study is not better than the prior.")


class ClaimResult(Claim):
    """A claim of the paper with its verdict."""

    model_config = ConfigDict(extra="ignore", populate_by_name=True)

    outcome: str = Field(description="holds, not shown, contradicted or not tested.")
    sentence: str = Field(alias="said", description="The verdict in a sentence.")


class Reproduction(BaseModel):
    """Everything that came out of the reproduction of a table or figure."""

    model_config = ConfigDict(frozen=True, populate_by_name=True)

    format: int = 1
    target: str = Field(description="The table or figure.")
    description: str = Field(description="Description of its recipe.")
    watermark: str = Field(description="Mark on every part of the page; empty for the real thing.")
    stand_in: str = Field(description="Size of the stand-in; empty for the real thing.")
    studies: list[StudyResult] = Field(alias="rows")
    others: list[Published] = Field(description="Numbers that others published beside.")
    controls: list[ControlResult]
    claims: list[ClaimResult]
    tests: list[FrameRow] = Field(description="Tests on grids of layers and timesteps.")
    cells: dict[str, list[FrameRow]] = Field(description="Panel -> its cells against the last timestep.")
    matrices: dict[str, list[FrameRow]] = Field(description="Figure 4's tables; the domain is in `source`.")
    distributions: dict[str, list[FrameRow]] = Field(description="Protocol -> number of clips per class.")
    left_out: dict[str, str] = Field(description="Study -> why it has no number.")
    seconds: dict[str, float] = Field(default_factory=dict, description="Part -> seconds it took.")
    environment: dict[str, JsonValue] = Field(default_factory=dict, description="Versions and machine.")


def read_reproduction(folder: str | os.PathLike[str]) -> Reproduction:
    """Read the results of a finished reproduction from its folder."""
    return Reproduction.model_validate_json((Path(folder) / REPRODUCTION).read_bytes())


def write_reproduction(folder: str | os.PathLike[str], results: Reproduction) -> None:
    """Write `reproduction.json`."""
    values = results.model_dump(by_alias=True)
    write_text(Path(folder) / REPRODUCTION, json.dumps(values, indent=2, allow_nan=False) + "\n")
