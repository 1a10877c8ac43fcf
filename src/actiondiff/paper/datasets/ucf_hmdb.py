"""UCF101 and HMDB51: their twelve shared classes, read from official split files or circulating lists."""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Literal, NamedTuple, TypeAlias

from actiondiff.datasets.base import Table
from actiondiff.datasets.files import AnnotationFile, VideoIndex, find_annotations
from actiondiff.datasets.published import DatasetProtocol, PublishedDataset
from actiondiff.datasets.sheets import read_text
from actiondiff.errors import TableError
from actiondiff.types import Example

__all__ = ["SHARED_CLASSES", "UCF_HMDB", "ListedClip", "read_list", "read_ucf_hmdb"]

SourceDataset: TypeAlias = Literal["ucf101", "hmdb51"]

SHARED_CLASSES = MappingProxyType(
    {
        "climb": ("RockClimbingIndoor", "RopeClimbing"),
        "fencing": ("Fencing",),
        "golf": ("GolfSwing",),
        "kick_ball": ("SoccerPenalty",),
        "pullup": ("PullUps",),
        "punch": ("BoxingPunchingBag", "BoxingSpeedBag", "Punch"),
        "pushup": ("PushUps",),
        "ride_bike": ("Biking",),
        "ride_horse": ("HorseRiding",),
        "shoot_ball": ("Basketball",),
        "shoot_bow": ("Archery",),
        "walk": ("WalkingWithDog",),
    }
)
"""Name of a shared class in HMDB51 -> its names in UCF101 (fifteen in all), in the order of the lists."""
_OF_UCF = {ucf: name for name, several in SHARED_CLASSES.items() for ucf in several}

_OFFICIAL_UCF = AnnotationFile(
    r"(train|test)list01\.txt",
    "trainlist01.txt and testlist01.txt",
    "UCF101's split 1; needed unless there are CoMix or TA3N lists",
    count=2,
    needed=False,
)
_OFFICIAL_HMDB = AnnotationFile(
    r"(" + "|".join(SHARED_CLASSES) + r")_test_split1\.txt",
    "climb_test_split1.txt and so on",
    "HMDB51's split 1, one file per class; needed unless there are CoMix or TA3N lists",
    count=len(SHARED_CLASSES),
    needed=False,
)
_CIRCULATING = AnnotationFile(
    r"(ucf101|hmdb51)_(train|val)_hmdb_ucf.*\.csv|list_(train|val)_(ucf101-hmdb51|hmdb51-ucf101).*\.txt",
    "ucf101_train_hmdb_ucf.csv or list_train_hmdb51-ucf101_resnet101.txt and similar names",
    "CoMix's or TA3N's lists, read where official ones are missing",
    count=4,
    needed=False,
)
_UCF_NAME = re.compile(r"(v_(\w+?)_g(\d+))_c\d+", re.ASCII)
_HMDB_NAME = r"(.+)_{}_[fuhl]_(?:cm|nm)_np\d+_(?:ba|fr|le|ri)_(?:bad|med|goo)_\d+"
_MARKS = {"1": "train", "2": "test"}  # 0: the clip is in neither split


class ListedClip(NamedTuple):
    """A clip as it is named in a list.

    Attributes:
        dataset: The dataset that it belongs to.
        stem: File name without suffix.
        label: One of the twelve classes; empty for other classes of UCF101.
        split: `train` or `test`.
        group: Video that it was cut from: UCF101's g-number within its class, or HMDB51's film.
        folder: Folder of its class in the official packaging.
    """

    dataset: SourceDataset
    stem: str
    label: str
    split: str
    group: str
    folder: str


