"""Stand-ins for published datasets: drawn clips under the datasets' own file names.

They show nothing of the real clips. Every class is drawn as one creature with one action in one scene, nearly
the same in every clip, so that it can be learnt from a few clips. Scores on them show that every step runs,
and nothing else.
"""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from actiondiff.builtin.world.actions import ACTIONS
from actiondiff.builtin.world.bodies import BODIES
from actiondiff.builtin.world.world import FPS, RANDOM, ClipSpec, generator, render_clip
from actiondiff.datasets.base import Table, value_of
from actiondiff.datasets.files import STAND_IN_MARKER
from actiondiff.errors import UsageError
from actiondiff.provenance import write_text
from actiondiff.types import Example, Progress
from actiondiff.video.write import write_video

__all__ = ["choose_clips", "write_stand_in"]


_LABEL_FRAMES = 32  # frames for which each class of a clip is classes_shown
_DOMAINS = ("viewpoint", "dataset", "animal_type")  # columns whose value changes what a clip looks like
_CONTEXT, _VIEW = "meadow", "side"
_TINT = 0.1  # largest relative change of a colour channel by the domain, and again by the clip
_SPEED = 0.1  # largest relative change of a clip's speed


def choose_clips(table: Table, *, per_class: int = 4, seed: int = 0) -> Table:
    """Choose a few clips of a table: of each side, the wanted number per class as far as there are clips.

    The sides are train, val and test; for a table without splits, its domains. Clips are visited in a random
    order that depends on the seed and their names only. A clip is taken if any of its classes still needs
    one on its side. One clip without labels is taken per side.

    Args:
        table: The clips.
        per_class: Number of clips per class and side.
        seed: Seed of the random order.

    Raises:
        UsageError: If `per_class` is below 1.
    """
    if per_class < 1:
        raise UsageError(f"a stand-in needs at least one clip per class; got {per_class}.")
    domain = _domain_of(table)
    stems = [PurePosixPath(example.video).stem for example in table.examples]  # wherever a video lies
    order = sorted(range(len(table)), key=lambda i: _number(f"{seed}/{stems[i]}"))
    taken: list[int] = []
    have: Counter[tuple[str, str]] = Counter()
    for i in order:
        example = table.examples[i]
        side = example.split or (value_of(example, domain) if domain else "")
        classes_shown = [(side, label) for label in example.labels or ("",)]
        if any(have[key] < (per_class if key[1] else 1) for key in classes_shown):
            have.update(classes_shown)
            taken.append(i)
    return replace(table, examples=tuple(table.examples[i] for i in sorted(taken)))


def write_stand_in(
    table: Table, folder: str | os.PathLike[str], *, seed: int = 0, progress: Progress | None = None
) -> Table:
    """Draw a clip for every video of a table, and return the table of the drawn clips.

    The files get the paths of the table, with the suffix .mp4, so that the dataset's own reader finds them.
    A clip shows its classes one after the other, each for 32 frames. Each class has one creature, one action
    and one scene, whatever the table. The dataset's domain (viewpoint, dataset or animal type) tints the
    picture, a shift that a few clips suffice to bridge; the clip's name gives it another tint and a speed of
    its own. A clip is the same in all tables. Existing files are not drawn again.

    Args:
        table: Clips to stand in for; choose a few first (`choose_clips`).
        folder: Folder to write to: a new one, one with annotation files only, or an earlier stand-in with
            the same seed.
        seed: Seed of the drawn clips.
        progress: Called after each video.

    Raises:
        UsageError: If the folder holds videos that are not stand-ins of this seed.
    """
    folder = Path(folder)
    names = [str(PurePosixPath(example.video).with_suffix(".mp4")) for example in table.examples]
    _claim(folder, names, seed)
    column = _domain_of(table)
    for done, (name, example) in enumerate(zip(names, table.examples, strict=True), start=1):
        if not (folder / name).is_file():
            value = value_of(example, column) if column else ""
            pixels = _draw(example, PurePosixPath(name).stem, table.label_names, value, seed)
            write_video(folder / name, pixels, fps=FPS)
        if progress:
            progress(done, len(names), name)
    examples = (replace(example, video=name) for name, example in zip(names, table.examples, strict=True))
    return replace(table, root=folder, examples=tuple(examples))


def _claim(folder: Path, names: Sequence[str], seed: int) -> None:
    """Mark a folder as a stand-in; a folder with videos of another origin is refused."""
    marker = folder / STAND_IN_MARKER
    settings = {"stand_in": True, "seed": seed, "label_frames": _LABEL_FRAMES}
    if marker.is_file():
        if json.loads(marker.read_text("utf-8")) != settings:
            raise UsageError(
                f"{folder} holds stand-ins that were made with other settings; give another folder."
            )
        return
    existing = [name for name in names if (folder / name).exists()]
    if existing:
        raise UsageError(f"{folder} holds {existing[0]}, which is not a stand-in; give a new folder.")
    write_text(marker, json.dumps(settings, indent=2) + "\n")


def _domain_of(table: Table) -> str:
    return next((column for column in _DOMAINS if column in table.columns), "")


def _draw(example: Example, stem: str, classes: Sequence[str], domain: str, seed: int) -> NDArray[np.uint8]:
    """Draw a clip, (T, 64, 64, 3): its classes in turn; without any, a creature standing still."""
    classes_shown = [classes.index(label) for label in example.labels]
    specs = [
        ClipSpec(
            body=tuple(BODIES)[(number + number // len(ACTIONS)) % len(BODIES)],
            action=ACTIONS[number % len(ACTIONS)],
            context=_CONTEXT,
            view=_VIEW,
            seed=_number(f"{seed}/{number}"),
            individual=number,
        )
        for number in classes_shown
    ] or [ClipSpec(RANDOM, "still", _CONTEXT, _VIEW, _number(f"{seed}/{stem}"), _number(stem))]
    random = generator(_number(f"{seed}/{stem}"), "stand-in")
    fps = FPS * (1 + _SPEED * float(random.uniform(-1, 1)))  # the file plays at FPS
    pixels = np.concatenate([render_clip(spec, num_frames=_LABEL_FRAMES, fps=fps).pixels for spec in specs])
    tint = 1 + _TINT * (random.uniform(-1, 1, 3) + generator(_number(domain), "stand-in").uniform(-1, 1, 3))
    return (pixels * tint).clip(0, 255).round().astype(np.uint8)


def _number(text: str) -> int:
    """A 48-bit number from the hash of a text."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big")
