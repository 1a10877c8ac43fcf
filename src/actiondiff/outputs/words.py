"""Numbers of things in sentences: `1 bout`, `2 bouts`."""

__all__ = ["counted"]


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """A number with its noun, in the singular where there is one.

    Args:
        number: How many there are.
        noun: What one of them is called; a verb may follow, as in `clip was`.
        plural: What several are called; by default the noun with an s.

    >>> counted(1, "bout"), counted(0, "bout"), counted(2, "clip was", "clips were")
    ('1 bout', '0 bouts', '2 clips were')
    """
    return f"{number} {noun if number == 1 else plural or noun + 's'}"
