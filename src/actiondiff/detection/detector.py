"""Boxes of animals in pictures, by MegaDetector-lite."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from actiondiff.detection.weights import load_yolox
from actiondiff.detection.yolox import IMAGE_SIDE

__all__ = ["Detection", "Detector"]

_MOST_OVERLAP = 0.45  # zamba's `nms_threshold`
_MULTIPLE = 32  # the coarsest stride of the network
_BATCH = 8


@dataclass(frozen=True)
class Detection:
    """A box around an animal.

    Attributes:
        x0: Left edge, as a share of the picture's width, in [0, 1].
        y0: Upper edge, as a share of its height.
        x1: Right edge.
        y1: Lower edge.
        score: Confidence, in [0, 1].
    """

    x0: float
    y0: float
    x1: float
    y1: float
    score: float


class Detector:
    """MegaDetector-lite on a device.

    Args:
        weights: File of weights; None for the default one.
        device: Name of a device; `auto` takes CUDA where there is one.

    Attributes:
        device: The device.
        weights_sha256: sha256 of the file of weights.

    Raises:
        WeightsError: If there are no weights.
    """

    def __init__(self, weights: Path | None = None, *, device: str = "auto") -> None:
        on_cuda = device == "auto" and torch.cuda.is_available()
        self.device = torch.device("cuda" if on_cuda else "cpu" if device == "auto" else device)
        network, self.weights_sha256 = load_yolox(weights)
        self._network = network.to(self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch has it, its overloads do not

    @torch.inference_mode()
    def detect(self, pictures: NDArray[np.uint8], *, min_score: float) -> list[list[Detection]]:
        """Find animals.

        Args:
            pictures: (B, H, W, 3) RGB.
            min_score: Boxes with a lower score are left out.

        Returns:
            The boxes of each picture, the surest first.
        """
        result = []
        for start in range(0, len(pictures), _BATCH):
            batch = np.stack([_prepared(picture) for picture in pictures[start : start + _BATCH]])
            pixels = torch.from_numpy(batch).to(self.device).permute(0, 3, 1, 2).float()  # channels last
            for boxes in self._network(pixels).cpu().numpy():
                result.append(_detections(boxes, pictures.shape[1:3], min_score))
        return result


def _size(height: int, width: int) -> tuple[int, int]:
    """Height and width of a picture as the network sees it, without the padding."""
    ratio = IMAGE_SIDE / max(height, width)
    return max(1, round(height * ratio)), max(1, round(width * ratio))


def _prepared(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The picture with its longer side at 640 pixels, and black at the right and below.

    Deviation: zamba pads to a square; here the shorter side is padded to the next multiple of 32, which takes
    40 % less time for 16:9. docs/crops.md says how little this changes.
    """
    height, width = _size(*picture.shape[:2])
    padded = np.zeros((*(-(-side // _MULTIPLE) * _MULTIPLE for side in (height, width)), 3), np.uint8)
    image = Image.fromarray(np.ascontiguousarray(picture))
    padded[:height, :width] = np.asarray(image.resize((width, height), Image.Resampling.BICUBIC))
    return padded


def _detections(boxes: NDArray[np.float32], shape: tuple[int, ...], min_score: float) -> list[Detection]:
    """The boxes of a picture, each once.

    Args:
        boxes: (N, 5) as the network gives them.
        shape: Height and width of the picture.
        min_score: Boxes with a lower score are left out.
    """
    likely: NDArray[np.float64] = boxes[boxes[:, 4] >= min_score].astype(np.float64)
    height, width = _size(*shape)
    half = likely[:, 2:4] / 2
    corners = np.concatenate([likely[:, :2] - half, likely[:, :2] + half], axis=1)
    distinct = _distinct(corners, likely[:, 4])
    shares = np.clip(corners[distinct] / (width, height, width, height), 0, 1)
    return [
        Detection(x0, y0, x1, y1, score)
        for (x0, y0, x1, y1), score in zip(shares.tolist(), likely[distinct, 4].tolist(), strict=True)
        if x1 > x0 and y1 > y0
    ]


def _distinct(corners: NDArray[np.float64], scores: NDArray[np.float64]) -> list[int]:
    """Non-maximum suppression: the boxes that no surer one overlaps by more than the threshold.

    Args:
        corners: (N, 4) left, upper, right and lower edges.
        scores: (N,).

    Returns:
        Their numbers, the surest first.
    """
    areas = (corners[:, 2:] - corners[:, :2]).prod(axis=1)
    left = np.argsort(-scores, kind="stable")
    chosen: list[int] = []
    while len(left):
        best, left = left[0], left[1:]
        chosen.append(int(best))
        lower = np.maximum(corners[best, :2], corners[left, :2])
        upper = np.minimum(corners[best, 2:], corners[left, 2:])
        both = np.clip(upper - lower, 0, None).prod(axis=1)
        left = left[both <= _MOST_OVERLAP * (areas[best] + areas[left] - both)]
    return chosen
