"""Visits: each sees its own files only, and leaves none."""

import pytest

from actiondiff.app.visits import Stopped, Visits


def test_only_what_is_published_is_found(tmp_path):
    visits = Visits(tmp_path)
    visit = visits.visit("a")
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
    (one.folder / "out.csv").write_text("x")
    one.publish("exports", {"out.csv": one.folder / "out.csv"})
    assert visits.find(other.token, "exports/out.csv") is None


def test_a_new_video_takes_the_place_of_the_last(tmp_path):
    visit = Visits(tmp_path).visit("a")
    token = visit.token
    (visit.folder / "out.csv").write_text("x")
    visit.publish("exports", {"out.csv": visit.folder / "out.csv"})
    assert list(visit.clear().iterdir()) == []
    assert visit.files == {}
    assert visit.token != token


def test_leaving_removes_files_and_stops_work(tmp_path):
    visits = Visits(tmp_path)
    visit = visits.visit("a")
    told = visit.begin(lambda done, total, what: None)
    told(1, 10, "")
    visits.leave("a")
    assert visit.is_over
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(Stopped):
        told(2, 10, "")


def test_stopping_ends_the_work_of_before_only(tmp_path):
    visit = Visits(tmp_path).visit("a")
    shares = []
    old = visit.begin(lambda done, total, what: shares.append(done / total))
    visit.stop()
    new = visit.begin(lambda done, total, what: shares.append(done / total))
    new(1, 2, "")
    with pytest.raises(Stopped):
        old(9, 10, "")
    assert shares == [0.5]
