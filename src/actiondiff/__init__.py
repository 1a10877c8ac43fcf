"""ActionDiff: action recognition in video with a frozen video diffusion model.

The names below are the public interface. They are imported when they are first used (PEP 562), so that
`import actiondiff` itself is fast.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_PUBLIC = {
    "ActionDiff": "inference.model",
    "ActionDiffError": "errors",
    "Bout": "types",
    "DecodeReport": "types",
    "Example": "types",
    "FeatureKey": "types",
    "FeatureStore": "features.store",
    "Features": "types",
    "Frames": "types",
    "Heatmap": "inference.localization",
    "LocalizationOptions": "inference.options",
    "Prediction": "types",
    "Timeline": "inference.timeline",
    "TimelineOptions": "inference.options",
    "convert_weights": "checkpoints.convert",
    "detect_videos": "detection.run",
    "evaluate": "experiments.study",
    "extract_features": "extraction.api",
    "iter_video": "video.decode",
    "join_stores": "features.joined",
    "load_backbone": "backbones.base",
    "read_video": "video.decode",
    "sweep": "experiments.sweep",
    "train": "experiments.study",
}

__all__ = [*_PUBLIC, "__version__"]

if TYPE_CHECKING:
    from actiondiff.backbones.base import load_backbone as load_backbone
    from actiondiff.checkpoints.convert import convert_weights as convert_weights
    from actiondiff.detection.run import detect_videos as detect_videos
    from actiondiff.errors import ActionDiffError as ActionDiffError
    from actiondiff.experiments.study import evaluate as evaluate
    from actiondiff.experiments.study import train as train
    from actiondiff.experiments.sweep import sweep as sweep
    from actiondiff.extraction.api import extract_features as extract_features
    from actiondiff.features.joined import join_stores as join_stores
    from actiondiff.features.store import FeatureStore as FeatureStore
    from actiondiff.inference.localization import Heatmap as Heatmap
    from actiondiff.inference.model import ActionDiff as ActionDiff
    from actiondiff.inference.options import LocalizationOptions as LocalizationOptions
    from actiondiff.inference.options import TimelineOptions as TimelineOptions
    from actiondiff.inference.timeline import Timeline as Timeline
    from actiondiff.types import Bout as Bout
    from actiondiff.types import DecodeReport as DecodeReport
    from actiondiff.types import Example as Example
    from actiondiff.types import FeatureKey as FeatureKey
    from actiondiff.types import Features as Features
    from actiondiff.types import Frames as Frames
    from actiondiff.types import Prediction as Prediction
    from actiondiff.video.decode import iter_video as iter_video
    from actiondiff.video.decode import read_video as read_video


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'actiondiff' has no attribute {name!r}; it has {', '.join(__all__)}")
    value = getattr(importlib.import_module(f"actiondiff.{_PUBLIC[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
