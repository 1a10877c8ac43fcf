"""Heatmap strips: where in the picture the model finds each label, in its most confident examples."""

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from actiondiff.errors import UsageError, VideoError
from actiondiff.exports.heatmaps import write_heatmap_npz
from actiondiff.exports.record import HeatmapRecord, add_heatmaps, read_record
from actiondiff.inference.localization import Heatmap, LocalizationOptions
from actiondiff.inference.model import ActionDiff
from actiondiff.report.clips import CaptionedClip, find_video
from actiondiff.report.examples import ConfidentExample, most_confident
from actiondiff.report.html import Section
from actiondiff.report.items import Gallery, Item, Notes, Picture, Text
from actiondiff.report.overlay import colour_limits, write_strip
from actiondiff.report.strips import heat_strip, scaled
from actiondiff.types import Frames, Progress, Sampling
from actiondiff.video.crop_file import is_crop
from actiondiff.video.decode import iter_video

__all__ = ["FOLDER", "heat_section", "write_heat_strips"]

FOLDER = "heatmaps"
_MOST_FRAMES = 64  # sampled frames from the start of an example, which are held in memory at once
_HEIGHT, _NUM_FRAMES = 96, 4
_MOST_PIXELS = 20_000_000  # of a strip


def write_heat_strips(
    folder: str | os.PathLike[str], model: ActionDiff, *, each: int = 1, progress: Progress | None = None
) -> int:
    """Write heatmaps of the most confident examples of each predicted label.

    A strip (PNG) and the numbers (npz, see `write_heatmap_npz`) of each example are written to `heatmaps/`,
    and the record of the predictions lists them, so that a report shows them. Of a long example, only the
    start is used.

    Args:
        folder: Folder that `actiondiff predict` wrote; the paths of the videos must still be valid.
        model: Model that made the predictions.
        each: Maximum number of examples per label.
        progress: Called after each example.

    Raises:
        RunError: If there is no record of predictions.
        VideoError: If a video no longer exists.
        UsageError: If the model's feature has no spatial maps.
    """
    examples = most_confident(read_record(folder), each=each)
    rows = []
    for number, example in enumerate(examples, start=1):
        words = re.sub(r"\W+", "-", example.label)[:40]
        name = f"{FOLDER}/{number:03}-{words}"
        try:
            rows.append(_search(Path(folder) / name, model, example))
        except UsageError as error:
            raise UsageError(f"the predictions are in {folder}, but without heatmaps: {error}") from None
        if progress:
            progress(number, len(examples), example.clip.video)
    add_heatmaps(folder, rows)
    return len(rows)


def heat_section(folder: str | os.PathLike[str], facts: Mapping[str, Any]) -> list[Section]:
    """Make the section of a report that shows the heatmaps; an empty list if there are none.

    Args:
        folder: Folder of the predictions.
        facts: Record of the predictions.
    """
    rows = facts.get("heatmaps") or []
    if not rows:
        return []
    strips = tuple(strip for row in rows if (strip := _picture(Path(folder), row)) is not None)
    explanation = (
        "Each strip shows frames of an example above, and below the same frames coloured by the model's "
        "probability of the action at each place. Dark colours mean the probability of guessing by class "
        "frequencies, or less; the brightest colour is the highest probability in the strip.\n\nThe model "
        "was trained on whole pictures, but here it is applied to parts of them. The map shows what the "
        "model relies on, which need not be the animal. Take it as a hint, not as a measurement."
    )
    items: list[Item] = [
        Text(explanation),
        *([Gallery(strips, "What the model relies on")] if strips else []),
    ]
    if len(strips) < len(rows):
        count = len(rows) - len(strips)
        missing = "1 strip is" if count == 1 else f"{count} strips are"
        items.append(Notes((f"{missing} missing from {FOLDER}.",)))
    return [Section("Heatmaps", tuple(items))]


def _search(path: Path, model: ActionDiff, example: ConfidentExample) -> HeatmapRecord:
    """Write the files of one example, whose names begin with the path; returns its row for the record."""
    clip = example.clip
    crop = find_video(clip.video, [path.parent.parent]) if is_crop(clip.video) else None  # from the folder
    frames = _beginning(replace(clip, video=str(crop or clip.video)), model.config.sampling)
    places = {Path(name).resolve(): config for name, config in model.places.items()}
    place = places.get(Path(str(crop or clip.video)).resolve())
    if place is not None:
        model.places = {**model.places, frames.identity: place}
    # Maps of several backbones have other places; patches of the picture are the same for all of them.
    options = LocalizationOptions(method="crops") if model.further else None
    heatmap = model.localize(frames, example.label, options=options)
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
        "picture": f"{FOLDER}/{path.name}.png",
    }


def _beginning(clip: CaptionedClip, sampling: Sampling) -> Frames:
    """Decode the first sampled frames of a clip."""
    reader = iter_video(
        clip.video,
        stride=sampling.stride,
        fps=sampling.fps,
        start_seconds=clip.start_seconds,
        end_seconds=clip.end_seconds,
        chunk_frames=_MOST_FRAMES,
        stream=sampling.stream,
        square=sampling.square,
    )
    for frames in reader:
        return frames
    raise VideoError(f"{clip.video}: {reader.report.reason}.")


def _drawn(frames: Frames, heatmap: Heatmap, caption: str) -> Picture:
    """Draw the strip; the map of a token holds from its frame to the frame of the next token."""
    small = np.stack([scaled(frame, _HEIGHT) for frame in frames.pixels])
    steps = np.searchsorted(heatmap.frame_index, frames.frame_index, side="right") - 1
    heat = heatmap.at(*small.shape[1:3])[steps]
    return heat_strip(
        small, heat, caption, limits=colour_limits(heatmap), num_frames=_NUM_FRAMES, height_px=_HEIGHT
    )


def _picture(folder: Path, row: Mapping[str, Any]) -> Picture | None:
    """The strip of a row; None if it is missing or no picture, or if what others wrote leads elsewhere."""
    name = str(row["picture"])
    path = folder / name
    is_inside = re.fullmatch(rf"{FOLDER}/[^/\\]+", name) and not path.is_symlink() and path.is_file()
    if not is_inside:
        return None
    try:
        with Image.open(path) as image:
            if image.width * image.height > _MOST_PIXELS:
                return None
            pixels = np.asarray(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError):  # what pillow raises at damaged files
        return None
    caption = str(row["caption"])
    return Picture(pixels, caption, f"Frames of an example, and the same frames under a heatmap: {caption}")
