"""What the page does not do, asked for past the browser."""

import http.client
import json
import os
import re
import signal
import subprocess
import sys
from urllib.parse import urlsplit

import pytest

from actiondiff.app.gate import POLICY

SECRET = "root:"


def ask(page, method, path, body=None, **headers):
    """Status and text of an answer; the path is sent as it is."""
    connection = http.client.HTTPConnection(urlsplit(page[0]).netloc, timeout=60)
    connection.request(method, path, body=body, headers={k.replace("_", "-"): v for k, v in headers.items()})
    answer = connection.getresponse()
    text = answer.read().decode(errors="replace")
    connection.close()
    return answer.status, text


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=/etc/passwd",
        "/gradio_api/file=../../../../etc/passwd",
        "/gradio_api/file/etc/passwd",
        "/file=/etc/passwd",
        "/gradio_api/proxy=http://127.0.0.1/",
        "/gradio_api/file=http://127.0.0.1/",
        "/static/../../../../../../../../etc/passwd",
        "/assets/..%2f..%2f..%2f..%2f..%2f..%2fetc/passwd",
        "/static/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "/files/x/../../../../etc/passwd",
        "/files/x//etc/passwd",
        "/files/x/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "/gradio_api/openapi.json",
        "/gradio_api/vibe-code",
        "/monitoring",
        "/docs",
    ],
)
def test_no_path_of_the_server_is_read(page, path):
    status, text = ask(page, "GET", path)
    assert status == 404
    assert SECRET not in text


@pytest.mark.parametrize("route", ["/gradio_api/queue/join", "/gradio_api/run/predict"])
@pytest.mark.parametrize(
    "path", ["/etc/passwd", "{folder}/uploads/../../secret.mp4", "https://example.com/x.mp4", 3]
)
def test_only_files_that_were_brought_are_looked_at(page, route, path):
    path = path.replace("{folder}", str(page[1])) if isinstance(path, str) else path
    for number in range(8):
        file = {"path": path, "meta": {"_type": "gradio.FileData"}}
        event = {"data": [file, None, None, None, None], "fn_index": number, "session_hash": "trick"}
        status, _ = ask(page, "POST", route, json.dumps(event), content_type="application/json")
        assert status == 403


def test_a_long_or_broken_event_is_refused(page):
    for body in ("{", "[" * 200_000, json.dumps({"data": ["x" * 200_000]})):
        assert ask(page, "POST", "/gradio_api/queue/join", body, content_type="application/json")[0] == 403


def test_large_uploads_are_refused_before_they_are_read(page):
    connection = http.client.HTTPConnection(urlsplit(page[0]).netloc, timeout=60)
    connection.putrequest("POST", "/gradio_api/upload")
    connection.putheader("Content-Length", str(10**12))
    connection.endheaders()
    answer = connection.getresponse()
    assert (answer.status, answer.read()) == (413, b"The file is too large: at most 5 MB are allowed.")
    connection.close()


def test_other_pages_and_names_are_refused(page):
    assert ask(page, "GET", "/", host="elsewhere.example")[0] == 421
    assert ask(page, "POST", "/gradio_api/queue/join", "{}", origin="http://elsewhere.example")[0] == 403
    assert ask(page, "GET", "/")[0] == 200


def test_browsers_are_told_to_ask_nobody_else(page):
    connection = http.client.HTTPConnection(urlsplit(page[0]).netloc, timeout=60)
    connection.request("GET", "/")
    answer = connection.getresponse()
    config = json.loads(re.search(r"gradio_config = ({.*?});</script>", answer.read().decode())[1])
    connection.close()
    assert answer.headers["Content-Security-Policy"] == POLICY
    assert "http" not in POLICY
    assert config["analytics_enabled"] is False


def test_the_command_serves_this_machine_and_leaves_nothing(trained, tmp_path):
    command = [sys.executable, "-m", "actiondiff", "app", str(trained), "--port", "0", "--device", "cpu"]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    )
    try:
        line = process.stdout.readline()
        address = re.search(r"http://127\.0\.0\.1:\d+/", line)[0]
        assert ask((address,), "GET", "/")[0] == 200
        assert [path.name[:16] for path in tmp_path.iterdir()] == ["actiondiff-page-"]
        process.send_signal(signal.SIGTERM)
        rest, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0
    assert rest == ""
    assert list(tmp_path.iterdir()) == []
