"""`actiondiff localize`: an overlay, a strip and the numbers; what cannot be done is said."""

import json

import numpy as np
from tests.conftest import read_rows, written_files

from actiondiff import ActionDiff, read_video
from actiondiff.cli.main import run
from actiondiff.inference.options import LocalizationOptions


def localize(trained, *arguments) -> int:
    return run(["localize", str(trained), *map(str, arguments), "--device", "cpu"])


def test_localize(study_folder, trained, tmp_path, capsys):
    clip, out = study_folder / "clips/1.mp4", tmp_path / "new/heat.mp4"
    assert (
        localize(trained, clip, "--action", "bright", "-o", out, "--rows", 2, "--columns", 3, "--json") == 0
    )
    summary = json.loads(capsys.readouterr().out)
    assert written_files(out.parent) == [f"heat.{x}" for x in ("csv", "mp4", "npz", "png")]
    assert len(read_video(out, stride=1)) == 12
    expected = ActionDiff.from_pretrained(trained, device="cpu").localize(
        clip, "bright", options=LocalizationOptions(rows=2, columns=3)
    )
    with np.load(out.with_suffix(".npz")) as arrays:
        assert np.array_equal(arrays["probabilities"], expected.probabilities)
        assert np.array_equal(arrays["rows"], expected.rows)
        assert str(arrays["action"]) == "bright"
        top = float(arrays["probabilities"].max())
    assert summary["highest"]["probability"] == round(top, 4)
    assert summary["prior"] == 0.5
    rows = read_rows(out.with_suffix(".csv"))
    assert len(rows) == 6 * 2 * 3
    values = np.array([float(row["probability"]) for row in rows]).reshape(6, 2, 3)
    assert np.abs(values - expected.probabilities).max() < 1e-5
    assert rows[-1]["frame_index"] == "10"
    assert float(rows[-1]["above_prior"]) == round(float(rows[-1]["probability"]) - 0.5, 5)


def test_a_partial_video_is_shown_as_far_as_it_goes(trained, shared_dir, tmp_path, capsys):
    cut = shared_dir / "videos" / "made_truncated_ucf101_Basketball.avi"
    assert localize(trained, cut, "--action", "dark", "-o", tmp_path / "heat.mp4") == 3
    captured = capsys.readouterr()
    assert captured.out.startswith("dark: up to ")
    assert captured.err.startswith("partial: ")


def test_what_cannot_be_done_is_said(study_folder, trained, tmp_path, capsys):
    clip, out = study_folder / "clips/1.mp4", tmp_path / "heat.mp4"
    for arguments, said in (
        ([clip, "--action", "brigth", "-o", out], "Did you mean 'bright'?"),
        ([clip, "--action", "bright", "-o", tmp_path / "heat.gif"], "written as .mp4"),
        ([clip, "--action", "bright", "-o", out, "--rows", 1], "--rows: "),
        ([tmp_path / "gone.mp4", "--action", "bright", "-o", out], "gone.mp4 does not exist"),
    ):
        assert localize(trained, *arguments) == 1
        error = capsys.readouterr().err
        assert said in error
        assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())
