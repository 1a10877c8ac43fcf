"""How a trained model looks at a video: options that commands and pages show, and that need nothing heavy."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["LoadingOptions", "LocalizationOptions", "TimelineOptions"]


class LoadingOptions(BaseModel):
    """How a trained model's backbone is loaded; everything else is as the features for training had it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    weights: str | None = Field(
        None, description="The backbone's checkpoint, where it needs one: a file, folder or hub id."
    )
    text_weights: str | None = Field(
        None, description="Folder of its text tower, where it is conditioned on the names of actions."
    )
    device: str = Field("auto", description="cpu, cuda, cuda:1 ...; auto takes CUDA where there is one.")
    dtype: Literal["float32", "float16", "bfloat16"] | None = Field(
        None, description="Arithmetic; that of the training's features if not given. Another changes scores."
    )


class TimelineOptions(BaseModel):
    """How scores over time are made, and bouts of them. What is not given is as the model has it."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    span_seconds: float | None = Field(
        None, gt=0, description="Time each score looks at; as the training clips' median if not given."
    )
    step_seconds: float | None = Field(
        None, gt=0, description="From one score to the next; every sampled frame if not given."
    )
    smooth_seconds: float = Field(0.0, ge=0, description="Scores are averaged over this time.")
    threshold: float | None = Field(
        None, ge=0, le=1, description="Probability from which a behaviour is there; by class if not given."
    )
    min_seconds: float = Field(0.0, ge=0, description="Shorter bouts are left out.")
    max_gap_seconds: float = Field(0.0, ge=0, description="Bouts of a behaviour this close become one.")
    abstain_below: float = Field(
        0.0, ge=0, le=1, description="Nothing is said where the probability is below, whatever the threshold."
    )
    background: str = Field("background", description="Label that stands for none; it makes no bouts.")


class LocalizationOptions(BaseModel):
    """How a video is searched for an action. What is not given is as the model has it."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    method: Literal["cells", "crops"] = Field(
        "cells",
        description="cells: one pass, the layer's map sampled at a grid. crops: each patch as a video of "
        "its own, rows x columns times the work.",
    )
    rows: int = Field(3, ge=2, le=64, description="Places from top to bottom.")
    columns: int = Field(5, ge=2, le=64, description="Places from left to right.")
    overlap: float = Field(0.0, ge=0, lt=1, description="For crops: share of a patch that the next has, too.")
    patch: Literal["resized", "native"] = Field(
        "resized",
        description="For crops: patches as large as the backbone takes whole pictures, or in their own size, "
        "rounded up to 64 pixels.",
    )
    span_seconds: float | None = Field(
        None, gt=0, description="Time each score looks at; as the training clips' median if not given."
    )
    step_seconds: float | None = Field(
        None, gt=0, description="From one score to the next; every sampled frame if not given."
    )
