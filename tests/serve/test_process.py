"""``owseg serve`` as it runs, in a process of its own: tokens, hostile bytes, reloads, and how it ends."""

import os
import re
import signal
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

pytest.importorskip("prometheus_client", reason="pip install 'owseg[serve]'")
from owseg.cli.serve import serve as command
from owseg.errors import OwsegError
from owseg.serve.limits import MAX_CONNECTIONS, MAX_HEAD
from owseg.serve.run import serve
from tests.support.review_server import read_answer
from tests.support.service import Process, photo, serving

PNG = {"content-type": "image/png"}
HEAD = b"POST /v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/png\r\n"


@pytest.fixture(scope="module")
def place(light_kb, tmp_path_factory):
    light_kb.save(place := tmp_path_factory.mktemp("served") / "kb")
    return place


@pytest.fixture(scope="module")
def server(place, tmp_path_factory):
    options = ("--timeout", "1", "--max-bytes", "1", "--max-pixels", "0.1", "--max-queue", "4")
    with serving(place, *options, folder=tmp_path_factory.mktemp("log"), fresh=True) as server:
        yield server


def raw(server, *parts):
    """Send bytes as they are; the status of the answer and its body."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as client:
        try:
            for part in parts:
                client.sendall(part)
        except ConnectionError:
            pass
        status, found = read_answer(client)
    return status, found.partition(b"\r\n\r\n")[2]


def test_a_request_that_does_not_arrive_in_time_is_answered_so(server):
    late = ([b"POST /v1/pre"], [HEAD + b"Content-Length: 100\r\n\r\n", b"x"],
            [HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nxx"])  # fmt: skip
    with ThreadPoolExecutor(4) as pool:  # all of them wait at once
        nothing, *answers = pool.map(lambda parts: raw(server, *parts), ([], *late))
    for status, body in answers:
        assert status == 408 and b'{"error": "the request did not arrive within 1 seconds' in body
    assert nothing == (0, b"")
    with server.client() as client:
        assert 'owseg_requests_total{path="other",status="408"} 3.0' in client.get("/metrics").text


def test_what_is_no_request_is_answered_so(server):
    chunked = HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"
    for parts in ([b"\x00" * 1000, b"\r\n\r\n"], [b"GET\r\n\r\n"], [HEAD + b"Content-Length: -1\r\n\r\n"], [chunked]):
        status, body = raw(server, *parts)
        assert status in (400, 501) and body == b'{"error": "this is no request of HTTP/1.1; send one."}', parts
    status, body = raw(server, HEAD + b"X: " + b"x" * (MAX_HEAD + 1000))
    assert status == 431 and b"64 KiB" in body


def test_too_long_a_body_is_answered_whatever_its_length_says(server):
    for parts in (
        [HEAD + b"Content-Length: 2000000\r\n\r\n", b"x" * 2_000_000],
        [HEAD + b"Transfer-Encoding: chunked\r\n\r\n", *[b"40000\r\n" + b"x" * 0x40000 + b"\r\n"] * 5, b"0\r\n\r\n"],
    ):
        status, body = raw(server, *parts)
        assert status == 413 and body == b'{"error": "at most 1 MB can be sent at once."}'


def test_connections_above_the_limit_are_answered_so(server):
    with ThreadPoolExecutor(1) as pool:
        clients = [socket.create_connection(("127.0.0.1", server.port), timeout=60) for _ in range(MAX_CONNECTIONS + 5)]
        status, body = pool.submit(read_answer, clients[-1]).result(60)
        for client in clients:
            client.close()
    assert status == 503 and b"connections are open" in body


def test_clients_that_leave_are_no_error_and_take_no_place(server):
    body = photo()
    for _ in range(8):
        with socket.create_connection(("127.0.0.1", server.port), timeout=60) as client:
            client.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        with socket.create_connection(("127.0.0.1", server.port), timeout=60) as client:
            client.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body[:50])
    with server.client() as client:
        end = time.monotonic() + 30
        while (found := client.post("/v1/predict", content=body, headers=PNG)).status_code == 429:
            assert time.monotonic() < end
        assert found.status_code == 200 and client.get("/readyz").status_code == 200


def received(metrics):
    """How many images wait, or were taken."""
    return sum(float(value) for value in re.findall(r"^owseg_(?:queue_images|batch_images_sum) (.*)$", metrics, re.M))


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_once_all_is_answered(place, tmp_path, how):
    process, found, lock = Process(place, folder=tmp_path), [], threading.Lock()

    def ask(i):
        with process.client() as client:
            answer = client.post("/v1/predict", content=photo(i, (240, 320)), headers=PNG)
            with lock:
                found.append(answer.status_code)

    with ThreadPoolExecutor(12) as pool:
        asked = [pool.submit(ask, i) for i in range(12)]
        with process.client() as client:
            while received(client.get("/metrics").text) < 12:
                time.sleep(0.001)
        answered = len(found)
        code, out = process.end(how)
        for one in asked:
            one.result(60)
    assert code == 0 and out.endswith("Stopped; what was begun is answered.\n")
    assert answered < 12 and found == [200] * 12, "none was under way, or one was lost"
    assert "Traceback" not in process.errors.read_text()


def test_a_kill_leaves_nothing_behind(place, tmp_path):
    first = Process(place, folder=tmp_path)
    assert first.end(signal.SIGKILL)[0] == -signal.SIGKILL
    with serving(place, "--port", str(first.port), folder=tmp_path) as again, again.client() as client:
        assert again.port == first.port
        assert client.post("/v1/predict", content=photo(), headers=PNG).status_code == 200


def test_elsewhere_than_on_loopback_a_token_is_made_and_printed_once(place, tmp_path, monkeypatch):
    monkeypatch.delenv("OWSEG_TOKEN", raising=False)
    made = Process(place, "--host", "0.0.0.0", folder=tmp_path)
    url, _, token = made.url.partition("/?token=")
    assert len(token) >= 32
    made.url = url.replace("0.0.0.0", "127.0.0.1")
    with made.client() as client:
        assert client.get("/v1/model").status_code == 401 and client.get("/healthz").status_code == 200
        assert client.get("/v1/model", headers={"authorization": f"Bearer {token}"}).json()["name"] == str(place)
    code, out = made.end()
    assert code == 0 and f"Authorization: Bearer {token}" in out and "not encrypted" in out
    monkeypatch.setenv("OWSEG_TOKEN", "from-the-environment")
    given = Process(place, folder=tmp_path)
    assert "token" not in given.url
    with given.client() as client:
        assert client.get("/v1/model").status_code == 401  # a token that is given counts on loopback, too
        found = client.get("/v1/model", headers={"authorization": "Bearer from-the-environment", "host": "proxy.lan"})
        assert found.status_code == 200
    code, out = given.end()
    assert code == 0 and "from-the-environment" not in out


def test_without_the_extra_a_sentence_says_what_to_install(monkeypatch):
    for name in ("fastapi", "uvicorn", "prometheus_client", "python_multipart"):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, name, None)
            with pytest.raises(OwsegError, match=rf"serving needs {name}; .*pip install 'owseg\[serve\]'"):
                serve("synthetic")
            with pytest.raises(OwsegError, match="pip install"):
                command("synthetic")


def test_what_cannot_be_served_ends_in_a_sentence(place):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(OwsegError, match="another --port"):
            serve(str(place), port=taken.getsockname()[1])
    with pytest.raises(OwsegError, match="empty token"):
        serve(str(place), port=0, token="")
    with pytest.raises(OwsegError, match="does not exist"):
        serve(os.fspath(place / "none"), port=0)
