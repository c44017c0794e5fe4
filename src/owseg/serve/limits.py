"""The limits of a server before the guard sees a request: connections, bytes of a head, time to send a request."""

from __future__ import annotations

import asyncio
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_CONNECTIONS = 200
"""How many connections there may be at once, web sockets included; each open page has one to seven."""

MAX_HEAD = 2**16
"""The most bytes of a request's first line and headers."""

MAX_SECONDS = 20.0
"""How long a client may take to send a request, its body included."""

MAX_MESSAGE = 2**20
"""The most bytes of a message on a web socket."""


class BoundedProtocol(H11Protocol):
    """HTTP for which a connection above ``MAX_CONNECTIONS``, or that sends too slowly, is closed without an answer."""

    waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin a connection, or close it where it is one too many."""
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            transport.abort()
        else:
            self._watch()

    def data_received(self, data: bytes) -> None:
        """Take a part of a request."""
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """End a connection."""
        super().connection_lost(exc)
        self._stop()

    def _watch(self) -> None:
        """Run the timer while a request is awaited or in part there, and not while it is being answered."""
        if self.conn.their_state not in (h11.IDLE, h11.SEND_BODY):
            self._stop()
        elif self.waiting is None:
            # Not anew with each byte: who sends one byte a second is cut off as well.
            self.waiting = self.loop.call_later(MAX_SECONDS, self.transport.abort)

    def _stop(self) -> None:
        if self.waiting is not None:
            self.waiting.cancel()
            self.waiting = None


def bounded_config(app: Any) -> uvicorn.Config:
    """Return the configuration of a server of the ASGI application ``app`` that keeps to these limits.

    It says what is wrong with ``app`` alone, since any client can send what is no request.
    """
    return uvicorn.Config(
        app, http=BoundedProtocol, h11_max_incomplete_event_size=MAX_HEAD, ws_max_size=MAX_MESSAGE,
        # Proxy headers would let a client choose the address that it seems to come from.
        proxy_headers=False, server_header=False, timeout_graceful_shutdown=1, log_level="error",
    )  # fmt: skip
