"""Animal Kingdom (Ng et al., CVPR 2022): the action recognition task, read from `AR_metadata.xlsx`."""

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from actiondiff.datasets.base import Table
from actiondiff.datasets.files import AnnotationFile, VideoIndex, find_annotations, require
from actiondiff.datasets.published import DatasetProtocol, PublishedDataset
from actiondiff.datasets.splitting import choose_groups
from actiondiff.paper.datasets.ak_workbook import Workbook, WorkbookClip, read_workbook
from actiondiff.types import Example

__all__ = [
    "ANIMAL_KINGDOM",
    "ANIMAL_TYPES",
    "SOURCE_TYPES",
    "TARGET_TYPES",
    "UNSEEN_ACTIONS",
    "read_animal_kingdom",
    "taxonomic_distances",
]

ANIMAL_TYPES = MappingProxyType(
    {
        "birds": "Bird",
        "fish": "Fish",
        "frogs": "Frog / Toad",
        "snakes": "Snake / Cobra / Viper / Python",
        "lizards": "Lizard / Gecko / Draco / Iguana / Chamelon",
        "primates": "Primate / Monkey / Macaque / Baboon / Chimpanzee / Gorilla / Orangutan / Langur",
        "spiders": "Spider / Tarantula",
        "orthopterans": "Cricket / Grasshopper / Praying mantis / Leafhopper",
        "water_birds": "Water bird / Duck / Swan / Goose",
    }
)
"""Animal type of the paper's figure 4 -> its sub-class, as the Animal sheet spells it."""
SOURCE_TYPES = ("birds", "fish", "frogs", "snakes")
TARGET_TYPES = ("lizards", "primates", "spiders", "orthopterans", "water_birds")
UNSEEN_ACTIONS = ("Attending", "Eating", "Keeping still", "Moving", "Sensing", "Swimming")
_TYPE_OF = {sub_class: name for name, sub_class in ANIMAL_TYPES.items()}
_OFFICIAL_PATH = "action_recognition/dataset/video/{}.mp4"
_KEY_LENGTH = 4
_BOOK = AnnotationFile(r"ar_metadata\.xlsx", "AR_metadata.xlsx", "clips, labels, animals, official split")


def read_animal_kingdom(
    annotations: str | os.PathLike[str],
    videos: str | os.PathLike[str] | None = None,
    *,
    protocol: str = "full",
) -> Table:
    """Read the clips of a protocol (see `ANIMAL_KINGDOM.protocols`).

    The table's `group` is the last four letters of the clip's id, which behave like a key of the source
    video. Its further columns are `animal` (the first one named), `animals` (all, separated by ;),
    `parent_class`, `animal_class` and `sub_class` (of the first animal), `animal_type` (one of the nine of
    figure 4, else empty) and `official_split`. Its `classes` are all 140 actions in the order of their
    numbers; for the protocol `care` eight actions, which are known by number only.

    Args:
        annotations: Folder with `AR_metadata.xlsx`, at most four folders deep, or that file.
        videos: Folder with the clips at any depth, named by their ids; by default that of the annotations.
            A clip that is not on disk keeps the path of the official packaging.
        protocol: Name of the protocol, which says which clips train and which test.

    Raises:
        UnknownNameError: If the protocol is unknown.
        UsageError: If the folder of annotations does not exist.
        TableError: If the spreadsheet is missing or not as published.
    """
    ANIMAL_KINGDOM.protocol(protocol)
    files = find_annotations(annotations, (_BOOK,), dataset="animal-kingdom")
    path = require(files, _BOOK, annotations, "animal-kingdom")[0]
    book = read_workbook(path)
    root = Path(annotations if videos is None else videos)
    index = VideoIndex(root.parent if root.is_file() else root)
    if protocol == "care":
        names = tuple(f"CARe action {number}" for number in sorted({row.action for row in book.care}))
        return Table(path, index.root, tuple(_care(book, index)), names, labels_are_complete=False)
    multi_label = protocol.startswith("full")
    chosen = book.clips if multi_label else [clip for clip in book.clips if _has_one_of_six(clip, book)]
    examples = [_example(clip, book, index) for clip in chosen]
    return Table(path, index.root, tuple(_SIDES[protocol](examples, book.actions)), book.actions, multi_label)


def taxonomic_distances(table: Table) -> dict[tuple[str, str], int]:
    """Distances between pairs of the nine types, by their classes on the Animal sheet.

    The distance is 0 for the same type, 1 for the same class, 2 for the same parent class, else 3.

    Args:
        table: Clips of the protocol `animal-types`; types without clips are left out.
    """
    ranks = {
        clip.columns["animal_type"]: (clip.columns["parent_class"], clip.columns["animal_class"])
        for clip in table.examples
    }
    types = [name for name in ANIMAL_TYPES if name in ranks]
    return {(a, b): _distance(a == b, ranks[a], ranks[b]) for a in types for b in types}


def _distance(same: bool, one: tuple[str, str], other: tuple[str, str]) -> int:
    if same:
        return 0
    return 1 if one == other else 2 if one[0] == other[0] else 3


def _has_one_of_six(clip: WorkbookClip, book: Workbook) -> bool:
    """Rule of the released code: a single label, one of the six actions, and a known animal."""
    return len(clip.labels) == 1 and book.actions[clip.labels[0]] in UNSEEN_ACTIONS and bool(clip.pairs)


