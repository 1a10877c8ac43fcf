"""What the columns of a user's table mean, and which of its labels may be misspelt."""

import re
from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

from actiondiff.errors import warn_once
from actiondiff.types import Example

__all__ = ["differ_by_one_letter", "name_columns", "similar_labels", "warn_of_similar_labels"]

_OTHER_NAMES = {
    "video": "video videos videofile videofilename videoname videopath file filename filepath path clip "
    "media mediafile",
    "label": "label labels behavior behaviors behaviour behaviours action actions class classes",
    "start_seconds": "start starts startsec startsecs startsecond startseconds starttime starttimes begin "
    "begintime onset onsets onsettime",
    "end_seconds": "end ends endsec endsecs endsecond endseconds endtime endtimes stop stops stoptime "
    "stopsecond stopseconds",
    "split": "split",
    "group": "group",
}  # column -> names that people give it (letters only, in lower case)
_END_BESIDE_ONSET = ("offset", "offsets", "offsettime")  # alone, an offset may be anything
_UNIT = r"(time)?(in)?(ms|msecs?|millis\w*|min|minutes?|frames?|frame(no|nr|number|index|idx))"
_OTHER_UNITS = {
    "start_seconds": re.compile(rf"(start|begin|onset|first){_UNIT}"),
    "end_seconds": re.compile(rf"(end|stop|offset|last){_UNIT}|duration\w*|length(s|sec\w*)?"),
}
_SHORTEST = 4  # letters of a label that another may resemble: shorter words resemble many
_MOST_LABELS = 2000


def name_columns(path: Path, header: Sequence[str]) -> tuple[list[str], list[str]]:
    """Our names for a table's columns, and problems.

    A column with another name, such as `file` or `Start`, is taken for ours if it is the only one that may be
    meant; a warning says so.
    """
    names = list(header)
    problems = []
    renamed = []
    for name, others in _OTHER_NAMES.items():
        if name in names:
            continue
        accepted = {*others.split()}
        if name == "end_seconds" and any(_letters(other).startswith("onset") for other in header):
            accepted.update(_END_BESIDE_ONSET)
        meant = [other for other in names if _letters(other) in accepted and other not in _OTHER_NAMES]
        if len(meant) > 1:
            listed = " and ".join(map(repr, meant))
            problems.append(f"the columns {listed} may both be {name}; rename the right one to {name}")
        elif meant:
            names[names.index(meant[0])] = name
            renamed.append(f"{meant[0]!r} for {name}")
        else:
            pattern = _OTHER_UNITS.get(name)
            unit = next((other for other in header if pattern and pattern.fullmatch(_letters(other))), None)
            if unit is not None:
                problems.append(
                    f"there is a column {unit!r}, but no column {name}; add {name}, in seconds from the "
                    "first frame, or rename the column if it means something else"
                )
    if renamed and not problems:
        warn_once(f"{path}: took the column {', '.join(renamed)}; rename it if it means something else.")
    return names, problems


def similar_labels(examples: Sequence[Example]) -> list[str]:
    """Pairs of labels that differ in one letter, with how often each occurs, in words."""
    counts = Counter(label for example in examples for label in example.labels)
    labels = sorted(label for label in counts if len(label) >= _SHORTEST)
    if len(labels) > _MOST_LABELS:
        return []
    pairs = [pair for pair in combinations(labels, 2) if differ_by_one_letter(*pair)]
    return [f"{a!r} ({counts[a]}) and {b!r} ({counts[b]})" for a, b in pairs]


def warn_of_similar_labels(path: Path, examples: Sequence[Example]) -> None:
    """Warn of labels that differ in one letter, as one of them may be misspelt."""
    pairs = similar_labels(examples)
    if pairs:
        more = f" and {len(pairs) - 5} more pairs" if len(pairs) > 5 else ""
        warn_once(
            f"{path}: labels that differ in one letter: {'; '.join(pairs[:5])}{more}. They count as "
            "different classes; correct the table if one is misspelt."
        )


def differ_by_one_letter(one: str, other: str) -> bool:
    """Whether one letter is replaced, missing, or swapped with its neighbour; digits make different names."""
    short, long = sorted((one.casefold(), other.casefold()), key=len)
    if len(long) - len(short) > 1 or short == long:
        return False
    at = next((i for i, (a, b) in enumerate(zip(short, long, strict=False)) if a != b), len(short))
    if len(short) < len(long):
        return short[at:] == long[at + 1 :] and long[at].isalpha()
    if short[at + 1 :] == long[at + 1 :]:
        return short[at].isalpha() and long[at].isalpha()
    swapped = short[at : at + 2]
    is_swap = swapped == long[at : at + 2][::-1] and short[at + 2 :] == long[at + 2 :]
    return is_swap and swapped.isalpha()


def _letters(name: str) -> str:
    return re.sub("[^a-z]", "", name.lower())
