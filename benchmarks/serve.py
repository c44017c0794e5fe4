"""What `owseg serve` withstands: many clients, a kill, hostile requests; and what HTTP costs beside the engine.

    python -m benchmarks.serve [--kb street] [--images FOLDER] [--clients 32] [--seconds 60] [--hostile 100]

The service runs in a process of its own, at a free port, with a token. First ``clients`` threads send images for
``seconds``, each the next one as soon as the last is answered; before and after that, the same images go through the
engine alone, in this process: decoded, run, decided (``KnowledgeBase.predict``), and once more with their regions,
which the service finds, too. Throughput is given as a ratio to both; a request that is lost, or answered in another way
than alone, is an error. Then the service is killed by SIGKILL under load and started again at its port. At last hostile
requests are sent: each has to be refused in one sentence, and the memory has to stay as it was.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import secrets
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.hostile import requests_of, send
from owseg.data.datasets import open_dataset
from owseg.data.given import Given
from owseg.data.images import find_images
from owseg.data.render import encode_jpeg
from owseg.knowledge.base import KnowledgeBase
from owseg.knowledge.load import load
from owseg.models.over_images import over_images
from owseg.types import Output, Sample

SLOW = 2.0
"""Seconds that a client has to send a request, so that slow ones need not be waited for long."""


class Server:
    """``owseg serve`` in a process of its own."""

    def __init__(self, kb: str, port: int = 0, token: str = "") -> None:
        self.token = token or secrets.token_urlsafe(16)
        command = [sys.executable, "-m", "owseg", "serve", kb, "--port", str(port), "--timeout", str(SLOW)]
        began = time.perf_counter()
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env={**os.environ, "OWSEG_TOKEN": self.token}
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line.startswith("Serving"):
            raise SystemExit("the service did not start")
        self.port = int(re.findall(r":(\d+)/", line)[0])
        self.seconds = time.perf_counter() - began

    def memory(self) -> float:
        """The resident memory in MiB; NaN where the system does not say."""
        status = Path(f"/proc/{self.process.pid}/status")
        found = re.search(r"VmRSS:\s+(\d+)", status.read_text()) if status.exists() else None
        return int(found[1]) / 1024 if found else float("nan")

    def ask(self, path: str) -> tuple[int, bytes]:
        return Client(self).ask("GET", path, b"")

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(how)
        return self.process.wait(120)


class Client:
    """A connection that is kept."""

    def __init__(self, server: Server) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
        self.headers = {"Authorization": f"Bearer {server.token}", "Content-Type": "image/jpeg"}

    def ask(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        self.connection.request(method, path, body, self.headers)
        found = self.connection.getresponse()
        return found.status, found.read()


def alike(body: bytes, other: bytes) -> bool:
    """Return whether two answers say the same; with another number of threads their last digits differ."""
    if body == other:
        return True
    one, two = json.loads(body), json.loads(other)
    near = all(abs(one["classes"].get(name, 0) - share) < 0.01 for name, share in two["classes"].items())
    return near and (one["size"], one["version"]) == (two["size"], two["version"])


@dataclass
class Load:
    """What came of many requests: seconds of each that was answered, and what went wrong."""

    expected: Sequence[bytes]
    seconds: list[float] = field(default_factory=list)
    wrong: Counter[str] = field(default_factory=Counter)

    def run(self, server: Server, images: Sequence[bytes], until: Callable[[], bool], number: int) -> None:
        """Send one image after another."""
        client, i = Client(server), number
        while not until():
            began = time.perf_counter()
            try:
                status, body = client.ask("POST", "/v1/predict", images[i % len(images)])
            except (OSError, http.client.HTTPException) as error:
                self.wrong[type(error).__name__] += 1
                return
            if status != 200:
                self.wrong[f"status {status}"] += 1
            elif not alike(body, self.expected[i % len(images)]):
                self.wrong["another answer"] += 1
            else:
                self.seconds.append(time.perf_counter() - began)
            i += 1


def under_load(
    server: Server, images: Sequence[bytes], expected: Sequence[bytes], clients: int, seconds: float
) -> tuple[Load, float]:
    """Return what came of the requests of ``clients`` threads, and how long they took."""
    load, began = Load(expected), time.perf_counter()
    threads = [
        threading.Thread(target=load.run, args=(server, images, lambda: time.perf_counter() > began + seconds, i))
        for i in range(clients)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return load, time.perf_counter() - began


def images_per_second(kb: KnowledgeBase, images: Sequence[bytes], regions: bool, seconds: float) -> float:
    """Return how fast the engine alone is, for at least so many seconds."""

    def decide(sample: Sample, output: Output) -> None:
        prediction = kb.decide(sample, output)
        if regions:
            _ = prediction.regions

    count, began = 0, time.perf_counter()
    while (spent := time.perf_counter() - began) < seconds or not count:
        count += len([*over_images(kb.engine(), Given([*images, *images]), decide)])
        spent = time.perf_counter() - began
    return count / spent


def throughput(server: Server, kb: KnowledgeBase, images: Sequence[bytes], clients: int, seconds: float) -> bool:
    """Print latency and throughput; return whether nothing was lost."""
    client = Client(server)
    alone = [client.ask("POST", "/v1/predict", image) for image in images]
    if any(status != 200 for status, _ in alone):
        raise SystemExit(f"an image was refused: {alone[0][1][:200]!r}")
    expected = [body for _, body in alone]
    bare = {regions: [images_per_second(kb, images, regions, seconds / 8)] for regions in (False, True)}
    before = server.memory()
    load, spent = under_load(server, images, expected, clients, seconds)
    after = server.memory()
    for regions, found in bare.items():
        found.append(images_per_second(kb, images, regions, seconds / 8))
    if not load.seconds:
        raise SystemExit(f"no request was answered: {dict(load.wrong)}")
    speed, times = len(load.seconds) / spent, sorted(load.seconds)
    p50, p99 = (times[min(len(times) - 1, int(q * len(times)))] for q in (0.5, 0.99))
    engine, whole = (statistics.mean(bare[regions]) for regions in (False, True))
    print(
        f"{clients} clients, {spent:.0f} s: {len(times)} answers, wrong or lost {load.wrong.total()} {dict(load.wrong)}"
    )
    print(f"latency p50 {1000 * p50:.0f} ms, p99 {1000 * p99:.0f} ms; memory {before:.0f} -> {after:.0f} MiB")
    print(f"{speed:.2f} images/s; engine alone {engine:.2f}, ratio {speed / engine:.2f}; "
          f"with regions {whole:.2f}, ratio {speed / whole:.2f}")  # fmt: skip
    return not load.wrong


def killed(server: Server, kb: str, images: Sequence[bytes]) -> tuple[Server, bool]:
    """Kill the service under load, start it again, and return it, and whether it answers as before."""
    expected = Client(server).ask("POST", "/v1/predict", images[0])
    timer = threading.Timer(1.0, server.stop, (signal.SIGKILL,))
    timer.start()
    load, _ = under_load(server, images[:1], [expected[1]], 4, 5.0)
    timer.join()
    again = Server(kb, server.port, server.token)
    same = alike(Client(again).ask("POST", "/v1/predict", images[0])[1], expected[1])
    print(f"kill -9 under load, {len(load.seconds)} answers before; serving again after {again.seconds:.1f} s, "
          f"{'the same answer' if same else 'ANOTHER ANSWER'}")  # fmt: skip
    return again, same


def attacked(server: Server, image: bytes, count: int) -> bool:
    """Send hostile requests, and return whether each got one sentence, and the service lives as before."""
    hostile = requests_of(server.token, image)
    for one in hostile:  # once before: what is imported or cached is no growth
        send(server.port, one)
    before, statuses, bad = server.memory(), Counter[int](), list[str]()
    for i in range(count):
        one = hostile[i % len(hostile)]
        status, body = send(server.port, one)
        statuses[status] += 1
        try:
            said = json.loads(body)["error"]
        except (ValueError, KeyError, TypeError):
            said = ""
        if not 400 <= status < 500 or not said.endswith(".") or "Traceback" in said:
            bad.append(f"{one.name}: {status} {body[:80]!r}")
    growth = server.memory() - before
    lives = server.ask("/healthz")[0] == server.ask("/readyz")[0] == 200
    well = Client(server).ask("POST", "/v1/predict", image)[0] == 200
    state = "lives" if lives and well else "IS ILL"
    print(f"{count} hostile requests of {len(hostile)} kinds: by status {dict(sorted(statuses.items()))}")
    print(f"without a sentence {len(bad)}; memory {growth:+.0f} MiB; the service {state}")
    for line in bad:
        print(f"  {line}")
    return lives and well and not bad


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kb", default="street")
    parser.add_argument("--images", type=Path, help="a folder; by default scenes that are drawn")
    parser.add_argument("--count", type=int, default=16, help="images, sent again and again")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--hostile", type=int, default=100)
    parser.add_argument("--no-kill", action="store_true")
    options = parser.parse_args(arguments)
    if options.images:
        images = [path.read_bytes() for path in find_images(options.images)[: options.count]]
    else:
        scenes = open_dataset("synthetic", "test").source
        images = [encode_jpeg(scenes.read(i)[0].transpose(1, 2, 0)) for i in range(options.count)]
    server = Server(options.kb)
    print(f"{options.kb}: serving after {server.seconds:.1f} s")
    try:
        good = throughput(server, load(options.kb), images, options.clients, options.seconds)
        if not options.no_kill:
            server, same = killed(server, options.kb, images)
            good &= same
        good &= attacked(server, images[0], options.hostile)
        code = server.stop()
        print(f"SIGTERM: exit code {code}")
    finally:
        server.process.kill()
    if not good or code:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
