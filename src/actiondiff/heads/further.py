"""What a model records about features of further backbones, and what it needs of any store's settings."""

from collections.abc import Mapping
from typing import Annotated, Any, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, field_validator

from actiondiff.types import Sampling

__all__ = ["FurtherFeatures", "Seconds", "checked_settings"]

Seconds: TypeAlias = Annotated[float, Field(gt=0, le=1e9)]


class FurtherFeatures(BaseModel):
    """The features of a further backbone that a head reads beside those of the first."""

    model_config = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False)

    features: Mapping[str, Any] = Field(
        description="Settings of their store: `backbone` with weights and options, `sampling`, `store_dtype`."
    )
    feature_fingerprint: str = Field(min_length=1, description="Fingerprint of these settings.")
    frame_seconds: Seconds | None = Field(None, description="As in `ModelConfig`.")
    frame_seconds_range: tuple[Seconds, Seconds] | None = Field(None, description="As in `ModelConfig`.")
    frames_per_token: int = Field(1, ge=1, le=4096, description="As in `ModelConfig`.")

    @field_validator("features")
    @classmethod
    def _check(cls, settings: Mapping[str, Any]) -> Mapping[str, Any]:
        backbone = settings.get("backbone")
        if not isinstance(backbone, Mapping) or not isinstance(backbone.get("name"), str):
            raise ValueError("settings of further features name their backbone")
        if not {"sampling", "store_dtype"} <= set(settings):
            raise ValueError("settings of further features have sampling and store_dtype")
        return checked_settings(settings)


def checked_settings(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the settings of a feature store, once what prediction needs of them is of the right kind.

    Raises:
        ValueError: If it is not.
    """
    if settings.get("store_dtype", "float32") not in ("float32", "float16"):
        raise ValueError("store_dtype is float32 or float16")
    sampling = settings.get("sampling", {"stride": 1})
    try:
        sampling = Sampling.from_settings(sampling)
    except (AttributeError, TypeError, OverflowError):
        raise ValueError("sampling has stride or fps, and perhaps stream, as numbers") from None
    if not isinstance(sampling.stream, int | None) or max(sampling.stride or 1, sampling.fps or 1) > 1e9:
        raise ValueError("stream is a whole number, and stride and fps are at most 1e9")
    return settings
