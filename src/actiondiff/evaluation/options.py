"""Options of a protocol: which clips are for training, selection and testing, and by which score."""

from typing import Any, Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

__all__ = ["Metric", "ProtocolOptions", "ScoreSource", "Selection"]

Metric: TypeAlias = Literal["accuracy", "balanced_accuracy", "micro_map", "macro_map", "charades_map"]
ScoreSource: TypeAlias = Literal["no", "training", "held-out"]
Selection: TypeAlias = Literal["source-validation", "leave-one-source-domain-out", "released", "oracle"]


class ProtocolOptions(BaseModel):
    """Which clips are for training, which for selection and which for testing."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    domain: str | None = Field(
        None, description="Column whose values are the domains; null for a study without domain shift."
    )
    source: tuple[str, ...] | Literal["rest"] = Field(
        (), description="Values of the domain to train on; rest for all values that are not tested on."
    )
    target: tuple[str, ...] | Literal["rest"] = Field(
        "rest", description="Values of the domain to test on; rest for all values that are not trained on."
    )
    group: str | None = Field(
        None,
        description="Column whose values must stay on one side of the split; null for the column group, or "
        "else the video.",
    )
    selection: Selection = Field(
        "source-validation",
        description="What the epoch is chosen on, and in a sweep the study too. source-validation: held-out "
        "clips of the source. leave-one-source-domain-out: each domain of the source in turn plays the "
        "target. released: the test clips themselves, as in the released code for some datasets; no clips "
        "are held out then, and the test score is optimistic. oracle: like released, but with the best of "
        "every training.",
    )
    metric: Metric | Literal["auto"] = Field(
        "auto",
        description="Score that studies are judged and selected by; auto: accuracy, or micro_map for "
        "multi-label tasks. For the choice of the epoch, training.metric takes precedence.",
    )
    validation_share: float = Field(
        0.2,
        ge=0,
        lt=1,
        description="Share of the source's groups to hold out where the table marks no validation clips.",
    )
    test_share: float = Field(
        0.2,
        ge=0,
        lt=1,
        description="Share of the groups to test on where neither a split nor a domain decides it.",
    )
    score_source: ScoreSource = Field(
        "no",
        description="Whether the source is scored beside the target. held-out: on clips of the source that "
        "are not trained on. training: on the training clips themselves, as on the diagonal of the paper's "
        "figure 4.",
    )
    train_clips: int | None = Field(
        None, ge=2, description="Maximum number of training clips, to compare sources of different sizes."
    )
    restrict_to_protocol_classes: bool = Field(
        False,
        description="Score only the classes that occur in the protocol's clips. Off by default, as in the "
        "released code, where a clip of one of six actions may be predicted as any of 140.",
    )
    audit: tuple[str, ...] = Field(
        (),
        description="Further columns whose values should be on one side of a split only, such as script.",
    )

    camera: str = Field(
        "camera", description="Column that names the camera of a clip, for head.input=minus-background."
    )
    background: str | None = Field(
        None,
        description="Table of stored clips without animals (video, camera), from which backgrounds of "
        "cameras are estimated; null for the clips of the table. For head.input=minus-background.",
    )

    @field_validator("source", "target", "audit", mode="before")
    @classmethod
    def _as_list(cls, value: Any) -> Any:
        """Split `bird, fish` into two names; a number is a name like any other, as in a table."""
        if value == "rest":
            return value
        if value == "each":
            raise ValueError("each stands for one study per value; run all of them with actiondiff sweep")
        items = value.split(",") if isinstance(value, str) else value if isinstance(value, list) else [value]
        items = [str(item).strip() if type(item) in (str, int) else item for item in items]
        return [item for item in items if item != ""]

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if bool(self.domain) is not bool(self.source):
            raise ValueError("domain and source belong together: name the column and the values to train on")
        if self.source == "rest" and self.target == "rest":
            raise ValueError("source and target cannot both be rest: name the values of one of them")
        if self.score_source == "held-out" and not self.domain:
            raise ValueError(
                "score_source=held-out needs a domain; without one, the test clips are of the source anyway"
            )
        if self.selection == "leave-one-source-domain-out" and not self.domain:
            raise ValueError("selection=leave-one-source-domain-out needs domain and source")
        return self

    @property
    def looks_at_target(self) -> bool:
        """Whether the epoch is chosen on the test clips."""
        return self.selection in ("released", "oracle")
