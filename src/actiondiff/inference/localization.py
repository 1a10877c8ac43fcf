"""Where an action is seen: its probability at each place of the picture, over time.

A place is a point of a grid over the picture. There are two methods. `cells` takes one pass of the backbone:
the layer's map is sampled at the grid, and the features of one place over time become the tokens of that
place. `crops` cuts the video into patches and gives each patch to the whole model as a video of its own.
With both, the head is asked about parts of pictures although it was trained on whole ones. Its answers must
therefore be measured (`evaluation.places`), not trusted.

Source: supplement A.3 (crops), and the released code (cells: bilinear, corners aligned, 3 x 5).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from actiondiff.backbones.base import Backbone
from actiondiff.errors import UnknownNameError, UsageError
from actiondiff.features.joined import join_features
from actiondiff.heads.bundle import ModelConfig
from actiondiff.heads.inputs import Head
from actiondiff.inference.frame_rate import chosen_sampling
from actiondiff.inference.options import LocalizationOptions
from actiondiff.inference.places import PlaceTokens, Shares, cell_tokens, patch_pixels, patch_tokens
from actiondiff.inference.timeline import span_and_step, span_scores
from actiondiff.types import Array, DecodeReport, Features, Progress
from actiondiff.video.opening import Video, part_of_progress, picture_size

__all__ = ["Heatmap", "LocalizationOptions", "make_heatmap"]

Resize: TypeAlias = Callable[[int, int], Backbone]
"""Loads a backbone for pictures of another height and width."""
_MULTIPLE = 64  # sizes of native patches are rounded up to it, since SVD halves pictures six times


@dataclass(frozen=True, eq=False)
class Heatmap:
    """How probable an action is at each place of a video, over time.

    Attributes:
        video: The video's path as given (of a crop: that of its source), or the identity of frames in memory.
        action: The action that was searched for.
        seconds: (T,) float64, presentation time of each sampled frame; None if unknown.
        frame_index: (T,) int64, number of each sampled frame among the video's raw frames.
        probabilities: (T, gh, gw) float32 in [0, 1].
        prior: Share of the training clips that show the action.
        rows: (gh,) vertical positions of the places, as shares of the picture's height, top to bottom.
        columns: (gw,) horizontal positions of the places, as shares of its width, left to right.
        options: Options that the heatmap was made with.
        padding_share: Share of the backbone's window slots that held padding.
        report: How decoding went; None for frames in memory.
        individual: The individual that the crop follows, whose pictures the places are of; empty for whole
            pictures.
    """

    video: str
    action: str
    seconds: NDArray[np.float64] | None
    frame_index: NDArray[np.int64]
    probabilities: Array
    prior: float
    rows: Shares
    columns: Shares
    options: LocalizationOptions
    padding_share: float = 0.0
    report: DecodeReport | None = None
    individual: str = ""

    @property
    def above_prior(self) -> Array:
        """(T, gh, gw) probability minus the prior; values above 0 are evidence for the action."""
        return self.probabilities - np.float32(self.prior)

    def at(self, height: int, width: int) -> Array:
        """(T, height, width) probabilities of pixels, linear between places and constant outside the grid."""
        down, across = _weights(self.rows, height), _weights(self.columns, width)
        return np.einsum("yr,trc,xc->tyx", down, self.probabilities, across, optimize=True)

    def highest(self) -> tuple[int, int, int]:
        """Step, row and column of the highest probability; the first of equal ones."""
        step, row, column = np.unravel_index(int(self.probabilities.argmax()), self.probabilities.shape)
        return int(step), int(row), int(column)

    def __getitem__(self, steps: slice) -> "Heatmap":
        """The same heatmap for a slice of its time steps."""
        seconds = None if self.seconds is None else self.seconds[steps]
        return replace(
            self,
            seconds=seconds,
            frame_index=self.frame_index[steps],
            probabilities=self.probabilities[steps],
        )


def make_heatmap(
    backbone: Backbone,
    head: Head,
    config: ModelConfig,
    video: Video,
    action: str,
    *,
    options: LocalizationOptions | None = None,
    resized: Resize | None = None,
    further: Mapping[str, tuple[Backbone, Resize | None]] | None = None,
    progress: Progress | None = None,
) -> Heatmap:
    """Search a video for an action.

    Args:
        backbone: The backbone whose features the head was trained on.
        head: The trained head.
        config: The head's config.
        video: A file, sampled as the training videos were; or frames in memory, all of which are used.
        action: One of the labels.
        options: How the video is searched.
        resized: Function that loads the backbone for pictures of another height and width, which `native`
            patches need.
        further: Name -> a further backbone, and the same for it, where the head reads features of several.
        progress: Called as the video is read.

    Raises:
        UnknownNameError: If the action is not one of the labels.
        VideoError: If no frame of the file decodes.
        UsageError: If the model's feature has no places, or the options do not fit the video or the model.
        StoreError: If the tokens of several backbones cannot be aligned in time.
    """
    if action not in config.labels:
        raise UnknownNameError("action", action, config.labels)
    chosen = options or LocalizationOptions()
    # The backbone gives tokens (T, gh, gw, D), which are rounded as those of the training were.
    if config.further:
        grid = _joined_tokens({"": (backbone, resized), **(further or {})}, config, video, chosen, progress)
    else:
        grid = _tokens(backbone, config, video, chosen, resized, progress)
        grid = replace(grid, tokens=config.rounded(grid.tokens))
    tokens = config.less_background(grid.tokens)
    # At each place the head slides over time, as it does over the frames of a whole video.
    span, step = span_and_step(
        config, head, grid.seconds, span_seconds=chosen.span_seconds, step_seconds=chosen.step_seconds
    )
    scores = np.zeros(tokens.shape[:3], dtype=np.float32)
    for place in np.ndindex(scores.shape[1:]):
        own = tokens[(slice(None), *place)]  # (T, D)
        probabilities = span_scores(head, own, span=span, step=step, activation=config.activation)
        scores[(slice(None), *place)] = probabilities[:, config.labels.index(action)]
    return Heatmap(
        video=grid.video,
        action=action,
        seconds=grid.seconds,
        frame_index=grid.frame_index,
        probabilities=scores,
        prior=_prior(config, action),
        rows=grid.rows,
        columns=grid.columns,
        options=chosen,
        padding_share=grid.padding_share,
        report=grid.report,
    )


def _tokens(
    backbone: Backbone,
    config: ModelConfig,
    video: Video,
    options: LocalizationOptions,
    resized: Resize | None,
    progress: Progress | None,
) -> PlaceTokens:
    """Tokens of a grid of places, by the method that the options name."""
    keys, sampling, grid = (
        config.feature_keys,
        chosen_sampling(config, video),
        (options.rows, options.columns),
    )
    if options.method == "cells":
        return cell_tokens(backbone, keys, video, sampling, grid, progress=progress)
    if options.patch == "native":
        if resized is None:
            raise UsageError(
                "patch=native needs a function that loads the backbone for another size (resized=)."
            )
        backbone = resized(*_patch_size(video, options))
    return patch_tokens(backbone, keys, video, sampling, grid, overlap=options.overlap, progress=progress)


def _joined_tokens(
    backbones: Mapping[str, tuple[Backbone, Resize | None]],
    config: ModelConfig,
    video: Video,
    options: LocalizationOptions,
    progress: Progress | None,
) -> PlaceTokens:
    """Rounded tokens of the same patches by several backbones, at the times of the first."""
    if options.method != "crops":
        raise UsageError(
            f"this model reads {config.sources}, whose maps have other places; use method crops, in which "
            "every backbone gets the same patches of the picture."
        )
    grids: dict[str, PlaceTokens] = {}
    for number, (name, (backbone, resized)) in enumerate(backbones.items()):
        share = part_of_progress(progress, number / len(backbones), (number + 1) / len(backbones))
        grids[name] = _tokens(backbone, config.part(name), video, options, resized, share)
    # Patches are laid side by side, so that they are joined in time as whole pictures are.
    flat = {name: _side_by_side(grid, config.part(name)) for name, grid in grids.items()}
    own = flat.pop("")
    joined = join_features(own, flat, video=grids[""].video)
    shape = (*grids[""].tokens.shape[:3], -1)
    tokens = [joined.tokens[key].reshape(shape) for key in config.feature_keys]
    return replace(
        grids[""],
        tokens=np.concatenate(tokens, axis=-1),
        padding_share=max(grid.padding_share for grid in grids.values()),
        report=joined.report,
    )


def _side_by_side(grid: PlaceTokens, config: ModelConfig) -> Features:
    """Features of whole pictures whose tokens are those of all places: (T, gh * gw * C) each."""
    parts = np.split(config.rounded(grid.tokens), np.cumsum(grid.widths)[:-1], axis=-1)
    tokens = {key: part.reshape(len(part), -1) for key, part in zip(config.feature_keys, parts, strict=True)}
    return Features(tokens, grid.seconds, grid.frame_index, grid.video, report=grid.report)


def _patch_size(video: Video, options: LocalizationOptions) -> tuple[int, int]:
    """Height and width of native patches in pixels, rounded up."""
    sides = zip((options.rows, options.columns), picture_size(video), strict=True)
    largest = [patch_pixels(0, count, options.overlap, length).stop for count, length in sides]
    height, width = (-(-side // _MULTIPLE) * _MULTIPLE for side in largest)
    return height, width


def _prior(config: ModelConfig, action: str) -> float:
    """Share of the training clips that show the action."""
    counts = config.train_counts
    num_clips = sum(counts.values()) if config.num_train_clips is None else config.num_train_clips
    return float(counts[action] / num_clips)


def _weights(places: Shares, count: int) -> Shares:
    """(count, places) weights that interpolate linearly from places to pixel centres along one side."""
    centres = (np.arange(count) + 0.5) / count
    return np.stack([np.interp(centres, places, unit) for unit in np.eye(len(places))], axis=1)
