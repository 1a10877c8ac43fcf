"""The list of all commands: their names, summaries and modules, in the order in which the help shows them.

The help is printed from this list, so that no command has to be imported for it. The summary of a command is
the first line of its docstring; a test holds the two equal.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

__all__ = ["ALIASES", "SECTIONS", "CommandEntry", "GroupEntry", "entries"]


@dataclass(frozen=True)
class CommandEntry:
    """A command.

    Attributes:
        name: The word that calls it.
        reference: Module below `actiondiff.cli` and function, as in `"train:train"`.
        summary: One line about it.
    """

    name: str
    reference: str
    summary: str


@dataclass(frozen=True)
class GroupEntry:
    """A command that has sub-commands.

    Attributes:
        name: The word that calls it.
        summary: One line about it, without a full stop: the names of the sub-commands are added.
        members: The sub-commands.
    """

    name: str
    summary: str
    members: "tuple[CommandEntry | GroupEntry, ...]"


_VIDEOS = GroupEntry(
    "videos",
    "Find problems in video files",
    (
        CommandEntry("check", "videos:check", "Decode videos and report what is broken, cut short or odd."),
        CommandEntry("crop", "crop:crop", "Crop videos around animals, whose boxes a detector has written."),
    ),
)
_TABLE = GroupEntry(
    "table",
    "Make and join tables of labels",
    (
        CommandEntry(
            "import", "table:import_labels", "Make a table of labels from those of another program."
        ),
        CommandEntry("spans", "table:spans", "Cut timed labels into spans of one length."),
        CommandEntry("add", "table:add", "Join tables of labels into one."),
    ),
)
_FEATURES = GroupEntry(
    "features",
    "Manage feature stores",
    (
        CommandEntry("ls", "features:ls", "Show what a feature store holds and how it was made."),
        CommandEntry("verify", "features:verify", "Check every file of a store and set damaged ones aside."),
        CommandEntry(
            "import", "features:import_features", "Import features extracted by the authors' released code."
        ),
        CommandEntry("merge", "features:merge", "Join feature stores that were filled separately."),
    ),
)
_WEIGHTS = GroupEntry(
    "weights",
    "Get, convert and check weights",
    (
        CommandEntry(
            "get",
            "weights_get:get",
            "Show where a backbone's weights are, and download them.",
        ),
        CommandEntry("convert", "weights:convert", "Convert an original checkpoint into a smaller folder."),
        CommandEntry("check", "weights:check", "Check that this machine computes the right features."),
        CommandEntry(
            "prompt",
            "weights_prompt:prompt",
            "Compute the embedding of the empty prompt for another machine.",
        ),
    ),
)
_RECIPE = GroupEntry(
    "recipe",
    "Manage the options of a study",
    (
        CommandEntry("ls", "recipe:ls", "List the recipes that come with the package."),
        CommandEntry("show", "recipe:show", "Print a recipe with the value of every option."),
        CommandEntry("copy", "recipe:copy", "Copy a shipped recipe to a file that you can edit."),
        CommandEntry("check", "recipe:check", "Check a recipe and count its studies."),
    ),
)
_DATASETS = GroupEntry(
    "datasets",
    "Check tables and datasets",
    (
        CommandEntry("ls", "datasets:ls", "List the published datasets and their protocols."),
        CommandEntry("check", "datasets:check", "Check a table of labels, or the files of a dataset."),
        CommandEntry("write", "datasets:write", "Write a protocol of a published dataset as a table."),
        CommandEntry(
            "stand-in", "datasets:stand_in", "Draw clips that take the place of a dataset's videos."
        ),
    ),
)
_PRETRAIN_TINY = CommandEntry(
    "pretrain-tiny", "pretrain:pretrain_tiny", "Pre-train the built-in backbone again."
)
_MENAGERIE = GroupEntry(
    "menagerie",
    "Draw clips of the built-in world",
    (
        CommandEntry("write", "menagerie:write", "Draw labelled clips of the built-in world."),
        CommandEntry("sheet", "menagerie:sheet", "Draw a contact sheet of the built-in world."),
    ),
)

SECTIONS: Mapping[str, "tuple[CommandEntry | GroupEntry, ...]"] = {
    "Start here": (
        CommandEntry("start", "start:start", "Go from videos and labels to a model and a verdict."),
        CommandEntry("demo", "demo:demo", "Run every step on the built-in backbone and drawn clips."),
        CommandEntry("doctor", "doctor:doctor", "Show what this machine has: devices, decoders, weights."),
    ),
    "Your videos": (
        _VIDEOS,
        CommandEntry("detect", "detect:detect", "Find the animals in videos, for crops around them."),
        _TABLE,
        CommandEntry("extract", "extract:extract", "Extract features of videos into a feature store."),
        CommandEntry("train", "train:train", "Train a head on stored features and test it."),
        CommandEntry("evaluate", "evaluate:evaluate", "Test a trained model on labelled clips."),
        CommandEntry("predict", "predict:predict", "Name the actions in videos with a trained model."),
        CommandEntry("localize", "localize:localize", "Show where in a video an action is seen."),
        CommandEntry("report", "report:report", "Write a report: one HTML page that needs no other file."),
        CommandEntry("app", "app:serve", "Serve a page on this machine for trying a model on videos."),
    ),
    "Models and features": (
        _FEATURES,
        _WEIGHTS,
        CommandEntry(
            "distill", "distill:distill", "Teach a small network a backbone's features of your videos."
        ),
    ),
    "Experiments": (
        _RECIPE,
        CommandEntry("sweep", "sweep:sweep", "Train every study of a recipe with lists and compare them."),
        CommandEntry("compare", "compare:compare", "Compare two runs on the clips that both tested."),
    ),
    "The paper": (
        _DATASETS,
        CommandEntry("reproduce", "reproduce:reproduce", "Run a table or figure of the paper."),
    ),
    "For developers": (GroupEntry("dev", "Make what is built in", (_PRETRAIN_TINY, _MENAGERIE)),),
}
"""Title -> the commands below it, as `actiondiff --help` shows them."""

ALIASES = (_PRETRAIN_TINY, _MENAGERIE)
"""Commands that moved: their old names still work, and no help shows them."""


def entries() -> "Iterator[CommandEntry | GroupEntry]":
    """All commands of the top level, without the aliases."""
    for members in SECTIONS.values():
        yield from members
