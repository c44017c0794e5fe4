"""Writing versions: numbers, parents, links, and what a failing disk or another writer leaves."""

from __future__ import annotations

import errno
import multiprocessing
import os
from collections.abc import Callable
from functools import partial
from multiprocessing.queues import SimpleQueue
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from owseg.errors import NotCurrent
from owseg.knowledge.commit import add_version, check_place, commit_version, rollback_version, writing
from owseg.knowledge.versions import (
    current_version,
    read_version,
    version_history,
    version_numbers,
)
from tests.support.versions import FILES, contents, everything, says, spoil


def test_what_was_stored_is_read_back(tmp_path: Path) -> None:
    place = tmp_path / "deep" / "kb"
    assert commit_version(place, FILES) == 1
    assert commit_version(str(place), {"knowledge.json": b""}) == 2
    assert read_version(place) == (2, place / "0002")
    assert read_version(place, 1) == (1, place / "0001")
    assert contents(place / "0001") == FILES
    assert contents(place / "0002") == {"knowledge.json": b""}
    assert (place / "CURRENT").read_text() == "0002\n"
    assert (current_version(place), version_numbers(place)) == (2, [1, 2])


def test_a_message_is_one_line(tmp_path: Path) -> None:
    commit_version(tmp_path / "kb", FILES, " learned  «träm»\nand more ")
    assert version_history(tmp_path / "kb")[0].message == "learned «träm» and more"


@pytest.mark.parametrize("name", ["", "a/b", "../a", ".hidden", "a\nb", "a b", "version.json", "SHA256SUMS"])
def test_a_bad_file_name_is_refused_before_anything_is_written(tmp_path: Path, name: str) -> None:
    says(lambda: commit_version(tmp_path / "kb", {name: b""}), repr(name))
    assert not (tmp_path / "kb").exists()


def test_rollback_goes_back_by_parents_and_deletes_nothing(place: Path) -> None:
    before = everything(place)
    assert rollback_version(place) == current_version(place) == 2
    assert rollback_version(place) == current_version(place) == 1
    says(lambda: rollback_version(place), str(place), "version 1", "none before it")
    assert current_version(place) == 1
    assert rollback_version(place, 3) == current_version(place) == 3
    assert everything(place) == before


def test_history_is_a_tree_after_a_rollback(place: Path) -> None:
    rollback_version(place, 1)
    assert commit_version(place, FILES, "another way") == 4
    lines = version_history(place)
    assert [(v.number, v.parent, v.message) for v in lines] == [
        (1, None, "learned 1"),
        (2, 1, "learned 2"),
        (3, 2, "learned 3"),
        (4, 1, "another way"),
    ]
    assert [v.current for v in lines] == [False, False, False, True]
    assert rollback_version(place) == 1  # the parent, not the number before
    assert contents(place / "0003")["knowledge.json"] == b"3"


def test_nothing_is_stored_on_a_version_that_is_no_longer_current(place: Path) -> None:
    before = everything(place)
    with pytest.raises(NotCurrent, match=r"kb is at version 3 now, and this was made from version 2: nothing was st"):
        commit_version(place, FILES, parent=2)
    says(lambda: commit_version(place, FILES, parent=9), "no version 9", "1, 2, 3")
    assert everything(place) == before
    rollback_version(place, 2)
    assert commit_version(place, FILES, parent=2) == 4 and version_history(place)[-1].parent == 2
    (place / "CURRENT").unlink()
    says(lambda: commit_version(place, FILES, parent=4), "CURRENT is missing")


def test_a_version_of_no_parent_shares_what_the_current_one_has(place: Path) -> None:
    with writing(place):
        assert add_version(place, FILES, "from elsewhere", None) == 4
    assert version_history(place)[-1].parent is None
    assert len({(place / f"000{n}" / "network.safetensors").stat().st_ino for n in (3, 4)}) == 1


