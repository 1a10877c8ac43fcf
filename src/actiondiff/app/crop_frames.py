"""Crops on the page of a folder: where in the video that is played the individual is."""

from pathlib import Path

from actiondiff.inference.timeline import Timeline
from actiondiff.types import JSON
from actiondiff.video.crop_file import is_crop, read_crop
from actiondiff.video.cutting import Cutter

__all__ = ["frames_around"]


def frames_around(path: Path, timeline: Timeline) -> list[JSON]:
    """Where the crop lies at the time of each score: `[seconds, left, top, width, height]`.

    Places are shares of the width and the height of the video's pictures. Times at which the whole picture
    was taken have nothing but the seconds. The list is empty for files that are no crops.
    """
    if not is_crop(path):
        return []
    crop = read_crop(path)
    cutter = Cutter(crop, crop.height_px, crop.width_px)
    rows: list[JSON] = []
    for seconds, index in zip(timeline.seconds.tolist(), timeline.frame_index.tolist(), strict=True):
        place = cutter.place(index, seconds)
        shares = []
        if place is not None:
            (top, left), (height, width) = place.corner, place.size
            pixels = (left / crop.width_px, top / crop.height_px, width / crop.width_px)
            shares = [*pixels, height / crop.height_px]
        rows.append([round(value, 4) for value in (seconds, *shares)])
    return rows
