"""The guard of a server: which requests may pass, and how many bytes they may bring.

It wraps the whole ASGI application, web sockets included.
"""

from __future__ import annotations

import hmac
import ipaddress
import json
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY = 8 * 2**20
"""The most bytes of one request: the run lengths of a mask of 4 million pixels, unless it is mostly edges."""


class Guard:
    """An ASGI application that passes a request on to ``app`` only if it is meant for this server.

    Without a ``token`` the Host header must be a name of loopback: another site's name may resolve to this address (DNS
    rebinding). With one every request must bring it, once in the query, from then on in a cookie. Requests that change
    something, and web sockets, must come from this server's own pages (Origin), and no body may have more than
    ``max_body`` bytes. A refusal is JSON with one sentence, ``error``, and the status 401, 403 or 413.
    """

    def __init__(self, app: ASGIApp, token: str = "", max_body: int = MAX_BODY):
        self.app, self.token, self.max_body = app, token, max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] not in ("http", "websocket"):
            # Lifespan events come from the server itself.
            return await self.app(scope, receive, send)
        headers = {k.decode("latin-1"): v.decode("latin-1") for k, v in scope["headers"]}
        query = dict(parse_qsl(scope["query_string"].decode("latin-1")))
        host, origin = headers.get("host", ""), headers.get("origin")
        # What changes nothing may come from anywhere; browsers name the page that sends (Origin), other clients none.
        sends = scope["type"] == "websocket" or scope["method"] not in ("GET", "HEAD")
        if not self.token and not is_loopback(_host_name(host)):
            return await _refuse(
                scope, receive, send, 403, "this server answers this computer only; open it as 127.0.0.1 or localhost."
            )
        if sends and origin is not None and urlsplit(origin).netloc != host:
            return await _refuse(
                scope, receive, send, 403, "a page of another site may not send anything to this server."
            )
        if self.token and not self._is_token(_cookie(headers, _cookie_name(host))):
            if not self._is_token(query.pop("token", "")):
                why = "the token is missing or wrong; open the address that the server printed."
                return await _refuse(scope, receive, send, 401, why)
            if scope["type"] == "http":
                return await self._set_cookie(scope, send, host, query)
        # The header is only a promise: ``_limited`` counts what comes.
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > self.max_body:
            return await self._refuse_size(scope, receive, send)
        await self._limited(scope, receive, send)

    async def _limited(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and cut it off where its body is longer than ``max_body``, whatever its header says."""
        left, begun = self.max_body, False

        async def receive_some() -> Message:
            nonlocal left
            message = await receive()
            left -= len(message.get("body", b"")) if message["type"] == "http.request" else 0
            return message if left >= 0 else {"type": "http.disconnect"}

        async def send_more(message: Message) -> None:
            nonlocal begun
            if left < 0 and not begun:
                return  # the application's answer to a request that was cut off
            begun = True
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *_HEADERS]
            await send(message)

        try:
            await self.app(scope, receive_some, send_more)
        except Exception:
            if left >= 0:
                raise
        if left < 0 and not begun:
            await self._refuse_size(scope, receive, send)

    async def _set_cookie(self, scope: Scope, send: Send, host: str, query: dict[str, str]) -> None:
        """Redirect to the same address without the token, and put that into a cookie."""
        cookie = f"{_cookie_name(host)}={self.token}; HttpOnly; SameSite=Strict; Path=/"
        to = scope["path"] + (f"?{urlencode(query)}" if query else "")
        to = "/" + to.lstrip("/\\")  # //host would lead to another server
        headers = [(b"location", to.encode()), (b"set-cookie", cookie.encode()), *_HEADERS]
        await send({"type": "http.response.start", "status": 303, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    async def _refuse_size(self, scope: Scope, receive: Receive, send: Send) -> None:
        await _refuse(scope, receive, send, 413, f"at most {self.max_body >> 20} MB can be sent at once.")

    def _is_token(self, token: str) -> bool:
        # In constant time: how long it takes tells nothing about the token.
        return hmac.compare_digest(token.encode(), self.token.encode())


_HEADERS = [
    (b"x-frame-options", b"DENY"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
]


def is_loopback(host: str) -> bool:
    """Return whether ``host`` is this computer itself: ``localhost``, 127.x.x.x or ::1."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


async def _refuse(scope: Scope, receive: Receive, send: Send, status: int, why: str) -> None:
    if scope["type"] == "websocket":
        # ASGI: a connection has to be received before it can be closed.
        await receive()
        await send({"type": "websocket.close", "code": 1008, "reason": why})
        return
    headers: list[Any] = [(b"content-type", b"application/json"), (b"connection", b"close"), *_HEADERS]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps({"error": why}).encode()})


def _host_name(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _cookie_name(host: str) -> str:
    port = host.rpartition(":")[2]
    return f"owseg_{port if port.isdecimal() else 80}"  # cookies are shared by all ports of a host


def _cookie(headers: dict[str, str], name: str) -> str:
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(name)
    except Exception:  # CookieError, and what malformed cookies raise besides
        return ""
    return found.value if found else ""
