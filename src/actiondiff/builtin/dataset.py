"""Writes clips of the procedural world as a dataset: videos, a table of labels, boxes, and their settings."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias

from actiondiff import outputs
from actiondiff.builtin.world.actions import Segment
from actiondiff.builtin.world.protocols import (
    PROTOCOLS,
    Split,
    Targets,
    domain_of,
    sample_specs,
    sample_videos,
)
from actiondiff.builtin.world.world import (
    CLIP_FRAMES,
    FPS,
    ClipSpec,
    EmptySpec,
    RenderedClip,
    VideoSpec,
    generator,
    render_clip,
    render_empty,
    render_video,
    world_hash,
)
from actiondiff.errors import UsageError
from actiondiff.processes import map_in_processes
from actiondiff.provenance import environment, write_csv, write_text
from actiondiff.types import Progress
from actiondiff.video.write import write_video

__all__ = ["BOX_COLUMNS", "EMPTY_COLUMNS", "LONG_COLUMNS", "TABLE_COLUMNS", "write_menagerie"]

WorldRow: TypeAlias = Mapping[str, object]
"""A row of one of the dataset's tables."""

TABLE_COLUMNS = ("video", "label", "split", "group", "species", "context", "view", "protocol")
LONG_COLUMNS = (
    "video",
    "label",
    "start_seconds",
    "end_seconds",
    "split",
    "group",
    "species",
    "context",
    "view",
)
EMPTY_COLUMNS = ("video", "camera", "context", "view")
BOX_COLUMNS = ("video", "frame_index", "x0", "y0", "x1", "y1")

_WORTH_A_PROCESS = 128  # videos, which take longer to draw than a process to start
_TABLES = ("table.csv", "boxes.csv", "long.csv", "empty.csv", "world.json")
_NAMES_WRITTEN = (*_TABLES, "clips/", "long/", "empty/")
_SIZE = 64  # pixels, height and width
_STILL_SIZE = 128  # the same where creatures are a fifth of the picture
_NAMES = (
    "abby", "alfie", "bailey", "barney", "bella", "benji", "biscuit", "blue", "bonnie", "bruno", "buddy",
    "casper", "charlie", "chester", "chloe", "cleo", "coco", "cookie", "daisy", "dexter", "duke", "ella",
    "elsie", "felix", "finn", "flora", "george", "ginger", "gus", "hazel", "henry", "honey", "hugo", "iris",
    "ivy", "jack", "jasper", "jess", "kira", "kiwi", "lady", "leo", "lola", "lucky", "lulu", "luna",
    "maggie", "marley", "max", "mia", "milo", "minnie", "misty", "molly", "monty", "nala", "nina", "noah",
    "olive", "oreo", "oscar", "otis", "otto", "pearl", "penny", "pepper", "pippa", "poppy", "quincy", "rex",
    "riley", "rocky", "rosie", "ruby", "rufus", "sam", "sasha", "scout", "shadow", "simba", "smokey",
    "sophie", "stella", "sunny", "tara", "teddy", "toby", "trixie", "uma", "vera", "walter", "willow",
    "winnie", "xena", "yuki", "zara", "ziggy", "zoe",
)  # fmt: skip


@dataclass(frozen=True)
class _Item:
    """One video to write: its path, its specification, and its rows of the table without the path."""

    video: str
    spec: ClipSpec | VideoSpec | EmptySpec
    rows: tuple[WorldRow, ...]


