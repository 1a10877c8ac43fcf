"""The road from a folder of videos to a verdict. Each step is a command, which is printed before it runs."""

import json
import shlex
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from actiondiff import outputs
from actiondiff.datasets.base import Table
from actiondiff.datasets.columns import similar_labels
from actiondiff.datasets.export import write_table
from actiondiff.datasets.packing import clips_without_features
from actiondiff.datasets.table import read_table
from actiondiff.errors import RunError, UnknownNameError, UsageError, VideoError
from actiondiff.evaluation.folds import group_folds, groups_per_class
from actiondiff.evaluation.protocols import regroup
from actiondiff.features.store import FeatureStore
from actiondiff.heads.background import MINUS_BACKGROUND
from actiondiff.outputs.words import counted
from actiondiff.provenance import check_own_folder, write_text
from actiondiff.start.backbones import CONTROLS, choose_backbone
from actiondiff.start.cameras import cameras_of_new_videos, check_background, check_table, propose_camera
from actiondiff.start.comparison import StartVerdict, compare_candidates, too_few
from actiondiff.start.crops import about_crops, boxes_words, crops_table, pack_whole
from actiondiff.start.groups import GroupProposal, join_alike, propose_groups
from actiondiff.start.inputs import LABELS, STANDARDISED, FoldTraining, usable_place
from actiondiff.start.labels import LabelSource, find_labels, span_seconds
from actiondiff.start.outside import outside_words
from actiondiff.start.rates import common_rate
from actiondiff.types import DEFAULT_STRIDE, Example
from actiondiff.video.crop_file import is_crop
from actiondiff.video.probe import probe
from actiondiff.video.search import search_videos

__all__ = ["GROUPINGS", "StartOptions", "start"]

GROUPINGS = ("folders", "names", "videos")
"""Ways to group videos, beside the columns of the table."""
_SETTINGS, _VERDICT, _CAMERAS = "start.json", "verdict.json", "cameras.csv"
_LABELLED, _READABLE = "labelled.csv", "readable.csv"
_MOST_FOLDS = 4
_INCOMPLETE = 3  # exit code of commands that finished although some videos failed


@dataclass(frozen=True)
class StartOptions:
    """What to start from.

    Attributes:
        folder: Folder of the videos.
        labels: File or folder of the labels; None to look for them in the folder of the videos.
        out: Folder to write to.
        groups: Column of the table whose values are the groups, or one of `GROUPINGS`; None to propose them.
        backbone: Name of the backbone; None for the one that suits this machine.
        weights: Checkpoint of the backbone.
        seed: Seed of the folds and of training.
        overrides: Options of the recipe `own-videos` that are changed, such as `training.epochs=30`.
        overwrite: Whether tables and the verdict that were changed since may be replaced.
        camera: Column of the table that names the camera, or `none`; None to look for one.
        background: Table of clips without animals and their cameras; None to take the clips themselves.
        boxes: Boxes of animals, each of which is taken by itself (see `boxes_root` of `read_boxes`).
        boxes_root: Folder that their paths start from.
    """

    folder: Path
    labels: Path | None
    out: Path
    groups: str | None = None
    backbone: str | None = None
    weights: str | None = None
    seed: int = 0
    overrides: tuple[str, ...] = ()
    overwrite: bool = False
    camera: str | None = None
    background: Path | None = None
    boxes: Path | None = None
    boxes_root: Path | None = None

    @property
    def fixes_input(self) -> bool:
        """Whether the input of the heads is among the options that are changed."""
        return any(text.partition("=")[0].strip() == "head.input" for text in self.overrides)


def start(
    options: StartOptions,
    *,
    run_command: Callable[[Sequence[str]], tuple[int, str]],
    echo: Callable[[str], None],
    confirm: Callable[[GroupProposal], bool],
    ask: Callable[[str], bool],
) -> StartVerdict:
    """Go the whole road; what an earlier call with the same options finished is not repeated.

    Args:
        options: What to start from.
        run_command: Runs a command of `actiondiff` and returns its exit code and what it printed.
        echo: Prints a line.
        confirm: Asks whether the proposed groups are right.
        ask: Asks a question whose answer is yes or no, and returns yes where nobody can be asked.

    Raises:
        UsageError: If the labels are not there, no labelled video can be read, the groups are refused, or a
            table in the folder was changed since.
        UnknownNameError: If a column does not exist.
        TableError: If the labels have problems.
        RunError: If the folder to write to holds something else, or a command fails.
    """
    source = find_labels(options.folder, options.labels)
    if options.backbone is not None:
        choose_backbone(options.backbone)  # a wrong name is an error before any work
    check_table(options.background)
    check_own_folder(options.out, "start", [_SETTINGS], error=RunError, option="-o")
    names = (_SETTINGS, _READABLE, _LABELLED, LABELS, _VERDICT, _CAMERAS)
    with outputs.claim(options.out, "start", names, overwrite=options.overwrite):
        _own_folder(options)
        return _go(_Road(options, run_command, echo), source, confirm, ask)


