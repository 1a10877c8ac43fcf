"""Contact sheets that show the world at a glance."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from actiondiff.builtin.world.actions import ACTIONS, Action
from actiondiff.builtin.world.bodies import BODIES
from actiondiff.builtin.world.scenes import CONTEXTS
from actiondiff.builtin.world.world import ClipSpec, render_clip

__all__ = ["action_sheet", "place_sheet", "sheet"]

_MARGIN = 64  # width of the names of rows, pixels
_TITLE = 16  # height of the names of columns, pixels
_PICTURE = 96  # side of a picture, pixels


def action_sheet(
    body: str = "dog", context: str = "meadow", view: str = "side", *, seed: int = 0, columns: int = 12
) -> Image.Image:
    """A sheet with one row per action and one column per moment, 0.16 s apart.

    Raises:
        UnknownNameError: If the body, context or view is unknown.
    """
    rows = [
        render_clip(
            ClipSpec(body, action, context, view, seed + index, seed),
            num_frames=columns, fps=6.25, height=_PICTURE, width=_PICTURE,
        ).pixels
        for index, action in enumerate(ACTIONS)
    ]  # fmt: skip
    return sheet(rows, ACTIONS, [f"{0.16 * column:.2f} s" for column in range(columns)])


def place_sheet(view: str = "side", action: Action = "still", *, seed: int = 0) -> Image.Image:
    """A sheet with one row per body and one column per context.

    Raises:
        UnknownNameError: If the view or the action is unknown.
    """
    rows = [
        np.concatenate(
            [
                render_clip(
                    ClipSpec(body, action, context, view, seed + column + len(CONTEXTS) * row, seed + row),
                    num_frames=1, height=_PICTURE, width=_PICTURE,
                ).pixels
                for column, context in enumerate(CONTEXTS)
            ]
        )
        for row, body in enumerate(BODIES)
    ]  # fmt: skip
    return sheet(rows, tuple(BODIES), tuple(CONTEXTS))


def sheet(rows: Sequence[NDArray[np.uint8]], names: Sequence[str], titles: Sequence[str]) -> Image.Image:
    """A sheet of rows of (columns, H, W, 3) uint8 pictures with their names, all resized to one size."""
    whole = Image.new("RGB", (_MARGIN + _PICTURE * len(titles), _TITLE + _PICTURE * len(rows)), "white")
    draw = ImageDraw.Draw(whole)
    for column, title in enumerate(titles):
        draw.text((_MARGIN + _PICTURE * column + 4, 2), title, fill="black")
    for row, (name, pictures) in enumerate(zip(names, rows, strict=True)):
        draw.text((4, _TITLE + _PICTURE * row + _PICTURE // 2), name, fill="black")
        for column, picture in enumerate(pictures):
            whole.paste(
                Image.fromarray(picture).resize((_PICTURE, _PICTURE)),
                (_MARGIN + _PICTURE * column, _TITLE + _PICTURE * row),
            )
    return whole
