"""The page, used as a person uses it."""

import csv
import io
import json
import zipfile
from pathlib import Path

import pytest

END = 8.0  # seconds of the day


def bring(tab, path: Path) -> None:
    """Upload a video and wait for what is found."""
    tab.set_input_files("#upload input[type=file]", path)
    tab.wait_for_selector(f".ad-findings:has-text('{path.name}')")


def fetch(tab, name: str) -> bytes:
    with tab.expect_download() as download:
        tab.click(f"a[download='{name}']")
    return Path(download.value.path()).read_bytes()


def at(tab) -> float:
    return tab.evaluate("document.querySelector('[data-player]').currentTime")


def test_what_and_when(tab, day, model):
    bring(tab, day)
    prediction = model.predict(day)
    shown = [text.split("\n") for text in tab.locator(".ad-labels li").all_inner_texts()]
    assert [label for label, _ in shown] == [label for label, _ in prediction.top(2)]
    assert [text for _, text in shown] == [f"{100 * p:.0f} %" for _, p in prediction.top(2)]
    rows = {row.locator(".ad-name").inner_text(): row for row in tab.locator(".ad-row:has(.ad-track)").all()}
    assert set(rows) == {"dark", "bright"}
    bouts = [bout for bout in model.timeline(day).bouts if bout.label == "bright"]
    box = rows["bright"].locator(".ad-track").bounding_box()
    shown = [bout.bounding_box() for bout in rows["bright"].locator(".ad-bout").all()]
    assert [(bar["x"] - box["x"]) / box["width"] for bar in shown] == pytest.approx(
        [bout.start_seconds / END for bout in bouts], abs=0.01
    )
    assert sum(bar["width"] for bar in shown) > 0.25 * box["width"]


def test_a_click_goes_to_its_time(tab, day):
    bring(tab, day)
    tab.wait_for_function("document.querySelector('[data-player]').readyState >= 1")
    track = tab.locator(".ad-track").first
    box = track.bounding_box()
    track.click(position={"x": 0.75 * box["width"], "y": 5})
    assert at(tab) == pytest.approx(0.75 * END, abs=0.1)
    tab.wait_for_function("document.querySelector('.ad-head').style.left.startsWith('7')")
    tab.click(".ad-bouts summary")
    start = tab.locator(".ad-bouts button").last
    start.focus()
    tab.keyboard.press("Enter")
    minutes, seconds = start.inner_text().split(":")
    assert at(tab) == pytest.approx(60 * int(minutes) + float(seconds), abs=0.1)
    assert at(tab) == pytest.approx(END / 2, abs=1)


def test_downloads(tab, day, model):
    bring(tab, day)
    rows = list(csv.DictReader(io.StringIO(fetch(tab, "bouts.csv").decode())))
    timeline = model.timeline(day)
    assert [(row["label"], row["start_seconds"]) for row in rows] == [
        (bout.label, f"{bout.start_seconds:.3f}") for bout in timeline.bouts
    ]
    assert {row["video"] for row in rows} == {"day.mp4"}  # and no path of this machine
    everything = zipfile.ZipFile(io.BytesIO(fetch(tab, "day.zip")))
    assert {"predictions.csv", "timelines.json", "boris/project.boris"} <= set(everything.namelist())
    (options,) = (item["options"] for item in json.loads(everything.read("timelines.json")))
    assert options["threshold"] is None  # an empty field leaves it to the model
    assert json.loads(everything.read("boris/project.boris"))["observations"]["day"]["file"] == {
        "1": ["day.mp4"]
    }


def test_a_real_clip_that_browsers_do_not_play(tab, real_clip, model):
    bring(tab, real_clip)
    best = tab.locator(".ad-labels .ad-first .ad-name").inner_text()
    assert best == model.predict(real_clip).label
    assert "a smaller copy is shown" in tab.inner_text(".ad-watch")
    tab.wait_for_function("document.querySelector('[data-player]').videoWidth > 0")


def slide(tab, name: str, value: str) -> None:
    """Move a slider to a value, as its keys do: in steps, without letting go."""
    tab.get_by_label(f"range slider for {name}").evaluate(
        "(slider, value) => {"
        " slider.value = value; slider.dispatchEvent(new Event('input', {bubbles: true})); }",
        value,
    )


