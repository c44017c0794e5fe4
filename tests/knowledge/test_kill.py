"""A writer may be killed or fail at any moment: what it returned is stored, and what is stored is whole."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import random
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from owseg.errors import OwsegError
from owseg.knowledge.commit import commit_version, rollback_version
from owseg.knowledge.versions import read_version, version_history, version_numbers
from tests.support.killing import in_child, kill_repeatedly

TOUCHING = {"open", "os.mkdir", "os.rename", "os.link", "os.remove", "os.rmdir", "shutil.rmtree"}
WEIGHTS = random.Random(0).randbytes(1 << 18)


def some_files(token: int) -> dict[str, bytes]:
    """Files that prove they belong together: knowledge.json holds the digest of delta.bin."""
    delta = random.Random(token).randbytes(1 << 16)
    knowledge = json.dumps({"token": token, "delta": hashlib.sha256(delta).hexdigest()}).encode()
    return {"weights.bin": WEIGHTS, "delta.bin": delta, "knowledge.json": knowledge}


def assert_whole(kb: Path, version: int | None = None) -> int:
    number, folder = read_version(kb, version)
    knowledge = json.loads((folder / "knowledge.json").read_bytes())
    assert hashlib.sha256((folder / "delta.bin").read_bytes()).hexdigest() == knowledge["delta"]
    assert (folder / "weights.bin").read_bytes() == WEIGHTS
    return number


def leftovers(kb: Path) -> list[str]:
    return sorted(path.name for path in kb.glob(".tmp*"))


def test_kills_at_random_moments_lose_nothing_that_was_announced(tmp_path: Path) -> None:
    kb = tmp_path / "kb"
    commit_version(kb, some_files(0))
    checked, torn = {1}, 0

    def check(announced: int) -> None:
        nonlocal torn
        torn += bool(leftovers(kb))
        assert assert_whole(kb) >= announced
        for number in set(version_numbers(kb)) - checked:
            checked.add(assert_whole(kb, number))

    given = kill_repeatedly(lambda: commit_version(kb, some_files(os.getpid())), check, times=40)

    assert len(given) == 40 and given == sorted(given)
    assert torn > 4, "the kills must hit commits in the middle"
    assert given[-1] > 4, "and let others finish"
    after = commit_version(kb, some_files(1))
    assert after == max(version_numbers(kb)) == assert_whole(kb) and not leftovers(kb)


def at_touch(number: int, action: Callable[[], object]) -> None:
    """Do ``action`` just before this process touches the file system for the ``number``-th time from now."""
    count = 0

    def hook(event: str, _: object) -> None:
        nonlocal count
        if event in TOUCHING:
            count += 1
            if count == number:
                action()

    sys.addaudithook(hook)  # cannot be taken away again: only for a process that ends soon


def kill_self() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_kill_before_every_single_step_leaves_the_old_or_the_new_version(tmp_path: Path) -> None:
    ends = []
    for n in range(1, 100):
        kb = tmp_path / str(n)
        commit_version(kb, some_files(1))

        def work(kb: Path = kb, n: int = n) -> None:
            files = some_files(2)
            at_touch(n, kill_self)
            commit_version(kb, files)

        status = in_child(work)
        ends.append(assert_whole(kb))
        for number in version_numbers(kb):
            assert_whole(kb, number)
        if status == 0:
            break
        assert status == -signal.SIGKILL
        commit_version(kb, some_files(3))
        assert not leftovers(kb)
        assert [v.parent for v in version_history(kb)][-1] == ends[-1]
    assert len(ends) > 10 and ends == sorted(ends) and ends[-1] == 2  # the switch happens once, at one moment


def test_a_kill_before_every_single_step_of_the_first_commit(tmp_path: Path) -> None:
    for n in range(1, 100):
        kb = tmp_path / str(n)

        def work(kb: Path = kb, n: int = n) -> None:
            at_touch(n, kill_self)
            commit_version(kb, some_files(2))

        if in_child(work) == 0:
            break
        commit_version(kb, some_files(3))
        assert not leftovers(kb)
        assert all(assert_whole(kb, number) for number in version_numbers(kb))
    assert 8 < n < 99


def test_a_kill_before_every_single_step_of_a_rollback(tmp_path: Path) -> None:
    kb = tmp_path / "kb"
    commit_version(kb, some_files(1))
    commit_version(kb, some_files(2))
    ends = []
    for n in range(1, 100):
        rollback_version(kb, 2)

        def work(n: int = n) -> None:
            at_touch(n, kill_self)
            rollback_version(kb)

        status = in_child(work)
        ends.append(assert_whole(kb))
        if status == 0:
            break
    assert len(ends) > 5 and ends == sorted(ends, reverse=True) and ends[-1] == 1


def interrupt() -> None:
    raise KeyboardInterrupt


def fill_disk() -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
    ("action", "error", "words"),
    [
        (interrupt, KeyboardInterrupt, ""),
        (fill_disk, OwsegError, "the disk is full"),
    ],
)
def test_a_failure_at_every_single_step_leaves_nothing_half_written(
    tmp_path: Path, action: Callable[[], object], error: type[BaseException], words: str
) -> None:
    failures = 0
    for n in range(1, 100):
        kb = tmp_path / str(n)
        commit_version(kb, some_files(1))

        def work(kb: Path = kb, n: int = n) -> None:
            files = some_files(2)
            reached = False

            def act() -> None:
                nonlocal reached
                reached = True
                action()

            at_touch(n, act)
            try:
                commit_version(kb, files)
            except error as caught:
                assert words in str(caught) or "after a power cut" in str(caught)  # stored, but not surely on the disk
                os._exit(3)
            os._exit(0 if not reached else 4)  # 4: it got over it, as when a hard link cannot be made

        status = in_child(work)
        assert status in (0, 3, 4)
        failures += status == 3
        assert not leftovers(kb)
        now = assert_whole(kb)
        assert version_numbers(kb) == list(range(1, now + 1))  # the new one is there and current, or not there
        if status == 4:
            assert now == 2
        if status == 0:
            break
    assert failures > 8 and n < 99
