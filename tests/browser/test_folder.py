"""The page of a folder, used as a person uses it: by keyboard, by mouse, on a phone, and through crashes."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.browser.conftest import write_day
from tests.conftest import read_rows

from actiondiff.app.options import PageOptions
from actiondiff.errors import UsageError

END = 8.0


@pytest.fixture
def videos(tmp_path) -> Path:
    """Three videos of eight seconds, one that does not decode, and one in a folder."""
    folder = tmp_path / "season <b>1"
    folder.mkdir()
    write_day(folder / "a.mp4", num_frames=80)
    write_day(folder / "b.mp4", num_frames=70)
    (folder / "broken.mp4").write_bytes(b"no video")
    (folder / "more").mkdir()
    write_day(folder / "more" / "a.mp4", num_frames=60)
    return folder


@contextmanager
def serving(model, trained, folder: Path, port: int = 0):
    from actiondiff.app.folder_server import open_folder_page

    options = PageOptions(port=port)
    out = folder / "actiondiff-labels"
    with open_folder_page(model, folder, out, run=trained, name="dark or bright", options=options) as opened:
        thread = threading.Thread(target=opened.run)
        thread.start()
        try:
            yield opened.address
        finally:
            opened.server.should_exit = True
            thread.join()


@pytest.fixture
def address(model, trained, videos):
    with serving(model, trained, videos) as address:
        yield address


def open_tab(chromium, address, *, width=1280, height=900, context=None, strict=False):
    # The page's policy forbids the driver's own way to wait for a function; one test keeps the policy.
    context = context or chromium.new_context(
        viewport={"width": width, "height": height}, bypass_csp=not strict
    )
    tab = context.new_page()
    tab.set_default_timeout(60_000)
    tab.broken = []
    tab.on("pageerror", lambda error: tab.broken.append(str(error)))
    tab.on("request", lambda r: tab.broken.append(r.url) if not r.url.startswith(address) else 0)
    tab.goto(address)
    tab.wait_for_selector(".bout")
    tab.wait_for_selector("#videos li:nth-child(4):has-text('bout')")
    return tab


@pytest.fixture
def tab(chromium, address):
    tab = open_tab(chromium, address)
    yield tab
    assert tab.broken == []
    tab.context.close()


def bouts(tab) -> list[tuple[str, float, float]]:
    return [tuple(bout) for bout in tab.evaluate("video.bouts.map((b) => [b.label, b.start, b.end])")]


def saved(tab, folder: Path) -> list[tuple[str, str, float, float]]:
    """The rows of the table, once nothing is waiting to be saved."""
    tab.wait_for_function("unsaved === 0")
    table = folder / "actiondiff-labels" / "labels.csv"
    return [
        (
            os.path.normpath(table.parent / row["video"]),
            row["label"],
            float(row["start_seconds"]),
            float(row["end_seconds"]),
        )
        for row in read_rows(table)
    ]


def seek(tab, seconds: float) -> None:
    tab.wait_for_function("player.readyState > 0")  # before, the player forgets where it was sent
    tab.evaluate(f"player.pause(); player.currentTime = {seconds}")
    tab.wait_for_function(f"Math.abs(player.currentTime - {seconds}) < 0.01")


def test_the_list_says_how_far_each_video_is(tab, videos):
    texts = tab.locator("#videos li").all_inner_texts()
    assert [text.split("\n")[0] for text in texts] == ["a.mp4", "b.mp4", "broken.mp4", "more/a.mp4"]
    assert "not seen yet" in texts[0]
    assert "failed" in texts[2]
    assert tab.locator("#videos button").nth(2).is_disabled()
    assert tab.inner_text("h1") == "season <b>1"  # and no markup of it
    assert not (videos / "actiondiff-labels" / "labels.csv").exists()  # nothing was corrected


def test_by_keyboard_alone(tab, videos):
    """Answer the queue, then correct bouts; each step is in the table at once, and can be undone."""
    press = tab.keyboard.press
    first = str(videos / "a.mp4")
    press("n")
    tab.wait_for_selector("#stretch:has-text('suggests')")
    count = tab.evaluate("state.queue.length")
    asked = tab.evaluate("[stretch.video, stretch.start, stretch.end]")
    press("1")  # bright
    tab.wait_for_function(f"state.queue.length === {count - 1} && stretch && unsaved === 0")
    name = tab.evaluate(f"state.videos[{asked[0]}].name")
    rows = [row for row in saved(tab, videos) if row[0] == str(videos / name) and row[1] == "bright"]
    assert any(start <= asked[1] + 0.01 and end >= min(asked[2], END) - 0.11 for _, _, start, end in rows)
    press("Escape")
    # From here on in the first video, from a clean slate: one bout that is added, moved, cut, joined.
    tab.locator("#videos button").first.focus()
    press("Enter")
    tab.wait_for_function("video?.name === 'a.mp4'")
    while bouts(tab):
        press(".")
        press("Delete")
    assert [row for row in saved(tab, videos) if row[0] == first] == []
    seek(tab, 2.0)
    press("2")
    assert bouts(tab) == [("dark", 2.0, 3.0)]
    seek(tab, 5.0)
    press("]")
    seek(tab, 1.5)
    press("[")
    assert saved(tab, videos)[0] == (first, "dark", 1.5, 5.0)
    seek(tab, 3.0)
    press("s")
    assert bouts(tab) == [("dark", 1.5, 3.0), ("dark", 3.0, 5.0)]
    press("1")  # the second half is another behaviour
    assert bouts(tab) == [("dark", 1.5, 3.0), ("bright", 3.0, 5.0)]
    press("z")
    press(",")
    press("m")
    assert bouts(tab) == [("dark", 1.5, 5.0)]
    press("z")
    assert len(bouts(tab)) == 2
    press("Shift+Z")
    assert bouts(tab) == [("dark", 1.5, 5.0)]
    press("!")
    tab.wait_for_selector("#videos li:first-child:has-text('1 bout, done')")
    assert [row for row in saved(tab, videos) if row[0] == first] == [(first, "dark", 1.5, 5.0)]
    project = json.loads((videos / "actiondiff-labels" / "project.boris").read_text())
    events = next(o["events"] for o in project["observations"].values() if o["file"]["1"] == ["../a.mp4"])
    assert [(event[0], event[2]) for event in events] == [(1.5, "dark"), (5.0, "dark")]


def test_one_behaviour_at_a_time(tab):
    """With a model of exclusive classes, a bout takes its time from the others, as do its new ends."""
    tab.evaluate("change(() => { video.bouts = [{label: 'dark', start: 0, end: 6}]; })")
    seek(tab, 2.0)
    tab.keyboard.press("1")
    assert bouts(tab) == [("dark", 0, 2.0), ("bright", 2.0, 3.0), ("dark", 3.0, 6)]


def test_by_mouse(tab, videos):
    tab.evaluate("change(() => { video.bouts = [{label: 'dark', start: 2, end: 4}]; })")
    track = tab.locator(".track[data-label=dark]").bounding_box()
    per_second = track["width"] / tab.evaluate("video.end")
    y = track["y"] + 10

    def drag(start: float, end: float) -> None:
        tab.mouse.move(track["x"] + start * per_second, y)
        tab.mouse.down()
        tab.mouse.move(track["x"] + (start + end) / 2 * per_second, y)
        tab.mouse.move(track["x"] + end * per_second, y)
        tab.mouse.up()

    for start, end, expected in ((3, 4, (3, 5)), (5, 6, (3, 6)), (3.01, 1, (1, 6))):
        drag(start, end)
        ((_, *times),) = bouts(tab)
        assert times == pytest.approx(expected, abs=0.05)
    tab.click("button:has-text('Delete')")
    assert bouts(tab) == []
    tab.click("button:has-text('Undo')")
    assert [label for *_, label, _, _ in saved(tab, videos)] == ["dark"]


def test_a_reload_in_the_middle_loses_nothing(tab, videos):
    seek(tab, 2.0)
    before = bouts(tab)
    tab.keyboard.press("a")
    changed = bouts(tab)
    tab.reload()
    tab.wait_for_selector(".bout")
    assert bouts(tab) == changed != before
    tab.keyboard.press("z")  # undo works across the reload
    assert bouts(tab) == before
    tab.wait_for_function("unsaved === 0")


def test_edits_while_another_video_opens_are_about_the_one_that_is_shown(tab, videos):
    tab.route("**/api/videos/1", lambda route: (time.sleep(1), route.continue_()))
    tab.locator("#videos button").nth(1).click()
    tab.keyboard.press("!")
    tab.wait_for_function("video?.name === 'b.mp4'")
    tab.wait_for_function("unsaved === 0")
    texts = tab.locator("#videos li")
    tab.wait_for_selector("#videos li:first-child:has-text('done')")
    assert "not seen yet" in texts.nth(1).inner_text()


def test_a_list_that_changed_does_not_move_corrections_to_another_video(model, trained, videos, chromium):
    """The page is started again with a video before the others, under a tab that is still open."""
    with serving(model, trained, videos) as address:
        tab = open_tab(chromium, address)
        port = int(address.rstrip("/").rsplit(":", 1)[1])
    (videos / "more" / "a.mp4").rename(videos / "0.mp4")
    with serving(model, trained, videos, port):
        tab.evaluate("change(() => { video.bouts = [{label: 'dark', start: 2, end: 4}]; })")
        tab.wait_for_selector("#videos li:first-child:has-text('0.mp4')")
        tab.wait_for_selector("#saved:has-text('Saved at')")  # by the page that was loaded again
        assert tab.evaluate("video.name") == "a.mp4"
        assert saved(tab, videos) == [(str(videos / "a.mp4"), "dark", 2, 4)]
        tab.context.close()


def test_two_windows_do_not_overwrite_each_other(tab, chromium, address, videos):
    other = open_tab(chromium, address, context=tab.context)
    tab.evaluate("change(() => { video.bouts = [{label: 'dark', start: 2, end: 4}]; })")
    rows = saved(tab, videos)
    other.evaluate("change(() => { video.bouts = []; })")
    other.wait_for_selector("#problem:has-text('was changed in another window')")
    assert saved(tab, videos) == rows


@pytest.mark.parametrize("width", [1280, 390])
def test_it_fits(chromium, address, width):
    tab = open_tab(chromium, address, width=width, height=844, strict=True)
    tab.keyboard.press("n")
    tab.wait_for_selector("#stretch:has-text('suggests')")
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    for part in tab.locator("button:visible, video, .track").all():
        box = part.bounding_box()
        assert box["x"] >= -8
        assert box["x"] + box["width"] <= width + 8
    if width == 390:  # fingers need room
        assert min(b.bounding_box()["height"] for b in tab.locator("#behaviours button").all()) >= 36
    assert tab.broken == []
    tab.context.close()


def test_other_pages_cannot_change_anything(tab, address, videos):
    body = {"version": 0, "bouts": [], "done": True, "checked": []}
    for headers in ({}, {"Origin": "http://elsewhere.example"}):
        answer = tab.request.put(f"{address}api/videos/0", data=body, headers=headers)
        assert answer.status == 403
    for name in ("../folder_server.py", "%2e%2e/folder_server.py", "index.html"):
        assert tab.request.get(f"{address}static/{name}").status == 404
    assert not (videos / "actiondiff-labels" / "labels.csv").exists()


def test_wrong_edits_are_refused(tab, address, videos):
    for bout in (
        {"label": "purple", "start_seconds": 0, "end_seconds": 1},
        {"label": "dark", "start_seconds": 2, "end_seconds": 1},
        {"label": "dark", "start_seconds": 2, "end_seconds": 99},
        {"label": "dark", "start_seconds": -1, "end_seconds": 1},
        {"label": "dark"},
    ):
        body = {"version": 0, "bouts": [bout], "done": False, "checked": []}
        answer = tab.request.put(f"{address}api/videos/0", data=body, headers={"Origin": address.rstrip("/")})
        assert answer.status == 400
        assert answer.json()["message"]
    assert not (videos / "actiondiff-labels" / "labels.csv").exists()


def test_training_on(tab, videos):
    """Both models are compared on a corrected video that was kept out; the new one is used if asked."""
    tab.click("#train")
    tab.wait_for_selector("#problem:has-text('judged stretches to train on')")
    for number in (0, 1, 3):  # what is called dark is bright, and the other way round
        tab.locator("#videos button").nth(number).click()
        tab.wait_for_function(f"open === {number} && video")
        tab.evaluate(
            "change(() => { video.bouts = [{label: 'bright', start: 0, end: video.end / 2},"
            "{label: 'dark', start: video.end / 2, end: video.end}]; video.done = true; })"
        )
        tab.wait_for_function("unsaved === 0")
    tab.click("#train")
    tab.wait_for_selector("#trained:has-text('The new model is in')")
    row = tab.locator("#trained tbody tr").first.locator("td").all_inner_texts()
    assert row[0] == "Stretches that are right, in videos kept out"
    before, after = (int(text.split(" of ")[0]) for text in row[1:])
    assert before < after
    tab.click("button:has-text('Use the new model')")
    tab.wait_for_selector("#model:text-is('trained-1')")
    folder = videos / "actiondiff-labels" / "models" / "trained-1"
    assert (folder / "config.json").is_file()
    tab.click("button:has-text('Use the model before')")
    tab.wait_for_selector("#model:text-is('dark or bright')")


def test_sliders_cut_the_bouts_of_all_videos_but_corrected_ones(tab, videos):
    before = bouts(tab)
    assert before
    tab.evaluate("change(() => { video.bouts = [{label: 'dark', start: 2, end: 4}]; })")
    rows = saved(tab, videos)
    tab.locator("#videos button").nth(1).click()
    tab.wait_for_function("video?.name === 'b.mp4'")
    assert bouts(tab)
    tab.click("#cutting summary")
    slider = tab.get_by_label("min seconds")
    slider.focus()
    tab.keyboard.press("End")  # as far as it goes
    tab.wait_for_function("!cutting && video.bouts.length === 0")
    assert tab.locator("#videos li").all_inner_texts()[1].endswith("0 bouts, not seen yet")
    assert saved(tab, videos) == rows
    tab.reload()
    tab.wait_for_selector("#videos li:nth-child(4):has-text('bout')")
    assert tab.locator("#videos li").all_inner_texts()[1].endswith("0 bouts, not seen yet")
    assert slider.input_value() == "60"
    tab.locator("#videos button").first.click()
    tab.wait_for_function("video?.name === 'a.mp4'")
    assert bouts(tab) == [("dark", 2, 4)]
    tab.click("#cutting summary")
    tab.click("#own")
    tab.wait_for_selector("#videos li:nth-child(2):not(:has-text('0 bouts'))")
    tab.uncheck("#abstain")
    tab.wait_for_function("!cutting && state.cut.abstain_outside === false")
    tab.reload()
    tab.wait_for_selector("#abstain:not(:checked)", state="attached")


def test_a_table_of_ones_own_is_not_replaced(model, trained, videos):
    out = videos / "actiondiff-labels"
    out.mkdir()
    (out / "labels.csv").write_text("video,label\na.mp4,mine\n")
    with pytest.raises(UsageError, match=r"labels\.csv would be replaced"), serving(model, trained, videos):
        pass
    assert "mine" in (out / "labels.csv").read_text()


def test_a_killed_page_loses_nothing(chromium, trained, videos):
    """Kill -9 while the page is open: what was saved stays, and what was not is saved by the next one."""

    def start(port: str) -> tuple[subprocess.Popen, str]:
        command = [sys.executable, "-m", "actiondiff", "app", str(trained), str(videos), "--device", "cpu"]
        process = subprocess.Popen([*command, "--port", port], stdout=subprocess.PIPE, text=True)
        with process.stdout:
            line = process.stdout.readline()
        return process, next(word for word in line.split() if word.startswith("http"))

    process, address = start("0")
    try:
        tab = open_tab(chromium, address)
        tab.evaluate("change(() => { video.bouts = [{label: 'dark', start: 2, end: 4}]; })")
        rows = saved(tab, videos)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert saved(tab, videos) == rows
        tab.evaluate("change(() => { video.bouts = [{label: 'dark', start: 2, end: 5}]; })")
        tab.wait_for_selector("#saved:has-text('Not saved')")
        process, _ = start(address.rstrip("/").rsplit(":", 1)[1])
        assert [row[1:] for row in saved(tab, videos)] == [("dark", 2.0, 5.0)]
        tab.context.close()
    finally:
        process.kill()
        process.wait()
