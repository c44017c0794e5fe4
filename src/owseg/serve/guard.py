"""The guard: who may ask, and how much may be sent. It wraps the whole application, its web sockets included."""

from __future__ import annotations

import hmac
import ipaddress
import json
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

MOST = 8 * 2**20
"""The most bytes that one request may send: the run lengths of a mask of 4 million pixels, if it is no chequerboard."""


class Guard:
    """Lets a request pass to ``app`` only if it is for this server and from its own pages.

    On loopback the host must be called so (a page elsewhere could give its own name this address). With a ``token``
    every request must bring it, in the address once, then in a cookie. A page of another origin may not send, and no
    request more than ``most`` bytes. What is refused is told why in one sentence.
    """

    def __init__(self, app: ASGIApp, token: str = "", most: int = MOST):
        self.app, self.token, self.most = app, token, most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["type"] not in ("http", "websocket"):
            return await self.app(scope, receive, send)
        headers = {k.decode("latin-1"): v.decode("latin-1") for k, v in scope["headers"]}
        query = dict(parse_qsl(scope["query_string"].decode("latin-1")))
        host, origin = headers.get("host", ""), headers.get("origin")
        sends = scope["type"] == "websocket" or scope["method"] not in ("GET", "HEAD")
        if not self.token and not is_loopback(_name_of(host)):
            return await _refuse(scope, receive, send, 403, "this page is served to this computer alone.")
        if sends and origin is not None and urlsplit(origin).netloc != host:
            return await _refuse(scope, receive, send, 403, "another site may not send anything to this page.")
        if self.token and not self._knows(_cookie(headers, _cookie_name(host))):
            if not self._knows(query.pop("token", "")):
                why = "this page wants the token of the address that `owseg review` printed."
                return await _refuse(scope, receive, send, 401, why)
            if scope["type"] == "http":
                return await self._welcome(scope, send, host, query)
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > self.most:
            return await _refuse(scope, receive, send, 413, f"at most {self.most >> 20} MB can be sent at once.")
        await self._limited(scope, receive, send)

    async def _limited(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request that may bring more than it said, or say nothing of how much it brings."""
        left, begun = self.most, False

        async def receive_some() -> Message:
            nonlocal left
            message = await receive()
            left -= len(message.get("body", b"")) if message["type"] == "http.request" else 0
            return message if left >= 0 else {"type": "http.disconnect"}

        async def send_more(message: Message) -> None:
            nonlocal begun
            if left < 0 and not begun:
                return  # what the application says of a request that was cut off
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
            await _refuse(scope, receive, send, 413, f"at most {self.most >> 20} MB can be sent at once.")

    async def _welcome(self, scope: Scope, send: Send, host: str, query: dict[str, str]) -> None:
        """Put the token into a cookie and out of the address."""
        cookie = f"{_cookie_name(host)}={self.token}; HttpOnly; SameSite=Strict; Path=/"
        to = scope["path"] + (f"?{urlencode(query)}" if query else "")
        to = "/" + to.lstrip("/\\")  # never another host's
        headers = [(b"location", to.encode()), (b"set-cookie", cookie.encode()), *_HEADERS]
        await send({"type": "http.response.start", "status": 303, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    def _knows(self, token: str) -> bool:
        return hmac.compare_digest(token.encode(), self.token.encode())


_HEADERS = [
    (b"x-frame-options", b"DENY"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
]


def is_loopback(host: str) -> bool:
    """Say whether a host is this computer under its own name: ``localhost``, 127.x.x.x or ::1."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


async def _refuse(scope: Scope, receive: Receive, send: Send, status: int, why: str) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008, "reason": why})
        return
    headers: list[Any] = [(b"content-type", b"application/json"), (b"connection", b"close"), *_HEADERS]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps({"error": why}).encode()})


def _name_of(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _cookie_name(host: str) -> str:
    port = host.rpartition(":")[2]
    return f"owseg_{port if port.isdecimal() else 80}"  # cookies do not tell ports apart


def _cookie(headers: dict[str, str], name: str) -> str:
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(name)
    except Exception:  # http.cookies.CookieError and worse
        return ""
    return found.value if found else ""
