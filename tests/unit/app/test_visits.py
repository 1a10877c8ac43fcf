"""Visits: each sees its own files only, and leaves none."""

import time
from pathlib import Path

import pytest

from actiondiff.app.visits import Stopped, Visits


def test_only_what_is_published_is_found(tmp_path):
    visits = Visits(tmp_path)
    visit = visits.visit("a")
    visit.folder.mkdir()
    (visit.folder / "out.csv").write_text("x")
    (visit.folder / "secret").write_text("x")
    (address,) = visit.publish("exports", {"my out.csv": visit.folder / "out.csv"}).values()
    assert address == f"files/{visit.token}/exports/my%20out.csv"
    assert visits.find(visit.token, "exports/my out.csv") == visit.folder / "out.csv"
    for name in ("secret", "exports/secret", "exports/../secret", "/etc/passwd"):
        assert visits.find(visit.token, name) is None
    for token in ("x", "ü", ""):
        assert visits.find(token, "exports/my out.csv") is None


def test_visits_do_not_see_each_other(tmp_path):
    visits = Visits(tmp_path)
    one, other = visits.visit("a"), visits.visit("b")
    assert visits.visit("a") is one
    assert one.token != other.token
    one.folder.mkdir()
    (one.folder / "out.csv").write_text("x")
    one.publish("exports", {"out.csv": one.folder / "out.csv"})
    assert visits.find(other.token, "exports/out.csv") is None


def test_a_new_video_takes_the_place_of_the_last(tmp_path):
    visit = Visits(tmp_path).visit("a")
    token = visit.token
    visit.folder.mkdir()
    (visit.folder / "out.csv").write_text("x")
    visit.publish("exports", {"out.csv": visit.folder / "out.csv"})
    assert list(visit.clear().iterdir()) == []
    assert visit.files == {}
    assert visit.token != token


def nothing(done, total, what):
    pass


def test_leaving_removes_files_and_stops_work(tmp_path):
    visits, video = Visits(tmp_path / "visits"), tmp_path / "video.mp4"
    video.touch()
    visit = visits.visit("a")
    visit.clear(video, Path.unlink)
    visit.ask("it")
    work = visit.begin("it", nothing)
    work(1, 10, "")
    visits.leave("a")
    assert visit.is_over
    assert list(tmp_path.rglob("*")) == [tmp_path / "visits"]
    with pytest.raises(Stopped):
        work(2, 10, "")


def test_stopping_ends_the_work_of_before_only(tmp_path):
    visit = Visits(tmp_path).visit("a")
    shares = []
    visit.ask("it")
    old = visit.begin("it", lambda done, total, what: shares.append(done / total))
    visit.stop()
    visit.ask("it")
    new = visit.begin("it", lambda done, total, what: shares.append(done / total))
    new(1, 2, "")
    with pytest.raises(Stopped):
        old(9, 10, "")
    assert shares == [0.5]


def test_work_that_is_stopped_while_it_waits_does_not_begin(tmp_path):
    visits = Visits(tmp_path)
    visit = visits.visit("a")
    visit.ask("it")
    visits.stop("a")
    with pytest.raises(Stopped):
        visit.begin("it", nothing)
    visit.ask("one")
    visit.ask("another")
    with pytest.raises(Stopped):
        visit.begin("one", nothing)
    visit.begin("another", nothing)


def test_folders_are_made_when_needed_only(tmp_path):
    visits = Visits(tmp_path / "visits")
    visits.stop("nobody")
    visit = visits.visit("a")
    visit.stop()
    assert list(tmp_path.iterdir()) == []
    assert visit.clear().is_dir()


def test_work_ends_soon_after_the_visitor_has_no_connection_left(tmp_path):
    visits = Visits(tmp_path, patience_seconds=0.05)
    with visits.connected("a"):
        visit = visits.visit("a")
        visit.ask("it")
        work = visit.begin("it", nothing)
        time.sleep(0.1)
        work.check()
    work.check()  # a connection that is opened again in time is the same visit
    time.sleep(0.1)
    with pytest.raises(Stopped):
        work.check()
    visit.clear()
    visits.visit("b")
    assert not visit.folder.exists()
