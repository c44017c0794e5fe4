"""A storm: writers at once on one knowledge base and one queue, kills at random, disks that are full at random.

    python -m tools.storm --seconds 600 --seed 0

Each writer announces what it was promised as soon as it is. In the end all of that has to be there: every announced
version whole, made from the version that was current, every rollback in effect until the next version, every decision
in the log; and nothing that killed writers left. Prints what was done; exits with 1 where a promise was broken.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import select
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from owseg.data.dataset import DataSet
from owseg.discovery.queue import Queue
from owseg.errors import NotCurrent, OwsegError
from owseg.knowledge.calibration import calibrate
from owseg.knowledge.commit import rollback_version
from owseg.knowledge.lineage import KNOWLEDGE_FILE
from owseg.knowledge.load import load
from owseg.knowledge.versions import current_version, read_version, version_history, version_numbers
from owseg.learners.learn import learn
from owseg.learners.npm import NPM
from tests.support import queues, shots, tiny

WRITERS = ("learn", "learn", "learn", "calibrate", "calibrate", "rollback", "decide", "decide")
FULL = 0.2
"""The share of actions during which the disk is full."""

MOST_LEARNED = 4
"""How many classes are learned before the knowledge base goes back to the first version: more take longer."""

Announce = Callable[..., None]


@dataclass
class Writer:
    """One process that repeats an action; what it announced stays when it was killed and started anew."""

    name: str
    number: int
    place: Path
    started: int = 0
    pid: int = 0
    pipe: int = -1
    text: bytes = b""
    announced: list[dict[str, Any]] = field(default_factory=list)

    def start(self, seed: int, times: int | None = None) -> None:
        """Fork a process that repeats the action until it is killed, or ``times`` times without a full disk."""
        self.started += 1
        self.pipe, end = os.pipe()
        self.pid = os.fork()
        if self.pid:
            os.close(end)
            return
        rng = random.Random(f"{seed} {self.number} {self.started}")

        def announce(**what: Any) -> None:
            # A line is shorter than what a pipe takes in one piece, so a kill leaves no half of it.
            os.write(end, json.dumps(what).encode() + b"\n")

        try:
            done = 0
            while times is None or done < times:
                done += 1
                repeat(self, rng, announce, f"{self.number}-{self.started}-{done}", FULL if times is None else 0.0)
        except BaseException:
            announce(did="crash", text=traceback.format_exc()[-1500:])
        finally:
            os._exit(0)

    def listen(self) -> None:
        """Take in what was announced."""
        while select.select([self.pipe], [], [], 0)[0] and (chunk := os.read(self.pipe, 65536)):
            self.text += chunk
        *lines, self.text = self.text.split(b"\n")
        self.announced += map(json.loads, lines)

    def end(self, kill: bool = True) -> None:
        """Kill the process, or wait for its end, and take in the rest."""
        if kill:
            os.kill(self.pid, signal.SIGKILL)
        while chunk := os.read(self.pipe, 65536):
            self.text += chunk
        os.waitpid(self.pid, 0)
        self.listen()
        os.close(self.pipe)


def repeat(writer: Writer, rng: random.Random, announce: Announce, token: str, full: float) -> None:
    """Do one action of ``writer``, at random on a full disk; ``token`` is used once."""
    try:
        with disk_full(rng.randrange(200_000)) if rng.random() < full else nullcontext():
            ACTIONS[writer.name](writer.place, rng, announce, token)
    except NotCurrent:
        announce(did="overtaken")
    except OwsegError as error:
        announce(did="refused", text=str(error)[:300])


@contextmanager
def disk_full(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond ``size`` bytes: a write stops in its middle, as where a disk is full."""
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, most))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))


def learns(place: Path, rng: random.Random, announce: Announce, token: str) -> None:
    """Learn a class on the newest version."""
    kb = load(place / "kb")
    if len(kb.learned_classes) >= MOST_LEARNED:
        return rolls_back(place, rng, announce, token, 1)
    kb = learn(kb, token, [shots.corner_shot(rng.randrange(5))], method=NPM(1.0))
    return announce(did="learn", version=kb.save(place / "kb"), event=kb.history[-1].message)


def calibrates(place: Path, rng: random.Random, announce: Announce, token: str) -> None:
    """Find the threshold of the newest version on two images."""
    kb = load(place / "kb")
    kb = calibrate(kb, DataSet(tiny.dataset(2).source, kb.labels), rng.uniform(0.05, 0.4))
    announce(did="calibrate", version=kb.save(place / "kb"), event=kb.history[-1].message)


def rolls_back(place: Path, rng: random.Random, announce: Announce, token: str, number: int | None = None) -> None:
    """Go to a version at random, or to ``number``; the numbers before and after say between which versions."""
    time.sleep(rng.uniform(0, 4) if number is None else 0)  # else nothing would ever be built on anything
    numbers = version_numbers(place / "kb")
    number = rng.choice(numbers) if number is None else number
    announce(did="try to roll back", token=token, to=number, before=numbers[-1])
    rollback_version(place / "kb", number)
    announce(did="rollback", token=token, after=version_numbers(place / "kb")[-1])


def decides(place: Path, rng: random.Random, announce: Announce, token: str) -> None:
    """Accept a region under a name of its own, reject one, undo, or write the groups anew."""
    queue, chance = Queue.open(place / "queue"), rng.random()
    time.sleep(rng.uniform(0, 0.1))
    if chance < 0.7:
        queue.accept(rng.choice(queues.IDS), token)
        announce(did="accept", token=token)
    elif chance < 0.8:
        queue.reject(rng.choice(queues.IDS))
        announce(did="reject")
    elif chance < 0.9:
        announce(did="undo" if queue.undo() else "nothing to undo")
    else:
        queue.write_groups(queue.groups())
        announce(did="write groups")