def _go(
    road: "_Road",
    source: LabelSource,
    confirm: Callable[[GroupProposal], bool],
    ask: Callable[[str], bool],
) -> StartVerdict:
    """The steps of `start`."""
    options, echo = road.options, road.echo

    # The videos and their labels.
    road.run("videos", "check", str(options.folder), show="last line")
    echo(f"labels: {source.describe()}")
    table, is_timed = road.read_labels(source)
    similar = similar_labels(table.examples)
    if similar and not ask(f"Labels differ in one letter: {'; '.join(similar)}. Are they different classes?"):
        raise UsageError(f"correct the misspelt labels of {source.path}, and start again.")

    camera = propose_camera(table, options.camera)
    check_background(camera, options.background)

    # The groups: proposed by names, then joined where the colours of two clips are nearly the same.
    labelled = options.out / _LABELLED
    write_table(table, labelled)
    fps = common_rate(table)
    if fps is not None:
        echo(
            f"frames: {fps:g} a second of every video, because the rates of the videos differ too much for "
            f"every {DEFAULT_STRIDE}th frame."
        )
    road.extract(labelled, "pixels", fps)
    readable = replace(table, examples=road.with_features("pixels", table.examples, table.root))
    proposal = road.propose(readable, source)
    echo(
        f"groups: {proposal.num_groups}, from {proposal.reason}. Clips of one group are never on both sides."
    )
    if options.groups is None and not confirm(proposal):
        raise UsageError(
            "the groups were refused; give the column of the table that has them with --groups, or one of "
            f"{', '.join(GROUPINGS)}."
        )
    testable, counts = road.testable(proposal.apply(readable.examples))
    if not testable:
        return road.finish(too_few(counts), (), is_timed=is_timed)

    # The comparison: each feature's heads are tested on every fold of the groups in turn.
    choice = choose_backbone(options.backbone)
    echo(f"backbone: {choice.reason}")
    names = [*CONTROLS, *([choice.name] if choice.name and choice.name not in CONTROLS else [])]
    examples = testable
    for name in names[1:]:
        road.extract(labelled, name, fps)
        examples = road.with_features(name, examples, table.root)
    if examples != testable:
        examples, counts = road.testable(examples)
        if not examples:
            return road.finish(too_few(counts), (), is_timed=is_timed)
    usable = groups_per_class(examples)
    num_folds = min(_MOST_FOLDS, *usable.values())
    folds = group_folds(examples, num_folds, salt=str(options.seed))
    examples = tuple(
        replace(example, columns={**example.columns, "fold": str(fold + 1)})
        for example, fold in zip(examples, folds, strict=True)
    )
    compared = replace(table, examples=examples)
    write_table(compared, options.out / LABELS)
    place = None if options.fixes_input else usable_place(camera, examples, folds, echo)
    if options.background is not None and place is not None:
        for name in names:
            road.extract(options.background, name, fps)
    training = FoldTraining(
        options.out, road.run, echo, compared, num_folds, place, road.recipe_options(), options.background
    )
    candidates, inputs = [], dict[str, str]()
    for name in names:
        candidate, inputs[name] = training.candidate(name)
        candidates.append(candidate)
    verdict = compare_candidates(candidates, multi_label=compared.multi_label)
    for name in names:
        road.echo(outside_words(name, [training.run_of(name, fold) for fold in range(num_folds)]))
    new = _unlabelled(options.folder, table)
    kind = inputs.get(verdict.recommended or "", STANDARDISED)
    cameras: tuple[str, ...] = ()
    if place is not None and new and kind == MINUS_BACKGROUND:
        path, sentence = cameras_of_new_videos(new, table, place, options.out / _CAMERAS)
        echo(sentence)
        cameras = ("--cameras", str(path))
        cameras = (*cameras, *training.background_options())
    heads = training.input_options(verdict.recommended or "", kind)
    return road.finish(verdict, new, is_timed=is_timed, heads=heads, cameras=cameras)


