"""YAML from other people's files, within bounds: a small file must not fill the memory or the stack."""

from typing import Any

import yaml

__all__ = ["MOST_DEPTH", "parse_yaml"]

MOST_DEPTH = 40
_MOST_CHARACTERS = 1_000_000


def parse_yaml(text: str) -> Any:
    """The content of a YAML text.

    Raises:
        yaml.YAMLError: If the text is not YAML, has more than a million characters, is nested deeper than
            `MOST_DEPTH`, has a number that is too long, or uses aliases, which multiply what they stand for.
    """
    if len(text) > _MOST_CHARACTERS:
        raise yaml.YAMLError(f"the text has {len(text):,} characters, at most {_MOST_CHARACTERS:,} are read")
    try:
        return yaml.load(text, _BoundedLoader)  # the class derives from SafeLoader
    except yaml.YAMLError:
        raise
    except (ValueError, OverflowError, TypeError, LookupError) as error:  # such as a number of 5000 digits
        raise yaml.YAMLError(f"a value cannot be read ({str(error)[:120]})") from None


class _BoundedLoader(yaml.SafeLoader):
    """PyYAML's safe loader without aliases, and with a bound on the depth."""

    _depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark
            raise yaml.YAMLError(
                f"line {mark.line + 1} has an alias (*name), which is not read; write it out"
            )
        self._depth += 1
        if self._depth > MOST_DEPTH:
            raise yaml.YAMLError(f"it is nested deeper than {MOST_DEPTH} levels")
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1
