"""What of a published dataset is on disk."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from actiondiff.datasets.checking import DatasetCheck

__all__ = ["check_values", "describe_check", "describe_sizes"]

_MAX_MISSING = 5  # missing videos that are named


def check_values(result: "DatasetCheck") -> dict[str, Any]:
    """The result of a check, as it is printed in JSON."""
    return {
        "dataset": result.dataset.name,
        "root": str(result.root),
        "complete": result.complete,
        "problem": result.problem,
        "annotations": {item.file.example: [str(path) for path in item.paths] for item in result.files},
        "num_videos": result.num_videos,
        "stand_in": result.is_stand_in,
        "protocols": {
            name: {
                "counts": dict(item.counts),
                "expected": dict(item.sizes),
                "as_expected": item.as_published,
                "videos": item.num_videos,
                "videos_missing": list(item.missing),
            }
            for name, item in result.protocols.items()
        },
        "repeated": [list(names) for names in result.repeated],
        "licence": result.dataset.licence,
        "steps": list(result.dataset.steps),
        "home": result.dataset.home,
    }


def describe_check(result: "DatasetCheck") -> list[str]:
    """The result of a check in words, one line per annotation file, protocol and problem."""
    dataset = result.dataset
    stand_in = " They are STAND-INS: drawn clips, not the dataset's." if result.is_stand_in else ""
    lines = [dataset.title, f"Below {result.root}: {result.num_videos} videos.{stand_in}"]
    for file in result.files:
        state = "missing"
        if file.paths:
            count = f"{len(file.paths)} files" if file.complete else f"{len(file.paths)} of {file.file.count}"
            state = str(file.paths[0]) if file.file.count == 1 else f"{count}, in {file.paths[0].parent}"
        elif not file.file.needed:
            state = "none"
        lines.append(f"annotations, {file.file.example}: {state}")
    if result.problem:
        lines.append(f"Not readable: {result.problem}")
    for name, item in result.protocols.items():
        note = "" if item.as_published else f", NOT as it should be ({describe_sizes(item.sizes)})"
        num_on_disk = item.num_videos - len(item.missing)
        lines.append(
            f"{name}: {describe_sizes(item.counts)}{note}; {num_on_disk} of {item.num_videos} videos on disk"
        )
    if result.repeated:
        first = result.repeated[0]
        lines.append(
            f"{len(result.repeated)} videos are in several places; {first[0]} is used instead of {first[1]}"
        )
    if result.missing:
        names = ", ".join(result.missing[:_MAX_MISSING]) + (
            " ..." if len(result.missing) > _MAX_MISSING else ""
        )
        lines.append(f"{len(result.missing)} videos are missing, under any folder or suffix: {names}")
    if result.problem or result.missing:
        lines += [f"How to get it ({dataset.home}):", *(f"  {step}" for step in dataset.steps)]
        lines += [
            f"  videos are looked up by name; official layout: {dataset.layout}",
            f"Licence: {dataset.licence}.",
        ]
    return lines


def describe_sizes(counts: Mapping[str, int]) -> str:
    """`{"train": 3, "test": 1}` -> `train 3, test 1`."""
    return ", ".join(f"{name} {count}" for name, count in counts.items())