@dataclass(frozen=True)
class _Road:
    """The steps, with what they share; see `start`."""

    options: StartOptions
    run_command: Callable[[Sequence[str]], tuple[int, str]]
    echo: Callable[[str], None]

    def run(self, *words: str, show: str = "nothing") -> None:
        """Print a command, run it, and stop if it fails."""
        self.echo(f"$ actiondiff {shlex.join(words)}")
        code, printed = self.run_command(words)
        if code not in (0, _INCOMPLETE):
            raise RunError(
                f"actiondiff {words[0]} did not succeed (exit code {code}); the lines above say why. What is "
                "finished is kept, and the same command goes on from there."
            )
        if code == _INCOMPLETE:
            self.echo(printed.rstrip())
        elif show == "last line" and printed.strip():
            self.echo(printed.strip().splitlines()[-1])

    def read_labels(self, source: LabelSource) -> tuple[Table, bool]:
        """Read the labels, cut into spans where they have times; returns whether they have."""
        out = self.options.out
        again = ("--overwrite",) if self.options.overwrite else ()
        path = source.path
        if source.kind in ("boris", "deepethogram"):
            path = out / "imported.csv"
            folder = ("--videos", str(self.options.folder))
            self.run("table", "import", source.kind, str(source.path), "-o", str(path), *folder, *again)
        table = read_table(path)
        seconds = span_seconds(table)
        if seconds is None:
            return table, False
        if not path.is_file():
            raise UsageError(f"{path} has times but is not a table.")
        # A broken video has no length to cut labels to, and must not end the work on the others.
        broken = _unreadable(table)
        if broken:
            left = tuple(example for example in table.examples if example.video not in broken)
            first = next(iter(broken.values()))
            if not left:
                raise UsageError(f"none of the labelled videos can be read, for example: {first}")
            self.echo(f"{counted(len(broken), 'labelled video is', 'labelled videos are')} left out: {first}")
            path = out / _READABLE
            write_table(replace(table, examples=left), path)
        spans = out / "spans.csv"
        length = ("--seconds", f"{seconds:g}", *again)
        self.run("table", "spans", str(path), "-o", str(spans), *length, show="last line")
        return read_table(spans), True

    def with_features(self, name: str, examples: tuple[Example, ...], root: Path) -> tuple[Example, ...]:
        """The clips that a backbone has features of; what is left out is counted.

        Raises:
            UsageError: If there is none.
        """
        store = FeatureStore.open(self.options.out / "features" / name)
        about = about_crops(examples, store, root)
        missing = clips_without_features(store, about, root=root)
        lacking = {id(clip.example) for clip in missing}
        left = tuple(example for example, own in zip(examples, about, strict=True) if id(own) not in lacking)
        if missing:
            first = f"{missing[0].example.video} ({missing[0].reason})"
            if not left:
                raise UsageError(f"none of the labelled clips could be read, for example {first}.")
            words = counted(len(missing), "clip is", "clips are")
            self.echo(f"{words} left out, because there are no features of {name}, for example {first}.")
        return left

    def testable(self, examples: Sequence[Example]) -> tuple[tuple[Example, ...], dict[str, int]]:
        """The clips whose classes occur in several groups, or none if these are fewer than two classes.

        Also returns the number of groups of each class.
        """
        counts = groups_per_class(examples)
        rare = [label for label, count in counts.items() if count < 2]
        for label in rare:
            self.echo(f"{label} is left out: it occurs in one group only, so it cannot be tested.")
        left = tuple(e for e in examples if e.labels and not set(e.labels) & set(rare))
        usable = groups_per_class(left)
        return (left if len(usable) > 1 and min(usable.values()) > 1 else ()), counts

    def propose(self, table: Table, source: LabelSource) -> GroupProposal:
        """Propose groups, or take those that were asked for."""
        asked = self.options.groups
        labels_are_folders = source.kind == "folders"
        if asked is not None and asked not in GROUPINGS:
            if asked not in table.columns and asked != "group":
                raise UnknownNameError("grouping", asked, (*GROUPINGS, *table.columns))
            named = regroup(table, asked).examples
            return GroupProposal({e.video: e.group or e.video for e in named}, f"the column {asked}")
        examples = table.examples
        if asked is not None:
            examples = tuple(replace(example, group="") for example in examples)
        proposal = propose_groups(examples, labels_are_folders=labels_are_folders, only=asked)
        store = FeatureStore.open(self.options.out / "features" / "pixels")
        return join_alike(proposal, pack_whole(examples, store, table.root))

    def extract(self, table: Path, name: str, fps: float | None) -> None:
        """Extract the features of a backbone, at a rate in frames per second or with the default stride."""
        sampling = () if fps is None else ("--fps", f"{fps:g}")
        weights = () if name in CONTROLS or not self.options.weights else ("--weights", self.options.weights)
        stores, words = self.options.out / "features", ["--backbone", name, *weights, *sampling]
        if name == CONTROLS[0]:  # the first one cuts the animals out
            words += boxes_words(self.options.boxes, self.options.boxes_root)
        elif self.options.boxes:
            table = crops_table(stores / CONTROLS[0])
        self.run("extract", str(table), "-o", str(stores / name), *words)

    def finish(
        self,
        verdict: StartVerdict,
        new: Sequence[Path],
        *,
        is_timed: bool,
        heads: Sequence[str] = (),
        cameras: Sequence[str] = (),
    ) -> StartVerdict:
        """Write the recommended model, its predictions of unlabelled videos, reports and the verdict."""
        out, name = self.options.out, verdict.recommended
        if name is not None:
            model, ethogram = str(out / "model"), str(out / "ethogram")
            store = str(out / "features" / name)
            self.run(
                "train", store, str(out / LABELS), "-o", model, *heads, *self.recipe_options(),
                show="last line",
            )  # fmt: skip
            self.run("report", model)
            if new:
                weights = () if name in CONTROLS or not self.options.weights else self._weights()
                mode = ("--timeline",) if is_timed else ()
                boxes = boxes_words(self.options.boxes, self.options.boxes_root)
                self.run("predict", model, *map(str, new), "-o", ethogram, *mode, *cameras, *weights, *boxes)
                self.run("report", ethogram)
                self.echo(
                    f"predictions of {counted(len(new), 'video')} without labels: {ethogram}/report.html"
                )
            self.echo(f"model: {model}, with its own test in {model}/report.html")
        else:
            self.echo("No model was written, because none can be recommended.")
        write_text(out / _VERDICT, json.dumps(asdict(verdict), indent=2) + "\n")
        self.echo(verdict.sentence)
        return verdict

    def recipe_options(self) -> list[str]:
        """Options of `train` that the user changed."""
        seed = (f"seed={self.options.seed}",) if self.options.seed else ()
        return [word for text in (*seed, *self.options.overrides) for word in ("--set", text)]

    def _weights(self) -> tuple[str, ...]:
        return ("--weights", str(self.options.weights))


