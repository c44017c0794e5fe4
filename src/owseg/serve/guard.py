"""The guard of a server: which requests may pass, and how many bytes they may bring.

It wraps the whole ASGI application, web sockets included.
"""

from __future__ import annotations

import hmac
import ipaddress
import json
import re
from collections.abc import Collection
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY = 8 * 2**20
"""The most bytes of one request: the run lengths of a mask of 4 million pixels, unless it is mostly edges."""


class Guard:
    """An ASGI application that passes a request on to ``app`` only if it is meant for this server.

    Every request must bring the ``token``: in the header ``Authorization: Bearer``, or once in the query and from then
    on in a cookie; not those of ``open_paths``, and none where it is None. With ``local`` the Host header
    must be a name of loopback: another site's name may resolve to this address (DNS rebinding). What a page of another
    site asks for (Origin, Sec-Fetch-Site) is refused, but a link to a page here may be followed. No body may have more
    than ``max_body`` bytes. A refusal is JSON with one sentence, ``error``, and the status 401, 403 or 413. ``policy``
    is the Content-Security-Policy of every answer.
    """

    def __init__(
        self,
        app: ASGIApp,
        token: str | None,
        local: bool = True,
        policy: str = "default-src 'none'",
        max_body: int = MAX_BODY,
        open_paths: Collection[str] = (),
    ):
        if token == "":
            raise ValueError("an empty token would let everybody in")
        self.app, self.token, self.local, self.max_body = app, token, local, max_body
        self.open_paths = open_paths
        self.headers = [*_HEADERS, (b"content-security-policy", policy.encode())]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] not in ("http", "websocket"):
            # Lifespan events come from the server itself.
            return await self.app(scope, receive, send)
        headers = {k.decode("latin-1"): v.decode("latin-1") for k, v in scope["headers"]}
        query = dict(parse_qsl(scope["query_string"].decode("latin-1")))
        host = headers.get("host", "")
        if (name := _host_name(host)) is None or (self.local and not is_loopback(name)):
            why = "this server is not the one that the request names; open the address that it printed."
            return await self._refuse(scope, receive, send, 403, why)
        if _is_foreign(scope, headers, host):
            why = "a page of another site may not ask this server for anything."
            return await self._refuse(scope, receive, send, 403, why)
        given = _bearer(headers) or _cookie(headers, _cookie_name(host))
        if scope["path"] not in self.open_paths and not self._is_token(given):
            if not self._is_token(query.pop("token", "")):
                why = "the token is missing or wrong; open the address that the server printed."
                return await self._refuse(scope, receive, send, 401, why)
            if scope["type"] == "http":
                return await self._set_cookie(scope, send, host, query)
        # The header is only a promise: ``_limited`` counts what comes.
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > self.max_body:
            return await self._refuse_size(scope, receive, send)
        await self._limited(scope, receive, send)

    async def _limited(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and cut it off where its body is longer than ``max_body``, whatever its header says."""
        left, begun, gone = self.max_body, False, False

        async def receive_some() -> Message:
            nonlocal left, gone
            message = await receive()
            left -= len(message.get("body", b"")) if message["type"] == "http.request" else 0
            message = message if left >= 0 else {"type": "http.disconnect"}
            gone = gone or message["type"] == "http.disconnect"
            return message

        async def send_more(message: Message) -> None:
            nonlocal begun
            if left < 0 and not begun:
                return  # the application's answer to a request that was cut off
            begun = True
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *self.headers]
            await send(message)

        try:
            await self.app(scope, receive_some, send_more)
        except Exception:
            # Whoever reads a body that ends too early fails in some way, and nobody is there to be answered.
            if not gone:
                raise
        if left < 0 and not begun:
            await self._refuse_size(scope, receive, send)

    async def _set_cookie(self, scope: Scope, send: Send, host: str, query: dict[str, str]) -> None:
        """Redirect to the same address without the token, and put that into a cookie."""
        cookie = f"{_cookie_name(host)}={self.token}; HttpOnly; SameSite=Strict; Path=/"
        to = "/" + quote(scope["path"]).lstrip("/\\")  # //host would lead to another server
        to += f"?{urlencode(query)}" if query else ""
        headers = [(b"location", to.encode()), (b"set-cookie", cookie.encode()), *self.headers]
        await send({"type": "http.response.start", "status": 303, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    async def _refuse_size(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._refuse(scope, receive, send, 413, f"at most {self.max_body >> 20} MB can be sent at once.")

    async def _refuse(self, scope: Scope, receive: Receive, send: Send, status: int, why: str) -> None:
        if scope["type"] == "websocket":
            # ASGI: a connection has to be received before it can be closed.
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": why})
            return
        body = json.dumps({"error": why}).encode()
        # Not closed: a client that is still sending its body would lose the answer.
        headers: list[Any] = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        headers += [(b"www-authenticate", b"Bearer")] if status == 401 else []
        await send({"type": "http.response.start", "status": status, "headers": [*headers, *self.headers]})
        await send({"type": "http.response.body", "body": body})

    def _is_token(self, token: str) -> bool:
        # In constant time: how long it takes tells nothing about the token.
        return self.token is None or hmac.compare_digest(token.encode(), self.token.encode())


_HEADERS = [
    (b"x-frame-options", b"DENY"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
]


def is_loopback(host: str) -> bool:
    """Return whether ``host`` is this computer itself: ``localhost``, 127.x.x.x or ::1."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _is_foreign(scope: Scope, headers: dict[str, str], host: str) -> bool:
    """Return whether a page of another site asks; other clients than browsers name no page."""
    if (origin := headers.get("origin")) is not None:
        return origin not in (f"http://{host}", f"https://{host}")  # https: of a proxy that encrypts
    opens = scope["type"] == "http" and scope["method"] == "GET"
    opens &= (headers.get("sec-fetch-mode"), headers.get("sec-fetch-dest")) == ("navigate", "document")
    # same-site is foreign, too: another port of this computer.
    return headers.get("sec-fetch-site", "none") not in ("none", "same-origin") and not opens


def _host_name(host: str) -> str | None:
    """Return the name in a Host header; None for what is not a name or address, with or without a port."""
    found = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+))(?::[0-9]{1,5})?", host)
    return found and (found[1] or found[2])


def _bearer(headers: dict[str, str]) -> str:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _cookie_name(host: str) -> str:
    port = host.rpartition(":")[2]
    return f"owseg_{port if port.isdecimal() else 80}"  # cookies are shared by all ports of a host


def _cookie(headers: dict[str, str], name: str) -> str:
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(name)
    except Exception:  # CookieError, and what malformed cookies raise besides
        return ""
    return found.value if found else ""
