"""Paints capsules onto a canvas, shaded like round bodies, the far ones first.

Colours are computed for the pixels of all shapes and frames at once, each shape only in its bounding box, and
are blended one rank of depth at a time.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from actiondiff.builtin.world.anatomy import Capsules
from actiondiff.builtin.world.arrays import Canvas, Floats, Indices
from actiondiff.builtin.world.cameras import CameraPath
from actiondiff.builtin.world.scenes import Scene, stand_about

__all__ = ["bounding_boxes", "paint_creature"]

_TOO_NEAR = 0.8  # things nearer than this to the lens are left out, creature radii
_SHADOW = 0.45  # darkness of a shadow where light is half ambient, half direct
_DARKEST_SHADOW = 0.6
_MOST_PIXELS = 1 << 16  # pixels of shapes whose colours are computed at once, unless one rank has more
_HALF = np.float32(0.5)
_MARGIN = np.float32(0.05)  # pixels by which shapes are taken as thicker, so that rounding cuts off none
_TURN = np.float32(2 * np.pi)
_Number = TypeVar("_Number", np.float32, np.int64)


@dataclass(frozen=True, eq=False)
class _Shapes:
    """Projected capsules, ready to be painted.

    Attributes:
        ends: (T, N, 2, 2) column and row of both ends, pixels.
        radii: (T, N, 2) radius at each end, pixels.
        depth: (T, N) distance from the camera, by which shapes are ordered.
        colours: (T, N, 3) colour before shading, in [0, 1].
        accents: (T, N, 3) colour of the stripes before shading, in [0, 1].
        stripes: (T, N) number of stripes along the capsule.
        opacity: (T, N) opacity in [0, 1].
        clear: (T, N) share of the colour that haze leaves.
    """

    ends: Canvas
    radii: Canvas
    depth: Canvas
    colours: Canvas
    accents: Canvas
    stripes: Canvas
    opacity: Canvas
    clear: Canvas

    def arrays(self) -> tuple[Canvas, ...]:
        """All fields in order."""
        return tuple(getattr(self, field.name) for field in fields(self))


def paint_creature(
    canvas: Canvas, capsules: Capsules, around: Floats, camera: CameraPath, scene: Scene
) -> None:
    """Paint a creature, its shadow and the things around it, in place.

    Args:
        canvas: (3, T, H, W) float32, painted on in place.
        capsules: Capsules of the creature.
        around: (T, 2) position of the creature on the ground.
        camera: Camera that films it.
        scene: Light, haze and things around.
    """
    height, width = canvas.shape[2:]
    haze = scene.context.haze
    layers = (
        _shadow(capsules, camera, scene, height, width),
        _project(capsules, camera, haze, height, width),
        _project(_things(scene, around), camera, haze, height, width, nearest=_TOO_NEAR),
    )
    shapes = _far_first(layers)
    low, size = _patches(shapes, height, width)
    light = (camera.axes @ scene.light).astype(np.float32)  # (T, 3) right, down, ahead
    for ranks in _batches(size.prod(axis=2).sum(axis=0)):
        chosen = _Shapes(*(array[:, ranks] for array in shapes.arrays()))
        _paint_ranks(canvas, chosen, low[:, ranks], size[:, ranks], light, scene)


def bounding_boxes(capsules: Capsules, camera: CameraPath, height: int, width: int) -> NDArray[np.float32]:
    """Boxes around a creature: (T, 4) float32 x0, y0, x1, y1 in pixels, clipped to the picture.

    Pixel i covers [i, i + 1), so that the whole picture is 0, 0, W, H. Parts hidden behind things are
    included.
    """
    column, row, depth = camera.project(capsules.ends, height, width)
    radius = capsules.radii * camera.focal * min(height, width) / depth
    boxes = [(column - radius).min((1, 2)), (row - radius).min((1, 2)),
             (column + radius).max((1, 2)), (row + radius).max((1, 2))]  # fmt: skip
    return np.clip(np.stack(boxes, axis=1), 0, (width, height, width, height)).astype(np.float32)


def _things(scene: Scene, around: Floats) -> Capsules:
    ends, radii = stand_about(scene, around)
    count = ends.shape[1]
    colours = np.tile(scene.context.things, (count, 1)) * np.linspace(0.75, 1.25, count)[:, None]
    return Capsules(ends, radii, colours, colours, np.zeros(count), np.zeros(count, bool))


def _project(
    capsules: Capsules, camera: CameraPath, haze: float, height: int, width: int, *, nearest: float = 0.0
) -> _Shapes:
    column, row, depth = camera.project(capsules.ends, height, width)
    middle = depth.mean(axis=-1)
    return _shapes(
        np.stack([column, row], axis=-1),
        capsules.radii * (camera.focal * min(height, width) / depth),
        capsules,
        depth=middle,
        opacity=1.0 * (depth.min(axis=-1) > nearest),
        clear=np.exp(-haze * middle),
    )


def _shadow(capsules: Capsules, camera: CameraPath, scene: Scene, height: int, width: int) -> _Shapes:
    """The torso's shadow: its capsules, projected onto the ground along the light."""
    ends = capsules.ends[:, capsules.casts]
    fall = ends[..., 2:] / max(float(scene.light[2]), 0.3)
    ends = np.concatenate([ends[..., :2] - fall * scene.light[:2], np.zeros_like(fall)], axis=-1)
    flat = np.abs(camera.axes[:, 2, 2])[:, None, None]  # seen from the side a disc on the ground is a line
    count = ends.shape[1]
    black, none = np.zeros((count, 3)), np.zeros(count)
    projected = Capsules(
        ends, capsules.radii[:, capsules.casts] * flat, black, black, none, none.astype(bool)
    )
    shadow = _project(projected, camera, 0.0, height, width)
    context = scene.context
    strength = min(_DARKEST_SHADOW, _SHADOW * 2 * context.direct / (context.ambient + context.direct))
    behind_all, dark = np.full_like(shadow.depth, np.inf), np.full_like(shadow.opacity, strength)
    return replace(shadow, depth=behind_all, opacity=dark)