def _example(clip: WorkbookClip, book: Workbook, index: VideoIndex) -> Example:
    names = list(dict.fromkeys(book.animal(animal).name for animal, _ in clip.pairs))
    first = book.animal(clip.pairs[0][0] if clip.pairs else "")
    return Example(
        video=index.path_of(_OFFICIAL_PATH.format(clip.video_id)),
        labels=tuple(book.actions[label] for label in clip.labels),
        split=clip.split,
        group=clip.video_id[-_KEY_LENGTH:],
        columns={
            "animal": first.name,
            "animals": ";".join(names),
            "parent_class": first.parent_class,
            "animal_class": first.animal_class,
            "sub_class": first.sub_class,
            "animal_type": _TYPE_OF.get(first.sub_class, ""),
            "official_split": clip.split,
        },
    )


def _official(examples: Sequence[Example], _actions: Sequence[str]) -> Iterable[Example]:
    return examples


def _full_disjoint(examples: Sequence[Example], actions: Sequence[str]) -> Iterable[Example]:
    """Test on whole groups, with nearly as many clips of each class as the official test split has."""
    official = [example for example in examples if example.split == "test"]
    wanted = Counter(label for example in official for label in example.labels)
    test = choose_groups(examples, wanted=wanted, num_clips=len(official), classes=actions)
    return (replace(example, split="test" if example.group in test else "train") for example in examples)


def _types(examples: Sequence[Example], _actions: Sequence[str]) -> Iterable[Example]:
    """The clips of the nine types, with the official splits pooled."""
    return (replace(example, split="") for example in examples if example.columns["animal_type"])


def _unseen(examples: Sequence[Example], actions: Sequence[str]) -> Iterable[Example]:
    for example in _types(examples, actions):
        source = example.columns["animal_type"] in SOURCE_TYPES
        yield replace(example, split="train" if source else "test")


def _unseen_disjoint(examples: Sequence[Example], actions: Sequence[str]) -> Iterable[Example]:
    """The same test clips, without training clips whose source video is also in the test."""
    clips = list(_unseen(examples, actions))
    tested = {example.group for example in clips if example.split == "test"}
    return (example for example in clips if example.split == "test" or example.group not in tested)


_SIDES = {
    "full": _official,
    "full-source-disjoint": _full_disjoint,
    "animal-types": _types,
    "unseen-species": _unseen,
    "unseen-species-source-disjoint": _unseen_disjoint,
}


def _care(book: Workbook, index: VideoIndex) -> Iterable[Example]:
    for row in book.care:
        animal = book.animal(row.animal)
        yield Example(
            video=index.path_of(_OFFICIAL_PATH.format(row.video_id)),
            labels=(f"CARe action {row.action}",),
            split=row.split,
            group=row.video_id[-_KEY_LENGTH:],
            columns={
                "animal": animal.name,
                "animals": animal.name,
                "parent_class": animal.parent_class,
                "animal_class": row.animal_class,
                "sub_class": row.sub_class,
                "animal_type": _TYPE_OF.get(animal.sub_class, ""),
                "official_split": row.split,
            },
        )


ANIMAL_KINGDOM = PublishedDataset(
    name="animal-kingdom",
    title="Animal Kingdom, action recognition (Ng et al., CVPR 2022)",
    home="https://sutdcv.github.io/Animal-Kingdom/",
    licence="no licence file is published; access is granted for research, by a request form",
    steps=(
        "ask for access with the form that the official page links to",
        "download action_recognition/dataset/video.tar.gz (15.6 GB) and unpack it below your folder; the "
        "frames (image.tar.gz) are not needed",
        "put AR_metadata.xlsx (folder action_recognition of the project's repository, or of the download) "
        "below the same folder",
    ),
    layout=_OFFICIAL_PATH.format("AAACXZTV"),
    files=(_BOOK,),
    protocols={
        "full": DatasetProtocol(
            "all clips, official split, 140 classes, several per clip",
            {"train": 24004, "test": 6096},
            "micro_map",
        ),
        "unseen-species": DatasetProtocol(
            "six actions, one per clip: birds, fish, frogs and snakes train, five other types test",
            {"train": 4710, "test": 1039},
            "accuracy",
        ),
        "animal-types": DatasetProtocol(
            "the nine animal types of figure 4, each a domain",
            {"birds": 2171, "fish": 400, "frogs": 537, "snakes": 1602, "lizards": 359, "primates": 141,
             "spiders": 249, "orthopterans": 153, "water_birds": 137},
            "accuracy",
            domain="animal_type",
        ),
        "care": DatasetProtocol(
            "the dataset's own unseen-species split (CARe sheet), eight actions known by number only; its "
            "clip ids differ from those of all other protocols",
            {"train": 4436, "val": 490, "test": 1164},
            "accuracy",
        ),
        "full-source-disjoint": DatasetProtocol(
            "like full, with no source video on both sides; near the official sizes and class balance",
            {"train": 24043, "test": 6057},
            "micro_map",
        ),
        "unseen-species-source-disjoint": DatasetProtocol(
            "like unseen-species, without the training clips whose source video is also in the test",
            {"train": 4435, "test": 1039},
            "accuracy",
        ),
    },
    reader=read_animal_kingdom,
)  # fmt: skip
"""The dataset: what it consists of and where to get it."""