def read_ucf_hmdb(
    annotations: str | os.PathLike[str],
    videos: str | os.PathLike[str] | None = None,
    *,
    protocol: str = "ucf-to-hmdb",
) -> Table:
    """Read the clips of a protocol (see `UCF_HMDB.protocols`).

    Between datasets, the source's training list trains, its test list validates, and all clips of the target
    test. The table's `group` is UCF101's g-number within its class, or HMDB51's film. Its further columns
    are `dataset` (ucf101 or hmdb51), `original_class` and `official_split`.

    Args:
        annotations: Folder with split files of both datasets, at most four folders deep: the official ones
            of split 1, or the lists of CoMix or TA3N.
        videos: Folder with the clips at any depth; by default that of the annotations. Names may lack
            brackets and similar characters, which some programs drop when they unpack. A clip that is not
            on disk keeps the path of the official packaging.
        protocol: Name of the protocol, which says which clips train and which test.

    Raises:
        UnknownNameError: If the protocol is unknown.
        UsageError: If the folder of annotations does not exist.
        TableError: If files are missing or not as published.
    """
    UCF_HMDB.protocol(protocol)
    files = find_annotations(annotations, UCF_HMDB.files, dataset="ucf-hmdb")
    root = Path(annotations if videos is None else videos)
    index = VideoIndex(root.parent if root.is_file() else root)
    sides = _SIDES[protocol]
    examples = [
        replace(example, split=sides[clip.dataset].get(clip.split, ""))
        for dataset in ("ucf101", "hmdb51")
        if dataset in sides
        for clip in _shared(files, dataset, annotations)
        for example in [_example(clip, index)]
    ]
    return Table(Path(annotations), index.root, tuple(examples), tuple(SHARED_CLASSES))


_SIDES: Mapping[str, Mapping[str, Mapping[str, str]]] = {
    "ucf-to-hmdb": {"ucf101": {"train": "train", "test": "val"}, "hmdb51": {"train": "test", "test": "test"}},
    "hmdb-to-ucf": {"hmdb51": {"train": "train", "test": "val"}, "ucf101": {"train": "test", "test": "test"}},
    "hmdb-to-hmdb": {"hmdb51": {"train": "train", "test": "test"}},
    "ucf-to-ucf": {"ucf101": {"train": "train", "test": "test"}},
    "all": {name: {"train": "train", "test": "test"} for name in ("ucf101", "hmdb51")},
}
"""Protocol -> dataset -> official split -> the side that its clips are on."""


def _shared(files: Mapping[str, Path], dataset: SourceDataset, folder: object) -> list[ListedClip]:
    """Clips of the twelve classes, from the official files if all exist, else from circulating lists."""
    file = _OFFICIAL_UCF if dataset == "ucf101" else _OFFICIAL_HMDB
    official = [path for name, path in sorted(files.items()) if re.fullmatch(file.pattern, name)]
    if len(official) == file.count:
        clips = [clip for path in official for clip in read_list(path)]
    else:
        lists = [path for name, path in sorted(files.items()) if re.fullmatch(_CIRCULATING.pattern, name)]
        clips = [clip for path in lists for clip in read_list(path) if clip.dataset == dataset]
        if {clip.split for clip in clips} != {"train", "test"}:
            what = f"{dataset}: {len(official)} of {file.count} split files ({file.example}) exist"
            advice = f"how to get them: actiondiff datasets check ucf-hmdb --data {folder}"
            raise TableError(folder, [f"{what}, and there are no lists of CoMix or TA3N; {advice}"])
    unique = {re.sub(r"\W", "", clip.stem): clip for clip in clips if clip.label}
    return sorted(unique.values(), key=lambda clip: (clip.split != "train", clip.folder, clip.stem))


def read_list(path: Path) -> list[ListedClip]:
    """Read the clips of one split file or list, whose name says its kind; unused HMDB51 clips are left out.

    Raises:
        TableError: If lines are not as published.
    """
    problems: list[str] = []
    clips: list[ListedClip] = []
    text = read_text(path) if path.read_bytes().strip() else ""
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            clips += _listed(path.name.lower(), line.strip())
        except (ValueError, IndexError, KeyError):
            problems.append(f"line {number} is not as published: {line.strip()!r}")
    if problems or not clips:
        raise TableError(path, problems[:20] or ["the file lists no clip"])
    return clips


