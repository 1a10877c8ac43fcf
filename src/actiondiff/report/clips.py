"""Clips to look at: which ones a model got most wrong, and their frames where the videos can be found."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from actiondiff.errors import VideoError
from actiondiff.report.figures import frame_strip, scaled
from actiondiff.report.html import Picture
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
_LONGEST_SECONDS, _FPS = 20.0, 4.0  # enough for a strip; a long video is not decoded to its end for it


@dataclass(frozen=True)
class CaptionedClip:
    """A span of a video, and what to say of it.

    Attributes:
        video: Path as the table has it.
        start_seconds: None for the beginning.
        end_seconds: None for the end.
        caption: Below its frames.
    """

    video: str
    start_seconds: float | None
    end_seconds: float | None
    caption: str


@dataclass(frozen=True)
class Mistake:
    """One kind of mistake.

    Attributes:
        title: In words.
        count: Clips it was made on.
        clips: Those it was made on with the greatest confidence.
    """

    title: str
    count: int
    clips: tuple[CaptionedClip, ...]


def worst_confusions(predictions: pd.DataFrame, *, most: int = 5, each: int = 3) -> list[Mistake]:
    """Pairs of classes that are confused most often, of a single-label model.

    Args:
        predictions: As in a run's predictions.csv.gz.
        most: Pairs.
        each: Clips a pair.
    """
    wrong = predictions[predictions["label"] != predictions["predicted"]]
    found = []
    for (true, predicted), rows in wrong.groupby(["label", "predicted"], sort=True):
        rows = rows.sort_values(f"p({predicted})", ascending=False, kind="stable").head(each)
        clips = tuple(
            _clip(row, f"{row['video']}: p({predicted}) = {row[f'p({predicted})']:.2f}, "
                       f"p({true}) = {row[f'p({true})']:.2f}")
            for _, row in rows.iterrows()
        )  # fmt: skip
        count = int(((wrong["label"] == true) & (wrong["predicted"] == predicted)).sum())
        found.append(Mistake(f"{true}, taken for {predicted}", count, clips))
    return sorted(found, key=lambda mistake: -mistake.count)[:most]


def label_mistakes(
    predictions: pd.DataFrame, labels: Sequence[str], *, threshold: float = 0.5, each: int = 6
) -> list[Mistake]:
    """What a multi-label model says most wrongly: labels it adds, and labels it misses.

    Args:
        predictions: As in a run's predictions.csv.gz.
        labels: The classes.
        threshold: From which probability on a label counts as named.
        each: Clips of either kind; one of each label at most.
    """
    values = predictions[[f"p({label})" for label in labels]].to_numpy()  # (N, K)
    true = np.array([[label in row.split(";") for label in labels] for row in predictions["label"]])
    added, missed = (values >= threshold) & ~true, (values < threshold) & true
    kinds = (
        ("Named, but not labelled", added, np.where(added, -values, np.inf)),
        ("Labelled, but not named", missed, np.where(missed, values, np.inf)),
    )
    found = []
    for title, wrong, order in kinds:
        worst = sorted(
            (order[row, column], int(row), column)
            for column in range(len(labels))
            if wrong[:, column].any() and (row := order[:, column].argmin()) >= 0
        )[:each]
        clips = tuple(
            _clip(clip := predictions.iloc[row], f"{labels[column]}: p = {values[row, column]:.2f} in "
                  f"{clip['video']}, labelled {clip['label'] or 'with nothing'}")
            for _, row, column in worst
        )  # fmt: skip
        if clips:
            found.append(Mistake(title, int(wrong.sum()), clips))
    return found


def _clip(row: "pd.Series[Any]", caption: str) -> CaptionedClip:
    start, end = (
        None if name not in row or pd.isna(row[name]) else float(row[name])
        for name in ("start_seconds", "end_seconds")
    )
    return CaptionedClip(str(row["video"]), start, end, caption)


def find_video(video: str, roots: VideoRoots) -> Path | None:
    """The video's file, in the first folder that has it."""
    return next((path for root in roots if (path := Path(root) / video).is_file()), None)


def pictures(
    clips: Sequence[CaptionedClip],
    roots: VideoRoots,
    *,
    num_frames: int = 4,
    height_px: int = 96,
) -> tuple[tuple[Picture, ...], list[str]]:
    """Frames of the clips, and which videos were not found or do not decode."""
    shown, absent = [], []
    for clip in clips:
        frames = _frames(clip, roots, height_px)
        if frames is None:
            absent.append(clip.video)
            continue
        shown.append(frame_strip(frames, clip.caption, num_frames=num_frames, height_px=height_px))
    return tuple(shown), list(dict.fromkeys(absent))


def _frames(clip: CaptionedClip, roots: VideoRoots, height_px: int) -> NDArray[np.uint8] | None:
    """(T, height_px, w, 3) of the span's beginning, scaled as they are decoded; None without any."""
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
