"""Bounds on what a file of weights says of its network: a few bytes must not ask for hours or gigabytes."""

import math
from collections.abc import Mapping
from typing import Any

from actiondiff.errors import WeightsError

__all__ = ["MOST_SIDE", "check_config"]

MOST_SIDE = 2**40
"""Largest length of one side of a tensor; no file holds more numbers."""
_MOST_WIDTH = 2**20  # a vocabulary is the largest number that networks have
_MOST = {"per_block": 16, "layers": 256, "heads": 4096}  # part of a name -> largest number
_MOST_ITEMS = 32  # of a list
_MOST_FIELDS = 1000  # of a configuration
_MOST_TEXT = 200  # characters
_MOST_DEPTH = 8


def check_config(config: Mapping[str, Any], *, source: object) -> None:
    """Check the numbers that a network is built from.

    Args:
        config: Arguments of the network's class, or fields of a config.json; nested ones are checked, too.
        source: File or folder that they come from, for messages.

    Raises:
        WeightsError: If a number, text or list is larger than any network needs.
    """
    for name, value in config.items():
        _check(name, value, source, depth=0)


def _check(name: str, value: Any, source: object, *, depth: int) -> None:
    most = next((number for part, number in _MOST.items() if part in name), _MOST_WIDTH)
    match value:
        case bool() | None:
            return
        case int() if abs(value) > most:
            limit = f"at most {most}"
        case float() if not math.isfinite(value):
            limit = "a finite number"
        case str() if len(value) > _MOST_TEXT:
            limit = f"at most {_MOST_TEXT} characters"
        case list() | tuple() if len(value) > _MOST_ITEMS:
            limit = f"at most {_MOST_ITEMS} values"
        case dict() if len(value) > _MOST_FIELDS or depth > _MOST_DEPTH:
            limit = "fewer fields"
        case list() | tuple():
            for item in value:
                _check(name, item, source, depth=depth + 1)
            return
        case dict():
            for key, item in value.items():
                _check(f"{name}.{key}"[-100:], item, source, depth=depth + 1)
            return
        case _:
            return
    text = str(value) if not isinstance(value, int) or value.bit_length() < 200 else "a number of many digits"
    raise WeightsError(
        f"{source}: {name} is {text[:80]}; allowed is {limit}. The configuration is damaged, or of another "
        "kind of model."
    )