def _listed(name: str, line: str) -> Iterator[ListedClip]:
    if re.fullmatch(_OFFICIAL_UCF.pattern, name):  # Archery/v_Archery_g08_c01.avi 3
        yield _ucf(PurePosixPath(line.split()[0]).stem, name.partition("list")[0], line.split("/")[0])
    elif name.endswith("_test_split1.txt"):  # Golf_Swing_#6Iron_golf_f_cm_np1_fr_med_0.avi 1
        clip, mark = line.rsplit(maxsplit=1)
        if mark != "0":
            yield _hmdb(PurePosixPath(clip).stem, _MARKS[mark], name.removesuffix("_test_split1.txt"))
    else:  # v_Golf_Swing_#6Iron_golf_f_cm_np1_fr_med_0,2 or a/b/Golf_..._0 81 2
        parts = line.rsplit(",", 1) if name.endswith(".csv") else line.rsplit(maxsplit=2)
        stem, label = PurePosixPath(parts[0]).name, tuple(SHARED_CLASSES)[int(parts[-1])]
        split = "train" if "train" in name.split("_")[:2] else "test"
        if _UCF_NAME.fullmatch(stem):
            yield _ucf(stem, split)
        else:
            yield _hmdb(stem.removeprefix("v_"), split, label)


def _ucf(stem: str, split: str, folder: str = "") -> ListedClip:
    match = _UCF_NAME.fullmatch(stem)
    if not match:
        raise ValueError(stem)
    folder = folder or match[2]  # HandstandPushups/v_HandStandPushups_g01_c01: the folder is the class
    return ListedClip("ucf101", stem, _OF_UCF.get(folder, ""), split, match[1].removeprefix("v_"), folder)


def _hmdb(stem: str, split: str, label: str) -> ListedClip:
    match = re.fullmatch(_HMDB_NAME.format(re.escape(label)), stem)
    if not match:
        raise ValueError(stem)
    film = match[1].removesuffix("_avi")  # some film titles are file names
    return ListedClip("hmdb51", stem, label if label in SHARED_CLASSES else "", split, film, label)


def _example(clip: ListedClip, index: VideoIndex) -> Example:
    top = "UCF-101" if clip.dataset == "ucf101" else "hmdb51_org"
    return Example(
        video=index.path_of(f"{top}/{clip.folder}/{clip.stem}.avi"),
        labels=(clip.label,),
        split=clip.split,
        group=clip.group,
        columns={
            "dataset": clip.dataset,
            "original_class": clip.folder,
            "official_split": clip.split,
        },
    )


UCF_HMDB = PublishedDataset(
    name="ucf-hmdb",
    title="UCF101 (Soomro et al., 2012) and HMDB51 (Kuehne et al., ICCV 2011), the twelve shared classes",
    home="https://www.crcv.ucf.edu/data/UCF101.php and https://serre-lab.clps.brown.edu/resource/hmdb-a-large-human-motion-database/",
    licence="UCF101: none stated, research use; HMDB51: CC BY 4.0",
    steps=(
        "download UCF101.rar (6.5 GB) and UCF101TrainTestSplits-RecognitionTask.zip from UCF's page",
        "download hmdb51_org.rar (2.1 GB) and test_train_splits.rar from HMDB51's page; inside the first are "
        "archives, one per class; unpack those too",
        "unpack everything below one folder; lists of CoMix (video_splits) or TA3N can replace split files",
    ),
    layout="UCF-101/Archery/v_Archery_g01_c01.avi, hmdb51_org/shoot_bow/NAME.avi",
    files=(_OFFICIAL_UCF, _OFFICIAL_HMDB, _CIRCULATING),
    protocols={
        "ucf-to-hmdb": DatasetProtocol(
            "UCF101's split 1 trains and validates, all HMDB51 clips test",
            {"train": 1438, "val": 571, "test": 1200},
            "accuracy",
        ),
        "hmdb-to-ucf": DatasetProtocol(
            "HMDB51's split 1 trains and validates, all UCF101 clips test",
            {"train": 840, "val": 360, "test": 2009},
            "accuracy",
        ),
        "hmdb-to-hmdb": DatasetProtocol("HMDB51's split 1", {"train": 840, "test": 360}, "accuracy"),
        "ucf-to-ucf": DatasetProtocol("UCF101's split 1", {"train": 1438, "test": 571}, "accuracy"),
        "all": DatasetProtocol(
            "all clips, official splits; dataset is a column", {"train": 2278, "test": 931}, "accuracy"
        ),
    },
    reader=read_ucf_hmdb,
)
"""The datasets: what they consist of and where to get them."""
