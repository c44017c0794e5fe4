"""Folders that cannot be synced, or not any more: what is stored then, and what is said."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from owseg.knowledge.commit import commit_version, rollback_version
from owseg.knowledge.versions import read_version
from tests.support.versions import FILES, says


def fail_for_folders(monkeypatch: pytest.MonkeyPatch, code: int, after: int = 0) -> None:
    """Let fsync fail for folders, from the ``after``-th call on."""
    real, calls = os.fsync, 0

    def fail(descriptor: int) -> None:
        nonlocal calls
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            calls += 1
            if calls > after:
                raise OSError(code, os.strerror(code))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fail)


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP, errno.EBADF])
def test_a_file_system_that_syncs_no_folders_will_do(place: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    fail_for_folders(monkeypatch, code)
    assert commit_version(place, FILES) == 4 == read_version(place)[0]
    assert rollback_version(place) == 3 == read_version(place)[0]


def test_what_is_stored_but_may_not_be_on_the_disk_is_said(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        fail_for_folders(patch, errno.EIO, after=2)  # the version's folder, and that of all before CURRENT is replaced
        says(lambda: commit_version(place, FILES), f"{place} is at version 4 now, but may be", "power cut", "check the")
    assert read_version(place)[0] == 4
    with monkeypatch.context() as patch:
        fail_for_folders(patch, errno.EIO, after=1)
        says(lambda: rollback_version(place), f"{place} is at version 3 now, but may be")
    assert read_version(place)[0] == 3 and not list(place.glob(".tmp-*"))
