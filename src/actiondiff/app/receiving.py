"""The request with which a browser uploads a video; it is written to disk as it arrives."""

from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO
from urllib.parse import parse_qs

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from actiondiff.app.uploads import UploadRefused, Uploads

__all__ = ["ENVELOPE", "receive_upload"]

ENVELOPE = 10_000  # bytes that a request may have beside the uploaded file
_PART = 1_000_000  # bytes that are written at a time


async def receive_upload(uploads: Uploads, visitor: str, scope: Scope, receive: Receive, send: Send) -> None:
    """Receive one video, and answer with a list of its path, as the page's framework expects.

    A file that is refused is not written, but read on to a limit: else browsers show no answer.

    Args:
        uploads: Where uploads go.
        visitor: Whose quota it counts for.
        scope: The request.
        receive: Gives its body.
        send: Takes the answer.
    """
    answer: Response
    body = _Body(uploads, visitor, _note_progress(scope))
    try:
        path = await body.read(Headers(scope=scope), receive)
        answer = JSONResponse([str(path)])
    except _Gone:
        return
    except UploadRefused as refusal:
        answer = PlainTextResponse(str(refusal), refusal.status)
        await body.read_on(receive, uploads.quotas.of_video + ENVELOPE)
    except FormParserError:
        answer = PlainTextResponse("The upload is damaged; try again.", 400)
    except OSError:
        answer = PlainTextResponse("The video cannot be stored, because the disk is full or failed.", 507)
        await body.read_on(receive, uploads.quotas.of_video + ENVELOPE)
    finally:
        body.end()
    await answer(scope, receive, send)


class _Gone(Exception):  # noqa: N818  # not an error: nobody waits for the answer
    """The browser has closed the connection."""


class _Body:
    """Parses a request of the form multipart/form-data as it arrives, and writes its file."""

    def __init__(self, uploads: Uploads, visitor: str, note: Callable[[str, bytes], None]) -> None:
        self._uploads = uploads
        self._visitor = visitor
        self._note = note
        self._path: Path | None = None
        self._file: BinaryIO | None = None
        self._name = ""
        self._in_file = False
        self._is_read = False
        self._is_complete = False
        self._is_stored = False
        self._header: list[bytes] = [b"", b""]
        self._disposition = b""
        self._num_other_bytes = 0
        self._waiting: list[bytes] = []

    async def read(self, headers: Headers, receive: Receive) -> Path:
        """Read the whole body; returns the file.

        Raises:
            UploadRefused: If the file is not accepted, or there is none.
            FormParserError: If the body is not of that form.
            OSError: If the file cannot be written.
        """
        kind, options = parse_options_header(headers.get("content-type"))
        if kind != b"multipart/form-data" or b"boundary" not in options:
            raise UploadRefused("A file is uploaded as multipart/form-data.", 400)
        parser = MultipartParser(
            options[b"boundary"],
            {
                "on_part_begin": self._begin_part,
                "on_header_field": self._add_to_field,
                "on_header_value": self._add_to_value,
                "on_header_end": self._end_header,
                "on_headers_finished": self._end_headers,
                "on_part_data": self._add_data,
                "on_part_end": self._end_part,
            },
        )
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise _Gone
            self._is_read = not message.get("more_body")
            parser.write(message.get("body", b""))
            if self._is_read or sum(map(len, self._waiting)) >= _PART:
                await run_in_threadpool(self._write)
            if self._is_read:
                break
        if self._path is None or not self._is_complete:
            raise UploadRefused("The upload holds no complete file; try again.", 400)
        self._is_stored = True
        return self._path

    async def read_on(self, receive: Receive, limit: int) -> None:
        """Read the rest of the body, up to a limit, without keeping it."""
        num_bytes = 0
        while num_bytes < limit and not self._is_read:
            message = await receive()
            num_bytes += len(message.get("body", b""))
            self._is_read = message["type"] == "http.disconnect" or not message.get("more_body")

    def end(self) -> None:
        """Close the file; an incomplete one is removed."""
        self._note("", b"")
        if self._file is not None:
            self._file.close()
        if self._path is not None and not self._is_stored:
            self._uploads.drop(self._path)

    def _write(self) -> None:
        if self._path is None:
            return
        if self._file is None:
            self._file = self._path.open("xb")
        for part in self._waiting:
            self._file.write(part)
        self._waiting.clear()
        if self._is_complete:
            self._file.close()  # so that a full disk is noticed

    def _begin_part(self) -> None:
        self._in_file, self._disposition = False, b""

    def _add_to_field(self, data: bytes, start: int, end: int) -> None:
        self._header[0] += data[start:end]

    def _add_to_value(self, data: bytes, start: int, end: int) -> None:
        self._header[1] += data[start:end]

    def _end_header(self) -> None:
        field, value = self._header
        if field.lower() == b"content-disposition":
            self._disposition = value
        self._header = [b"", b""]

    def _end_headers(self) -> None:
        _, options = parse_options_header(self._disposition)
        if b"filename" not in options:
            return
        if self._path is not None:
            raise UploadRefused("One file is uploaded at a time.", 400)
        self._in_file = True
        self._name = options[b"filename"].decode("utf-8", "replace")
        self._path = self._uploads.begin(self._visitor, self._name)

    def _add_data(self, data: bytes, start: int, end: int) -> None:
        if not self._in_file:
            self._num_other_bytes += end - start
            if self._num_other_bytes > ENVELOPE:
                raise UploadRefused("The upload holds more than a file.", 413)
            return
        assert self._path is not None
        self._uploads.grow(self._path, end - start)
        self._waiting.append(data[start:end])
        self._note(self._name, self._waiting[-1])

    def _end_part(self) -> None:
        self._is_complete = self._is_complete or self._in_file


def _note_progress(scope: Scope) -> Callable[[str, bytes], None]:
    """What tells the page's framework how many bytes of a file have come; without a name, that it ended."""
    from gradio.routes import file_upload_statuses

    (upload,) = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("upload_id", [""])[:1]

    def note(name: str, data: bytes) -> None:
        if upload and name:
            file_upload_statuses.append(upload, name, data)
        elif upload:
            file_upload_statuses.set_done(upload)

    return note
