"""The progress of long work, shown on standard error."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

    from actiondiff.types import Progress

__all__ = ["VideoBars", "progress_bar", "status_line", "video_bars"]


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


@dataclass
class VideoBars:
    """Two bars: how many videos are done, and how far the present one is read; each with the time left.

    Attributes:
        bar: The bars.
        videos: The bar of all videos.
        present: The bar of the present video.
    """

    bar: "Bar"
    videos: "TaskID"
    present: "TaskID"
    _name: str = ""

    def read(self, done: int, total: int, video: str, /) -> None:
        """Note how many frames of a video are read; a `Progress`."""
        if video != self._name:
            self._name = video
            self.bar.reset(self.present, visible=True, description=_shortened(Path(video).name))
        self.bar.update(self.present, completed=done, total=total or None)

    def finish(self, number: int) -> None:
        """Note how many videos are done."""
        self.bar.update(self.videos, completed=number)


@contextmanager
def video_bars(title: str, total: int, *, quiet: bool = False) -> Iterator[VideoBars]:
    """Show the progress of work on many videos; nothing is shown where standard error is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(),
        TextColumn("{task.fields[unit]},"), TimeRemainingColumn(), TextColumn("left"),
    )  # fmt: skip
    with Progress(*columns, console=console, transient=True, disable=quiet or not console.is_terminal) as bar:
        videos = bar.add_task(title, total=total, unit="videos")
        yield VideoBars(bar, videos, bar.add_task("", total=None, unit="frames", visible=False))


def _shortened(name: str, longest: int = 24) -> str:
    return name if len(name) <= longest else f"{name[: longest // 2]}...{name[-(longest // 2 - 3) :]}"
