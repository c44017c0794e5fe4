"""Requests that a service has to refuse: what is cut off, too much, too slow, of another kind, or not allowed."""

from __future__ import annotations

import io
import socket
import struct
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

MULTIPART = "multipart/form-data; boundary=edge"


@dataclass(frozen=True)
class Hostile:
    """The bytes of a request, in parts with ``pause`` seconds between them."""

    name: str
    parts: Sequence[bytes]
    pause: float = 0.0


def request(token: str, body: bytes, kind: str = "image/png", length: int | None = None, **more: str) -> bytes:
    """Return the bytes of a request for a prediction."""
    headers = {"Host": "127.0.0.1", "Authorization": f"Bearer {token}", "Content-Type": kind,
               "Content-Length": str(len(body) if length is None else length), **more}  # fmt: skip
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"POST /v1/predict HTTP/1.1\r\n{lines}\r\n".encode() + body


def png(width: int, height: int, data: bytes) -> bytes:
    """Return a PNG of 8-bit grey whose header says this size, and whose pixels are ``data``, compressed."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def bomb() -> bytes:
    """Return 40 kB that would be 40 MB of pixels in memory, and more as colours."""
    file = io.BytesIO()
    Image.fromarray(np.zeros((5000, 8000), np.uint8)).save(file, "PNG", compress_level=9)
    return file.getvalue()


def requests_of(token: str, image: bytes) -> list[Hostile]:
    """Return one of each kind; ``image`` is one that would be taken."""

    def ask(body: bytes, kind: str = "image/png", **more: str) -> list[bytes]:
        return [request(token, body, kind, **more)]

    form = b'--edge\r\nContent-Disposition: form-data; name="image"; filename="x.png"\r\n\r\n'
    endless = request(token, b"").replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    grow = zlib.compress(bytes(100_000_000), 9)
    return [
        Hostile("truncated image", ask(image[: len(image) // 3])),
        Hostile("header of an image alone", ask(image[:40])),
        Hostile("PNG that lacks its rows", ask(png(640, 480, zlib.compress(bytes(641 * 100))))),
        Hostile("PNG with more pixels than it says", ask(png(20000, 4000, grow))),
        Hostile("bomb of 40 megapixels", ask(bomb())),
        Hostile("bomb by its header", ask(png(2**31 - 1, 2**31 - 1, b""))),
        Hostile("strip of one row", ask(png(1_000_000, 1, zlib.compress(bytes(1_000_001))))),
        Hostile("text as an image", ask(b"hello" * 100)),
        Hostile("PostScript", ask(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "image/eps")),
        Hostile("empty body", ask(b"")),
        Hostile("wrong type", ask(image, "text/html")),
        Hostile("JSON", ask(b'{"image": "photo.png"}', "application/json")),
        Hostile("wrong JSON", ask(b'{"image": ' + b"[" * 10_000, "application/json")),
        Hostile("form that is cut off", ask(form + image[:100], MULTIPART)),
        Hostile("form of other bytes", ask(b"\x00" * 1000, MULTIPART)),
        Hostile("form without files", ask(b"--edge--\r\n", MULTIPART)),
        Hostile("wrong token", [request("wrong", image)]),
        Hostile("no token", [b"GET /v1/model HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"]),
        Hostile("page of another site", ask(image, Origin="http://evil.example")),
        Hostile("huge header", ask(image, X="x" * 200_000)),
        Hostile("many headers", ask(image, **{f"X{i}": "x" * 20 for i in range(5000)})),
        Hostile("body of 100 MB by its header", [request(token, b"x" * 1000, length=100_000_000)]),
        Hostile("body without end", [endless, *[b"100000\r\n" + bytes(1 << 20) + b"\r\n"] * 40]),
        Hostile("slow body", [request(token, b"", length=1000), *[b"x"] * 30], 0.1),
        Hostile("slow header", [b"GET / HT", *[b"T"] * 30], 0.1),
        Hostile("no HTTP", [b"\x16\x03\x01\x02\x00" + bytes(200) + b"\r\n\r\n"]),
    ]  # fmt: skip


def send(port: int, one: Hostile) -> tuple[int, bytes]:
    """Send a request and return the status and the body of the answer; 0 where there is none."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
        found = b""
        try:
            for part in one.parts:
                client.sendall(part)
                time.sleep(one.pause)
        except ConnectionError:
            pass  # it was refused before all was sent; the answer may be there
        try:
            head = b""
            while b"\r\n\r\n" not in found and (part := client.recv(1 << 16)):
                found += part
            head, _, body = found.partition(b"\r\n\r\n")
            length = next(
                (int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0
            )
            while len(body) < length and (part := client.recv(1 << 16)):
                body += part
        except (ConnectionError, TimeoutError):
            return 0, b""
    return (int(head.split()[1]) if head.startswith(b"HTTP/") else 0), body
