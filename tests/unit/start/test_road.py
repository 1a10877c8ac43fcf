"""What `actiondiff start` asks on its way."""

import pytest

from actiondiff.errors import UsageError
from actiondiff.start.road import StartOptions, start


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
