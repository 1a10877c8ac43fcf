"""Paints the ground and sky behind the creature, and the weather and the lens in front of it.

A canvas has one plane per colour: (3, T, H, W) float32, with light in [0, 1].
"""

from functools import lru_cache
from typing import assert_never

import numpy as np
from numpy.typing import NDArray

from actiondiff.builtin.world.arrays import Canvas, Floats
from actiondiff.builtin.world.cameras import CameraPath
from actiondiff.builtin.world.scenes import Scene, Texture

__all__ = ["develop", "let_fall", "paint_backdrop"]

_TILE = 256  # texels per side; a power of two, so that wrapping around is a bit mask
_SPAN = 6.0  # creature radii that a tile covers
_BLOCK_PIXELS = 1 << 14  # pixels whose ground and sky are computed at once; they fit the processor's cache
_FADING = 9.0  # distance at which half of the texture is lost, creature radii


def paint_backdrop(scene: Scene, camera: CameraPath, seconds: Floats, height: int, width: int) -> Canvas:
    """Paint the ground, seen in perspective, and the sky: (3, T, H, W) float32."""
    canvas = np.empty((3, len(seconds), height, width), np.float32)
    size = max(1, _BLOCK_PIXELS // (height * width))
    for start in range(0, len(seconds), size):
        span = slice(start, start + size)
        axes = camera.axes[span].astype(np.float32)[..., None, None]  # (T, 3, 3, 1, 1)
        position = camera.position[span].astype(np.float32)[..., None, None]
        time = seconds[span].astype(np.float32)[:, None, None]
        _paint_block(canvas[:, span], scene, axes, position, camera.focal * min(height, width), time)
    return canvas


def _paint_block(
    canvas: Canvas, scene: Scene, axes: Canvas, position: Canvas, scale: float, seconds: Canvas
) -> None:
    """Paint the ground and sky of some frames. Most arrays are computed in place, which saves memory traffic.

    Args:
        canvas: (3, T, H, W), painted on in place.
        scene: The scene.
        axes: (T, 3, 3, 1, 1) axes of the camera.
        position: (T, 3, 1, 1) positions of the camera.
        scale: Focal length, pixels.
        seconds: (T, 1, 1) times.
    """
    context = scene.context
    _, _, height, width = canvas.shape
    # Rays from the camera through the middle of each pixel, in world axes, meet the ground at a distance.
    u = ((np.arange(width, dtype=np.float32) + 0.5 - 0.5 * width) / scale)[None, None, :]
    v = ((np.arange(height, dtype=np.float32) + 0.5 - 0.5 * height) / scale)[None, :, None]
    x, y, z = (axes[:, 2, axis] + u * axes[:, 0, axis] + v * axes[:, 1, axis] for axis in range(3))
    far = np.negative(z)
    np.maximum(far, 1e-3, out=far)
    np.divide(position[:, 2], far, out=far)  # (T, H, W)
    x *= far
    x += position[:, 0]
    y *= far
    y += position[:, 1]
    value = _texture(scene, x, y, seconds)
    # The texture fades with distance.
    fading = np.divide(far, _FADING, out=x)
    np.square(fading, out=fading)
    fading += 1.0
    value -= 0.5
    value /= fading
    value += 0.5
    # Colours of ground and sky, with light and haze.
    lit = context.ambient + context.direct * float(scene.light[2])
    clear = np.exp(-context.haze * far) if context.haze else None  # float64 in random contexts
    above = z > -0.01
    has_sky = bool(above.any())
    share = np.clip(np.multiply(z, 2.0, out=z), 0.0, 1.0, out=z)
    for plane, low, high, zenith, horizon in zip(canvas, *context.ground, *context.sky, strict=True):
        np.multiply(value, np.float32(lit * (high - low)), out=plane)
        plane += np.float32(lit * low)
        if clear is not None:
            plane -= np.float32(horizon)
            plane[:] = horizon + clear * plane
        if has_sky:
            np.multiply(share, np.float32(zenith - horizon), out=y)
            y += np.float32(horizon)
            np.copyto(plane, y, where=above)


def let_fall(canvas: Canvas, scene: Scene, seconds: Floats) -> None:
    """Paint snow or rain in front of everything, in place."""
    weather = scene.context.weather
    if weather == "clear":
        return
    _, _, height, width = canvas.shape
    unit = max(1, round(min(height, width) / 64))
    column, row, speed, drift = scene.flakes.T
    if weather == "snow":
        rate, slant, length, strength = 0.25 + 0.35 * speed, 0.3 * (drift - 0.5), unit, 0.75
    else:
        rate, slant, length, strength = 2.0 + 1.5 * speed, 0.1 + 0 * drift, 4 * unit, 0.3
    y = ((row + rate * seconds[:, None]) % 1.0 * height).astype(np.int64)  # (T, flakes)
    x = ((column + slant * seconds[:, None]) % 1.0 * width).astype(np.int64)
    time = np.arange(len(seconds))[:, None]
    for down in range(length):
        for right in range(unit):
            at = (slice(None), time, (y + down) % height, (x + right) % width)
            canvas[at] += np.float32(strength) * (1.0 - canvas[at])


def develop(canvas: Canvas, scene: Scene, random: np.random.Generator) -> NDArray[np.uint8]:
    """Apply vignette and sensor noise, and convert to (T, H, W, 3) uint8. The canvas is overwritten."""
    _, frames, height, width = canvas.shape
    context = scene.context
    canvas *= 255.0
    if context.vignette:
        rows, columns = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)
        canvas *= (1.0 - context.vignette * 0.5 * (rows**2 + columns**2)).astype(np.float32)
    noise = random.standard_normal((frames, height, width), np.float32)
    noise *= np.float32(255.0 * context.noise)
    noise += np.float32(0.5)
    pixels = np.empty((frames, height, width, 3), np.uint8)
    for colour, plane in enumerate(canvas):
        plane += noise
        pixels[..., colour] = np.clip(plane, 0.0, 255.0, out=plane)
    return pixels


