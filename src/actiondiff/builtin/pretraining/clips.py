"""Unlabelled clips of the procedural world for pre-training, rendered when they are needed."""

from collections.abc import Sequence
from itertools import chain

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from actiondiff.builtin.pretraining.options import CLIP_FRAMES, World
from actiondiff.builtin.world.protocols import DEVELOPMENT, RESERVED, is_held_out, sample_specs
from actiondiff.builtin.world.world import ClipSpec, generator, render_clip

__all__ = ["FPS", "SIDE", "StepClips", "clip_specs", "draw"]

FPS = 6.25  # 25 frames per second at stride 4, the rate at which features are extracted
SIDE = 64  # pixels

_SHARE_OF_TARGETS = 0.3


def clip_specs(count: int, *, seed: int, world: World = "held-out") -> list[ClipSpec]:
    """Specifications of the clips, in the order in which they are used; no clip is used twice.

    Args:
        count: Number of clips.
        seed: Seed of the choice.
        world: `held-out` leaves out every body, context and view that a protocol holds out, and those that
            resemble them (see `is_held_out`). `all` leaves out nothing, and three clips in ten show held-out
            names: this variant measures what holding them out costs.
    """
    if world == "held-out":
        num_drawn = 2 * count
        while len(specs := _allowed(num_drawn, seed)) < count:
            num_drawn *= 2
        return specs[:count]
    specs = sample_specs("unlabelled", count, seed=seed)
    bodies, contexts, views = (
        tuple(chain(getattr(DEVELOPMENT, axis), getattr(RESERVED, axis)))
        for axis in ("bodies", "contexts", "views")
    )
    random = generator(seed, "pre-training", "targets")
    mixed = []
    for spec in specs:
        is_target = random.random() < _SHARE_OF_TARGETS
        body, context, view = (str(random.choice(names)) for names in (bodies, contexts, views))
        mixed.append(
            ClipSpec(body, spec.action, context, view, spec.seed, spec.individual) if is_target else spec
        )
    return mixed


def _allowed(count: int, seed: int) -> list[ClipSpec]:
    return [spec for spec in sample_specs("unlabelled", count, seed=seed) if not is_held_out(spec)]


class StepClips(Dataset[Tensor]):
    """The clips of each step of a stage; no two steps share a clip.

    Args:
        seed: Seed of the whole run.
        stage: Name of the stage.
        clips_per_step: Number of clips in a step.
        world: Which world the clips come from; see `clip_specs`.
    """

    def __init__(self, seed: int, stage: str, clips_per_step: int, world: World) -> None:
        self._seed, self._stage, self._count, self._world = seed, stage, clips_per_step, world

    def specs(self, step: int) -> list[ClipSpec]:
        """Specifications of the clips of a step."""
        random = generator(self._seed, "pre-training", self._stage, str(step))
        return clip_specs(self._count, seed=int(random.integers(2**48)), world=self._world)

    def __getitem__(self, step: int) -> Tensor:
        return draw(self.specs(step))


def draw(specs: Sequence[ClipSpec]) -> Tensor:
    """Render clips: (N, 16, 3, 64, 64) float32 in [-1, 1], mirrored and recoloured at random.

    The random changes of a clip follow from its own seed. Recolouring permutes the colour channels (in half
    of the clips) and bends the tone curve, so that colours carry little information.
    """
    return torch.from_numpy(np.stack([_draw_one(spec) for spec in specs]))


def _draw_one(spec: ClipSpec) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    pixels = render_clip(spec, num_frames=CLIP_FRAMES, fps=FPS, height=SIDE, width=SIDE).pixels
    random = generator(spec.seed, "augmentation")
    values = (pixels.astype(np.float32) / 255.0) ** np.float32(np.exp(random.normal(0.0, 0.25)))
    if random.random() < 0.5:
        values = values[:, :, ::-1]
    if random.random() < 0.5:
        values = values[..., random.permutation(3)]
    return np.ascontiguousarray(np.moveaxis(2.0 * values - 1.0, -1, 1))
