"""The package's outside: public names, start-up without heavy imports, errors, registry, provenance."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from pydantic import BaseModel, Field

import actiondiff
from actiondiff.cli.options import parse_list, parse_timesteps, with_options
from actiondiff.errors import ActionDiffError, SettingsMismatchError, UnknownNameError, UsageError
from actiondiff.provenance import atomic_path, differences, fingerprint
from actiondiff.registry import Registry


def test_public_names_are_these_and_all_import():
    assert set(actiondiff.__all__) == {
        "ActionDiff", "ActionDiffError", "Bout", "DecodeReport", "Example", "FeatureKey", "FeatureStore",
        "Features", "Frames", "Heatmap", "LocalizationOptions", "Prediction", "Timeline", "TimelineOptions",
        "convert_weights", "detect_videos", "evaluate", "extract_features", "iter_video", "join_stores",
        "load_backbone", "read_video", "sweep", "train", "__version__",
    }  # fmt: skip
    for name in actiondiff.__all__:
        assert getattr(actiondiff, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = actiondiff.nothing


@pytest.mark.parametrize(
    "arguments", [["--help"], ["extract", "--help"], ["predict", "--help"], ["--version"]]
)
def test_help_loads_nothing_heavy(arguments):
    code = (
        "import sys; from actiondiff.cli.main import run\n"
        f"code = run({arguments!r})\n"
        "heavy = {'torch', 'av', 'pandas', 'diffusers', 'lightning', 'matplotlib'} & set(sys.modules)\n"
        "sys.exit(code or (f'loaded: {heavy}' if heavy else 0))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_module_and_command_are_the_same():
    outputs = [
        subprocess.run([*command, "--help"], capture_output=True, text=True, check=True).stdout
        for command in ([sys.executable, "-m", "actiondiff"], [Path(sys.executable).with_name("actiondiff")])
    ]
    assert "extract" in outputs[0]
    assert outputs[0].replace("python -m actiondiff", "actiondiff") == outputs[1]


def test_exit_codes_of_usage_and_of_our_errors():
    from actiondiff.cli.main import run

    assert run(["no-such-command"]) == 2
    assert run(["videos", "check", "no-such-file.mp4"]) == 1


def test_our_error_is_one_line_on_stderr(capsys):
    from actiondiff.cli.main import run

    assert run(["videos", "check", "no-such-file.mp4"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.strip().splitlines()) == 1
    assert "no-such-file.mp4" in captured.err


class Options(BaseModel):
    size: int | None = Field(None, ge=1, description="A size.")
    quick: bool = Field(False, description="A switch.")


def test_options_of_a_model_become_options_of_a_command():
    app, seen = typer.Typer(), []

    @app.command()
    @with_options(Options)
    def command(name: str, *, options: Options) -> None:
        seen.append((name, options))

    app(["x", "--size", "3", "--quick"], standalone_mode=False)
    app(["x"], standalone_mode=False)
    assert seen[0] == ("x", Options(size=3, quick=True))
    assert seen[1][1].model_dump(exclude_unset=True) == {}
    with pytest.raises(UsageError, match="--size"):
        app(["x", "--size", "0"], standalone_mode=False)


class MoreOptions(BaseModel):
    place: str | None = Field(None, description="A place.")


def test_a_command_takes_options_of_several_models():
    app, seen = typer.Typer(), []

    @app.command()
    @with_options(MoreOptions, name="more")
    @with_options(Options)
    def command(name: str, *, options: Options, more: MoreOptions) -> None:
        seen.append((name, options, more))

    app(["x", "--place", "here", "--size", "3"], standalone_mode=False)
    assert seen == [("x", Options(size=3), MoreOptions(place="here"))]


@pytest.mark.parametrize("name", ["predict", "localize", "app"])
def test_commands_that_load_a_model_take_the_same_options(name):
    command = typer.main.get_command(importlib.import_module("actiondiff.cli.main").app).commands[name]
    flags = {flag for parameter in command.params for flag in parameter.opts}
    assert {"--weights", "--text-weights", "--device", "--dtype"} <= flags


def test_lists_on_the_command_line():
    assert parse_list("a, b") == ["a", "b"]
    assert parse_timesteps("0,20") == [0, 20]
    assert parse_timesteps(None) is None
    for bad in ("", "a,b", "1.5"):
        with pytest.raises(UsageError):
            parse_timesteps(bad)


def test_registry_names_the_nearest_and_imports_lazily():
    registry = Registry("thing", {"path": "pathlib:Path", "broken": "no_such_module:x"})
    assert registry["path"] is Path
    assert registry.names("p*") == ["path"]
    with pytest.raises(UnknownNameError, match=r"Did you mean 'path'\?"):
        registry["pth"]
    with pytest.raises(UsageError, match="twice"):
        registry.register("path", "os:path")


def test_fingerprint_and_differences():
    a = {"x": 1, "deep": {"y": [1, 2], "z": None}}
    assert fingerprint(a) == fingerprint({"deep": {"z": None, "y": [1, 2]}, "x": 1})
    b = {"x": 2, "deep": {"y": [1, 2], "w": 3}}
    assert differences(a, b) == {"deep.w": (None, 3), "x": (1, 2)}
    message = str(SettingsMismatchError("store against run", differences(a, b), "Make another store."))
    assert "x: 1 against 2" in message
    assert message.endswith("Make another store.")
    assert issubclass(SettingsMismatchError, ActionDiffError)


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    target = tmp_path / "deep" / "file.txt"
    with atomic_path(target) as path:
        path.write_text("one")

    def interrupted() -> None:
        with atomic_path(target) as path:
            path.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        interrupted()
    assert target.read_text() == "one"
    assert [p.name for p in target.parent.iterdir()] == ["file.txt"]
