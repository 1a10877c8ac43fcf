"""The page of a folder of crops: the video is played, with a frame around the individual."""

import threading

import pytest
from tests.browser.test_folder import open_tab, seek
from tests.cli.test_individuals import EXPECTED, crop_folder, predict, videos  # noqa: F401
from tests.conftest import read_rows

from actiondiff.app.options import PageOptions
from actiondiff.inference.model import ActionDiff


@pytest.fixture
def address(crop_folder, videos, tmp_path):  # noqa: F811
    from actiondiff.app.folder_server import open_folder_page

    out = tmp_path / "out"
    assert predict(crop_folder, videos, "-o", out) == 0
    model = ActionDiff.from_pretrained(crop_folder / "run", device="cpu")
    page = open_folder_page(
        model, out, out / "labels", run=crop_folder / "run", name="x", options=PageOptions(port=0)
    )
    with page as opened:
        thread = threading.Thread(target=opened.run)
        thread.start()
        try:
            yield opened.address
        finally:
            opened.server.should_exit = True
            thread.join()


@pytest.mark.parametrize("width", [1280, 390])
def test_a_frame_shows_the_individual_in_its_video(chromium, address, tmp_path, width):
    tab = open_tab(chromium, address, width=width)
    titles = [text.split("\n")[0] for text in tab.locator("#videos li").all_inner_texts()]
    assert titles == [f"../new/clips/{name} · {individual}" for name, individual, _ in EXPECTED]
    tab.locator("#videos button").nth(1).click()
    tab.wait_for_function("video.title.endsWith('hare')")
    seek(tab, 0.5)
    assert tab.evaluate("[player.videoWidth, player.videoHeight]") == [64, 32]  # the source, not the crop
    frame, player = (tab.locator(name).bounding_box() for name in ("#frame", "#player"))
    picture = min(player["width"] / 64, player["height"] / 32)
    middle = player["x"] + player["width"] / 2
    assert frame["x"] == pytest.approx(middle, abs=2)
    assert frame["width"] == pytest.approx(32 * picture, abs=2)
    assert frame["height"] == pytest.approx(32 * picture, abs=2)
    tab.keyboard.press("a")
    tab.wait_for_function("unsaved === 0")
    rows = read_rows(tmp_path / "out/labels/labels.csv")
    assert {(row["video"], row["individual"]) for row in rows} == {("../../new/clips/1.mp4", "hare")}
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    assert tab.broken == []
    tab.context.close()
