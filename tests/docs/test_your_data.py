"""docs/your-data.md, done word for word on small videos whose bouts are known."""

import csv
import re
import shlex
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from tests.conftest import read_rows, write_rows

from actiondiff.cli.main import run
from actiondiff.exports.boris import write_project
from actiondiff.inference.options import TimelineOptions
from actiondiff.inference.timeline import Timeline
from actiondiff.types import Bout
from actiondiff.video.write import write_video

PAGE = Path(__file__).parents[2] / "docs" / "your-data.md"
FPS, SECONDS = 10, 8
SHADES = {"eat": 20, "walk": 180}


def commands() -> list[str]:
    blocks = re.findall(r"^```sh\n(.*?)^```", PAGE.read_text("utf-8"), re.M | re.S)
    return [line for block in blocks for line in block.splitlines() if line.startswith("actiondiff ")]


def film(path: Path, number: int) -> list[Bout]:
    """Dark while the animal eats, bright while it walks; where it changes differs."""
    change = 3.2 + 0.4 * (number % 5)
    first, second = ("eat", "walk") if number % 2 else ("walk", "eat")
    random = np.random.default_rng(number)
    shade = [SHADES[first if t / FPS < change else second] for t in range(FPS * SECONDS)]
    pixels = random.integers(0, 60, (FPS * SECONDS, 32, 32, 3)) + np.array(shade)[:, None, None, None]
    write_video(path, pixels.astype(np.uint8), fps=FPS)
    return [Bout(first, 0.0, change), Bout(second, change, float(SECONDS))]


def coded(video: str, bouts: list[Bout]) -> Timeline:
    index = np.arange(FPS * SECONDS)
    return Timeline(video, ("eat", "walk"), index / FPS, index, float(SECONDS), np.zeros((len(index), 2)),
                    tuple(bouts), "softmax", {}, TimelineOptions())  # fmt: skip


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    timelines = [coded(f"videos/cam{n}.mp4", film(tmp_path / f"videos/cam{n}.mp4", n)) for n in range(10)]
    write_project("coded.boris", timelines, model="a person", made=datetime(2026, 4, 12, tzinfo=UTC))
    rows = ["video,deploymentID,latitude,longitude,deploymentStart,deploymentEnd,timestamp"]
    for number in range(2):
        film(tmp_path / f"new/new{number}.mp4", 20 + number)
        times = "2026-04-10T12:00:00Z,2026-04-20T12:00:00Z,2026-04-12T05:31:07Z"
        rows.append(f"new/new{number}.mp4,den-1,52.7,23.8,{times}")
    Path("about.csv").write_text("\n".join(rows) + "\n")
    Path("project.yaml").write_text("title: Dens\ncontact: A. Keeper\nsampling_design: targeted\n")
    return tmp_path


def fill_in(path: Path) -> int:
    """Label the queue's first four rows as a person would, by what the videos show."""
    rows = read_rows(path)
    for row in rows[:4]:
        row["label"] = row["suggestion"]
    write_rows(path, rows)
    return len(rows)


@pytest.mark.timeout(900)  # some 20 s on a core of its own
def test_every_command_of_the_page(folder, capsys):
    lines = commands()
    assert len(lines) == 17
    for line in lines:
        if line.startswith("actiondiff app "):  # serves until it is stopped; see tests/browser
            continue
        if line.startswith("actiondiff table add"):
            assert fill_in(Path("out/queue.csv")) >= 4
        words = shlex.split(line)[1:]
        if words[0] == "train":
            words += ["--set", "training.epochs=8"]  # enough for a grey film; the page's default is 40
        if words[0] == "start":
            words += ["--backbone", "pixels", "--set", "training.epochs=8"]  # the film is grey
        assert run(words) == 0, line
    said = capsys.readouterr().out
    assert "segment mAP at IoU 0.3" in said
    assert "VERDICT: works with simple colours alone." in said
    for name in (
        "first/verdict.json", "first/model/report.html",
        "scored/report.html", "out/bouts.csv", "out/scores.csv", "out/boris/project.boris",
        "out/boris/aggregated.csv", "out/queue.csv", "out/failures.csv", "out/report.html", "heat.mp4",
        "heat.png", "heat.npz", "heat.csv", "out-camtrap/camtrap-dp/observations.csv",
        "second/model.safetensors", "corrected.csv",
    ):  # fmt: skip
        assert Path(name).is_file(), name
    page = Path("scored/report.html").read_text("utf-8")
    for heading in ("Scores", "Ethogram", "Time budget", "Examples", "Confidence"):
        assert heading in page
    assert "labelled by a person" in page
    assert "have not been checked by a person" in Path("out/report.html").read_text("utf-8")
    with open("corrected.csv", encoding="utf-8", newline="") as file:
        assert {row["video"] for row in csv.DictReader(file)} <= {"new/new0.mp4", "new/new1.mp4"}
    assert "start: first/model" in Path("second/recipe.yaml").read_text("utf-8")
