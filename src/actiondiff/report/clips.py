"""Clips to look at: the worst mistakes of a model, and their frames where the videos are available."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from actiondiff.errors import VideoError
from actiondiff.report.items import Picture
from actiondiff.report.strips import frame_strip, scaled
from actiondiff.video.decode import iter_video

__all__ = [
    "CaptionedClip",
    "Mistake",
    "VideoRoots",
    "find_video",
    "label_mistakes",
    "pictures",
    "worst_confusions",
]

VideoRoots: TypeAlias = Sequence[str | os.PathLike[str]]
_LONGEST_SECONDS, _FPS = 20.0, 4.0  # enough for a strip, without decoding a long video to its end


@dataclass(frozen=True)
class CaptionedClip:
    """A span of a video, with its caption.

    Attributes:
        video: Path of the video as in the table.
        start_seconds: Start of the span; None for the start of the video.
        end_seconds: End of the span; None for the end of the video.
        caption: Text below its frames.
        colour: Colour of a mark before the caption; empty for none.
    """

    video: str
    start_seconds: float | None
    end_seconds: float | None
    caption: str
    colour: str = ""


@dataclass(frozen=True)
class Mistake:
    """One kind of mistake.

    Attributes:
        title: The mistake, in words.
        count: Number of clips with this mistake.
        clips: The clips on which it was made with the greatest confidence.
    """

    title: str
    count: int
    clips: tuple[CaptionedClip, ...]


def worst_confusions(predictions: pd.DataFrame, *, most: int = 5, each: int = 3) -> list[Mistake]:
    """List the pairs of classes that a single-label model confuses most often.

    Args:
        predictions: Rows of a run's `predictions.csv.gz`.
        most: Maximum number of pairs.
        each: Maximum number of clips per pair.
    """
    wrong = predictions[predictions["label"] != predictions["predicted"]]
    places: dict[tuple[str, str], list[int]] = {}
    for place, pair in enumerate(zip(wrong["label"], wrong["predicted"], strict=True)):
        places.setdefault(pair, []).append(place)
    mistakes = []
    for true, predicted in sorted(places, key=lambda pair: (-len(places[pair]), pair))[:most]:
        own = places[true, predicted]
        rows = wrong.iloc[own].sort_values(f"p({predicted})", ascending=False, kind="stable").head(each)
        clips = tuple(
            _clip(row, f"{row['video']}: p({predicted}) = {row[f'p({predicted})']:.2f}, "
                       f"p({true}) = {row[f'p({true})']:.2f}")
            for _, row in rows.iterrows()
        )  # fmt: skip
        mistakes.append(Mistake(f"{true}, predicted as {predicted}", len(own), clips))
    return mistakes


def label_mistakes(
    predictions: pd.DataFrame, labels: Sequence[str], *, threshold: float = 0.5, each: int = 6
) -> list[Mistake]:
    """List the worst mistakes of a multi-label model: labels that it adds, and labels that it misses.

    Args:
        predictions: Rows of a run's `predictions.csv.gz`.
        labels: Names of the classes.
        threshold: Probability from which a label counts as predicted.
        each: Maximum number of clips of either kind, with at most one per label.
    """
    values = predictions[[f"p({label})" for label in labels]].to_numpy()  # (N, K)
    own = [set(row.split(";")) for row in predictions["label"]]
    true = np.array([[label in names for label in labels] for names in own])
    added, missed = (values >= threshold) & ~true, (values < threshold) & true
    kinds = (
        ("Predicted, but not labelled", added, np.where(added, -values, np.inf)),
        ("Labelled, but not predicted", missed, np.where(missed, values, np.inf)),
    )
    mistakes = []
    for title, wrong, order in kinds:
        worst = sorted(
            (order[row, column], int(row), column)
            for column in range(len(labels))
            if wrong[:, column].any() and (row := order[:, column].argmin()) >= 0
        )[:each]
        clips = tuple(
            _clip(clip := predictions.iloc[row], f"{labels[column]}: p = {values[row, column]:.2f} in "
                  f"{clip['video']}, labelled {clip['label'] or 'nothing'}")
            for _, row, column in worst
        )  # fmt: skip
        if clips:
            mistakes.append(Mistake(title, int(wrong.sum()), clips))
    return mistakes


def _clip(row: "pd.Series[Any]", caption: str) -> CaptionedClip:
    start, end = (
        None if name not in row or pd.isna(row[name]) else float(row[name])
        for name in ("start_seconds", "end_seconds")
    )
    return CaptionedClip(str(row["video"]), start, end, caption)


def find_video(video: str, roots: VideoRoots) -> Path | None:
    """Path of the video in the first folder that contains it; None if no folder does."""
    return next((path for root in roots if (path := Path(root) / video).is_file()), None)


def pictures(
    clips: Sequence[CaptionedClip],
    roots: VideoRoots,
    *,
    num_frames: int = 4,
    height_px: int = 96,
) -> tuple[tuple[Picture, ...], list[str]]:
    """Make pictures of the clips' frames.

    Args:
        clips: Clips to show.
        roots: Folders that may hold the videos.
        num_frames: Maximum number of frames per picture.
        height_px: Height of the frames.

    Returns:
        The pictures, and the videos that are missing or cannot be decoded.
    """
    strips, absent = [], []
    for clip in clips:
        frames = _frames(clip, roots, height_px)
        if frames is None:
            absent.append(clip.video)
            continue
        strip = frame_strip(frames, clip.caption, num_frames=num_frames, height_px=height_px)
        strips.append(replace(strip, colour=clip.colour))
    return tuple(strips), list(dict.fromkeys(absent))


def _frames(clip: CaptionedClip, roots: VideoRoots, height_px: int) -> NDArray[np.uint8] | None:
    """(T, height_px, w, 3) uint8, frames from the start of the span; None if none can be decoded."""
    path = find_video(clip.video, roots)
    if path is None:
        return None
    start = clip.start_seconds or 0.0
    end = min(clip.end_seconds or np.inf, start + _LONGEST_SECONDS)
    try:
        chunks = iter_video(path, stride=None, fps=_FPS, start_seconds=start, end_seconds=end, chunk_frames=8)
        frames = [scaled(frame, height_px) for chunk in chunks for frame in chunk.pixels]
    except VideoError:
        return None
    return np.stack(frames) if frames else None
