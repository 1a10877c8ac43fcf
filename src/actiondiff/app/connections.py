"""Connections that do not wait for ever: requests that never become complete are given up."""

import asyncio
import socket
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

__all__ = ["PatientProtocol"]

HEAD_SECONDS = 15.0  # until the head of a request must be complete
BODY_SECONDS = 30.0  # within which a body must grow by `BODY_BYTES`, or end
BODY_BYTES = 10_000
VANISHED_SECONDS = 20  # after which the machine at the other end of a stream counts as gone
STREAMS = ("/gradio_api/heartbeat/", "/gradio_api/queue/data")


class PatientProtocol(H11Protocol):
    """HTTP as uvicorn speaks it, with limits on the time that a client takes for its request.

    A client that sends its request slowly, or only in part, would otherwise hold a connection for ever.
    """

    def __init__(self, *args: Any, **values: Any) -> None:
        super().__init__(*args, **values)
        self._limit: asyncio.TimerHandle | None = None
        self._in_body = False
        self._num_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the head of the first request."""
        super().connection_made(transport)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """End the waiting."""
        if self._limit is not None:
            self._limit.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take a part of a request."""
        self._num_bytes += len(data)
        super().data_received(data)
        self._watch()
        if self.scope is not None and self.scope["path"].startswith(STREAMS):
            self._notice_vanished()

    def _watch(self) -> None:
        """Limit the time until the head is complete, or until the body has grown."""
        is_reading = self.conn.their_state in (h11.IDLE, h11.SEND_BODY)
        in_body = self.conn.their_state is h11.SEND_BODY
        if self._limit is not None and is_reading and in_body is self._in_body:
            return  # the limit does not move with every byte
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None
        if is_reading and not self.transport.is_closing():
            self._in_body, self._num_bytes = in_body, 0
            self._limit = self.loop.call_later(BODY_SECONDS if in_body else HEAD_SECONDS, self._give_up)

    def _give_up(self) -> None:
        self._limit = None
        grew = self._num_bytes >= BODY_BYTES or self.flow.read_paused
        if self._in_body and grew and self.conn.their_state is h11.SEND_BODY:
            self._watch()
        elif self.conn.their_state in (h11.IDLE, h11.SEND_BODY):
            self.transport.abort()

    def _notice_vanished(self) -> None:
        """Let a stream end when the other side no longer answers, for example because it lost its network."""
        connection = self.transport.get_extra_info("socket")
        if connection is not None and hasattr(socket, "TCP_USER_TIMEOUT"):  # not on every system
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1000 * VANISHED_SECONDS)
