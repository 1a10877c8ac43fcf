"""YAML from other people's files, within bounds: a small file must not fill the memory or the stack."""

from typing import Any

import yaml

__all__ = ["MOST_DEPTH", "parse_yaml"]

MOST_DEPTH = 40
_MOST_CHARACTERS = 1_000_000
_MOST_ALIASES = 100


def parse_yaml(text: str) -> Any:
    """The content of a YAML text.

    Raises:
        yaml.YAMLError: If the text is not YAML, has more than a million characters, is nested deeper than
            `MOST_DEPTH`, has a number that is too long, or has many aliases or aliases within what others
            stand for, which multiply it.
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
    """PyYAML's safe loader with bounds on the depth and on aliases.

    An alias may not be inside what another one stands for, so that what is read stays below `_MOST_ALIASES`
    times the text.
    """

    _depth = 0
    _num_aliases = 0
    _num_anchors = 0  # around the current node

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            self._num_aliases += 1
            line = self.peek_event().start_mark.line + 1
            if self._num_anchors:
                raise yaml.YAMLError(
                    f"line {line} has an alias (*name) within an anchor (&name); write it out"
                )
            if self._num_aliases > _MOST_ALIASES:
                raise yaml.YAMLError(
                    f"line {line} has one alias (*name) more than the {_MOST_ALIASES} allowed"
                )
            return super().compose_node(parent, index)
        is_anchor = self.peek_event().anchor is not None
        self._num_anchors += is_anchor
        self._depth += 1
        if self._depth > MOST_DEPTH:
            raise yaml.YAMLError(f"it is nested deeper than {MOST_DEPTH} levels")
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1
            self._num_anchors -= is_anchor
