"""The filter between browsers and the page, which lets only the requests through that the page needs.

The page's framework, gradio, can do much more than this page needs, such as fetching addresses for its users
or sending files that it stores. The filter therefore allows only the routes that the page uses. Where a
request names a path, the path must be that of an uploaded file.
"""

import json
import re
import secrets
from collections.abc import Collection, Iterator
from contextlib import nullcontext
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from actiondiff.app.receiving import ENVELOPE, receive_upload
from actiondiff.app.uploads import Uploads
from actiondiff.app.visits import Visits

__all__ = ["POLICY", "Gate", "LocalGate"]

_READ = re.compile(
    r"/|/theme\.css|/favicon\.ico|/config|/(assets|static|svelte)/[\w./@-]+|/files/[\w-]+/.+"
    r"|/gradio_api/(startup-events|queue/data|upload_progress|app_id|info|heartbeat/\w+)"
)
_UPLOAD, _CANCEL = "/gradio_api/upload", "/gradio_api/cancel"
_EVENTS = ("/gradio_api/queue/join", "/gradio_api/run/predict")
_STREAM = re.compile(r"/gradio_api/heartbeat/(\w+)|/gradio_api/queue/data")
_COOKIE = "actiondiff-visitor"  # says which uploads are one visitor's, and nothing else
_LONGEST_EVENT = 100_000  # most bytes of an event's body
POLICY = (
    "default-src 'none'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' blob:; font-src 'self' data:; connect-src 'self'; "
    "worker-src 'self' blob:; base-uri 'self'; form-action 'none'; frame-ancestors 'none'"
)
"""Content-Security-Policy: browsers contact no other machine, whatever the page or a model card contains."""

_STRICT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "media-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


_NO_SCRIPT = (
    b"<noscript><p>This page needs JavaScript, which your browser does not run. Turn it on for this address, "
    b"or use the command <code>actiondiff predict</code>.</p></noscript>"
)


class Gate:
    """ASGI middleware that refuses requests the page does not need.

    Args:
        app: The application that allowed requests are passed to.
        hosts: Host names that the page may be addressed by; empty for any. This refuses another site whose
            own name was made to point to this machine (DNS rebinding).
        uploads: The uploaded files. Those that are too large are refused before they are read.
        visits: The visits, which last as long as a browser keeps a connection open.
    """

    def __init__(self, app: ASGIApp, *, hosts: Collection[str], uploads: Uploads, visits: Visits) -> None:
        self._app = app
        self._hosts = frozenset(hosts)
        self._uploads = uploads
        self._visits = visits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer why it is refused."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        refusal = self._refusal(scope)
        if not refusal and scope["path"] in _EVENTS:
            body = await _read(receive)
            refusal = (
                None
                if self._names_uploads_only(body)
                else _refuse("This is not a file that you uploaded.", 403)
            )
            receive = _again(body, receive)
        if refusal:
            await refusal(scope, receive, send)
            return

        send = _with_policy(send, POLICY)
        if scope["path"] == _UPLOAD:
            await receive_upload(self._uploads, _visitor(scope), scope, receive, send)
            return
        if scope["path"] == "/" and scope["method"] == "GET":
            send, scope = _with_page(_with_visitor(send, scope)), _uncompressed(scope)
        session = _session(scope)
        with self._visits.connected(session) if session else nullcontext():
            await self._app(scope, receive, send)

    def _refusal(self, scope: Scope) -> PlainTextResponse | None:
        """The answer to a request that its headers or its path rule out; None for all others."""
        headers, path, method = Headers(scope=scope), scope["path"], scope["method"]
        refusal = _refuse_foreign(headers, self._hosts)
        if refusal:
            return refusal
        if method == "POST":
            is_allowed = path in (_UPLOAD, _CANCEL, *_EVENTS)
        else:
            is_allowed = (
                method in ("GET", "HEAD") and bool(_READ.fullmatch(path)) and ".." not in path.split("/")
            )
        if not is_allowed:
            return _refuse("There is nothing here.", 404)
        length = headers.get("content-length", "0")
        limit = self._uploads.quotas.most_of_video
        if path == _UPLOAD and length.isdecimal() and int(length) > limit + ENVELOPE:
            megabytes = limit / 1e6
            return _refuse(f"The file is too large: at most {megabytes:.0f} MB are allowed.", 413)
        return None

    def _names_uploads_only(self, body: bytes) -> bool:
        """Whether every path in the JSON of an event is that of an uploaded file."""
        try:
            paths = list(_paths(json.loads(body)))
        except (ValueError, RecursionError):
            return False
        return all(
            isinstance(path, str)
            and "\0" not in path
            and Path(path).resolve().is_relative_to(self._uploads.root)
            for path in paths
        )


