"""``owseg review`` as a process, and requests to it of any bytes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

from owseg.discovery.log import Action
from owseg.discovery.queue import Queue
from tests.support.queues import make

START = "import owseg.serve.limits as limits; limits.MAX_SECONDS = 600.0; from owseg.cli import main; main()"
"""With so much time that it is not what ends a connection."""


class Server:
    """``owseg review`` of a small queue."""

    def __init__(self, place: Path, kb: Path):
        self.queue, self.errors = place / "queue", place / "errors"
        self.options = ["review", str(kb), str(self.queue), "--out", str(place / "kb"), "--no-browser", "--port", "0"]
        with self.errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-c", START, *self.options], stdout=subprocess.PIPE, stderr=errors, text=True,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )  # fmt: skip
        url = self.process.stdout.readline().split()[-1]
        self.host, _, self.token = url.removeprefix("http://").partition("/?token=")
        self.port = int(self.host.rpartition(":")[2])
        self.cookie = f"owseg_{self.port}={self.token}"

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=60)

    def raw(self, *parts: bytes) -> tuple[int, bytes]:
        """Send bytes as they are; return the status of the answer and all of it, 0 where there is none."""
        with self.connect() as client:
            try:
                for part in parts:
                    client.sendall(part)
                return read_answer(client)
            except ConnectionError:
                return read_answer(client)

    def ask(self, path: str = "/", method: str = "GET", body: bytes = b"", **headers: str | None) -> tuple[int, bytes]:
        """Send a request, by default with the token and of no page; a header that is None is left out."""
        given = {"Host": self.host, "Cookie": self.cookie, "Connection": "close", "Content-Length": str(len(body))}
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        lines = [
            f"{method} {path} HTTP/1.1",
            *(f"{name}: {value}" for name, value in given.items() if value is not None),
        ]
        return self.raw("\r\n".join((*lines, "", "")).encode() + body)

    def memory(self) -> float:
        """The resident memory of the process, in MiB."""
        return int(Path(f"/proc/{self.process.pid}/status").read_text().partition("VmRSS:")[2].split()[0]) / 1024

    def log(self) -> list[Action]:
        """The actions that the queue holds."""
        return Queue.open(self.queue).actions()

    def stop(self) -> str:
        """End it by Ctrl-C, and return what it printed."""
        self.process.send_signal(signal.SIGINT)
        return self.process.communicate(timeout=60)[0]


def read_answer(client: socket.socket) -> tuple[int, bytes]:
    """Return the status of an answer and all of it; 0 where there is none."""
    found = b""
    try:
        while part := client.recv(1 << 16):
            found += part
            if found.startswith(b"HTTP/1.1 101"):
                break
    except ConnectionError:
        pass
    return (int(found.split()[1]) if found.startswith(b"HTTP/1.1 ") else 0), found


@contextmanager
def serving(place: Path, kb: Path) -> Iterator[Server]:
    """A server that at the end still has to answer, and to have met no error."""
    make(place)
    server = Server(place, kb)
    try:
        yield server
        soon = monotonic() + 10  # it may not have noticed yet that the last test closed hundreds of connections
        while server.ask()[0] != 200:
            assert monotonic() < soon, "it answers no more"
    finally:
        server.stop()
    assert server.process.returncode == 0 and "Traceback" not in server.errors.read_text()