def _shapes(
    ends: Floats, radii: Floats, capsules: Capsules, *, depth: Floats, opacity: Floats, clear: Floats
) -> _Shapes:
    shape = depth.shape
    return _Shapes(
        ends.astype(np.float32),
        radii.astype(np.float32),
        depth.astype(np.float32),
        np.broadcast_to(capsules.colours, (*shape, 3)).astype(np.float32),
        np.broadcast_to(capsules.accents, (*shape, 3)).astype(np.float32),
        np.broadcast_to(capsules.stripes, shape).astype(np.float32),
        opacity.astype(np.float32),
        clear.astype(np.float32),
    )


def _far_first(layers: tuple[_Shapes, ...]) -> _Shapes:
    """All layers together, each frame's shapes in the order in which they are painted."""
    joined = [
        np.concatenate(arrays, axis=1) for arrays in zip(*(layer.arrays() for layer in layers), strict=True)
    ]
    order = np.argsort(-joined[2], axis=1, kind="stable")  # by depth
    return _Shapes(*(array[np.arange(len(order))[:, None], order] for array in joined))


def _patches(shapes: _Shapes, height: int, width: int) -> tuple[Indices, Indices]:
    """Patch in which each shape is painted: corner and size, (T, N, 2) each, columns before rows.

    The size is 0 for a shape outside the picture or fully transparent.
    """
    limit = np.array([width, height])
    low = np.floor((shapes.ends - shapes.radii[..., None]).min(axis=2)).astype(np.int64) - 1
    high = np.ceil((shapes.ends + shapes.radii[..., None]).max(axis=2)).astype(np.int64) + 1
    low, high = np.clip(low, 0, limit), np.clip(high, 0, limit)
    visible = (high > low).all(axis=2) & (shapes.opacity > 0)
    return low, np.where(visible[..., None], high - low, 0)


def _batches(pixels: Indices) -> Iterator[slice]:
    """Consecutive ranks that are painted together, by the number of pixels of each rank."""
    start, total = 0, 0
    for rank, count in enumerate(pixels.tolist()):
        if rank > start and total + count > _MOST_PIXELS:
            yield slice(start, rank)
            start, total = rank, 0
        total += count
    yield slice(start, len(pixels))


