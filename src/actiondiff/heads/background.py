"""The place taken away: what the footage of a camera has in common is subtracted from its tokens.

The background of a camera is w times the mean token of its footage plus 1 - w times the mean over the
training cameras, with w = n / (n + k) for n clips. Each channel has its own k: the variance of a clip's mean
token within a camera over the variance between cameras, both measured on the training cameras. So little
footage is trusted where clips of one camera differ much.
"""

import json
import os
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from actiondiff.datasets.base import value_of
from actiondiff.datasets.packing import PackedFeatures
from actiondiff.errors import RunError, UsageError
from actiondiff.outputs.words import counted
from actiondiff.provenance import atomic_path, canonical_json
from actiondiff.types import JSON, Array

__all__ = [
    "BACKGROUND",
    "MINUS_BACKGROUND",
    "Backgrounds",
    "camera_means",
    "fit_backgrounds",
    "load_backgrounds",
    "save_backgrounds",
]

BACKGROUND = "background.safetensors"
MINUS_BACKGROUND = "minus-background"
"""Value of `HeadOptions.input` that asks for this."""

_ENTRY = "actiondiff"
_USUAL = 4.0  # k where the training cameras do not tell: one camera, or one clip per camera
_MOST = 1e6  # k where cameras differ no more than clips of one camera do


@dataclass(frozen=True, eq=False)
class Backgrounds:
    """The backgrounds of the training cameras, and how those of new cameras are estimated.

    Attributes:
        column: Column of the training table that names the camera.
        mean: (D,) float32, mean over the training cameras.
        k: (D,) float32, number of clips whose mean counts as much as `mean` does, by channel.
        cameras: Training camera -> (D,) float32, its background.
        counts: Training camera -> number of clips that it was estimated from.
        here: (D,) float32, the background to subtract; None to estimate it from each video by itself.
    """

    column: str
    mean: Array
    k: Array
    cameras: Mapping[str, Array]
    counts: Mapping[str, int]
    here: Array | None = None

    def estimate(self, means: Array) -> Array:
        """The background of a camera: (D,) float32, from the mean tokens (n, D) of n clips."""
        weight = len(means) / (len(means) + self.k.astype(np.float64))
        background = weight * means.mean(0, dtype=np.float64) + (1 - weight) * self.mean
        return background.astype(np.float32)

    def at(self, camera: str, means: Array | None = None) -> "Backgrounds":
        """These backgrounds, set to one camera.

        Args:
            camera: Name of the camera. A training camera has the background of training.
            means: (n, D) mean tokens of the clips of a new camera; None to estimate its background from each
                video by itself.
        """
        here = self.cameras.get(camera)
        if here is None and means is not None:
            here = self.estimate(means)
        return replace(self, here=here)

    def subtract(self, tokens: Array) -> Array:
        """Subtract the background from the tokens (..., D) of one video."""
        here = self.here
        if here is None:
            here = self.estimate(tokens.reshape(-1, tokens.shape[-1]).mean(0, dtype=np.float64)[None])
        return tokens - here

    def subtract_each(
        self, packed: PackedFeatures, footage: Mapping[str, Array]
    ) -> tuple[PackedFeatures, dict[str, int]]:
        """Subtract from each clip the background of its camera.

        Args:
            packed: The clips.
            footage: Camera -> (n, D) mean tokens of footage without animals; others are estimated from the
                clips themselves.

        Returns:
            The clips, and new camera -> number of clips that its background was estimated from.

        Raises:
            UsageError: If a clip has no camera.
        """
        own = camera_means(packed, self.column)
        names = [value_of(example, self.column) for example in packed.examples]
        new = {name: footage.get(name, means) for name, means in own.items() if name not in self.cameras}
        backgrounds = {**self.cameras, **{name: self.estimate(means) for name, means in new.items()}}
        rows = torch.from_numpy(np.stack([backgrounds[name] for name in names]))
        tokens = packed.tokens - rows.repeat_interleave(packed.lengths, dim=0).to(packed.tokens.device)
        return replace(packed, tokens=tokens), {name: len(means) for name, means in new.items()}

    def note(self, new: Mapping[str, int], *, empty: Collection[str] = ()) -> str:
        """Say in sentences what the backgrounds of new cameras were estimated from; empty without any.

        Args:
            new: New camera -> number of clips.
            empty: Those of them whose clips are without animals.
        """
        own = [count for name, count in new.items() if name not in empty]
        bare = [count for name, count in new.items() if name in empty]
        parts = []
        if own:
            parts.append(
                f"The backgrounds of {counted(len(own), 'new camera')} were estimated from their own new "
                f"footage ({self._how(own)}), so predictions depend on which clips are given together."
            )
        if bare:
            parts.append(
                f"The backgrounds of {counted(len(bare), 'new camera')} were estimated from clips without "
                f"animals ({self._how(bare)})."
            )
        return " ".join(parts)

    def note_of_videos(self, cameras: Mapping[str, str], footage: Mapping[str, Array]) -> str:
        """Say in sentences what the backgrounds of the cameras of some videos were estimated from.

        Args:
            cameras: Video -> name of its camera; empty if it has none.
            footage: Camera -> (n, D) mean tokens of its clips without animals.
        """
        counts = Counter(camera for camera in cameras.values() if camera and camera not in self.cameras)
        new = {name: len(footage.get(name, ())) or count for name, count in counts.items()}
        return self.note(new, empty=footage)

    def _how(self, counts: Sequence[int]) -> str:
        fewest, most = min(counts), max(counts)
        clips = counted(most, "clip") if fewest == most else f"{fewest} to {most} clips"
        return f"{clips} each, weight n/(n+k), median k {np.median(self.k):.2g}"


