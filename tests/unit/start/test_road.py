"""What `actiondiff start` asks on its way."""

from pathlib import Path

import numpy as np
import pytest

from actiondiff.datasets.table import read_table
from actiondiff.errors import RunError, UsageError
from actiondiff.start.road import StartOptions, start
from actiondiff.video.write import write_video


def test_labels_that_differ_in_one_letter_are_asked_about(tmp_path):
    (tmp_path / "videos").mkdir()
    rows = ["video,label", "a.mp4,walking", "b.mp4,walkin", "c.mp4,eating", "d.mp4,walking"]
    (tmp_path / "videos/labels.csv").write_text("\n".join(rows) + "\n")
    questions, commands = [], []

    def ask(question):
        questions.append(question)
        return False

    def run_command(words):
        commands.append(list(words))
        return 0, ""

    with pytest.raises(UsageError, match=r"correct the misspelt labels of .*labels\.csv"):
        start(
            StartOptions(tmp_path / "videos", None, tmp_path / "out"),
            run_command=run_command,
            echo=lambda line: None,
            confirm=lambda proposal: True,
            ask=ask,
        )
    assert questions == [
        "Labels differ in one letter: 'walkin' (1) and 'walking' (2). Are they different classes?"
    ]
    assert [words[0] for words in commands] == ["videos"]  # asked before anything is extracted


def test_a_broken_video_with_timed_labels_does_not_end_the_work_on_the_others(tmp_path):
    write_video(tmp_path / "videos/good.mp4", np.zeros((20, 32, 32, 3), np.uint8), fps=10)
    (tmp_path / "videos/broken.mp4").write_bytes(b"no video")
    rows = [
        "video,label,start_seconds,end_seconds",
        *(f"{n}.mp4,eat,0,1" for n in ("good", "broken", "gone")),
    ]
    (tmp_path / "videos/labels.csv").write_text("\n".join(rows) + "\n")
    lines, cut = [], []

    def run_command(words):
        if tuple(words[:2]) == ("table", "spans"):
            cut.extend(read_table(Path(words[2])).examples)
            return 1, ""
        return 0, ""

    with pytest.raises(RunError, match="actiondiff table did not succeed"):
        start(
            StartOptions(tmp_path / "videos", None, tmp_path / "out"),
            run_command=run_command,
            echo=lines.append,
            confirm=lambda proposal: True,
            ask=lambda question: True,
        )
    assert [Path(example.video).name for example in cut] == ["good.mp4"]
    assert any(line.startswith("2 labelled videos are left out: ") for line in lines)
