"""Options of crops around animals, which several commands have, and what they print about crops."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from actiondiff.errors import UsageError

if TYPE_CHECKING:
    from actiondiff.datasets.boxes import VideoBoxes
    from actiondiff.datasets.crop_folder import CroppedVideos

__all__ = [
    "CROPS",
    "BoxesOption",
    "BoxesRootOption",
    "IndividualsOption",
    "MarginOption",
    "MinScoreOption",
    "SmoothSecondsOption",
    "boxes_from_options",
    "print_crops",
]

CROPS = "Crops around animals"
"""Panel of the help."""

BoxesOption = Annotated[
    Path | None,
    typer.Option(
        help="Boxes of animals: JSON of MegaDetector for videos, or a CSV with video, frame or seconds, x0, "
        "y0, x1, y1 and perhaps score and individual. Each animal is then cut out and taken by itself.",
        dir_okay=False,
        rich_help_panel=CROPS,
    ),
]
BoxesRootOption = Annotated[
    Path | None,
    typer.Option(
        help="Folder that the paths in the boxes start from.  [default: that of the boxes]",
        rich_help_panel=CROPS,
    ),
]
IndividualsOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Most animals of a video, the best.  [default: all that the boxes name, or else the best one]",
        rich_help_panel=CROPS,
    ),
]
MarginOption = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=5,
        help="Share of the box to add on each side.  [default: 0.25]",
        rich_help_panel=CROPS,
    ),
]
MinScoreOption = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=1,
        help="Boxes with a lower score are left out.  [default: 0.2]",
        rich_help_panel=CROPS,
    ),
]
SmoothSecondsOption = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=60,
        help="Span over which the position of the crop is averaged.  [default: 1]",
        rich_help_panel=CROPS,
    ),
]


def boxes_from_options(
    boxes: Path | None, boxes_root: Path | None, min_score: float | None, **others: object
) -> "VideoBoxes | None":
    """Read the boxes; None if there are none.

    Args:
        boxes: The file.
        boxes_root: Folder that the paths in it start from.
        min_score: Boxes with a lower score are left out; None for the default.
        others: Further options of crops, by name, which have no effect without boxes.

    Raises:
        UsageError: If there are no boxes, but an option that is about them.
    """
    from actiondiff.datasets.boxes import read_boxes

    if boxes is None:
        options = {"boxes_root": boxes_root, "min_score": min_score, **others}
        idle = [f"--{name.replace('_', '-')}" for name, value in options.items() if value is not None]
        if idle:
            raise UsageError(f"{', '.join(idle)} needs --boxes: it is about crops around animals.")
        return None
    return read_boxes(boxes, root=boxes_root, **({} if min_score is None else {"min_score": min_score}))


def print_crops(result: "CroppedVideos", folder: Path) -> None:
    """Print, to standard error, which crops were written and where they show whole pictures."""
    from actiondiff.outputs.words import counted

    for video, reason in result.failed.items():
        typer.echo(f"failed: {video}: {reason}", err=True)
    without = sum(not row["side_px"] for row in result.rows)
    sources = len({row["source"] for row in result.rows})
    typer.echo(
        f"{counted(len(result.rows), 'crop')} of {counted(sources, 'video')} in {folder}: "
        f"{result.count('num_whole')} of {result.count('num_frames')} frames show the whole picture, because "
        f"no box is near them ({counted(without, 'video')} without any box).",
        err=True,
    )
