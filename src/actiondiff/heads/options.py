"""Options of heads."""

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
)

from actiondiff.heads import HEADS

__all__ = ["HeadOptions"]


class HeadOptions(BaseModel):
    """Name and size of a head.

    Source: the defaults are those of the released code for Animal Kingdom (paper, A.1.1).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field("transformer", description="Name of the head; see `actiondiff.heads.HEADS`.")
    input: Literal[
        "plain", "standardised", "scaled", "centred", "centred-standardised", "minus-background"
    ] = Field(
        "plain",
        description="How tokens are prepared. plain: not at all. standardised: each channel has mean 0 and "
        "standard deviation 1 over the training data. scaled: each channel has mean 0, and all channels of a "
        "feature share one scale, so that channels that hardly vary stay small. centred: the clip's mean "
        "token is subtracted and first differences are added, which doubles the width. centred-standardised: "
        "centred, then standardised. minus-background: the background of the clip's camera is subtracted, "
        "then scaled.",
    )
    project: int | None = Field(
        None,
        ge=1,
        le=65_536,
        description="Width to which a first linear layer projects the tokens; no such layer if not given.",
    )
    fusion: int = Field(
        1,
        ge=1,
        le=1024,
        description="Number of features of equal width in each token, which learned weights mix.",
    )
    split: tuple[Annotated[int, Field(ge=1, le=1_000_000)], ...] = Field(
        (),
        max_length=1024,
        description="Widths of the features in each stored token, each of which becomes a token of its own, "
        "as features.combine=tokens asks for; training sets it. Empty: one token for all features.",
    )
    widths: tuple[Annotated[int, Field(ge=1, le=1_000_000)], ...] = Field(
        (),
        max_length=1024,
        description="Widths of several features that lie side by side in each stored token, as "
        "features.combine=concat asks for; training sets it. Each has a scale of its own.",
    )
    layers: int = Field(6, ge=1, le=256, description="Number of encoder layers (transformer).")
    heads: int = Field(
        8,
        ge=1,
        le=1024,
        description="Number of attention heads; must divide the token width (transformer, attentive).",
    )
    ff_mult: int = Field(
        3,
        ge=1,
        le=64,
        description="Hidden width of feed-forward layers, in token widths (transformer, attentive).",
    )
    dropout: float = Field(
        0.1,
        ge=0,
        lt=1,
        description="Share of values that are set to zero during training (transformer, mlp).",
    )
    max_tokens: int = Field(
        150,
        ge=1,
        le=1_000_000,
        description="Most tokens per clip. Longer clips are cut in training, and predicted in spans.",
    )

    @model_serializer(mode="wrap")
    def _without_unused(self, write: SerializerFunctionWrapHandler) -> "dict[str, Any]":
        """Leave out what only several features need, so that other heads are written as ever."""
        fields: dict[str, Any] = write(self)
        unused = {name for name in ("split", "widths") if not getattr(self, name)}
        return {name: value for name, value in fields.items() if name not in unused}

    @field_validator("name")
    @classmethod
    def _check_name(cls, name: str) -> str:
        if name not in HEADS:
            HEADS[name]  # raises the error that lists the names
        return name
