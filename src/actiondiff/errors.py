"""Every error this package raises on purpose.

    ActionDiffError                 base class: catch this one
    ├── UsageError                  an argument or option that cannot be used
    │   └── UnknownNameError        a name that is in no registry, table or store
    ├── VideoError                  no frame of a video can be decoded
    │   └── VideoLimitError         a video asks for more than the limits allow
    ├── WeightsError                a checkpoint is missing, incomplete, damaged or of another model
    ├── TableError                  a table of labels has problems (all of them, by row)
    ├── StoreError                  a feature store cannot be read or written
    │   └── SettingsMismatchError   features were made with other settings than the ones asked for
    ├── RunError                    a trained model's folder is incomplete or does not fit
    └── MissingExtraError           a feature needs a package that is not installed

Each message says in one line what happened, what was given, what is allowed, and what to do next.
"""

import difflib
import logging
import os
from collections.abc import Iterable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # this module loads no library, so that `actiondiff --help` starts fast
    from pydantic import ValidationError

__all__ = [
    "ActionDiffError",
    "MissingExtraError",
    "RunError",
    "SettingsMismatchError",
    "StoreError",
    "TableError",
    "UnknownNameError",
    "UsageError",
    "VideoError",
    "VideoLimitError",
    "WeightsError",
    "explain_validation",
    "warn_once",
]


class ActionDiffError(Exception):
    """Base class of all errors raised on purpose."""


class UsageError(ActionDiffError, ValueError):
    """An argument or option that cannot be used."""


class UnknownNameError(UsageError):
    """A name that does not exist; the message suggests the nearest one.

    Args:
        kind: Kind of thing that is named, for example `"backbone"`.
        name: The name that was asked for.
        choices: The names that exist.
        hint: What to do next, if the list of names does not make it clear.
    """

    def __init__(self, kind: str, name: object, choices: Iterable[object], hint: str = "") -> None:
        self.name = name
        names = [str(item) for item in choices]
        near = difflib.get_close_matches(str(name)[:200], names, n=1)
        guess = f" Did you mean {near[0]!r}?" if near else ""
        listed = ", ".join(names[:40]) + (f" ... ({len(names)} in all)" if len(names) > 40 else "")
        what, hint = _short(str(name)), f" {hint}" if hint else ""
        super().__init__(f"unknown {kind} {what}.{guess} Known: {listed or 'none'}.{hint}")


class VideoError(ActionDiffError):
    """No frame of a video can be decoded."""

    def reason_for(self, path: str | os.PathLike[str]) -> str:
        """The message as a clause for a table that names the video itself: without path and full stop."""
        return str(self).removeprefix(os.fspath(path)).lstrip(": ").removesuffix(".")


class VideoLimitError(VideoError):
    """A video asks for more than the limits allow: pixels, pauses, or frames for its bytes."""


class WeightsError(ActionDiffError):
    """A checkpoint is missing, incomplete, damaged or of another model."""


class TableError(ActionDiffError):
    """A table of labels has problems.

    Args:
        source: Path or name of the table.
        problems: One sentence per problem, which names the row.
    """

    def __init__(self, source: object, problems: Iterable[str]) -> None:
        self.problems = list(problems)
        super().__init__(f"{source}: " + "; ".join(self.problems))


class StoreError(ActionDiffError):
    """A feature store cannot be read or written."""


class SettingsMismatchError(StoreError):
    """Features were made with other settings than the ones asked for.

    Args:
        what: Which two things do not fit, for example `"the store fs does not fit the model run"`.
        differences: Field -> the two values.
        advice: What to do next.
    """

    def __init__(self, what: str, differences: Mapping[str, tuple[Any, Any]], advice: str) -> None:
        self.differences = dict(differences)
        fields = "; ".join(
            f"{name}: {_short(ours)} against {_short(theirs)}" for name, (ours, theirs) in differences.items()
        )
        super().__init__(f"{what}: {fields}. {advice}")


class RunError(ActionDiffError):
    """A trained model's folder is incomplete or does not fit."""


class MissingExtraError(ActionDiffError, ImportError):
    """A feature needs a package that is not installed.

    Args:
        feature: The feature that was asked for.
        extra: Name of the extra of this package that installs what is missing.
    """

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(
            f"{feature} needs packages that are not installed: pip install 'actiondiff[{extra}]'"
        )


def explain_validation(error: "ValidationError", *, as_flag: bool = False) -> str:
    """Explain the first problem of a pydantic validation in a clause without a full stop.

    For example `"head.layers: Input should be greater than or equal to 1; got 0"`. A problem of several
    fields together has no field's name and no single value, so that only its message is given.

    Args:
        error: What pydantic raised.
        as_flag: Whether to name the field as an option of the command line: `--head-layers`.
    """
    problem = error.errors()[0]
    message = problem["msg"].removeprefix("Value error, ").rstrip(".")
    if problem["loc"]:
        parts = [str(part) for part in problem["loc"]]
        field = f"--{'-'.join(parts).replace('_', '-')}" if as_flag else ".".join(parts)
        message = f"{field}: {message}"
    value = problem["input"]
    return message if isinstance(value, dict) else f"{message}; got {_short(value)}"


def _short(value: object) -> str:
    """A value in one line of bounded length, since it may come from somebody else's file."""
    text = repr(value)
    return text if len(text) <= 300 else f"{text[:300]} ..."


@cache
def warn_once(message: str) -> None:
    """Log a warning about something that does not stop the work, once per process.

    A command may read a file or search a folder several times.
    """
    printable = message.encode("utf-8", "backslashreplace").decode()  # names of files may be of any bytes
    logging.getLogger("actiondiff").warning("%s", printable)
