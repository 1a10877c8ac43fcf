"""Takes the README's pictures of what a demo folder gives: its report, an ethogram, and the page.

    python tools/pictures.py demo [--chromium /usr/bin/chromium] [--out docs/pictures]

`make demo` makes the folder `demo`. Long videos of the built-in world are drawn and predicted in a temporary
folder. Needs the extra `app` (which has Playwright) and a Chromium of the system.
"""

import argparse
import contextlib
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from actiondiff.app.folder_server import open_folder_page
from actiondiff.app.options import PageOptions
from actiondiff.inference.model import ActionDiff

_FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
_WIDTH = 1000  # pixels
_RUN = "runs/tiny-t22-layer3"
_ETHOGRAM = "section:has(> h2:text-is('Ethogram'))"
_CUT = ("--smooth-seconds", "2", "--min-seconds", "1")


def main() -> None:
    """Take all pictures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("demo", type=Path, help="folder that `make demo` wrote")
    parser.add_argument("--chromium", default=shutil.which("chromium"), help="path of Chromium")
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "docs" / "pictures")
    arguments = parser.parse_args()
    run, out = arguments.demo.absolute() / _RUN, arguments.out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=arguments.chromium, args=_FLAGS)
        work = Path(name)
        photograph(browser, arguments.demo / "report.html", "", out / "demo-report.png", height=1150)
        videos, bouts = predict_long_videos(run, work)
        photograph(browser, bouts / "report.html", _ETHOGRAM, out / "ethogram.png")
        photograph_page(browser, run, videos, out / "page.png")
        browser.close()


def predict_long_videos(run: Path, work: Path) -> tuple[Path, Path]:
    """Draw long videos and find their bouts; returns the folder of the videos and that of the results."""
    world, bouts = work / "world", work / "bouts"
    counts = ("--train", "8", "--val", "1", "--test", "1", "--long", "3", "--minutes", "1.5")
    command("dev", "menagerie", "write", world, *counts)
    command("predict", run, world / "long", "-o", bouts, "--timeline", *_CUT)
    command("report", bouts)
    return world / "long", bouts


def command(*arguments: str | Path) -> None:
    """Run `actiondiff` as a user does."""
    subprocess.run([sys.executable, "-m", "actiondiff", *map(str, arguments)], check=True)


def photograph(browser: Browser, html: Path, part: str, picture: Path, height: int | None = None) -> None:
    """Take a picture of one part of a page in a file, or of the upper `height` pixels of it."""
    tab = browser.new_page(viewport={"width": _WIDTH, "height": height or _WIDTH})
    tab.goto(html.absolute().as_uri())
    if height:
        tab.screenshot(path=picture)
    else:
        tab.locator(part).screenshot(path=picture)
    tab.close()
    shrink(picture)


def photograph_page(browser: Browser, run: Path, videos: Path, picture: Path) -> None:
    """Take a picture of the page on which a folder's bouts are corrected."""
    model = ActionDiff.from_pretrained(run, device="cpu")
    options, labels = PageOptions(port=0), Path("labels")
    with (
        contextlib.chdir(videos.parent),  # so that the page shows a short path
        open_folder_page(model, videos, labels, run=run, name=run.name, options=options) as page,
    ):
        thread = threading.Thread(target=page.run)
        thread.start()
        # The page's policy forbids the driver's own way to wait.
        context = browser.new_context(viewport={"width": _WIDTH, "height": 1150}, bypass_csp=True)
        tab = context.new_page()
        tab.set_default_timeout(900_000)
        tab.goto(page.address)
        tab.wait_for_selector("#videos li:last-child:has-text('bout')")
        tab.click("#cutting summary")
        for slider, seconds in zip(tab.locator("#sliders input[type=range]").all(), ("2", "1"), strict=False):
            slider.fill(seconds)  # smoothing and shortest bout, as in the ethogram
        tab.click("#title")
        tab.keyboard.press("n")
        tab.wait_for_selector("#stretch:has-text('suggests')")
        tab.screenshot(path=picture)
        context.close()
        page.server.should_exit = True
        thread.join()


def shrink(picture: Path) -> None:
    """Store a picture of text and plots with 128 colours, which keeps it small."""
    Image.open(picture).convert("RGB").quantize(128).save(picture, optimize=True)


if __name__ == "__main__":
    main()