class LocalGate:
    """ASGI middleware that refuses requests of other pages and under other host names.

    Args:
        app: The application that allowed requests are passed to.
        hosts: Host names that the page may be addressed by; empty for any.
    """

    def __init__(self, app: ASGIApp, *, hosts: Collection[str]) -> None:
        self._app = app
        self._hosts = frozenset(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer why it is refused."""
        if scope["type"] == "http":
            headers = Headers(scope=scope)
            refusal = _refuse_foreign(headers, self._hosts)
            if not refusal and scope["method"] not in ("GET", "HEAD") and "origin" not in headers:
                refusal = _refuse("Changes are made on the page itself.", 403)
            if refusal:
                await refusal(scope, receive, send)
                return
            send = _with_policy(send, _STRICT_POLICY)
        await self._app(scope, receive, send)


def _refuse_foreign(headers: Headers, hosts: Collection[str]) -> PlainTextResponse | None:
    """The answer to a request under another host name or from another page; None for all others."""
    host = headers.get("host", "")
    if hosts and (urlsplit(f"//{host}").hostname or "") not in hosts:
        return _refuse("This page is not served under this host name.", 421)
    origin = headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != host:
        return _refuse("Requests from other pages are refused.", 403)
    return None


def _with_policy(send: Send, policy: str) -> Send:
    """A `send` function that adds the headers of the content security policy."""

    async def with_policy(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers["Content-Security-Policy"] = policy
            headers["X-Content-Type-Options"] = "nosniff"
            headers["Referrer-Policy"] = "no-referrer"
        await send(message)

    return with_policy


def _visitor(scope: Scope) -> str:
    """The cookie of a visitor; empty if there is none."""
    try:
        cookie = SimpleCookie(Headers(scope=scope).get("cookie", "")).get(_COOKIE)
    except CookieError:
        return ""
    return cookie.value if cookie else ""


def _with_visitor(send: Send, scope: Scope) -> Send:
    """A `send` function that gives a new visitor a cookie, which ends with the browser's session."""
    if _visitor(scope):
        return send

    async def with_visitor(message: Message) -> None:
        if message["type"] == "http.response.start":
            value = f"{_COOKIE}={secrets.token_urlsafe(18)}; HttpOnly; SameSite=Strict; Path=/"
            MutableHeaders(scope=message).append("Set-Cookie", value)
        await send(message)

    return with_visitor


def _with_page(send: Send) -> Send:
    """A `send` function that puts a sentence into the page for browsers without JavaScript."""
    head: list[Message] = []
    body = bytearray()

    async def with_page(message: Message) -> None:
        if message["type"] == "http.response.start":
            head.append(message)
            return
        body.extend(message.get("body", b""))
        if message.get("more_body"):
            return
        content = bytes(body).replace(b"</body>", _NO_SCRIPT + b"</body>")
        MutableHeaders(scope=head[0])["Content-Length"] = str(len(content))
        await send(head[0])
        await send({"type": "http.response.body", "body": content})

    return with_page


def _uncompressed(scope: Scope) -> Scope:
    """The request as one of a browser that takes no compressed answer."""
    return {**scope, "headers": [item for item in scope["headers"] if item[0] != b"accept-encoding"]}


def _session(scope: Scope) -> str:
    """The session id of gradio in a request for a stream that stays open; empty for all other requests."""
    match = _STREAM.fullmatch(scope["path"])
    if match is None:
        return ""
    (session,) = parse_qs(scope["query_string"].decode("latin-1")).get("session_hash", [""])[:1]
    return match[1] or session


def _refuse(text: str, status: int) -> PlainTextResponse:
    return PlainTextResponse(text, status)


def _paths(value: Any) -> Iterator[Any]:
    """All values of the key `path`, at any depth of a JSON value."""
    if isinstance(value, dict):
        for name, part in value.items():
            if name == "path":
                yield part
            yield from _paths(part)
    elif isinstance(value, list):
        for part in value:
            yield from _paths(part)


async def _read(receive: Receive) -> bytes:
    """The body of a request. Of a body that is too long for an event, only the start, which is not JSON."""
    body = b""
    while len(body) <= _LONGEST_EVENT:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return body
    return body[:_LONGEST_EVENT]


def _again(body: bytes, receive: Receive) -> Receive:
    """A `receive` function that first returns a body which has been read, then what follows."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def give() -> Message:
        return waiting.pop() if waiting else await receive()

    return give
