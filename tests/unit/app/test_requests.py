"""The page asked past the browser: its queue, its quotas, visitors who leave, and requests that never end."""

import asyncio
import contextlib
import functools
import http.client
import json
import re
import socket
import threading
import time
from types import SimpleNamespace
from urllib.parse import urlsplit

import numpy as np
import pytest

pytest.importorskip("gradio", reason="needs gradio: pip install 'actiondiff[app]'")
pytest.importorskip("anyio._backends._asyncio")  # else pytest rewrites it within a request, which is too deep
from actiondiff.app import connections, visits
from actiondiff.app.options import PageOptions
from actiondiff.app.server import open_page
from actiondiff.video.write import write_video

pytestmark = [
    pytest.mark.filterwarnings(f"ignore:{text}")
    for text in ("'future.no_silent_downcasting' is deprecated", "The copy keyword is deprecated")
]
SETTINGS = (0, 0, 0, 0.5, False, True)  # values of sliders, box and switch
SESSIONS = ("one", "two", "three", "four")


class EndlessModel:
    """Stands for a model: it reads a video until it is stopped, and notes what happens to it."""

    labels = ("dark", "bright")
    config = SimpleNamespace(timeline={}, backbone={"name": "none"}, keys=[], features={})

    def __init__(self):
        self.begun, self.ended = [], []

    def extract(self, path, *, progress):
        self.begun.append(path)
        try:
            for done in range(1200):
                time.sleep(0.05)
                progress(done, 1200, str(path))
        finally:
            self.ended.append(path)


class Client:
    """Sends requests to a page."""

    def __init__(self, address: str, model: EndlessModel):
        self.place, self.model = urlsplit(address).netloc, model
        status, text, headers = self.ask("GET", "/")
        assert status == 200
        self.cookie = headers["set-cookie"]
        self.page = text
        config = json.loads(re.search(r"gradio_config = ({.*?});</script>", text)[1])
        self.functions = config["dependencies"]

    def ask(self, method, path, body=None, **headers):
        connection = http.client.HTTPConnection(self.place, timeout=60)
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body=body, headers=names)
        answer = connection.getresponse()
        text = answer.read().decode(errors="replace")
        connection.close()
        return answer.status, text, answer.headers

    def upload(self, content, cookie="", name="clip.mp4"):
        head = f'--x\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'
        body = head.encode() + content + b"\r\n--x--\r\n"
        kind = "multipart/form-data; boundary=x"
        return self.ask("POST", "/gradio_api/upload?upload_id=u", body, content_type=kind, cookie=cookie)[:2]

    def call(self, route, number, data, session):
        event = {"data": data, "fn_index": number, "session_hash": session}
        return self.ask("POST", route, json.dumps(event), content_type="application/json")[:2]

    def begin(self, session, content):
        """Upload a video and ask for its analysis, as the page does."""
        status, text = self.upload(content)
        assert status == 200
        (path,) = json.loads(text)
        file = {"path": path, "meta": {"_type": "gradio.FileData"}}
        assert self.call("/gradio_api/run/predict", 0, [file], session)[0] == 200
        return self.call("/gradio_api/queue/join", 1, [file, *SETTINGS], session)

    def stream(self, session):
        """A connection that stays open, as that of a browser."""
        connection = http.client.HTTPConnection(self.place, timeout=60)
        connection.request("GET", f"/gradio_api/heartbeat/{session}")
        connection.getresponse()
        return contextlib.closing(connection)


def wait_for(condition):
    for _ in range(600):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("did not happen")


@pytest.fixture
def clip(tmp_path) -> bytes:
    write_video(tmp_path / "clip.mp4", np.zeros((4, 16, 16, 3), np.uint8), fps=10)
    return (tmp_path / "clip.mp4").read_bytes()


@pytest.fixture
def client(monkeypatch):
    monkeypatch.setattr(visits, "Visits", functools.partial(visits.Visits, patience_seconds=1.0))
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.5)
    monkeypatch.setattr(connections, "BODY_SECONDS", 0.5)
    model = EndlessModel()
    options = PageOptions(port=0, max_upload_mb=1, max_visitor_mb=2, max_total_mb=3, max_waiting=2)

    async def enter(stack):  # in a loop, since gradio else makes loops that it does not close
        return stack.enter_context(open_page(model, name="none", options=options))

    with contextlib.ExitStack() as stack:
        opened = asyncio.run(enter(stack))
        thread = threading.Thread(target=opened.run)
        thread.start()
        try:
            client = Client(opened.address, model)
            client.folder = opened.folder
            yield client
        finally:
            opened.server.should_exit = True
            thread.join()


