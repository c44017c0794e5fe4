from __future__ import annotations

import errno
import hashlib
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from functools import partial
from multiprocessing.queues import SimpleQueue
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from owseg.errors import OwsegError
from owseg.knowledge.commit import commit_version, rollback_version
from owseg.knowledge.versions import (
    RECORD,
    SUMS,
    Version,
    current_version,
    read_version,
    version_history,
    version_numbers,
)

FILES = {"knowledge.json": b'{"classes": ["road", "car"]}', "network.safetensors": bytes(range(256)) * 40}


@pytest.fixture
def kb(tmp_path: Path) -> Path:
    """Three versions in a row; the network stays, the knowledge changes."""
    for number in (1, 2, 3):
        commit_version(tmp_path / "kb", {**FILES, "knowledge.json": b"%d" % number}, f"learned {number}")
    return tmp_path / "kb"


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.name not in (RECORD, SUMS)}


def everything(directory: Path) -> dict[str, bytes]:
    return {str(p.relative_to(directory)): p.read_bytes() for p in directory.rglob("*") if p.is_file()}


def spoil(path: Path, data: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(data)


def says(call: Callable[[], object], *words: str) -> None:
    """Assert that ``call`` raises one sentence that has all the ``words``."""
    with pytest.raises(OwsegError) as caught:
        call()
    message = str(caught.value)
    assert all(word in message for word in words), message
    assert message.endswith(".") and "\n" not in message


def test_what_was_stored_is_read_back(tmp_path: Path) -> None:
    kb = tmp_path / "deep" / "kb"
    assert commit_version(kb, FILES) == 1
    assert commit_version(str(kb), {"knowledge.json": b""}) == 2
    assert read_version(kb) == (2, kb / "0002")
    assert read_version(kb, 1) == (1, kb / "0001")
    assert contents(kb / "0001") == FILES
    assert contents(kb / "0002") == {"knowledge.json": b""}
    assert (kb / "CURRENT").read_text() == "0002\n"
    assert (current_version(kb), version_numbers(kb)) == (2, [1, 2])


def test_the_checksums_are_those_of_sha256sum(kb: Path) -> None:
    names = ["knowledge.json", "network.safetensors", "version.json"]
    digests = [hashlib.sha256((kb / "0003" / name).read_bytes()).hexdigest() for name in names]
    lines = (kb / "0003" / SUMS).read_text().splitlines()
    assert sorted(lines) == sorted(f"{digest}  {name}" for digest, name in zip(digests, names, strict=True))
    if tool := shutil.which("sha256sum"):
        assert subprocess.run([tool, "-c", "--quiet", SUMS], cwd=kb / "0003").returncode == 0


def test_the_record_is_readable(kb: Path) -> None:
    record = json.loads((kb / "0003" / "version.json").read_text())
    written = datetime.fromisoformat(record.pop("written"))
    assert written.utcoffset() == timedelta(0) and datetime.now(timezone.utc) - written < timedelta(hours=1)
    sizes = {"knowledge.json": 1, "network.safetensors": 10240}
    assert record == {"version": 3, "parent": 2, "message": "learned 3", "files": sizes}


def test_a_message_is_one_line(tmp_path: Path) -> None:
    commit_version(tmp_path / "kb", FILES, " learned  «träm»\nand more ")
    assert version_history(tmp_path / "kb")[0].message == "learned «träm» and more"


@pytest.mark.parametrize("name", ["", "a/b", "../a", ".hidden", "a\nb", "a b", "version.json", "SHA256SUMS"])
def test_a_bad_file_name_is_refused_before_anything_is_written(tmp_path: Path, name: str) -> None:
    says(lambda: commit_version(tmp_path / "kb", {name: b""}), repr(name))
    assert not (tmp_path / "kb").exists()


def test_rollback_goes_back_by_parents_and_deletes_nothing(kb: Path) -> None:
    before = everything(kb)
    assert rollback_version(kb) == current_version(kb) == 2
    assert rollback_version(kb) == current_version(kb) == 1
    says(lambda: rollback_version(kb), str(kb), "version 1", "none before it")
    assert current_version(kb) == 1
    assert rollback_version(kb, 3) == current_version(kb) == 3
    assert everything(kb) == before


def test_history_is_a_tree_after_a_rollback(kb: Path) -> None:
    rollback_version(kb, 1)
    assert commit_version(kb, FILES, "another way") == 4
    lines = version_history(kb)
    assert [(v.number, v.parent, v.message) for v in lines] == [
        (1, None, "learned 1"),
        (2, 1, "learned 2"),
        (3, 2, "learned 3"),
        (4, 1, "another way"),
    ]
    assert [v.current for v in lines] == [False, False, False, True]
    assert rollback_version(kb) == 1  # the parent, not the number before
    assert contents(kb / "0003")["knowledge.json"] == b"3"


def test_the_parent_can_be_named(kb: Path) -> None:
    commit_version(kb, FILES, parent=2)
    assert version_history(kb)[-1].parent == 2
    says(lambda: commit_version(kb, FILES, parent=9), "no version 9", "1, 2, 3, 4")
    assert version_numbers(kb) == [1, 2, 3, 4]


def test_an_unchanged_file_is_stored_once(kb: Path) -> None:
    networks = [(kb / f"000{n}" / "network.safetensors").stat() for n in (1, 2, 3)]
    assert len({s.st_ino for s in networks}) == 1 and networks[0].st_nlink == 3
    assert len({(kb / f"000{n}" / "knowledge.json").stat().st_ino for n in (1, 2, 3)}) == 3


def test_stored_files_are_read_only(kb: Path) -> None:
    assert all(p.stat().st_mode & 0o222 == 0 for p in kb.glob("0*/*"))


def test_a_damaged_file_is_not_linked_into_a_new_version(kb: Path) -> None:
    spoil(kb / "0003" / "network.safetensors", b"\xff" + FILES["network.safetensors"][1:])
    assert commit_version(kb, FILES) == 4
    assert contents(read_version(kb)[1]) == FILES


def test_without_hard_links_files_are_copied(kb: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    commit_version(kb, FILES)
    assert contents(read_version(kb)[1]) == FILES
    assert (kb / "0004" / "network.safetensors").stat().st_nlink == 1


@pytest.mark.parametrize("name", ["knowledge.json", "network.safetensors", "version.json", "SHA256SUMS"])
@pytest.mark.parametrize("position", [0, -1])
def test_one_flipped_bit_is_found(kb: Path, name: str, position: int) -> None:
    data = bytearray((kb / "0003" / name).read_bytes())
    data[position] ^= 4
    spoil(kb / "0003" / name, bytes(data))
    says(lambda: read_version(kb), str(kb / "0003"), f"`owseg rollback {kb} N`", "1, 2")
    if name != "network.safetensors":  # that one is shared
        assert read_version(kb, 2)[0] == 2


def test_every_flipped_bit_of_the_small_files_is_found(tmp_path: Path) -> None:
    commit_version(tmp_path, {"knowledge.json": b"{}"})
    for path in sorted((tmp_path / "0001").iterdir()):
        data = path.read_bytes()
        for bit in range(0, 8 * len(data), 5):
            flipped = bytearray(data)
            flipped[bit // 8] ^= 1 << bit % 8
            spoil(path, bytes(flipped))
            says(lambda: read_version(tmp_path), "restore it from a backup")
        spoil(path, data)
    assert read_version(tmp_path)[0] == 1


@pytest.mark.parametrize("name", ["knowledge.json", "network.safetensors", "version.json", "SHA256SUMS"])
@pytest.mark.parametrize("verify", [True, False])
def test_a_missing_or_shortened_file_is_found_without_checksums_too(kb: Path, name: str, verify: bool) -> None:
    path = kb / "0003" / name
    spoil(path, path.read_bytes()[:-2])
    says(lambda: read_version(kb, verify=verify), f"{path} is damaged", "rollback")
    path.unlink()
    says(lambda: read_version(kb, verify=verify), f"{path} is missing", "rollback")


def test_checksums_can_be_spared(kb: Path) -> None:
    spoil(kb / "0003" / "knowledge.json", b"X")
    assert read_version(kb, verify=False)[0] == 3
    says(lambda: read_version(kb), f"{kb / '0003' / 'knowledge.json'} is damaged: its checksum")


def test_a_list_of_checksums_that_lost_a_line_is_found(kb: Path) -> None:
    sums = kb / "0003" / SUMS
    spoil(sums, b"".join(sums.read_bytes().splitlines(keepends=True)[1:]))
    says(lambda: read_version(kb), f"{sums} and version.json differ")


def test_a_version_under_another_number_is_found(kb: Path) -> None:
    shutil.copytree(kb / "0001", kb / "0004")
    says(lambda: read_version(kb, 4), str(kb / "0004" / "version.json"))


@pytest.mark.parametrize("text", ["", "[]", "{}", "3", '{"version": 3}', '{"version": "3", "parent": null}'])
def test_nonsense_in_the_record_is_found(kb: Path, text: str) -> None:
    record = kb / "0003" / RECORD
    spoil(record, text.encode())
    says(lambda: read_version(kb, verify=False), f"{record} is damaged")
    says(lambda: rollback_version(kb), f"{record} is damaged", "rollback", "1, 2")
    assert version_history(kb)[2] == Version(3, None, "", "(version.json is damaged)", True)
    assert rollback_version(kb, 2) == 2


def test_rollback_to_a_damaged_version_is_refused(kb: Path) -> None:
    spoil(kb / "0002" / "knowledge.json", b"X")
    says(lambda: rollback_version(kb), str(kb / "0002" / "knowledge.json"), "1, 3")
    assert current_version(kb) == 3


def test_no_knowledge_base_there(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    why = {"none": "not exist", "file/kb": "not exist", "file": "is a file", "empty": "holds no version"}
    for call in (read_version, current_version, version_numbers, rollback_version, version_history):
        for name, words in why.items():
            says(partial(call, tmp_path / name), str(tmp_path / name), words)
    assert [p.name for p in (tmp_path / "empty").iterdir()] == []


def test_a_knowledge_base_does_not_start_in_a_file_or_among_other_files(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    says(lambda: commit_version(tmp_path / "file", FILES), str(tmp_path / "file"), "a file")
    says(lambda: commit_version(tmp_path / "file" / "kb", FILES), str(tmp_path / "file" / "kb"), "a file")
    says(lambda: commit_version(tmp_path, FILES), str(tmp_path), "holds other files")
    assert [p.name for p in tmp_path.iterdir() if p.name != ".lock"] == ["file"]


@pytest.mark.parametrize("text", [None, "", "0007\n", "last\n", "3", "-001", "\xff\n"])
def test_a_lost_pointer_is_explained_and_mended_by_rollback(kb: Path, text: str | None) -> None:
    (kb / "CURRENT").unlink()
    if text is not None:
        (kb / "CURRENT").write_text(text)
    for call in (read_version, current_version, rollback_version):
        says(partial(call, kb), str(kb / "CURRENT"), f"`owseg rollback {kb} N`", "1, 2, 3")
    assert read_version(kb, 2)[0] == 2
    assert [v.current for v in version_history(kb)] == [False] * 3
    assert rollback_version(kb, 3) == read_version(kb)[0] == 3


def test_a_version_that_does_not_exist(kb: Path) -> None:
    for number in (0, 4, -1):
        says(partial(read_version, kb, number), f"{kb} has no version {number}", "1, 2, 3")
        says(partial(rollback_version, kb, number), f"{kb} has no version {number}", "1, 2, 3")
    assert current_version(kb) == 3


def test_numbers_go_on_past_four_digits(kb: Path) -> None:
    (kb / "9999").mkdir()
    assert commit_version(kb, FILES) == 10000 == read_version(kb)[0]
    assert commit_version(kb, FILES) == 10001
    assert version_numbers(kb) == [1, 2, 3, 9999, 10000, 10001]


def test_what_dead_writers_left_is_cleaned_and_other_things_are_not(kb: Path) -> None:
    (kb / ".tmp-0004").mkdir()
    (kb / ".tmp-0004" / "network.safetensors").write_bytes(b"half")
    (kb / ".tmp-CURRENT").write_text("000")
    (kb / "notes.txt").write_text("mine")
    assert read_version(kb)[0] == 3
    assert commit_version(kb, FILES) == 4
    assert not list(kb.glob(".tmp-*")) and (kb / "notes.txt").exists()


@pytest.mark.parametrize(
    ("code", "words"),
    [(errno.ENOSPC, "disk is full"), (errno.EROFS, "no permission"), (errno.EIO, os.strerror(errno.EIO))],
)
@pytest.mark.parametrize("operation", ["open", "mkdir", "fsync", "rename", "replace"])
def test_a_failing_disk_leaves_the_store_as_it_was(
    kb: Path, monkeypatch: pytest.MonkeyPatch, code: int, words: str, operation: str
) -> None:
    before = everything(kb)

    def fail(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(os, operation, fail)
        says(lambda: commit_version(kb, {**FILES, "new.bin": b"new"}), str(kb), words)
        if operation not in ("mkdir", "rename"):
            says(lambda: rollback_version(kb), str(kb), words)
    assert everything(kb) == before
    assert commit_version(kb, FILES) == 4


def test_a_directory_that_may_not_be_read(kb: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, *_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", refuse)
        says(lambda: read_version(kb), f"{kb} could not be read", "no permission for", str(kb / "CURRENT"))
    assert read_version(kb)[0] == 3


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_directory_that_may_not_be_written(kb: Path) -> None:
    kb.chmod(0o555)
    try:
        assert read_version(kb)[0] == 3
        says(lambda: commit_version(kb, FILES), str(kb), "no permission")
    finally:
        kb.chmod(0o755)


def write_some(kb: Path, who: int, count: int, numbers: SimpleQueue[tuple[int, int, int]]) -> None:
    for i in range(count):
        numbers.put((commit_version(kb, {**FILES, "knowledge.json": b"%d %d" % (who, i)}), who, i))


def test_writers_at_once_lose_nothing_and_readers_see_only_whole_versions(tmp_path: Path) -> None:
    kb = tmp_path / "kb"
    commit_version(kb, FILES)
    fork = multiprocessing.get_context("fork")
    numbers: SimpleQueue[tuple[int, int, int]] = fork.SimpleQueue()
    writers = [fork.Process(target=write_some, args=(kb, who, 12, numbers)) for who in range(3)]
    for writer in writers:
        writer.start()
    seen = 0
    while any(writer.is_alive() for writer in writers):
        now = read_version(kb)[0]
        assert now >= seen
        seen = now
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    stored = {number: b"%d %d" % (who, i) for number, who, i in (numbers.get() for _ in range(36))}
    assert sorted(stored) == list(range(2, 38))
    for number, knowledge in stored.items():
        assert contents(read_version(kb, number)[1]) == {**FILES, "knowledge.json": knowledge}
    assert current_version(kb) == 37
    assert [v.parent for v in version_history(kb)] == [None, *range(1, 37)]


def test_everything_is_on_the_disk_before_it_is_named(kb: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
    commit_version(kb, {**FILES, "new.bin": b"new"})
    written, named = log[: log.index("rename")], log[: log.index("replace")]
    linked = "network.safetensors"  # on the disk since version 1
    new = [kb / "0004", *(path for path in (kb / "0004").iterdir() if path.name != linked)]
    assert {path.stat().st_ino for path in new} <= set(written)
    assert written[-1] == (kb / "0004").stat().st_ino
    assert named[-1] == log[-1] == kb.stat().st_ino and (kb / "CURRENT").stat().st_ino in named


@pytest.mark.parametrize("moment", ["_numbers", "_pointed"])
@pytest.mark.parametrize("call", [current_version, read_version, version_history])
def test_a_reader_overtaken_by_a_writer(
    kb: Path, monkeypatch: pytest.MonkeyPatch, moment: str, call: Callable[[Path], object]
) -> None:
    forward = getattr(store, moment)

    def look_and_be_overtaken(directory: Path) -> object:
        found = forward(directory)
        monkeypatch.setattr(store, moment, forward)
        commit_version(kb, FILES)
        return found

    monkeypatch.setattr(store, moment, look_and_be_overtaken)
    seen = call(kb)
    lines = seen if isinstance(seen, list) else version_history(kb)
    assert sum(line.current for line in lines) == 1
    assert current_version(kb) == 4


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.one_of(st.binary(max_size=3), st.just(None), st.integers(1, 6)), max_size=8))
def test_any_sequence_of_steps_matches_a_simple_model(
    tmp_path_factory: pytest.TempPathFactory, steps: list[bytes | int | None]
) -> None:
    """The model: a list of (contents, parent) and the number of the current one."""
    kb = tmp_path_factory.mktemp("model") / "kb"
    commit_version(kb, {"a": b"", "b": b"same"})
    model: list[tuple[bytes, int | None]] = [(b"", None)]
    now = 1
    for step in steps:
        if isinstance(step, bytes):
            model.append((step, now))
            now = len(model)
            assert commit_version(kb, {"a": step, "b": b"same"}) == now
            continue
        target = model[now - 1][1] if step is None else step
        if target is None or target > len(model):
            says(partial(rollback_version, kb, step), str(kb))
        else:
            assert rollback_version(kb, step) == target
            now = target
    assert read_version(kb)[0] == now
    for number, (data, parent) in enumerate(model, 1):
        assert contents(read_version(kb, number)[1]) == {"a": data, "b": b"same"}
        assert version_history(kb)[number - 1].parent == parent


def test_the_store_knows_nothing_of_networks() -> None:
    code = "import sys, owseg.store; print({'torch', 'numpy', 'transformers'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"
