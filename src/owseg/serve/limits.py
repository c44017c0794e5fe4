"""The limits of a server before the guard sees a request: connections, bytes of a head, time to send a request."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_CONNECTIONS = 200
"""How many connections there may be at once, web sockets included; each open page has one to seven."""

MAX_HEAD = 2**16
"""The most bytes of a request's first line and headers."""

PIECE = 2**12
"""Bytes of a head that are parsed at once; by so many at most a head may be longer than ``MAX_HEAD``."""

MAX_SECONDS = 20.0
"""How long a client may take to send a request, its body included."""

MAX_MESSAGE = 2**20
"""The most bytes of a message on a web socket."""


class BoundedProtocol(H11Protocol):
    """HTTP for which a connection above ``MAX_CONNECTIONS``, or that sends too slowly, is answered by one sentence.

    It is then closed, as one that sends what is no HTTP. A client has ``seconds`` to send a request, by default
    ``MAX_SECONDS``; ``refused`` is called with the status of each of these answers.
    """

    waiting: asyncio.TimerHandle | None = None

    def __init__(
        self, *given: Any, seconds: float | None = None, refused: Callable[[int], None] | None = None, **named: Any
    ) -> None:
        super().__init__(*given, **named)
        self.seconds, self.refused = seconds or MAX_SECONDS, refused

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin a connection, or close it where it is one too many."""
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            self._refuse(503, f"{MAX_CONNECTIONS} connections are open, and no more are taken; try again later.")
        else:
            self._watch()

    def data_received(self, data: bytes) -> None:
        """Take a part of a request."""
        while data and not self.transport.is_closing() and self.transport.get_protocol() is self:
            # h11 counts what it holds of a head that is not complete: one that is there at once would have no limit.
            size = PIECE if self.conn.their_state is h11.IDLE else len(data)
            super().data_received(data[:size])
            data = data[size:]
            self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """End a connection."""
        super().connection_lost(exc)
        self._stop()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP; uvicorn calls this where h11 has raised why."""
        status = getattr(sys.exc_info()[1], "error_status_hint", 400)
        much = f"the first line and the headers have more than {MAX_HEAD >> 10} KiB; send fewer."
        self._refuse(status, much if status == 431 else "this is no request of HTTP/1.1; send one.")

    def _watch(self) -> None:
        """Run the timer while a request is awaited or in part there, and not while it is being answered."""
        # A request for a web socket has handed the connection on, whose quiet is no late request.
        if self.transport.get_protocol() is not self or self.conn.their_state not in (h11.IDLE, h11.SEND_BODY):
            self._stop()
        elif self.waiting is None:
            # Not anew with each byte: who sends one byte a second is cut off as well.
            self.waiting = self.loop.call_later(self.seconds, self._late)

    def _stop(self) -> None:
        if self.waiting is not None:
            self.waiting.cancel()
            self.waiting = None

    def _late(self) -> None:
        if self.conn.their_state is h11.SEND_BODY or self.conn.trailing_data[0]:
            self._refuse(408, f"the request did not arrive within {self.seconds:g} seconds; send it at once.")
        else:  # nothing of a request
            self.transport.abort()

    def _refuse(self, status: int, why: str) -> None:
        """Answer with one sentence and close the connection; without an answer where one has begun."""
        self._stop()
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return self.transport.abort()
        if self.cycle is not None:
            self.cycle.disconnected = True  # whatever the application answers comes too late
        if self.refused is not None:
            self.refused(status)
        body = json.dumps({"error": why}).encode()
        headers = [("content-type", "application/json"), ("content-length", str(len(body))), ("connection", "close")]
        for event in (h11.Response(status_code=status, headers=headers), h11.Data(body), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()


def bounded_config(
    app: Any, seconds: float | None = None, grace: int = 1, refused: Callable[[int], None] | None = None
) -> uvicorn.Config:
    """Return the configuration of a server of the ASGI application ``app`` that keeps to these limits.

    ``seconds`` and ``refused`` are those of ``BoundedProtocol``; ``grace`` is how many seconds a server that is stopped
    waits for what it has begun. It says what is wrong with ``app`` alone, since any client can send what is no request.
    """
    protocol: Any = partial(BoundedProtocol, seconds=seconds, refused=refused)
    return uvicorn.Config(
        app, http=protocol, h11_max_incomplete_event_size=MAX_HEAD, ws_max_size=MAX_MESSAGE,
        # Proxy headers would let a client choose the address that it seems to come from.
        proxy_headers=False, server_header=False, timeout_graceful_shutdown=grace, log_level="error",
    )  # fmt: skip
