"""The `actiondiff` command: all sub-commands, and what happens to errors.

Exit codes: 0 the command succeeded; 1 an error that is reported in one line on standard error; 2 wrong usage;
3 the command finished, but some items failed or are partial; 130 it was interrupted.
"""

import io
import sys

import typer

from actiondiff.cli.groups import MainGroup
from actiondiff.errors import ActionDiffError

__all__ = ["app", "run"]

_INTERRUPTED = 130

app = typer.Typer(
    name="actiondiff",
    cls=MainGroup,
    help="Action recognition in video with a frozen video diffusion model.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback(invoke_without_command=True)
def _main(version: bool = typer.Option(False, "--version", help="Print the version and exit.")) -> None:
    if version:
        from actiondiff import __version__

        typer.echo(__version__)
        raise typer.Exit


def run(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    for stream in (sys.stdout, sys.stderr):  # names of files may have bytes that no encoding prints
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        code = app(args=arguments, standalone_mode=False)
    except ActionDiffError as error:
        typer.echo(f"actiondiff: {' '.join(str(error).split())}", err=True)
        return 1
    except OSError as error:  # such as a full disk, or a folder without write permission
        message = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        typer.echo(f"actiondiff: {' '.join(message.split())}", err=True)
        return 1
    except (typer.Abort, KeyboardInterrupt):
        typer.echo("actiondiff: interrupted; finished work is kept.", err=True)
        return _INTERRUPTED
    except Exception as error:  # click's usage errors know their own exit code and message
        if hasattr(error, "exit_code") and hasattr(error, "show"):
            error.show(file=sys.stderr)
            return int(error.exit_code)
        raise
    if code == _INTERRUPTED:  # Typer turns Ctrl-C into this code, and prints nothing
        typer.echo("actiondiff: interrupted; finished work is kept.", err=True)
    return int(code or 0)