def camera_means(packed: PackedFeatures, column: str) -> dict[str, Array]:
    """Camera -> (n, D) float64 mean tokens of its clips, in an order that does not depend on the table's.

    Raises:
        UsageError: If a clip has no camera.
    """
    parts = packed.tokens.cpu().tensor_split(packed.offsets[1:-1])
    order = sorted(
        range(len(packed)),
        key=lambda i: (packed.examples[i].video, packed.examples[i].start_seconds or 0.0),
    )
    means: dict[str, list[Array]] = {}
    for i in order:
        name = value_of(packed.examples[i], column)
        if not name:
            raise UsageError(
                f"head.input={MINUS_BACKGROUND} needs the camera of each clip; {packed.examples[i].video} "
                f"has none: fill the column {column} of the table (protocol.camera names another column), or "
                "use head.input=standardised."
            )
        means.setdefault(name, []).append(parts[i].double().mean(0).numpy())
    return {name: np.stack(own) for name, own in sorted(means.items())}


def fit_backgrounds(means: Mapping[str, Array], column: str) -> Backgrounds:
    """Estimate the backgrounds of the training cameras.

    Args:
        means: Camera -> (n, D) mean tokens of its clips.
        column: Column of the table that names the camera.
    """
    middle = np.mean([own.mean(0) for own in means.values()], axis=0).astype(np.float32)
    counts = {name: len(own) for name, own in means.items()}
    blank = Backgrounds(column, middle, _shrinkage(list(means.values())), {}, counts)
    return replace(blank, cameras={name: blank.estimate(own) for name, own in means.items()})


def _shrinkage(groups: Sequence[Array]) -> Array:
    """Compute k of each channel: the variance within cameras over that between them."""
    counts = np.array([len(own) for own in groups], dtype=np.float64)
    total, num = counts.sum(), len(groups)
    if num < 2 or total <= num:
        return np.full(groups[0].shape[1], _USUAL, np.float32)
    middle = np.concatenate(groups).mean(0)
    within = np.sum([((own - own.mean(0)) ** 2).sum(0) for own in groups], axis=0) / (total - num)
    spread = np.sum([len(own) * (own.mean(0) - middle) ** 2 for own in groups], axis=0) / (num - 1)
    usual_count = (total - (counts**2).sum() / total) / (num - 1)
    between = np.maximum(spread - within, 0.0) / usual_count
    return np.minimum(within / np.maximum(between, 1e-30), _MOST).astype(np.float32)


def save_backgrounds(folder: str | os.PathLike[str], backgrounds: Backgrounds) -> None:
    """Write backgrounds beside the model that subtracts them."""
    names = sorted(backgrounds.cameras)
    cameras: list[JSON] = [*names]
    text = canonical_json(
        {
            "column": backgrounds.column,
            "cameras": cameras,
            "counts": [backgrounds.counts[name] for name in names],
        }
    )
    rows = np.stack([backgrounds.mean, backgrounds.k, *(backgrounds.cameras[name] for name in names)])
    with atomic_path(Path(folder) / BACKGROUND) as aside:
        save_file({"rows": rows.astype(np.float32)}, aside, metadata={_ENTRY: text})


def load_backgrounds(folder: str | os.PathLike[str], *, token_width: int) -> Backgrounds:
    """Read what `save_backgrounds` wrote.

    Raises:
        RunError: If the file is missing or damaged, or is another model's.
    """
    path = Path(folder) / BACKGROUND
    if not path.is_file():
        raise RunError(
            f"{path} is missing, which head.input={MINUS_BACKGROUND} needs. Restore it, or train again."
        )
    try:
        with safe_open(path, framework="numpy") as file:
            facts = json.loads((file.metadata() or {})[_ENTRY])
            rows = file.get_tensor("rows").astype(np.float32)
        names = [str(name) for name in facts["cameras"]]
        counts = [int(count) for count in facts["counts"]]
        if rows.shape != (len(names) + 2, token_width) or not np.isfinite(rows).all() or (rows[1] < 0).any():
            raise ValueError(f"its values do not fit a model with tokens of width {token_width}")
        return Backgrounds(
            str(facts["column"]),
            rows[0],
            rows[1],
            dict(zip(names, rows[2:], strict=True)),
            dict(zip(names, counts, strict=True)),
        )
    except (ValueError, KeyError, TypeError, OSError, SafetensorError, RecursionError) as error:
        raise RunError(f"{path} is damaged: {error}. Restore it, or train again.") from None
