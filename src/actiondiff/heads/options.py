"""What may be chosen about a head."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from actiondiff.heads import HEADS

__all__ = ["HeadOptions"]


class HeadOptions(BaseModel):
    """A head and its size.

    Source: defaults are those of the released code for Animal Kingdom (paper, A.1.3).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field("transformer", description="Which head; see `actiondiff.heads.HEADS`.")
    input: Literal["plain", "standardised", "centred", "centred-standardised"] = Field(
        "plain",
        description="What is done to tokens first: nothing; every channel to mean 0 and deviation 1 over the "
        "training data; the clip's mean token subtracted and first differences added (twice the width); or "
        "that, and then every channel standardised.",
    )
    project: int | None = Field(
        None, ge=1, description="Width that tokens are brought to by a linear layer first; none if not given."
    )
    fusion: int = Field(
        1,
        ge=1,
        description="How many features of equal width stand in each token, to be mixed by learned weights.",
    )
    layers: int = Field(6, ge=1, description="Encoder layers (transformer).")
    heads: int = Field(
        8, ge=1, description="Attention heads; the width is a multiple (transformer, attentive)."
    )
    ff_mult: int = Field(3, ge=1, description="Hidden width by token width (transformer, attentive).")
    dropout: float = Field(
        0.1, ge=0, lt=1, description="Share of values dropped in training (transformer, mlp)."
    )
    max_tokens: int = Field(
        150, ge=1, description="Tokens a clip at most: longer ones are cut in training, predicted in spans."
    )

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in HEADS:
            HEADS[name]  # says which names there are
        return name
