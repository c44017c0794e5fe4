"""What others may try, against ``owseg review`` as it runs: a process of its own at a free port."""

import base64
import json
import select
from contextlib import ExitStack
from itertools import cycle, islice
from pathlib import Path

import pytest

from owseg.data.masks import Rle
from tests.support.queues import IDS, square
from tests.support.review_server import read_answer, serving

pytest.importorskip("nicegui", reason="the page needs NiceGUI: pip install 'owseg[review]'")
from owseg.serve.limits import MAX_CONNECTIONS, MAX_HEAD

POLLING = "/_nicegui_ws/socket.io/?EIO=4&transport=polling"
UPGRADE = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13",
           "Sec-WebSocket-Key": base64.b64encode(b"x" * 16).decode()}  # fmt: skip
MASK = json.dumps({"name": "dog", "counts": list(Rle.of(square(9, 9, 3)).counts)}).encode()


@pytest.fixture(scope="module")
def server(light_kb, tmp_path_factory):
    place = tmp_path_factory.mktemp("attacked")
    light_kb.save(place / "stored")
    with serving(place, place / "stored") as server:
        yield server


def test_the_owner_gets_in(server):
    """Else all that follows would be refused for another reason."""
    status, found = server.ask(f"/?token={server.token}", Cookie=None)
    assert status == 303 and f"set-cookie: {server.cookie};".encode() in found and b"location: /\r\n" in found
    own = {"Origin": f"http://{server.host}", "Sec_Fetch_Site": "same-origin"}
    files = f"/thumbnails/{IDS[0]}.jpg", f"/images/{IDS[0][:16]}.jpg", f"/segments/{IDS[0][:16]}.png"
    for path in ("/", "/group/1", *files, POLLING):
        status, found = server.ask(path, **own)
        assert status == 200 and b"content-security-policy: default-src 'none'; script-src 'self'" in found
    assert server.ask("/_nicegui_ws/socket.io/?EIO=4&transport=websocket", **{**UPGRADE, **own})[0] == 101
    before = server.log()
    assert server.ask(f"/masks/{IDS[3]}", "POST", MASK, **own)[0] == 200
    assert len(server.log()) == len(before) + 1


PATHS = ("/", "/group/1", "/learned", f"/thumbnails/{IDS[0]}.jpg", f"/images/{IDS[0][:16]}.jpg", "/maps/1/x.jpg",
         f"/segments/{IDS[0][:16]}.png",
         POLLING, "/_nicegui/3.18.0/static/nicegui.js", "/docs", "/openapi.json", "/?token=", "/?token=x",
         "/%2e%2e/etc/passwd")  # fmt: skip


def test_without_the_token_nothing_is_answered(server):
    before = server.log()
    wrong = [None, "", f"owseg_{server.port}=", f"owseg_{server.port}={server.token[:-1]}", f"token={server.token}",
             f"owseg_{server.port + 1}={server.token}", "a=\"\\", f"owseg_{server.port}=\xff"]  # fmt: skip
    for cookie in wrong:
        for path in PATHS if cookie is None else PATHS[:2]:
            assert server.ask(path, Cookie=cookie)[0] == 401, (path, cookie)
        assert server.ask(f"/masks/{IDS[3]}", "POST", MASK, Cookie=cookie)[0] == 401
        assert server.ask("/_nicegui_ws/socket.io/?EIO=4&transport=websocket", Cookie=cookie, **UPGRADE)[0] == 403
    for method in ("HEAD", "OPTIONS", "PUT", "DELETE", "TRACE", "CONNECT", "X"):
        assert server.ask("/", method, Cookie=None)[0] == 401
    assert server.log() == before


def test_another_name_is_refused(server):
    """DNS rebinding: a name of another site that resolves to this computer."""
    hosts = ("evil.example", f"evil.example:{server.port}", f"evil.example@{server.host}", "", "[", "[::]", "a b",
             f"{server.host}@evil.example", f"127.0.0.1.evil.example:{server.port}", "2130706433", "0x7f000001",
             "0.0.0.0", f"{server.host}/x", f"{server.host}#", f"localhost:{server.port}:1", "\x7f")  # fmt: skip
    for host in hosts:
        for given in ({"Cookie": server.cookie}, {"Cookie": None}):
            assert server.ask("/", Host=host, **given)[0] in (400, 403), host
    assert server.ask("/", Host=None)[0] == 400
    assert server.raw(f"GET / HTTP/1.1\r\nHost: {server.host}\r\nHost: evil.example\r\n\r\n".encode())[0] == 400