def write_menagerie(
    folder: str | os.PathLike[str],
    *,
    train: int = 256,
    test: int = 64,
    val: int = 64,
    seed: int = 0,
    targets: Targets = "development",
    num_long: int = 0,
    minutes: float = 2.0,
    workers: int | None = None,
    still: bool = False,
    num_empty: int = 0,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Write labelled clips of 64 frames at 25 fps and 64 x 64 pixels, and return the path of their table.

    `table.csv` has one row per clip. `group` is the individual, which occurs in one split only; `protocol` is
    what a test clip tests (`in-domain`, `species`, `context`, `view`), or `source` for clips to learn from.
    `boxes.csv` has the creature's box in every frame: x0, y0, x1, y1 in pixels, where pixel i covers
    [i, i + 1); divide by 64 for a share of the picture. `long.csv`, if there are long videos, has one row per
    action with its start and end. `empty.csv`, if there are clips without creatures, has one row per such
    clip with its camera. `world.json` records the settings and versions.
    The same arguments give the same files. Files that an earlier call wrote are replaced.

    Args:
        folder: Folder to write to; created if it does not exist.
        train: Number of training clips.
        test: Number of test clips of each of the four protocols.
        val: Number of validation clips, from the source.
        seed: Seed of the whole dataset.
        targets: Which unseen bodies, contexts and views the tests use. Make choices on `development`; use
            `reserved` once.
        num_long: Number of long videos of several actions.
        minutes: Duration of each long video.
        workers: Number of processes that draw; None for one per core. Changes no byte of the files.
        still: Whether the cameras stand still, each before a place of its own, and the creatures are small: a
            fifth of the picture. Pictures then have 128 x 128 pixels, and the table has a column `camera`.
        num_empty: Number of clips without creatures of each camera that stands still, for
            `head.input=minus-background`.
        overwrite: Whether files of others may be replaced.
        progress: Called after each video.

    Raises:
        UsageError: If a number of clips is negative, `workers` is below 1, `minutes` is not above 0, there
            are no clips, or clips without creatures are asked for where cameras move.
        UnknownNameError: If `targets` is unknown.
    """
    # Everything is sampled and named first, so that the names do not depend on what is written.
    folder = Path(folder)
    counts: dict[Split, int] = {"train": train, "val": val}
    for protocol in PROTOCOLS:
        counts[protocol] = test
    names = _Names()
    clips = [
        item for split, count in counts.items() for item in _clips(split, count, seed, targets, names, still)
    ]
    videos = [_long(spec, names) for spec in sample_videos(num_long, minutes, seed=seed)]
    if still and num_long:
        raise UsageError(f"there are no long videos of still cameras; got {num_long}. Leave out --long.")
    if num_empty < 0 or (num_empty and not still):
        raise UsageError(
            f"clips without creatures are of cameras that stand still, 0 or more of each; got {num_empty}. "
            "Add --still, or leave out --empty."
        )
    empty = list(_empty(clips, num_empty, names))
    if not clips:
        raise UsageError("a dataset needs clips; got 0 training, validation and test clips. Ask for some.")
    with outputs.claim(folder, "dev menagerie write", _NAMES_WRITTEN, overwrite=overwrite) as held:
        # A table of other clips goes before its clips are replaced: it must not stay over new ones.
        for name in _TABLES:
            (folder / name).unlink(missing_ok=True)
        # Long videos come first, so that all processes end at about the same time.
        rows_of = _draw(held, [*videos, *clips, *empty], workers, progress)
        boxes = [row for item in (*clips, *videos) for row in rows_of[item.video]]
        write_csv(folder / "boxes.csv", BOX_COLUMNS, boxes)
        if videos:
            write_csv(folder / "long.csv", LONG_COLUMNS, _rows(videos))
        if empty:
            write_csv(folder / "empty.csv", EMPTY_COLUMNS, _rows(empty))
        _write_world(
            folder / "world.json",
            counts,
            seed=seed,
            targets=targets,
            num_long=num_long,
            minutes=minutes,
            still=still,
            num_empty=num_empty,
        )
        table = folder / "table.csv"
        write_csv(table, (*TABLE_COLUMNS, "camera") if still else TABLE_COLUMNS, _rows(clips))
    return table


def _draw(
    held: outputs.OutputClaim, items: Sequence[_Item], workers: int | None, progress: Progress | None
) -> dict[str, list[WorldRow]]:
    """Write all videos, each process one at a time in memory: video -> the rows of its boxes."""
    rows_of: dict[str, list[WorldRow]] = {}
    drawn = map_in_processes(partial(_draw_one, held), items, workers=workers, fewest_items=_WORTH_A_PROCESS)
    for done, (item, rows) in enumerate(zip(items, drawn, strict=True), start=1):
        rows_of[item.video] = rows
        if progress:
            progress(done, len(items), item.video)
    return rows_of


def _draw_one(held: outputs.OutputClaim, item: _Item) -> list[WorldRow]:
    """Render a video, write it, and return the rows of its boxes."""
    spec = item.spec
    if isinstance(spec, EmptySpec):
        pixels = render_empty(spec, height=_STILL_SIZE, width=_STILL_SIZE)
        with outputs.join(held):
            write_video(held.folder / item.video, pixels, fps=FPS)
        return []
    size = _SIZE if spec.camera is None else _STILL_SIZE
    render = partial(render_clip, spec) if isinstance(spec, ClipSpec) else partial(render_video, spec)
    rendered = render(height=size, width=size)
    with outputs.join(held):
        write_video(held.folder / item.video, rendered.pixels, fps=FPS)
    return _box_rows(item.video, rendered)


class _Names:
    """Pet names for individuals, in the order in which they occur."""

    def __init__(self) -> None:
        self._names: dict[int, str] = {}
        self._clips: dict[str, int] = {}
        self._cameras: dict[int, str] = {}

    def individual(self, number: int) -> str:
        """Name of an individual, such as `bella`, or `bella2` in the second pass through the list."""
        turn, index = divmod(len(self._names), len(_NAMES))
        return self._names.setdefault(number, _NAMES[index] + (str(turn + 1) if turn else ""))

    def camera(self, number: int) -> str:
        """Name of a camera, such as `camera03`."""
        return self._cameras.setdefault(number, f"camera{len(self._cameras) + 1:02d}")

    def clip(self, spec: ClipSpec | VideoSpec) -> str:
        """Name of a clip, such as `bella_meadow_side_03`: individual, context, view, and a running number."""
        name = self.individual(spec.individual)
        self._clips[name] = self._clips.get(name, 0) + 1
        return f"{name}_{spec.context}_{spec.view}_{self._clips[name]:02d}"


def _clips(
    split: Split, count: int, seed: int, targets: Targets, names: _Names, still: bool
) -> Iterator[_Item]:
    for spec in sample_specs(split, count, seed=seed, targets=targets, still=still):
        is_source = split in ("train", "val")
        row = {
            "label": spec.action,
            "split": split if is_source else "test",
            "protocol": "source" if is_source else split,
        }
        if spec.camera is not None:
            row["camera"] = names.camera(spec.camera)
        yield _Item(f"clips/{names.clip(spec)}.mp4", spec, ({**row, **_who_and_where(spec, names)},))


def _empty(clips: Sequence[_Item], count: int, names: _Names) -> Iterator[_Item]:
    """Clips without creatures of each camera that stands still, in the order of the cameras."""
    cameras = {item.spec.camera: item.spec for item in clips if isinstance(item.spec, ClipSpec)}
    for number, spec in cameras.items():
        if number is None:
            continue
        name = names.camera(number)
        row = {"camera": name, "context": spec.context, "view": spec.view}
        for index in range(count):
            seed = int(generator(number, "empty", str(index)).integers(2**48))
            empty = EmptySpec(spec.context, spec.view, number, seed)
            yield _Item(f"empty/{name}_{index + 1:02d}.mp4", empty, (row,))


def _long(spec: VideoSpec, names: _Names) -> _Item:
    def row(segment: Segment) -> WorldRow:
        times = {"start_seconds": f"{segment.start_seconds:.2f}", "end_seconds": f"{segment.end_seconds:.2f}"}
        return {"label": segment.action, "split": "test", **times, **_who_and_where(spec, names)}

    return _Item(f"long/{names.clip(spec)}.mp4", spec, tuple(row(segment) for segment in spec.segments))


def _who_and_where(spec: ClipSpec | VideoSpec, names: _Names) -> WorldRow:
    return {
        "group": names.individual(spec.individual),
        "species": spec.body,
        "context": spec.context,
        "view": spec.view,
    }


def _rows(items: Iterable[_Item]) -> list[WorldRow]:
    return [{"video": item.video, **row} for item in items for row in item.rows]


def _box_rows(video: str, rendered: RenderedClip) -> list[WorldRow]:
    return [
        dict(zip(BOX_COLUMNS, (video, index, *(f"{value:.2f}" for value in box)), strict=True))
        for index, box in enumerate(rendered.boxes.tolist())
    ]


def _write_world(
    path: Path,
    counts: Mapping[Split, int],
    *,
    seed: int,
    targets: Targets,
    num_long: int,
    minutes: float,
    still: bool,
    num_empty: int,
) -> None:
    size = _STILL_SIZE if still else _SIZE
    settings = {
        "format": 1,
        "world": world_hash(still=still),
        "seed": seed,
        "targets": targets,
        "clips": dict(counts),
        "long": {"videos": num_long, "minutes": minutes if num_long else 0},
        "empty_per_camera": num_empty,
        "clip": {"frames": CLIP_FRAMES, "fps": FPS, "height": size, "width": size},
        "domains": {split: asdict(domain_of(split, targets=targets)) for split in counts},
        "environment": environment(),
    }
    write_text(path, json.dumps(settings, indent=2) + "\n")
