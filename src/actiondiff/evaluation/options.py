"""What may be chosen about which clips train, select and test, and by which score."""

from typing import Any, Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

__all__ = ["Metric", "ProtocolOptions", "ScoreSource", "Selection"]

Metric: TypeAlias = Literal["accuracy", "balanced_accuracy", "micro_map", "macro_map", "charades_map"]
ScoreSource: TypeAlias = Literal["no", "training", "held-out"]
Selection: TypeAlias = Literal["source-validation", "leave-one-source-domain-out", "released", "oracle"]


class ProtocolOptions(BaseModel):
    """Which clips train, which select and which test."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    domain: str | None = Field(None, description="Column whose values are the domains; none: no shift.")
    source: tuple[str, ...] | Literal["rest"] = Field(
        (), description="Values of the domain that train; rest: all that do not test."
    )
    target: tuple[str, ...] | Literal["rest"] = Field(
        "rest", description="Values of the domain that test; rest: all that do not train."
    )
    group: str | None = Field(
        None, description="Column whose values are kept on one side; none: group, or the video itself."
    )
    selection: Selection = Field(
        "source-validation",
        description="What the epoch (in a sweep, the point, too) is chosen on. source-validation: held-out "
        "clips of the source. leave-one-source-domain-out: each domain of the source in turn plays the "
        "target. released: the test clips themselves, as the released code does for some datasets; nothing "
        "is then held out, and the score is no test. oracle: as released, and every training's own best.",
    )
    metric: Metric | Literal["auto"] = Field(
        "auto",
        description="The score a study is judged and chosen by; auto: accuracy, or micro_map for multi-label "
        "tasks. training.metric has the last word on the epoch.",
    )
    validation_share: float = Field(
        0.2, ge=0, lt=1, description="Share of the source's groups held out, where the table names none."
    )
    test_share: float = Field(
        0.2, ge=0, lt=1, description="Share of the groups that test, where neither split nor domain says."
    )
    score_source: ScoreSource = Field(
        "no",
        description="Whether the source is scored beside the target: held-out clips of it, which then do not "
        "train; or the training clips themselves, as on the diagonal of the paper's figure 4.",
    )
    train_clips: int | None = Field(
        None, ge=2, description="Training clips at most, so that sources of unlike size can be compared."
    )
    restrict_to_protocol_classes: bool = Field(
        False,
        description="Score only classes that the protocol's clips have. Off as in the released code, where a "
        "clip of six possible actions may be given any of 140.",
    )
    audit: tuple[str, ...] = Field(
        (), description="Further columns whose values ought to be on one side only, for example a script."
    )

    @field_validator("source", "target", "audit", mode="before")
    @classmethod
    def _as_list(cls, value: Any) -> Any:
        """`bird, fish` is a list of two; a number is a name like any other, as in a table."""
        if value == "rest":
            return value
        if value == "each":
            raise ValueError("each stands for one study a value; actiondiff sweep runs them all")
        items = value.split(",") if isinstance(value, str) else value if isinstance(value, list) else [value]
        items = [str(item).strip() if type(item) in (str, int) else item for item in items]
        return [item for item in items if item != ""]

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if bool(self.domain) is not bool(self.source):
            raise ValueError("domain and source belong together: name the column and the values that train")
        if self.source == "rest" and self.target == "rest":
            raise ValueError("source and target cannot both be rest: name the values of one")
        if self.score_source == "held-out" and not self.domain:
            raise ValueError("score_source=held-out needs a domain; without one the source is tested anyway")
        if self.selection == "leave-one-source-domain-out" and not self.domain:
            raise ValueError("selection=leave-one-source-domain-out needs a domain and its source")
        return self

    @property
    def looks_at_target(self) -> bool:
        """Whether the test clips choose the epoch."""
        return self.selection in ("released", "oracle")
