"""The progress of long work, shown on standard error."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from actiondiff.types import Progress

__all__ = ["progress_bar", "status_line"]


@contextmanager
def progress_bar(title: str, *, quiet: bool = False) -> "Iterator[Progress]":
    """Show a bar; nothing is shown where standard error is no terminal, or if `quiet`.

    Yields:
        The function to call with the progress.
    """
    from rich.console import Console
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    with Bar(console=console, transient=True, disable=quiet or not console.is_terminal) as bar:
        task = bar.add_task(title, total=None)

        def update(done: int, total: int, what: str, /) -> None:
            bar.update(task, completed=done, total=total or None)

        yield update


@contextmanager
def status_line(title: str, *, quiet: bool = False) -> "Iterator[Progress]":
    """Show one line that says what is being done; nothing if `quiet`.

    Yields:
        The function to call with the progress.
    """
    from rich.console import Console

    with Console(stderr=True, quiet=quiet).status(title) as status:

        def update(done: int, total: int, what: str, /) -> None:
            status.update(what)

        yield update