def test_an_unchanged_file_is_stored_once(place: Path) -> None:
    networks = [(place / f"000{n}" / "network.safetensors").stat() for n in (1, 2, 3)]
    assert len({s.st_ino for s in networks}) == 1 and networks[0].st_nlink == 3
    assert len({(place / f"000{n}" / "knowledge.json").stat().st_ino for n in (1, 2, 3)}) == 3


def test_stored_files_are_read_only(place: Path) -> None:
    assert all(p.stat().st_mode & 0o222 == 0 for p in place.glob("0*/*"))


def test_a_damaged_file_is_not_linked_into_a_new_version(place: Path) -> None:
    spoil(place / "0003" / "network.safetensors", b"\xff" + FILES["network.safetensors"][1:])
    assert commit_version(place, FILES) == 4
    assert contents(read_version(place)[1]) == FILES


def test_without_hard_links_files_are_copied(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    commit_version(place, FILES)
    assert contents(read_version(place)[1]) == FILES
    assert (place / "0004" / "network.safetensors").stat().st_nlink == 1


def test_rollback_to_a_damaged_version_is_refused(place: Path) -> None:
    spoil(place / "0002" / "knowledge.json", b"X")
    says(lambda: rollback_version(place), str(place / "0002" / "knowledge.json"), "1, 3")
    assert current_version(place) == 3


def test_a_knowledge_base_does_not_start_in_a_file_or_among_other_files(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    says(lambda: commit_version(tmp_path / "file", FILES), str(tmp_path / "file"), "a file")
    says(lambda: commit_version(tmp_path / "file" / "kb", FILES), str(tmp_path / "file" / "kb"), "a file")
    says(lambda: commit_version(tmp_path, FILES), str(tmp_path), "holds other files")
    assert [p.name for p in tmp_path.iterdir() if p.name != ".lock"] == ["file"]


def test_numbers_go_on_past_four_digits(place: Path) -> None:
    (place / "9999").mkdir()
    assert commit_version(place, FILES) == 10000 == read_version(place)[0]
    assert commit_version(place, FILES) == 10001
    assert version_numbers(place) == [1, 2, 3, 9999, 10000, 10001]


def test_what_dead_writers_left_is_cleaned_and_other_things_are_not(place: Path) -> None:
    (place / ".tmp-0004").mkdir()
    (place / ".tmp-0004" / "network.safetensors").write_bytes(b"half")
    (place / ".tmp-CURRENT").write_text("000")
    (place / "notes.txt").write_text("mine")
    assert read_version(place)[0] == 3
    assert commit_version(place, FILES) == 4
    assert not list(place.glob(".tmp-*")) and (place / "notes.txt").exists()


@pytest.mark.parametrize(
    ("code", "words"),
    [(errno.ENOSPC, "disk is full"), (errno.EROFS, "no permission"), (errno.EIO, os.strerror(errno.EIO))],
)
@pytest.mark.parametrize("operation", ["open", "mkdir", "fsync", "rename", "replace"])
def test_a_failing_disk_leaves_the_store_as_it_was(
    place: Path, monkeypatch: pytest.MonkeyPatch, code: int, words: str, operation: str
) -> None:
    before = everything(place)

    def fail(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(os, operation, fail)
        says(lambda: commit_version(place, {**FILES, "new.bin": b"new"}), str(place), words)
        if operation not in ("mkdir", "rename"):
            says(lambda: rollback_version(place), str(place), words)
    assert everything(place) == before
    assert commit_version(place, FILES) == 4


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_directory_that_may_not_be_written(place: Path) -> None:
    place.chmod(0o555)
    try:
        assert read_version(place)[0] == 3
        says(lambda: commit_version(place, FILES), str(place), "no permission")
    finally:
        place.chmod(0o755)


def write_some(place: Path, who: int, count: int, numbers: SimpleQueue[tuple[int, int, int]]) -> None:
    for i in range(count):
        numbers.put((commit_version(place, {**FILES, "knowledge.json": b"%d %d" % (who, i)}), who, i))


def test_writers_at_once_lose_nothing_and_readers_see_only_whole_versions(tmp_path: Path) -> None:
    place = tmp_path / "kb"
    commit_version(place, FILES)
    fork = multiprocessing.get_context("fork")
    numbers: SimpleQueue[tuple[int, int, int]] = fork.SimpleQueue()
    writers = [fork.Process(target=write_some, args=(place, who, 12, numbers)) for who in range(3)]
    for writer in writers:
        writer.start()
    last = 0
    while any(writer.is_alive() for writer in writers):
        now = read_version(place)[0]
        assert now >= last
        last = now
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    stored = {number: b"%d %d" % (who, i) for number, who, i in (numbers.get() for _ in range(36))}
    assert sorted(stored) == list(range(2, 38))
    for number, knowledge in stored.items():
        assert contents(read_version(place, number)[1]) == {**FILES, "knowledge.json": knowledge}
    assert current_version(place) == 37
    assert [v.parent for v in version_history(place)] == [None, *range(1, 37)]


def test_everything_is_on_the_disk_before_it_is_named(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log: list[object] = []

    def record(name: str, entry: Callable[..., object]) -> None:
        real = getattr(os, name)

        def recorded(*arguments: object) -> object:
            log.append(entry(*arguments))
            return real(*arguments)

        monkeypatch.setattr(os, name, recorded)

    record("fsync", lambda descriptor: os.fstat(descriptor).st_ino)
    record("rename", lambda *_: "rename")
    record("replace", lambda *_: "replace")
    commit_version(place, {**FILES, "new.bin": b"new"})
    written, named = log[: log.index("rename")], log[: log.index("replace")]
    linked = "network.safetensors"  # on the disk since version 1
    new = [place / "0004", *(path for path in (place / "0004").iterdir() if path.name != linked)]
    assert {path.stat().st_ino for path in new} <= set(written)
    assert written[-1] == (place / "0004").stat().st_ino
    assert named[-1] == log[-1] == place.stat().st_ino and (place / "CURRENT").stat().st_ino in named


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.one_of(st.binary(max_size=3), st.just(None), st.integers(1, 6)), max_size=8))
def test_any_sequence_of_steps_matches_a_simple_model(
    tmp_path_factory: pytest.TempPathFactory, steps: list[bytes | int | None]
) -> None:
    """The model: a list of (contents, parent) and the number of the current one."""
    place = tmp_path_factory.mktemp("model") / "kb"
    commit_version(place, {"a": b"", "b": b"same"})
    model: list[tuple[bytes, int | None]] = [(b"", None)]
    now = 1
    for step in steps:
        if isinstance(step, bytes):
            model.append((step, now))
            now = len(model)
            assert commit_version(place, {"a": step, "b": b"same"}) == now
            continue
        target = model[now - 1][1] if step is None else step
        if target is None or target > len(model):
            says(partial(rollback_version, place, step), str(place))
        else:
            assert rollback_version(place, step) == target
            now = target
    assert read_version(place)[0] == now
    for number, (data, parent) in enumerate(model, 1):
        assert contents(read_version(place, number)[1]) == {"a": data, "b": b"same"}
        assert version_history(place)[number - 1].parent == parent


def test_a_place_is_checked_before_there_is_a_version_to_lose(place: Path, tmp_path: Path) -> None:
    (tmp_path / "photos" / "2024").mkdir(parents=True)
    (tmp_path / "file").write_text("mine")
    for good in (place, tmp_path / "new" / "deep"):
        check_place(good)
    says(lambda: check_place(tmp_path / "photos"), "photos holds other files and no knowledge base")
    says(lambda: commit_version(tmp_path / "photos", FILES), "photos holds other files and no knowledge base")
    says(lambda: check_place(tmp_path / "file" / "kb"), "file")
    assert not (tmp_path / "new").exists()
    (place / "CURRENT").unlink()
    check_place(place)
