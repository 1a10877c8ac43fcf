"""Ctrl-C during a command."""

import typer

from actiondiff.cli import main as command


def test_an_interruption_is_reported_and_has_code_130(monkeypatch, capsys):
    """Typer turns the interruption inside a command into an exit code and prints nothing itself."""
    interrupted = typer.Typer()

    @interrupted.command()
    def stop() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "app", interrupted)
    assert command.run([]) == 130
    assert capsys.readouterr().err.count("interrupted; finished work is kept") == 1