def test_a_page_of_another_site_is_refused(server):
    """Even in the browser that has the token."""
    before = server.log()
    foreign = [{"Origin": origin} for origin in
               ("http://evil.example", "null", "", f"http://127.0.0.1:{server.port + 1}", f"http://localhost:{server.port}",
                f"http://evil.example@{server.host}", f"http://{server.host}.evil.example", "file://")]  # fmt: skip
    foreign += [{"Sec_Fetch_Site": site, "Sec_Fetch_Mode": mode, "Sec_Fetch_Dest": dest}
                for site in ("cross-site", "same-site")
                for mode, dest in (("no-cors", "image"), ("cors", "empty"), ("navigate", "iframe"))]  # fmt: skip
    for headers in foreign:
        for path in ("/", f"/images/{IDS[0][:16]}.jpg", POLLING):
            status, found = server.ask(path, **headers)
            assert status == 403 and b"access-control-allow-origin" not in found.lower(), (path, headers)
        assert server.ask(f"/masks/{IDS[3]}", "POST", MASK, **headers)[0] == 403
        assert server.ask(POLLING, "POST", b"40", **headers)[0] == 403
        if "Origin" in headers:  # browsers always send it with a web socket
            upgrade = {**UPGRADE, **headers}
            assert server.ask("/_nicegui_ws/socket.io/?EIO=4&transport=websocket", **upgrade)[0] == 403
    form = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "document"}
    assert server.ask(f"/masks/{IDS[3]}", "POST", MASK, **form)[0] == 403
    assert server.ask("/", **form)[0] == 200  # a link to a page, which changes nothing
    assert server.log() == before


def test_no_other_file_is_read(server):
    up = "..%2f" * 5
    for path in (
        "/thumbnails/..%2f..%2fqueue.jpg", "/thumbnails/../../queue.db", "/images/%2e%2e%2fqueue.db.jpg",
        "/maps/-1/x.jpg", f"/maps/{'9' * 20}/x.jpg", f"/images/{'0' * 16}.jpg", "/images/%00.jpg",
        f"/images/{'x' * 9000}.jpg", "/_nicegui/../../../etc/passwd", f"/_nicegui/3.18.0/static/{up}etc%2fpasswd",
        f"/_nicegui/3.18.0/resources/x/{up}etc%2fpasswd", "/group/x", "/static/x", "/openapi.json",
    ):  # fmt: skip
        status, found = server.ask(path)
        assert 400 <= status < 500, path
        assert b"root:" not in found and b"SQLite" not in found and b"Traceback" not in found
    for number in ("-1", "0", "9" * 20):
        status, found = server.ask(f"/group/{number}")
        assert status == 200 and b"There is no group" in found


def test_what_is_no_name_of_a_new_class_is_refused(server):
    before, counts = server.log(), json.loads(MASK)["counts"]
    for name in ("road", "unknown", "VOID", "", " ", "a\nb", "e\x1b[31m", "x" * 61, "\ud800", None, 7, ["x"]):
        body = json.dumps({"name": name, "counts": counts}).encode()
        status, found = server.ask(f"/masks/{IDS[3]}", "POST", body)
        assert status == 400 and b'{"error":"' in found and server.log() == before, name


def test_what_is_no_mask_is_refused(server):
    before = server.log()
    for body in (
        b"", b"{", b"[" * 100_000, b'{"a":' * 100_000, b'{"name": 1' + b"0" * 5000 + b"}", b"\xff\xfe\x00",
        *(b'{"name": "dog", "counts": %s}' % counts for counts in
          (b"[0, 1e999]", b"[99999999999]", b"[-1, 769]", b"[0, 767]", b"[768]", b'"768"', b"[true, 767]", b"null")),
    ):  # fmt: skip
        status, found = server.ask(f"/masks/{IDS[3]}", "POST", body)
        assert status == 400 and b'{"error":"' in found and server.log() == before, body[:99]


