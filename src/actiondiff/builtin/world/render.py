"""Paints capsules onto a canvas, shaded like round bodies, the far ones first.

All frames of a chunk are painted together, one rank of depth at a time, and each rank only in its bounding
box.
"""

from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from actiondiff.builtin.world.anatomy import Capsules
from actiondiff.builtin.world.arrays import Canvas, Floats, Indices
from actiondiff.builtin.world.cameras import CameraPath
from actiondiff.builtin.world.scenes import Scene, stand_about

__all__ = ["bounding_boxes", "paint_creature"]

_TOO_NEAR = 0.8  # things nearer than this to the lens are left out, creature radii
_SHADOW = 0.45  # darkness of a shadow where light is half ambient, half direct
_DARKEST_SHADOW = 0.6
_HALF = np.float32(0.5)
_TURN = np.float32(2 * np.pi)


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
    for rank, (columns, rows) in enumerate(size.tolist()):
        if columns and rows:
            chosen = _Shapes(*(array[:, rank] for array in shapes.arrays()))
            _paint_rank(canvas, chosen, low[:, rank], columns, rows, light, scene)


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
    """Patch in which each shape is painted: corners (T, N, 2), and sizes (N, 2) that suffice in every frame.

    Columns come before rows. The size is 0 for a shape outside the picture or fully transparent.
    """
    limit = np.array([width, height])
    low = np.floor((shapes.ends - shapes.radii[..., None]).min(axis=2)).astype(np.int64) - 1
    high = np.ceil((shapes.ends + shapes.radii[..., None]).max(axis=2)).astype(np.int64) + 1
    low, high = np.clip(low, 0, limit), np.clip(high, 0, limit)
    size = np.where(shapes.opacity[..., None] > 0, high - low, 0).max(axis=0)
    return np.minimum(low, limit - size), size


def _paint_rank(
    canvas: Canvas, shapes: _Shapes, low: Indices, columns: int, rows: int, light: Canvas, scene: Scene
) -> None:
    """Blend one capsule per frame, in all frames at once; `shapes` has no N axis, `low` is (T, 2)."""
    x = _centres(low[:, 0], columns)[:, None, :]
    y = _centres(low[:, 1], rows)[:, :, None]
    across, along, radius = _coordinates(shapes, x, y)
    distance = np.sqrt(across[0] * across[0] + across[1] * across[1])
    alpha = np.clip(radius - distance + _HALF, 0.0, 1.0) * shapes.opacity[:, None, None]
    clear = alpha * shapes.clear[:, None, None]
    bright = clear * _shade(across, distance, radius, light, scene)
    colours = shapes.colours.T[..., None, None]  # (3, T, 1, 1)
    if shapes.stripes.any():
        banded = np.sin(_TURN * shapes.stripes[:, None, None] * along) > 0.2
        colours = np.where(banded, shapes.accents.T[..., None, None], colours)
    windows = sliding_window_view(canvas, (rows, columns), axis=(2, 3), writeable=True)
    where = (slice(None), np.arange(len(low)), low[:, 1], low[:, 0])
    painted = windows[where]  # (3, T, h, w)
    painted *= 1.0 - alpha
    painted += colours * bright
    if scene.context.haze:
        painted += np.array(scene.context.sky[1], np.float32)[:, None, None, None] * (alpha - clear)
    windows[where] = painted


def _centres(low: Indices, size: int) -> Canvas:
    """Centres of `size` pixels from `low` on: (T, size) float32."""
    return (low[:, None] + np.arange(size)).astype(np.float32) + _HALF


def _coordinates(shapes: _Shapes, x: Canvas, y: Canvas) -> tuple[tuple[Canvas, Canvas], Canvas, Canvas]:
    """Offset of each pixel from the capsule's axis, position along it in [0, 1], and the radius there."""
    start = shapes.ends[:, 0, :, None, None]
    way = shapes.ends[:, 1, :, None, None] - start
    dx, dy = x - start[:, 0], y - start[:, 1]
    length = way[:, 0] ** 2 + way[:, 1] ** 2 + np.float32(1e-6)
    along = np.clip(dx * (way[:, 0] / length) + dy * (way[:, 1] / length), 0.0, 1.0)
    first, last = shapes.radii[:, 0, None, None], shapes.radii[:, 1, None, None]
    return (dx - along * way[:, 0], dy - along * way[:, 1]), along, first + along * (last - first)


def _shade(
    across: tuple[Canvas, Canvas], distance: Canvas, radius: Canvas, light: Canvas, scene: Scene
) -> Canvas:
    """Light on a round body seen from afar: its surface turns away from the viewer towards its rim."""
    inverse = 1.0 / np.maximum(radius, np.float32(0.3))
    facing = np.sqrt(np.maximum(1.0 - (distance * inverse) ** 2, 0.0))
    right, down, ahead = light.T[:, :, None, None]
    lambert = inverse * (across[0] * right + across[1] * down) - facing * ahead
    context = scene.context
    return np.float32(context.ambient) + np.float32(context.direct) * np.maximum(lambert, 0.0)