def _paint_ranks(
    canvas: Canvas, shapes: _Shapes, low: Indices, size: Indices, light: Canvas, scene: Scene
) -> None:
    """Blend some ranks of capsules in all frames, the first rank first.

    The patches of all shapes are laid out one after the other: arrays have one value per shape (S,), per row
    of pixels (R,) or per pixel (P,).
    """
    _, num_frames, height, width = canvas.shape
    # Rows and columns of the pixels, and the shape that each belongs to.
    num_rows, top = _by_shape(size[..., 1]), _by_shape(low[..., 1])
    shape = np.repeat(np.arange(len(num_rows)), num_rows)  # (R,)
    row = np.arange(len(shape)) + np.repeat(top - np.cumsum(num_rows) + num_rows, num_rows)
    ends, radii = _by_shape(shapes.ends), _by_shape(shapes.radii)  # (2, 2, S) with x before y; (2, S)
    left, right = _spans(ends, radii, shape, _centres(row), limit=width)
    lengths = right - left
    column = np.arange(lengths.sum()) + np.repeat(left - np.cumsum(lengths) + lengths, lengths)  # (P,)
    of_shape = np.repeat(shape, lengths)
    pixel = column + np.repeat((shape % num_frames * height + row) * width, lengths)
    # Offset of each pixel from the capsule's axis, position along it in [0, 1], and the radius there.
    way = ends[:, 1] - ends[:, 0]
    length = way[0] ** 2 + way[1] ** 2 + np.float32(1e-6)
    dx = _centres(column) - ends[0, 0, of_shape]
    dy = _centres(row) - ends[1, 0, shape]  # (R,)
    along = dx * (way[0] / length)[of_shape]
    along += np.repeat(dy * (way[1] / length)[shape], lengths)
    np.clip(along, 0.0, 1.0, out=along)
    across = dx - along * way[0, of_shape], np.repeat(dy, lengths) - along * way[1, of_shape]
    radius = radii[0, of_shape] + along * (radii[1] - radii[0])[of_shape]
    distance = np.sqrt(across[0] * across[0] + across[1] * across[1])
    # What each pixel hides of the picture, and what it adds to it.
    alpha = np.clip(radius - distance + _HALF, 0.0, 1.0)
    alpha *= _by_shape(shapes.opacity)[of_shape]
    clear = alpha * _by_shape(shapes.clear)[of_shape]
    bright = clear * _shade(
        across, distance, radius, np.tile(light.T, len(shapes.depth[0]))[:, of_shape], scene
    )
    added = _by_shape(shapes.colours)[:, of_shape]  # (3, P)
    stripes = _by_shape(shapes.stripes)
    if stripes.any():
        banded = np.flatnonzero(np.sin((_TURN * stripes)[of_shape] * along) > 0.2)
        added[:, banded] = _by_shape(shapes.accents)[:, of_shape[banded]]
    added *= bright
    left_over = 1.0 - alpha
    # Ranks are blended one after the other; within a rank no pixel occurs twice.
    flat = canvas.reshape(3, -1)
    rows_per_rank = num_rows.reshape(-1, num_frames).sum(axis=1)
    borders = np.append(0, np.cumsum(lengths))[np.cumsum(rows_per_rank)].tolist()
    for start, end in pairwise([0, *borders]):
        where = pixel[start:end]
        painted = flat.take(where, axis=1)
        painted *= left_over[start:end]
        painted += added[:, start:end]
        if scene.context.haze:
            hazy = alpha[start:end] - clear[start:end]
            painted += np.array(scene.context.sky[1], np.float32)[:, None] * hazy
        flat[:, where] = painted


def _spans(ends: Canvas, radii: Canvas, shape: Indices, y: Canvas, *, limit: int) -> tuple[Indices, Indices]:
    """First column and end of the pixels that shapes cover in rows of pixels, (R,) each.

    A capsule covers, at a given height, what its two discs cover and what lies between its two sides.

    Args:
        ends: (2, 2, S) x before y, start before end.
        radii: (2, S) radius at each end.
        shape: (R,) shape of each row.
        y: (R,) height of each row.
        limit: Number of columns of the picture.
    """
    radii = radii + (_HALF + _MARGIN)
    way = ends[:, 1] - ends[:, 0]
    normal = np.stack([-way[1], way[0]]) / np.sqrt(way[0] ** 2 + way[1] ** 2 + np.float32(1e-6))
    low, high = np.full(len(y), np.inf, np.float32), np.full(len(y), -np.inf, np.float32)
    for (centre_x, centre_y), radius in zip(np.moveaxis(ends, 1, 0), radii, strict=True):
        square = radius[shape] ** 2 - (y - centre_y[shape]) ** 2
        half = np.sqrt(np.maximum(square, 0.0))
        half[square < 0] = -np.inf
        np.minimum(low, centre_x[shape] - half, out=low)
        np.maximum(high, centre_x[shape] + half, out=high)
    for side in (1, -1):
        (from_x, to_x), (from_y, to_y) = ends + side * radii * normal[:, None]
        rise = to_y - from_y
        share = (y - from_y[shape]) / np.where(rise == 0, np.inf, rise)[shape]
        x = from_x[shape] + share * (to_x - from_x)[shape]
        crossed = (share >= 0) & (share <= 1)
        np.minimum(low, np.where(crossed, x, np.inf), out=low)
        np.maximum(high, np.where(crossed, x, -np.inf), out=high)
    left = np.clip(np.ceil(low - _HALF), 0, limit).astype(np.int64)
    right = np.clip(np.floor(high - _HALF) + 1, 0, limit).astype(np.int64)
    return left, np.maximum(left, right)


def _by_shape(array: NDArray[_Number]) -> NDArray[_Number]:
    """(T, N, ...) -> (..., S), where a shape's index is its rank times T, plus its frame."""
    ordered = np.swapaxes(array, 0, 1).reshape(-1, *array.shape[2:])
    return np.ascontiguousarray(ordered.T)


def _centres(pixels: Indices) -> Canvas:
    """Centres of pixels that are counted from 0."""
    return pixels.astype(np.float32) + _HALF


def _shade(
    across: tuple[Canvas, Canvas], distance: Canvas, radius: Canvas, light: Canvas, scene: Scene
) -> Canvas:
    """Light on a round body seen from afar: its surface turns away from the viewer towards its rim."""
    inverse = 1.0 / np.maximum(radius, np.float32(0.3))
    facing = np.sqrt(np.maximum(1.0 - (distance * inverse) ** 2, 0.0))
    right, down, ahead = light
    lambert = inverse * (across[0] * right + across[1] * down) - facing * ahead
    context = scene.context
    return np.float32(context.ambient) + np.float32(context.direct) * np.maximum(lambert, 0.0)
