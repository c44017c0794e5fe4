"""How long a client may take, against a small application that a thread of this process serves."""

import base64
import select
import socket
from contextlib import ExitStack, contextmanager
from threading import Thread
from time import sleep

import pytest

pytest.importorskip("uvicorn", reason="pip install 'owseg[serve]'")
import uvicorn
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute

from owseg.serve import limits
from tests.support.review_server import read_answer

KEY = base64.b64encode(b"x" * 16).decode()
UPGRADE = f"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n"


async def read(request):
    return PlainTextResponse(str(len(await request.body())))


async def busy(request):
    sleep(0.3)  # the whole server waits, and meanwhile what others send arrives
    return PlainTextResponse("")


async def echo(web_socket):
    await web_socket.accept()
    await web_socket.send_text(await web_socket.receive_text())


@contextmanager
def served(**options):
    """Serve an application with these ``options`` of ``bounded_config``; yield how to connect."""
    app = Starlette(routes=[Route("/", read, methods=["POST"]), Route("/busy", busy), WebSocketRoute("/socket", echo)])
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(limits.bounded_config(app, **options))
        thread = Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            yield lambda: socket.create_connection(listener.getsockname(), timeout=20)
        finally:
            server.should_exit = True
            thread.join(60)
    assert not thread.is_alive()


@pytest.fixture
def connect(monkeypatch):
    """As ``owseg review``, which gives no time, but with a shorter one by default."""
    monkeypatch.setattr(limits, "MAX_SECONDS", 0.5)
    with served() as connect:
        yield connect


BODY = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n"


def test_half_requests_end(connect):
    with ExitStack() as stack:
        begun = (b"", b"G", b"GET / HTTP/1.1\r\nX: ", BODY + b"x")
        clients = [stack.enter_context(connect()) for _ in begun]
        for client, part in zip(clients, begun, strict=True):
            client.sendall(part)
        for client, part in zip(clients, begun, strict=True):
            status, found = read_answer(client)
            assert status == (408 if part else 0), part
            assert (b"did not arrive within 0.5 seconds" in found) == bool(part)


def test_one_byte_after_the_other_takes_no_longer(connect):
    with connect() as client:
        for byte in b"GET / HTTP/1.1\r\nX: " + b"x" * 40:
            try:
                client.sendall(bytes([byte]))
            except ConnectionError:
                break
            if select.select([client], [], [], 0.1)[0]:
                break
        else:
            pytest.fail("each byte has more time")
        assert read_answer(client)[0] in (0, 408)


def test_a_web_socket_that_is_quiet_stays_open(connect):
    with connect() as client:
        client.sendall(f"GET /socket HTTP/1.1\r\nHost: x\r\n{UPGRADE}\r\n".encode())
        assert read_answer(client)[0] == 101
        assert not select.select([client], [], [], 1.5)[0], "it was closed"
        client.sendall(b"\x81\x82" + bytes(4) + b"hi")
        assert client.recv(1 << 16) == b"\x81\x02hi"


def test_the_time_may_be_given():
    with served(seconds=0.2) as connect, connect() as client:
        client.sendall(b"G")
        status, found = read_answer(client)
        assert status == 408 and b"within 0.2 seconds" in found


def test_a_head_that_is_there_at_once_has_the_limit_too(connect):
    """It is read in one piece, as the server is busy while it comes; a body as long is none of the head."""
    parts = (b"x" * (limits.MAX_HEAD + 5000), 431), (b"x" * (limits.MAX_HEAD - 5000), 405)
    for header, status in parts:
        with connect() as first, connect() as second:
            first.sendall(b"GET /busy HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            sleep(0.1)
            second.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX: " + header + b"\r\n\r\n")
            assert read_answer(second)[0] == status
    with connect() as client:
        head = b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 200000\r\n\r\n"
        client.sendall(head + b"x" * 200_000)
        status, answer = read_answer(client)
        assert status == 200 and answer.endswith(b"200000")
