"""Stand-ins for datasets that are not at hand: menagerie clips under the datasets' own names.

They show nothing of the real clips. A class looks like one creature with one action in one place, much the
same in every clip, so that labels can be learnt from a few; numbers got with them say that the road works,
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


_LABEL_FRAMES = 32  # what each class of a clip is shown for
_DOMAINS = ("viewpoint", "dataset", "animal_type")  # columns that change what a clip looks like
_CONTEXT, _VIEW = "meadow", "side"
_TINT = 0.1  # largest change of a colour channel by the domain, and again by the clip
_SPEED = 0.1  # largest change of a clip's speed


def choose_clips(table: Table, *, per_class: int = 4, seed: int = 0) -> Table:
    """A few clips of a table: of each side, as many of every class as wanted, where there are.

    Sides are train, val and test; of a table without them, its domains. Clips come in an order of chance that
    follows from the seed and their names. A clip is taken if any of its classes still lacks one on its side;
    one clip without labels is taken a side.

    Args:
        table: The clips.
        per_class: Clips a class and side.
        seed: Of the choice.

    Raises:
        UsageError: If `per_class` is below 1.
    """
    if per_class < 1:
        raise UsageError(f"a stand-in needs at least one clip a class; got {per_class}.")
    domain = _domain_of(table)
    stems = [PurePosixPath(example.video).stem for example in table.examples]  # wherever a video lies
    order = sorted(range(len(table)), key=lambda i: _number(f"{seed}/{stems[i]}"))
    taken: list[int] = []
    have: Counter[tuple[str, str]] = Counter()
    for i in order:
        example = table.examples[i]
        side = example.split or (value_of(example, domain) if domain else "")
        shown = [(side, label) for label in example.labels or ("",)]
        if any(have[key] < (per_class if key[1] else 1) for key in shown):
            have.update(shown)
            taken.append(i)
    return replace(table, examples=tuple(table.examples[i] for i in sorted(taken)))


def write_stand_in(
    table: Table, folder: str | os.PathLike[str], *, seed: int = 0, progress: Progress | None = None
) -> Table:
    """Write a clip for every video of a table, and return the table of the written ones.

    Videos get the places that the table names, with the suffix .mp4, so that the dataset's own reader finds
    them. A clip shows its classes one after the other, each for 32 frames: each class has one creature, one
    action and one place, whatever the table. The dataset's domain (viewpoint, dataset or animal type) tints
    the picture, a shift that a few clips suffice to bridge; the clip's name gives it a tint and speed of its
    own. A clip is the same in all tables. Videos that are there are not made again.

    Args:
        table: What to stand in for; choose a few clips first (`choose_clips`).
        folder: A new folder, an empty one but for annotation files, or an earlier stand-in of the same seed.
        seed: Of everything.
        progress: Told after each video.

    Raises:
        UsageError: If the folder holds videos that are not stand-ins of this seed.
    """
    folder = Path(folder)
    names = [str(PurePosixPath(example.video).with_suffix(".mp4")) for example in table.examples]
    _claim(folder, names, seed)
    domain = _domain_of(table)
    for done, (name, example) in enumerate(zip(names, table.examples, strict=True), start=1):
        if not (folder / name).is_file():
            place = value_of(example, domain) if domain else ""
            pixels = _draw(example, PurePosixPath(name).stem, table.label_names, place, seed)
            write_video(folder / name, pixels, fps=FPS)
        if progress:
            progress(done, len(names), name)
    examples = (replace(example, video=name) for name, example in zip(names, table.examples, strict=True))
    return replace(table, root=folder, examples=tuple(examples))


def _claim(folder: Path, names: Sequence[str], seed: int) -> None:
    """Mark a folder; never one with videos of another origin."""
    marker = folder / STAND_IN_MARKER
    facts = {"stand_in": True, "seed": seed, "label_frames": _LABEL_FRAMES}
    if marker.is_file():
        if json.loads(marker.read_text("utf-8")) != facts:
            raise UsageError(f"{folder} holds stand-ins made otherwise; give another folder, or remove it.")
        return
    there = [name for name in names if (folder / name).exists()]
    if there:
        raise UsageError(f"{folder} holds {there[0]}, which is no stand-in; give a folder of its own.")
    write_text(marker, json.dumps(facts, indent=2) + "\n")


def _domain_of(table: Table) -> str:
    return next((column for column in _DOMAINS if column in table.columns), "")


def _draw(example: Example, stem: str, classes: Sequence[str], place: str, seed: int) -> NDArray[np.uint8]:
    """(T, 64, 64, 3): the clip's classes one after the other; without any, someone standing still."""
    shown = [classes.index(label) for label in example.labels]
    specs = [
        ClipSpec(
            body=tuple(BODIES)[(number + number // len(ACTIONS)) % len(BODIES)],
            action=ACTIONS[number % len(ACTIONS)],
            context=_CONTEXT,
            view=_VIEW,
            seed=_number(f"{seed}/{number}"),
            individual=number,
        )
        for number in shown
    ] or [ClipSpec(RANDOM, "still", _CONTEXT, _VIEW, _number(f"{seed}/{stem}"), _number(stem))]
    random = generator(_number(f"{seed}/{stem}"), "stand-in")
    fps = FPS * (1 + _SPEED * float(random.uniform(-1, 1)))  # the file plays at FPS
    pixels = np.concatenate([render_clip(spec, num_frames=_LABEL_FRAMES, fps=fps).pixels for spec in specs])
    tint = 1 + _TINT * (random.uniform(-1, 1, 3) + generator(_number(place), "stand-in").uniform(-1, 1, 3))
    return (pixels * tint).clip(0, 255).round().astype(np.uint8)


def _number(text: str) -> int:
    """A number of 48 bits that follows from a text."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big")