ACTIONS: dict[str, Callable[[Path, random.Random, Announce, str], None]] = {
    "learn": learns, "calibrate": calibrates, "rollback": rolls_back, "decide": decides,
}  # fmt: skip


def storm(place: Path, seconds: float, seed: int) -> tuple[Counter[str], list[str]]:
    """Let the storm pass over the empty folder ``place``; return what was done how often, and the broken promises."""
    torch.set_num_threads(1)  # a forked child of a parent with several would hang
    tiny.calibrated().save(place / "kb")
    queues.make(place)
    rng, writers = random.Random(seed), [Writer(name, i, place) for i, name in enumerate(WRITERS)]
    counts, broken, end = Counter[str](), [], time.monotonic() + seconds
    for writer in writers:
        writer.start(seed)
    while time.monotonic() < end:
        time.sleep(rng.uniform(0, 0.4))
        for writer in writers:
            writer.listen()
        writer = rng.choice(writers)
        writer.end()
        counts["kill"] += 1
        broken += check_current(place / "kb")
        writer.start(seed)
    for writer in writers:
        writer.end()
    # What comes next, on a disk with room, works and finds nothing that was left behind.
    for writer in writers:
        writer.start(seed, 1)
        writer.end(kill=False)
    announced = [what for writer in writers for what in writer.announced]
    counts.update(what["did"] for what in announced)
    broken += [what["text"] for what in announced if what["did"] == "crash"]
    broken += [*check_versions(place / "kb", announced), *check_decisions(place / "queue", announced)]
    left = [path for path in place.rglob(".*") if path.name != ".lock"]
    return counts, [*broken, *(f"{path} was left behind" for path in left)]


def check_current(kb: Path) -> list[str]:
    """Return what is wrong with the current version, at any moment."""
    try:
        read_version(kb)
    except OwsegError as error:
        return [str(error)]
    return []


def check_versions(kb: Path, announced: list[dict[str, Any]]) -> list[str]:
    """Return what is wrong with the versions: each is whole, was promised or not, and made from what was current."""
    broken, events = [], dict[int, list[str]]()
    for number in version_numbers(kb):
        try:
            text = (read_version(kb, number)[1] / KNOWLEDGE_FILE).read_text()
        except OwsegError as error:
            broken.append(str(error))
            continue
        events[number] = [json.dumps(event) for event in json.loads(text)["history"]]
    promised = {what["version"]: what["event"] for what in announced if "version" in what}
    if len(promised) < sum("version" in what for what in announced):
        broken.append("two writers were promised the same version")
    for number, message in promised.items():
        if json.loads(events.get(number, ["{}"])[-1]).get("message") != message:
            broken.append(f"version {number} was promised to hold {message!r}, and does not")
    parents = {v.number: v.parent for v in version_history(kb)}
    for number, parent in parents.items():
        theirs = events.get(parent or 0, [])
        if (parent is None) != (number == 1) or events.get(number, [])[: len(theirs)] != theirs:
            broken.append(f"version {number} was not made from version {parent}")
    return [*broken, *check_order(parents, set(promised), current_version(kb), announced)]


def check_order(
    parents: dict[int, int | None], promised: set[int], current: int, announced: list[dict[str, Any]]
) -> list[str]:
    """Return what is wrong with the order: the parent of each version is what the one before, or a rollback, left."""
    ends = {what["token"]: what["after"] for what in announced if what["did"] == "rollback"}
    newest = max(parents)
    tries = [
        (what["to"], what["before"], ends.get(what["token"], newest), what["token"] in ends)
        for what in announced if what["did"] == "try to roll back"
    ]  # fmt: skip
    broken = []
    for number in range(1, newest + 1):
        found = parents.get(number + 1, current)  # what was current when the next one was made, and in the end
        # A version whose writer was killed was promised to nobody, and may never have been current: then what it was
        # made from still is.
        possible = {number} if number in promised or number == 1 else {number, parents.get(number) or 1}
        rollbacks = [(to, done and low == high) for to, low, high, done in tries if low <= number <= high]
        possible = {to for to, _ in rollbacks} | (set() if any(done for _, done in rollbacks) else possible)
        if found not in possible:
            broken.append(f"after version {number} came something made from {found}, not from one of {possible}")
    return broken


def check_decisions(folder: Path, announced: list[dict[str, Any]]) -> list[str]:
    """Return what is wrong with the queue: it can be read, and its log has every decision that was announced."""
    try:
        queue = Queue.open(folder)
        queue.decisions(), queue.groups()
        log = queue.actions()
    except OwsegError as error:
        return [str(error)]
    names, done = {action.name for action in log}, Counter(action.do for action in log)
    counts = Counter(what["did"] for what in announced)
    lost = [what["token"] for what in announced if what["did"] == "accept" and what["token"] not in names]
    fewer = [f"{counts[do]} x {do}" for do in ("reject", "undo") if done[do] < counts[do]]
    return [f"{what} was promised, and is not in the log" for what in (*lost, *fewer)]


def main() -> int:
    """Run the storm, print what was done, and return 1 where a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        counts, broken = storm(Path(folder), args.seconds, args.seed)
    print(", ".join(f"{what} {count}" for what, count in sorted(counts.items())))
    print("\n".join(broken) or "No promise was broken.")
    return min(1, len(broken))


if __name__ == "__main__":
    sys.exit(main())
