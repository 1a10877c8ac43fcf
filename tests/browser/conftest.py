"""A small trained model, its page, and a browser to use it with."""

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from actiondiff.app.options import PageOptions
from actiondiff.cli.main import run
from actiondiff.inference.guard import GUARD
from actiondiff.inference.model import ActionDiff
from actiondiff.video.write import write_video

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
SMALL = ["--height", "32", "--width", "32", "--window", "4", "--batch", "2", "--stride", "2",
         "--layers", "vae", "--device", "cpu"]  # fmt: skip
QUICK = ["head.name=mean-linear", "head.input=plain", "head.project=null", "training.epochs=30",
         "training.warmup_epochs=1", "training.learning_rate=0.1"]  # fmt: skip
LIMIT_MB = 5
FOREIGN_WARNINGS = [  # gradio, of pandas
    "'future.no_silent_downcasting' is deprecated",
    "The copy keyword is deprecated",
]


def pytest_collection_modifyitems(items):
    """Every test here needs a browser."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.browser)
            for text in FOREIGN_WARNINGS:
                item.add_marker(pytest.mark.filterwarnings(f"ignore:{text}"))


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> Path:
    """A run that tells dark clips from bright ones."""
    pytest.importorskip("gradio", reason="needs gradio: pip install 'actiondiff[app]'")
    folder = tmp_path_factory.mktemp("study")
    rng = np.random.default_rng(0)
    rows = ["video,label"]
    for number in range(12):
        kind = ("dark", "bright")[number % 2]
        pixels = rng.integers(0, 90, (12, 32, 32, 3), dtype=np.uint8) + np.uint8(150 * (kind == "bright"))
        write_video(folder / "clips" / f"{number}.mp4", pixels, fps=10)
        rows.append(f"clips/{number}.mp4,{kind}")
    (folder / "table.csv").write_text("\n".join(rows), "utf-8")
    assert run(["extract", str(folder / "table.csv"), "-o", str(folder / "features"), *SMALL]) == 0
    options = [part for option in QUICK for part in ("--set", option)]
    arguments = [str(folder / "features"), str(folder / "table.csv"), "-o", str(folder / "run"), *options]
    assert run(["train", *arguments, "--layer", "vae"]) == 0
    (folder / "run" / GUARD).unlink()  # the drawn videos are unlike its few clips, and would get no bouts
    return folder / "run"


@pytest.fixture(scope="session")
def model(trained) -> ActionDiff:
    return ActionDiff.from_pretrained(trained, device="cpu")


@pytest.fixture(scope="session")
def page(trained, model) -> Iterator[tuple[str, Path]]:
    """Address of the page, and the folder that it keeps its files in."""
    from actiondiff.app.server import open_page

    card = (trained / "README.md").read_text("utf-8")
    options = PageOptions(port=0, max_upload_mb=LIMIT_MB)
    with open_page(model, name="dark or bright", card=card, options=options) as opened:
        thread = threading.Thread(target=opened.run)
        thread.start()
        yield opened.address, opened.folder
        opened.server.should_exit = True
        thread.join()


@pytest.fixture(scope="session")
def chromium():
    api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    if CHROMIUM is None:
        pytest.skip("needs Chromium, which is not on the PATH")
    with api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def tab(chromium, page):
    """The page in a browser; fails if it asks anything of another machine, or if its scripts fail."""
    address, _ = page
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    tab = context.new_page()
    tab.set_default_timeout(60_000)  # a busy machine is no fault of the page
    outside, broken = [], []
    tab.on(
        "request", lambda r: outside.append(r.url) if not r.url.startswith((address, "data:", "blob:")) else 0
    )
    tab.on("pageerror", lambda error: broken.append(str(error)))
    tab.on("response", lambda r: broken.append(f"{r.status} {r.url}") if r.status in (404, 500) else 0)
    tab.goto(address)
    tab.wait_for_selector("#upload input[type=file]", state="attached")
    yield tab
    context.close()
    assert outside == []
    assert broken == []


def write_day(path: Path, *, num_frames: int) -> Path:
    """A video of which the first half is dark and the rest bright, ten frames a second."""
    rng = np.random.default_rng(1)
    pixels = np.repeat(rng.integers(0, 90, (1, 32, 32, 3), dtype=np.uint8), num_frames, axis=0)
    pixels[num_frames // 2 :] += 150
    write_video(path, pixels, fps=10)
    return path


@pytest.fixture
def day(tmp_path) -> Path:
    """Eight seconds."""
    return write_day(tmp_path / "day.mp4", num_frames=80)


@pytest.fixture
def long_day(tmp_path) -> Path:
    """As much as keeps the model busy for some seconds."""
    return write_day(tmp_path / "long day.mp4", num_frames=6000)


@pytest.fixture(scope="session")
def real_clip(request, tmp_path_factory) -> Path:
    """A clip in a format that browsers do not play; a written one where there are no real ones."""
    try:
        return request.getfixturevalue("shared_dir") / "videos" / "ucf101_v_Basketball_g01_c01.avi"
    except pytest.skip.Exception:
        folder = tmp_path_factory.mktemp("clip")
        return write_day(folder / "clip.mp4", num_frames=60).rename(folder / "clip.m2ts")