def test_one_clip_of_two_visitors_and_twice_of_one(client, clip):
    with client.stream("one"), client.stream("two"):
        for session in ("one", "one", "two"):
            count = len(client.model.begun)
            assert client.begin(session, clip)[0] == 200
            wait_for(lambda count=count: len(client.model.begun) == count + 1)
            stop = next(f["id"] for f in client.functions if f["inputs"] == f["outputs"] == [])
            assert client.call("/gradio_api/run/predict", stop, [], session)[0] == 200
            wait_for(lambda count=count: len(client.model.ended) == count + 1)
    assert len(set(client.model.begun)) == 3


def test_the_queue_cannot_be_passed_by(client, clip):
    (path,) = json.loads(client.upload(clip)[1])
    file = {"path": path, "meta": {"_type": "gradio.FileData"}}
    assert client.call("/gradio_api/run/predict", 0, [file], "one")[0] == 200
    assert client.call("/gradio_api/run/predict", 1, [file, *SETTINGS], "one")[0] == 404
    assert client.model.begun == []


def test_few_requests_wait(client, clip):
    statuses = []
    with contextlib.ExitStack() as stack:
        for session in SESSIONS:
            stack.enter_context(client.stream(session))
            statuses.append(client.begin(session, clip)[0])
            wait_for(lambda: client.model.begun)  # the first runs, and waits no longer
    assert statuses == [200, 200, 200, 503]


def test_the_work_of_a_visitor_who_is_gone_ends(client, clip):
    """Neither a browser that was closed, nor a program that only asks, holds the model."""
    with client.stream("one"):
        client.begin("one", clip)
        wait_for(lambda: client.model.begun)
        time.sleep(1.5)
        assert client.model.ended == []  # as long as the browser is there
    wait_for(lambda: client.model.ended)
    client.begin("two", clip)
    wait_for(lambda: len(client.model.ended) == 2)
    wait_for(lambda: not list((client.folder / "uploads").rglob("clip.mp4")))


def test_a_visitor_who_only_looks_makes_no_folder(client):
    with client.stream("one"):
        assert client.call("/gradio_api/run/predict", 0, [None], "one")[0] == 200
        folders = [path.name for path in client.folder.iterdir() if path.is_dir()]
        assert "visits" not in folders


def test_quotas(client):
    cookie = client.cookie.split(";")[0]
    assert "HttpOnly" in client.cookie
    half = bytes(900_000)
    assert client.upload(bytes(1_000_001), cookie)[0] == 413
    assert [client.upload(half, cookie)[0] for _ in range(3)] == [200, 200, 413]
    assert [client.upload(half, "actiondiff-visitor=other")[0] for _ in range(2)] == [200, 507]


def test_without_javascript_there_is_a_sentence(client):
    assert re.search(r"<noscript><p>This page needs JavaScript.*</noscript></body>", client.page)


@pytest.mark.parametrize(
    "start",
    [
        b"",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n",
        b"POST /gradio_api/upload HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n"
        b"Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n",
        b"POST /gradio_api/queue/join HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\n{",
    ],
    ids=["nothing", "half a head", "half an upload", "half an event"],
)
def test_half_open_requests_end(client, start):
    host, port = client.place.split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(start)
        with contextlib.suppress(ConnectionResetError):
            assert connection.recv(1000) == b""


def test_slow_requests_that_go_on_are_answered(client, clip):
    """A body that grows may take as long as it needs."""
    host, port = client.place.split(":")
    head = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.mp4"\r\n\r\n'
    parts = [head, *[bytes(20_000)] * 8, b"\r\n--x--\r\n"]
    length = sum(map(len, parts))
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(
            f"POST /gradio_api/upload HTTP/1.1\r\nHost: {client.place}\r\nContent-Length: {length}\r\n"
            "Content-Type: multipart/form-data; boundary=x\r\n\r\n".encode()
        )
        for part in parts:
            connection.sendall(part)
            time.sleep(0.2)
        assert connection.recv(1000).startswith(b"HTTP/1.1 200")
