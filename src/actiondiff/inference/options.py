"""Options of inference, in a module that imports nothing heavy, since commands and the page show them."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from actiondiff.errors import RunError, explain_validation

__all__ = ["LoadingOptions", "LocalizationOptions", "TimelineOptions", "short_bouts_hint"]

_FEW_BOUTS = 10  # say nothing about the length of most bouts
_LONGEST = 1e12  # seconds; beyond, a number of steps does not fit into an integer


class LoadingOptions(BaseModel):
    """How the backbone of a trained model is loaded; all else is as it was for the training's features."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    weights: str | None = Field(
        None, description="Checkpoint of the backbone, if it needs one: a file, a folder or a hub id."
    )
    student: str | None = Field(
        None,
        description="Folder of a student of the model's backbone, which `distill` wrote; it takes the "
        "backbone's place.",
    )
    text_weights: str | None = Field(
        None,
        description="Folder of the text tower, if the backbone is conditioned on the names of actions; for "
        "video diffusion transformers, file of the empty prompt's embedding or folder of the text encoder.",
    )
    device: str = Field(
        "auto", description="Device: cpu, cuda, cuda:1 and so on; auto uses CUDA if there is a GPU."
    )
    dtype: Literal["float32", "float16", "bfloat16"] | None = Field(
        None,
        description="Arithmetic; that of the training's features if not given. It affects the scores.",
    )


class TimelineOptions(BaseModel):
    """How scores over time and bouts are made. Options that are not given are the model's own."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    span_seconds: float | None = Field(
        None,
        gt=0,
        le=_LONGEST,
        description="Seconds of video per score; the median length of a training clip if not given.",
    )
    step_seconds: float | None = Field(
        None,
        gt=0,
        le=_LONGEST,
        description="Seconds from one score to the next; a score for every sampled frame if not given.",
    )
    smooth_seconds: float = Field(
        0.0,
        ge=0,
        le=_LONGEST,
        description="Scores are averaged over this many seconds; if not given, over what was chosen on "
        "validation videos, or over half a training clip. 0 for none.",
    )
    threshold: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Probability from which a behaviour counts as present; one per class if not given.",
    )
    min_seconds: float = Field(0.0, ge=0, le=_LONGEST, description="Bouts shorter than this are dropped.")
    max_gap_seconds: float = Field(
        0.0, ge=0, le=_LONGEST, description="Bouts of one behaviour are joined across gaps up to this long."
    )
    abstain_below: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Predictions below this probability are left blank, whatever the threshold.",
    )
    abstain_outside: bool = Field(
        True,
        description="Give videos no label and no bouts if they lie outside what the model has learnt from.",
    )
    background: str = Field("background", description="Label that means no behaviour; it makes no bouts.")

    @classmethod
    def of_model(cls, recorded: Mapping[str, Any], options: Self | None = None) -> Self:
        """The options that a model records, with those that are set in `options` in their place.

        Raises:
            RunError: If the model records an option that does not exist, or a value that is not allowed.
        """
        chosen = options.model_dump(exclude_unset=True) if options else {}
        try:
            return cls(**{**recorded, **chosen})
        except ValidationError as error:
            raise RunError(
                f"the model's own options of timelines cannot be used: {explain_validation(error)}. Restore "
                "its config.json, or train again."
            ) from None


def short_bouts_hint(bout_seconds: Sequence[float], span_seconds: float, smooth_seconds: float) -> str:
    """One line of advice if most bouts are shorter than what a score is computed from; else an empty text.

    Args:
        bout_seconds: Lengths of all bouts.
        span_seconds: Seconds of video per score.
        smooth_seconds: Seconds that scores were averaged over.
    """
    if len(bout_seconds) < _FEW_BOUTS or statistics.median(bout_seconds) >= span_seconds:
        return ""
    advice = f"--min-seconds {span_seconds / 2:.1f}"
    if smooth_seconds < span_seconds - 0.05:
        advice = f"--smooth-seconds {span_seconds:.1f} or {advice}"
    return (
        f"Most bouts are shorter than the {span_seconds:.1f} s of video that each score is computed from, so "
        f"many may be noise; {advice} gives fewer."
    )


class LocalizationOptions(BaseModel):
    """How a video is searched for an action. Options that are not given are the model's own."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    method: Literal["cells", "crops"] = Field(
        "cells",
        description="cells: one pass, in which the layer's map is sampled at a grid. crops: each patch is "
        "processed as a video of its own, which takes rows x columns times as long.",
    )
    rows: int = Field(3, ge=2, le=64, description="Number of places from top to bottom.")
    columns: int = Field(5, ge=2, le=64, description="Number of places from left to right.")
    overlap: float = Field(
        0.0, ge=0, lt=1, description="For crops: share of a patch that overlaps with the next one."
    )
    patch: Literal["resized", "native"] = Field(
        "resized",
        description="For crops: resized scales each patch to the size at which the backbone takes whole "
        "pictures; native keeps its size, rounded up to a multiple of 64 pixels.",
    )
    span_seconds: float | None = Field(
        None,
        gt=0,
        le=_LONGEST,
        description="Seconds of video per score; the median length of a training clip if not given.",
    )
    step_seconds: float | None = Field(
        None,
        gt=0,
        le=_LONGEST,
        description="Seconds from one score to the next; a score for every sampled frame if not given.",
    )