def test_what_is_no_request_is_refused(server):
    host = f"Host: {server.host}\r\n".encode()
    for parts in (
        [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200)],  # TLS
        [b"\x00" * 1000, b"\r\n\r\n"],
        [b"GET\r\n\r\n"],
        [b"GET / HTTP/9.9\r\n" + host + b"\r\n"],
        [b"GET / HTTP/1.1\r\n" + host + b"Content-Length: -1\r\n\r\n"],
        [b"POST / HTTP/1.1\r\n" + host + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n0123456"],
        [b"POST / HTTP/1.1\r\n" + host + b"Transfer-Encoding: x\r\n\r\n"],
        [b"POST / HTTP/1.1\r\n" + host + f"Cookie: {server.cookie}\r\n".encode()
         + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"],
        [b"GET / HTTP/1.1\r\n" + host + b"a b: c\r\n\r\n"],
        [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"],
    ):  # fmt: skip
        assert server.raw(*parts)[0] in (0, 400, 401, 403, 405, 413, 501), parts


def test_a_head_without_end_takes_no_memory(server):
    before = server.memory()
    for begin in (b"GET / HTTP/1.1\r\nX: ", b"GET /?", b""):
        status, _ = server.raw(begin, *[b"x" * (1 << 20)] * 60)
        assert status in (0, 400, 431)
    many = b"".join(b"X%d: x\r\n" % i for i in range(MAX_HEAD // 4))
    assert server.raw(b"GET / HTTP/1.1\r\n" + many + b"\r\n")[0] in (0, 400, 431)
    assert server.memory() < before + 30


def test_a_body_without_end_takes_no_memory(server):
    log, before = server.log(), server.memory()
    head = f"POST /masks/{IDS[3]} HTTP/1.1\r\nHost: {server.host}\r\nConnection: close\r\n"
    chunk = b"100000\r\n" + b"0" * (1 << 20) + b"\r\n"
    for cookie in ("", f"Cookie: {server.cookie}\r\n"):
        long = server.raw(f"{head}{cookie}Content-Length: 100000000\r\n\r\n".encode(), *[b"0" * (1 << 20)] * 60)[0]
        unsaid = server.raw(f"{head}{cookie}Transfer-Encoding: chunked\r\n\r\n".encode(), *[chunk] * 60)[0]
        assert {long, unsaid} <= ({0, 413} if cookie else {0, 401})
    assert server.memory() < before + 60 and server.log() == log


def test_a_message_without_end_ends_the_web_socket(server):
    with server.connect() as client:
        headers = {"Host": server.host, "Cookie": server.cookie, "Origin": f"http://{server.host}", **UPGRADE}
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        client.sendall(f"GET /_nicegui_ws/socket.io/?EIO=4&transport=websocket HTTP/1.1\r\n{lines}\r\n".encode())
        assert read_answer(client)[0] == 101
        before = server.memory()
        try:
            client.sendall(b"\x81\xff" + (1 << 30).to_bytes(8, "big") + bytes(4))  # a text of 1 GiB
            for _ in range(60):
                client.sendall(b"x" * (1 << 20))
        except ConnectionError:
            pass
        while select.select([client], [], [], 60)[0]:
            try:
                if not client.recv(1 << 16):
                    break
            except ConnectionError:
                break
        else:
            pytest.fail("the web socket was not closed")
        assert server.memory() < before + 30


def test_a_client_that_leaves_is_no_error(server):
    log = server.log()
    for path in (f"/masks/{IDS[3]}", POLLING):
        for part in (b"", b'{"name": "dog", "cou'):
            with server.connect() as client:
                head = (
                    f"POST {path} HTTP/1.1\r\nHost: {server.host}\r\nCookie: {server.cookie}\r\nContent-Length: 99\r\n"
                )
                client.sendall(head.encode() + b"\r\n" + part)
    assert server.ask()[0] == 200 and server.log() == log and "Traceback" not in server.errors.read_text()


def test_a_second_server_of_the_queue_is_refused(server, run_cli):
    code, out, errors = run_cli(*server.options)  # this is another process
    assert code == 1 and out == ""
    assert " ".join(errors.split()) == (
        f"error: {server.queue} is open in another `owseg review`; go on in its page, or stop it first."
    )


def half_requests(server):
    """Connections without end that each sent a part of a request, or nothing."""
    head = f"POST /masks/{IDS[3]} HTTP/1.1\r\nHost: {server.host}\r\nContent-Length: 9\r\n"
    head += f"Cookie: {server.cookie}\r\n\r\n"
    for begin in cycle((b"", b"G", b"GET / HTTP/1.1\r\nX: ", head.encode() + b"x")):
        client = server.connect()
        client.sendall(begin)
        yield client


def test_connections_are_not_too_many(server):
    with ExitStack() as stack:
        clients = [stack.enter_context(client) for client in islice(half_requests(server), MAX_CONNECTIONS + 50)]
        # The system has taken them all; the server has once it closed those above the limit.
        closed = 0
        while closed < 50:
            ready = select.select(clients, [], [], 60)[0]
            assert ready, "connections above the limit are kept"
            closed += len(ready)
            clients = [client for client in clients if client not in ready]
        assert len(list(Path(f"/proc/{server.process.pid}/fd").iterdir())) < MAX_CONNECTIONS + 100
