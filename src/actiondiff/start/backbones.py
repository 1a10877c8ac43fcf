"""The backbone that suits a machine: one whose weights are there, and which this machine can run in time."""

from dataclasses import dataclass
from importlib.util import find_spec as find_module

import torch

from actiondiff.backbones.base import find_spec
from actiondiff.checkpoints.locate import find_weights

__all__ = ["CONTROLS", "CandidateBackbone", "choose_backbone"]

CONTROLS = ("pixels", "motion")
"""Cheap features that a backbone must beat: colours on a grid, and what changes from frame to frame."""
_ON_A_GPU = (
    "svd-xt", "svd", "vjepa2-l", "videomaev2-g", "vjepa-h", "vjepa-l", "dinov3-l", "sd21",
    "wan21", "cogvideox-2b", "ltx-video",
)  # fmt: skip
_SMALL, _SMALL_MODULE = "lite0", "efficientnet_lite_pytorch"


@dataclass(frozen=True)
class CandidateBackbone:
    """The backbone to compare with the controls.

    Attributes:
        name: Its name; None if this machine has none that is pre-trained on real videos or pictures.
        reason: Why it was chosen, in a sentence.
    """

    name: str | None
    reason: str


def choose_backbone(name: str | None = None) -> CandidateBackbone:
    """Choose a backbone: the named one, on a GPU one whose weights are here, else `lite0` if it is installed.

    The built-in `tiny`, which is pre-trained on drawn animals only, is never chosen unless it is named.

    Raises:
        UnknownNameError: If there is no backbone of the name.
    """
    if name is not None:
        return CandidateBackbone(find_spec(name).name, f"{name}, as asked for.")
    here = [backbone for backbone in _ON_A_GPU if find_weights(backbone)]
    if here and torch.cuda.is_available():
        return CandidateBackbone(here[0], f"{here[0]}: its weights are here, and there is a GPU.")
    unused = f" ({here[0]} has weights here, but would take long without a GPU: --backbone)" if here else ""
    if find_module(_SMALL_MODULE):
        return CandidateBackbone(
            _SMALL, f"{_SMALL}, a small network for pictures that runs anywhere{unused}."
        )
    return CandidateBackbone(
        None,
        f"none: no weights are here{unused}, and {_SMALL} is not installed (pip install 'actiondiff[lite]'). "
        "Only simple colours and motion are compared.",
    )
