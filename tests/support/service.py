"""``owseg serve``: its application in this process, and as a process of its own."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image
from starlette.testclient import TestClient

from owseg.cli import main
from owseg.knowledge.load import load
from owseg.serve.app import application
from owseg.serve.model import Current, pointer_of, served
from owseg.serve.service import Service
from owseg.serve.settings import Limits
from tests.support import tiny

LOCAL = "http://127.0.0.1:8000"


def file_of(image: np.ndarray, kind: str = "PNG") -> bytes:
    """The bytes of a file of an image (3, H, W)."""
    file = io.BytesIO()
    Image.fromarray(image.transpose(1, 2, 0)).save(file, kind)
    return file.getvalue()


def photo(seed: int = 0, size: tuple[int, int] = (48, 64)) -> bytes:
    """The bytes of a small PNG."""
    return file_of(tiny.image(seed, size))


def service_of(place: Path, **limits: Any) -> Service:
    """The service of a stored knowledge base."""
    return Service(Current(lambda: served(load(place), "kb"), pointer_of(str(place))), Limits(**limits))


@contextmanager
def client_of(
    service: Service, token: str | None = None, local: bool = True, base: str = LOCAL
) -> Iterator[TestClient]:
    """A client of the service in this process, which begins and ends with it."""
    app = application(service, token, local)
    with TestClient(app, base_url=base, raise_server_exceptions=False) as client:
        yield client


class Process:
    """``owseg serve`` as a process; ``url`` is its address, ``errors`` what it wrote to standard error.

    It is a fork of this process, which has imported all that it needs; with ``fresh`` it is a new one.
    """

    def __init__(self, place: Path, *options: str, folder: Path, fresh: bool = False) -> None:
        self.errors = folder / "errors"
        arguments = ["serve", str(place), "--port", "0", *options]
        out, end = os.pipe()
        with self.errors.open("ab") as errors:
            if fresh:
                self.pid = subprocess.Popen(
                    [sys.executable, "-c", "from owseg.cli import main; main()", *arguments],
                    stdout=end, stderr=errors, env={**os.environ, "OMP_NUM_THREADS": "1"},
                ).pid  # fmt: skip
            else:
                self.pid = os.fork()
                if self.pid == 0:
                    os.close(out)
                    _run(arguments, end, errors.fileno())
        os.close(end)
        self.out = os.fdopen(out)
        line = self.out.readline()
        assert line.startswith("Serving"), line + self.errors.read_text()
        self.url = line.split()[-1].rstrip("/")
        self.port = int(self.url.rpartition(":")[2].partition("/")[0])

    def client(self, **options: Any) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=60, **options)

    def memory(self) -> float:
        """The resident memory of the process, in MiB."""
        return int(Path(f"/proc/{self.pid}/status").read_text().partition("VmRSS:")[2].split()[0]) / 1024

    def end(self, how: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
        """Send it a signal, and return its exit code and what it printed."""
        os.kill(self.pid, how)
        with self.out:
            printed = self.out.read()
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1]), printed


def _run(arguments: list[str], out: int, errors: int) -> None:
    """Run the command in a process that was forked, and end it."""
    code = 1
    try:
        sys.argv = ["owseg", *arguments]
        sys.stdout, sys.stderr = os.fdopen(out, "w"), os.fdopen(os.dup(errors), "w")
        main()
        code = 0
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


@contextmanager
def serving(place: Path, *options: str, folder: Path, fresh: bool = False) -> Iterator[Process]:
    """``owseg serve`` at a free port; at the end it must still live, end well, and have met no error."""
    process = Process(place, *options, folder=folder, fresh=fresh)
    try:
        yield process
        with process.client() as client:
            assert client.get("/healthz").status_code == 200
    except BaseException:
        process.end(signal.SIGKILL)
        raise
    assert process.end()[0] == 0
    assert "Traceback" not in process.errors.read_text()
