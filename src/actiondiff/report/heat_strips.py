"""Where: strips of the surest examples of each predicted label under their heatmaps, kept beside them."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from actiondiff.errors import UsageError, VideoError
from actiondiff.exports.heatmaps import write_heatmap_npz
from actiondiff.exports.record import add_to_record, read_record
from actiondiff.inference.localization import Heatmap
from actiondiff.inference.model import ActionDiff
from actiondiff.report.clips import CaptionedClip
from actiondiff.report.figures import heat_strip, scaled
from actiondiff.report.html import Gallery, Item, Notes, Picture, Section, Text
from actiondiff.report.overlay import colour_limits, write_strip
from actiondiff.report.surest import Surest, surest
from actiondiff.types import Frames, Progress, Sampling
from actiondiff.video.decode import iter_video

__all__ = ["FOLDER", "heat_section", "write_heat_strips"]

FOLDER = "heatmaps"
_MOST_FRAMES = 64  # sampled ones of an example, from its beginning: they are held in memory at once
_HEIGHT, _SHOWN = 96, 4


def write_heat_strips(
    folder: str | os.PathLike[str], model: ActionDiff, *, each: int = 1, progress: Progress | None = None
) -> int:
    """Search the surest examples of each predicted label for it; returns how many there are.

    A strip (PNG) and the numbers (npz, see `write_heatmap_npz`) of each go to `heatmaps/`, and the record of
    the predictions names them, so that a report shows them. Of a long example the beginning is searched.

    Args:
        folder: Where `actiondiff predict` wrote; paths of videos are as they were then.
        model: What made the predictions.
        each: Examples a label, at most.
        progress: Called after each example.

    Raises:
        RunError: If there is no record of predictions.
        VideoError: If a video is no longer there.
        UsageError: If the model's feature has no places.
    """
    examples = surest(read_record(folder), each=each)
    rows = []
    for number, example in enumerate(examples, start=1):
        words = re.sub(r"\W+", "-", example.label)[:40]
        name = f"{FOLDER}/{number:03}-{words}"
        try:
            row = _search(Path(folder) / name, model, example)
        except UsageError as error:
            raise UsageError(f"the predictions are in {folder}, but without heatmaps: {error}") from None
        rows.append(row | {"picture": f"{name}.png"})
        if progress:
            progress(number, len(examples), example.clip.video)
    add_to_record(folder, {"heatmaps": rows})
    return len(rows)


def heat_section(folder: str | os.PathLike[str], facts: Mapping[str, Any]) -> list[Section]:
    """The part of a report that shows them; none if there are none.

    Args:
        folder: Where the predictions are.
        facts: Their record.
    """
    rows = facts.get("heatmaps") or []
    if not rows:
        return []
    found = [row for row in rows if (Path(folder) / row["picture"]).is_file()]
    shown = tuple(_picture(Path(folder) / row["picture"], row) for row in found)
    said = (
        "Above, frames of an example; below, the same under the probability that the model finds the action "
        "at each place. Dark is what guessing by the training clips gives, or less; bright is the highest of "
        "the strip.\n\nThe model was trained on whole pictures and is asked here about parts. A map shows "
        "what it goes by, which need not be the animal: a hint, not a measurement."
    )
    items: list[Item] = [Text(said), *([Gallery(shown, "What the model goes by")] if shown else [])]
    if len(found) < len(rows):
        items.append(Notes((f"{len(rows) - len(found)} strips are no longer in {FOLDER}.",)))
    return [Section("Where", tuple(items))]


def _search(path: Path, model: ActionDiff, example: Surest) -> dict[str, Any]:
    """Write one example's files, whose names begin with the path; returns its row of the record."""
    frames = _beginning(example.clip, model.config.sampling)
    heatmap = model.localize(frames, example.label)
    low, high = colour_limits(heatmap)
    top = float(heatmap.probabilities.max())
    colours = f"bright at {high:.2f}" if top > low else f"nowhere above {top:.2f}"
    caption = f"{example.clip.caption}; dark at {low:.2f}, {colours}"
    write_strip(path.with_suffix(".png"), _drawn(frames, heatmap, caption))
    write_heatmap_npz(path.with_suffix(".npz"), heatmap)
    return {
        "video": example.clip.video,
        "label": example.label,
        "probability": round(example.probability, 4),
        "start_seconds": example.clip.start_seconds,
        "end_seconds": example.clip.end_seconds,
        "num_frames": len(frames),
        "caption": caption,
    }


def _beginning(clip: CaptionedClip, sampling: Sampling) -> Frames:
    """The first sampled frames of a clip, named by its path."""
    reader = iter_video(
        clip.video,
        stride=sampling.stride,
        fps=sampling.fps,
        start_seconds=clip.start_seconds,
        end_seconds=clip.end_seconds,
        chunk_frames=_MOST_FRAMES,
    )
    for frames in reader:
        return frames
    raise VideoError(f"{clip.video}: {reader.report.reason}.")


def _drawn(frames: Frames, heatmap: Heatmap, caption: str) -> Picture:
    """A token's map holds from its frame to the next token's."""
    small = np.stack([scaled(frame, _HEIGHT) for frame in frames.pixels])
    steps = np.searchsorted(heatmap.frame_index, frames.frame_index, side="right") - 1
    heat = heatmap.at(*small.shape[1:3])[steps]
    return heat_strip(
        small, heat, caption, limits=colour_limits(heatmap), num_frames=_SHOWN, height_px=_HEIGHT
    )


def _picture(path: Path, row: Mapping[str, Any]) -> Picture:
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"))
    caption = str(row["caption"])
    return Picture(pixels, caption, f"Frames of an example, and the same under a heatmap: {caption}")