def _unreadable(table: Table) -> dict[str, str]:
    """Labelled videos that cannot be opened -> why."""
    broken: dict[str, str] = {}
    for video in dict.fromkeys(example.video for example in table.examples):
        try:
            probe(table.root / video)
        except VideoError as error:
            broken[video] = str(error)
    return broken


def _own_folder(options: StartOptions) -> None:
    """Make sure that the folder is new, or of an earlier call with the same options."""
    settings = {
        name: None if value is None else str(value)
        for name, value in asdict(options).items()
        if name not in ("out", "overwrite")
    }
    path = options.out / _SETTINGS
    try:
        stored = json.loads(path.read_text("utf-8")) if path.exists() else settings
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"{path} is damaged ({type(error).__name__}); give another folder (-o).") from None
    if {**dict.fromkeys(settings), **stored} != settings:
        raise RunError(f"{options.out} was started with other videos or options; give another folder (-o).")
    write_text(path, json.dumps(settings, indent=2) + "\n")


def _unlabelled(folder: Path, table: Table) -> tuple[Path, ...]:
    """The videos of a folder that have no label."""
    labelled = {(table.root / example.video).resolve() for example in table.examples if example.labels}
    videos = search_videos([folder]).videos
    return tuple(path for path in videos if path.resolve() not in labelled and not is_crop(path))