def test_sliders_cut_the_bouts_again(tab, day):
    """At once, without a button; the video goes on, and the downloads follow."""
    bring(tab, day)
    tab.wait_for_function("document.querySelector('[data-player]').readyState >= 1")
    tab.evaluate("document.querySelector('[data-player]').currentTime = 2")
    count = tab.inner_text(".ad-bouts summary")
    assert count != "0 bouts"
    tab.click("#settings button")
    slide(tab, "min seconds", "60")
    tab.wait_for_selector(".ad-bouts summary:text-is('0 bouts')")
    assert at(tab) == 2
    assert len(fetch(tab, "bouts.csv").splitlines()) == 1
    tab.click("#restore")
    tab.wait_for_selector(f".ad-bouts summary:text-is('{count}')")
    tab.get_by_label("one threshold for all behaviours").check()
    slide(tab, "threshold", "1")
    tab.wait_for_selector(f".ad-bouts summary:not(:text-is('{count}'))")
    tab.click("#restore")
    tab.wait_for_selector(f".ad-bouts summary:text-is('{count}')")
    assert json.loads(fetch(tab, "timelines.json"))[0]["options"]["abstain_outside"] is True
    tab.get_by_label("no bouts in videos unlike those of training").uncheck()
    for _ in range(100):
        if json.loads(fetch(tab, "timelines.json"))[0]["options"]["abstain_outside"] is False:
            break
        tab.wait_for_timeout(100)
    else:
        raise AssertionError("the switch changed nothing")


def test_where(tab, day):
    bring(tab, day)
    tab.click("#ask")
    tab.wait_for_selector(".ad-place")
    tab.wait_for_function("document.querySelector('[data-overlay]').videoWidth > 0")
    assert fetch(tab, tab.locator(".ad-place a").nth(2).get_attribute("download")).startswith(b"frame_index,")


def test_about_the_model(tab, model):
    tab.click("#about button")
    tab.get_by_text("bright, dark").first.wait_for()
    assert "tiny" in tab.inner_text("#about")


def test_long_work_can_be_stopped(tab, long_day):
    tab.set_input_files("#upload input[type=file]", long_day)
    tab.wait_for_selector("#status :text('%')")
    tab.click("#stop")
    tab.wait_for_selector(".ad-message:text-is('Stopped.')")
    assert tab.locator(".ad-findings").count() == 0
    tab.wait_for_selector("#stop", state="hidden")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("notes.mp4", b"these are notes, and no video", "notes.mp4"),
        ("empty.avi", b"", "empty.avi is empty: 0 bytes"),
        ("notes.txt", b"these are notes", "Invalid file type"),
        ("large.mp4", bytes(5_500_000), "exceed the maximum allowed size"),
    ],
)
def test_bad_files_get_a_message(tab, tmp_path, page, name, content, message):
    (tmp_path / name).write_bytes(content)
    tab.set_input_files("#upload input[type=file]", tmp_path / name)
    tab.wait_for_selector(".ad-error, .toast-body")
    text = tab.inner_text("body")
    assert message in text
    assert "Traceback" not in text
    assert str(page[1]) not in text
    assert tab.locator(".ad-findings").count() == 0


def test_a_partial_video_says_so(tab, shared_dir):
    bring(tab, shared_dir / "videos" / "made_truncated_ucf101_Basketball.avi")
    assert "Only part of this video decodes" in tab.inner_text(".ad-watch")
    assert "60 % decoded" in tab.inner_text(".ad-watch")


def test_nothing_is_left_when_the_page_is_closed(chromium, page, day):
    address, folder = page
    tab = chromium.new_page()
    tab.goto(address)
    bring(tab, day)
    video = tab.get_attribute("[data-player]", "src")
    assert tab.request.get(address + video).ok
    assert list(folder.rglob("day.mp4"))
    tab.close()
    other = chromium.new_page()
    for _ in range(50):
        if not list(folder.rglob("day*")):
            break
        other.wait_for_timeout(100)
    assert not list(folder.rglob("day*"))
    assert other.request.get(address + video).status == 404
    other.close()


@pytest.mark.parametrize(("width", "height"), [(1280, 900), (390, 844)], ids=["desktop", "phone"])
def test_everything_fits(tab, day, width, height, tmp_path):
    tab.set_viewport_size({"width": width, "height": height})
    bring(tab, day.rename(tmp_path / "a_day_with_a_name_that_is_longer_than_a_phone_is_wide.mp4"))
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    for selector in (".ad-player", ".ad-labels", ".ad-timeline", ".ad-downloads a", "#ask"):
        for part in tab.locator(selector).all():
            box = part.bounding_box()
            assert box["x"] >= 0, selector
            assert box["x"] + box["width"] <= width, selector
    beside = (
        tab.locator(".ad-labels").bounding_box()["x"] > tab.locator(".ad-player").bounding_box()["x"] + 100
    )
    assert beside is (width > 760)
