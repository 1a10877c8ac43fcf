"""Uploads: counted while they arrive, equal files apart from each other, and removed."""

import asyncio
import json

import pytest

from actiondiff.app.options import PageOptions, Quotas
from actiondiff.app.uploads import UploadRefused, Uploads

pytest.importorskip("gradio", reason="needs gradio: pip install 'actiondiff[app]'")
from actiondiff.app.receiving import ENVELOPE, receive_upload

QUOTAS = Quotas(of_video=1000, of_visitor=1500, in_all=2500)
HEAD = b'--x\r\nContent-Disposition: form-data; name="files"; filename="%s"\r\n\r\n'
TAIL = b"\r\n--x--\r\n"


def upload(uploads, visitor, parts, *, is_cut=False):
    """Status and body of the answer, and the number of parts that were taken."""
    messages = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    messages.append({"type": "http.disconnect"} if is_cut else {"type": "http.request", "body": b""})
    count, answer = len(messages), []

    async def receive():
        return messages.pop(0)

    async def send(message):
        answer.append(message)

    headers = [(b"content-type", b"multipart/form-data; boundary=x")]
    scope = {"type": "http", "method": "POST", "headers": headers, "query_string": b""}
    asyncio.run(receive_upload(uploads, visitor, scope, receive, send))
    status = answer[0]["status"] if answer else None
    return status, answer[1]["body"].decode() if answer else "", count - len(messages)


def files(uploads):
    return sorted(path.name for path in uploads.root.rglob("*") if path.is_file())


def test_equal_files_do_not_meet(tmp_path):
    uploads = Uploads(tmp_path, QUOTAS)
    answers = [
        upload(uploads, visitor, [HEAD % b"day.mp4", b"same", TAIL]) for visitor in ("one", "one", "other")
    ]
    paths = [json.loads(body)[0] for _, body, _ in answers]
    assert len(set(paths)) == 3
    for path in map(tmp_path.__class__, paths):
        assert path.name == "day.mp4"
        assert path.read_bytes() == b"same"
        assert uploads.take(path)
        assert not uploads.take(path)  # an event that is sent twice finds its video once
        uploads.drop(path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("before", "visitor", "status", "text"),
    [
        ([], "one", 413, "at most 0 MB are allowed"),
        ([("one", 900)], "one", 413, "Your videos on this page"),
        ([("one", 1000), ("two", 1000)], "three", 507, "no room for more videos"),
    ],
)
def test_what_exceeds_a_quota_is_refused_while_it_arrives(tmp_path, before, visitor, status, text):
    uploads = Uploads(tmp_path, QUOTAS)
    for name, size in before:
        assert upload(uploads, name, [HEAD % b"a.mp4", bytes(size), TAIL])[0] == 200
    size = 700 if before else 1100
    parts = [HEAD % b"b.mp4", *[bytes(100)] * (size // 100), TAIL]
    answer = upload(uploads, visitor, parts)
    assert answer[0] == status
    assert text in answer[1]
    assert files(uploads) == ["a.mp4"] * len(before)


def test_no_more_is_read_than_the_largest_video_has(tmp_path):
    uploads = Uploads(tmp_path, QUOTAS)
    _, _, count = upload(uploads, "one", [HEAD % b"b.mp4", *[bytes(1000)] * 100])
    assert count <= 3 + (QUOTAS.of_video + ENVELOPE) / 1000


def test_room_comes_back(tmp_path):
    uploads = Uploads(tmp_path, QUOTAS)
    for _ in range(5):
        status, body, _ = upload(uploads, "one", [HEAD % b"a.mp4", bytes(1000), TAIL])
        assert status == 200
        uploads.drop(tmp_path.__class__(json.loads(body)[0]))


@pytest.mark.parametrize(
    "parts",
    [
        [HEAD % b"a.mp4", b"half"],
        [b'--x\r\nContent-Disposition: form-data; name="other"\r\n\r\nx', TAIL],
        [HEAD % b"a.mp4", b"x\r\n", HEAD % b"b.mp4", b"y", TAIL],
        [b"no such form"],
    ],
)
def test_damaged_uploads_leave_nothing(tmp_path, parts):
    uploads = Uploads(tmp_path, QUOTAS)
    assert upload(uploads, "one", parts)[0] == 400
    assert upload(uploads, "one", parts, is_cut=True)[0] in (None, 400)
    assert files(uploads) == []


def test_uploads_that_nobody_asks_about_are_removed(tmp_path):
    uploads = Uploads(tmp_path, QUOTAS, oldest_seconds=0)
    first, second = (
        tmp_path.__class__(json.loads(upload(uploads, "one", [HEAD % name, b"x", TAIL])[1])[0])
        for name in (b"used.mp4", b"forgotten.mp4")
        if uploads.sweep() is None
    )
    assert files(uploads) == ["forgotten.mp4"]
    assert uploads.take(second)
    uploads.sweep()
    assert files(uploads) == ["forgotten.mp4"]
    assert not uploads.take(first)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (b"C:\\films\\day.mp4", "day.mp4"),
        (b"../../etc/day.mp4", "day.mp4"),
        (b"..", "video"),
        (b"-rf.mp4", "rf.mp4"),
        ("走".encode() * 80 + b".mp4", "走" * 48 + ".mp4"),
        (b"a\x00b\x1b.mp4", "ab.mp4"),
        (b"\xff.mp4", "\N{REPLACEMENT CHARACTER}.mp4"),
    ],
)
def test_names(tmp_path, name, expected):
    path = Uploads(tmp_path, QUOTAS).begin("one", name.decode("utf-8", "replace"))
    assert path.name == expected
    assert path.parent.parent == tmp_path
    path.touch()


def test_quotas_follow_the_largest_video():
    assert PageOptions(max_upload_mb=3).quotas == Quotas(3_000_000, 12_000_000, 60_000_000)
    assert PageOptions(max_visitor_mb=100, max_total_mb=50).largest_video_mb == 50


def test_an_upload_that_is_gone_takes_no_more(tmp_path):
    uploads = Uploads(tmp_path, QUOTAS)
    path = uploads.begin("one", "a.mp4")
    uploads.drop(path)
    with pytest.raises(UploadRefused):
        uploads.grow(path, 1)