def _texture(scene: Scene, x: Canvas, y: Canvas, seconds: Canvas) -> Canvas:
    """Pattern of the ground at positions on it, in [0, 1]."""
    tile = _tile(scene.context.texture)
    cosine, sine = np.float32(np.cos(scene.turn)), np.float32(np.sin(scene.turn))
    # The large offset keeps coordinates positive, so that cutting off the fraction rounds down.
    u, v = cosine * x, sine * x
    u -= sine * y
    v += cosine * y
    for coordinate, patch in zip((u, v), scene.patch, strict=True):
        coordinate += np.float32(patch + 100 * _SPAN)
        coordinate *= np.float32(_TILE / _SPAN)
    if not scene.context.flow:
        return _look_up(tile, u, v)
    flow = np.float32(scene.context.flow * _TILE / _SPAN) * seconds
    value = _look_up(tile, u + flow, v)
    value += _look_up(tile, v - flow, u + 0.3 * flow)
    value *= 0.5
    return value


def _look_up(tile: Canvas, u: Canvas, v: Canvas) -> Canvas:
    index = u.astype(np.int32)
    index &= _TILE - 1
    index *= _TILE
    columns = v.astype(np.int32)
    columns &= _TILE - 1
    index += columns
    return tile.take(index)


@lru_cache
def _tile(texture: Texture) -> Canvas:
    """One period of a pattern: (256, 256) float32 in [0, 1], the same on every machine and day."""
    random = np.random.default_rng(np.random.SeedSequence([2509, len(texture)]))
    match texture:
        case "grass":
            mixed = 0.6 * _cloud(random, 3.0) + 0.5 * _cloud(random, 16.0)
        case "drift":
            mixed = 0.3 * _cloud(random, 4.0) + 0.7 * _cloud(random, 30.0)
        case "litter":
            mixed = np.abs(_cloud(random, 5.0)) + 0.6 * _cloud(random, 12.0) - 0.5
        case "ripples":
            mixed = 1.0 - 2.0 * np.sqrt(np.abs(_cloud(random, 9.0)))
        case "checker":
            cell = np.arange(_TILE) * 8 // _TILE
            joint = (np.arange(_TILE) * 8 % _TILE < 8).astype(float)
            board = np.where((cell[:, None] + cell) % 2, 0.9, -0.7) + 0.1 * _cloud(random, 3.0)
            mixed = np.where(np.maximum(joint[:, None], joint) > 0, -1.0, board)
        case _:
            assert_never(texture)
    return np.clip(0.5 + 0.4 * mixed, 0.0, 1.0).astype(np.float32)


def _cloud(random: np.random.Generator, size: float) -> Floats:
    """Periodic smooth noise of unit variance, whose features have a size in texels."""
    rates = np.fft.fftfreq(_TILE)
    low_pass = np.exp(-2 * (np.pi * size) ** 2 * (rates[:, None] ** 2 + rates**2))
    smooth = np.fft.ifft2(np.fft.fft2(random.standard_normal((_TILE, _TILE))) * low_pass).real
    return (smooth - smooth.mean()) / smooth.std()
