"""Reading versions: what is whole is found, what is damaged is named."""

from __future__ import annotations

import errno
import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path

import pytest

from owseg.knowledge import versions
from owseg.knowledge.commit import commit_version, rollback_version
from owseg.knowledge.versions import (
    RECORD,
    SUMS,
    Version,
    current_version,
    has_version,
    holds_versions,
    read_version,
    version_history,
    version_numbers,
)
from tests.support.versions import FILES, says, spoil


def test_the_checksums_are_those_of_sha256sum(place: Path) -> None:
    names = ["knowledge.json", "network.safetensors", "version.json"]
    digests = [hashlib.sha256((place / "0003" / name).read_bytes()).hexdigest() for name in names]
    lines = (place / "0003" / SUMS).read_text().splitlines()
    assert sorted(lines) == sorted(f"{digest}  {name}" for digest, name in zip(digests, names, strict=True))
    if tool := shutil.which("sha256sum"):
        assert subprocess.run([tool, "-c", "--quiet", SUMS], cwd=place / "0003").returncode == 0


def test_the_record_is_readable(place: Path) -> None:
    record = json.loads((place / "0003" / "version.json").read_text())
    written = datetime.fromisoformat(record.pop("written"))
    assert written.utcoffset() == timedelta(0) and datetime.now(timezone.utc) - written < timedelta(hours=1)
    sizes = {"knowledge.json": 1, "network.safetensors": 10240}
    assert record == {"version": 3, "parent": 2, "message": "learned 3", "files": sizes}


@pytest.mark.parametrize("name", ["knowledge.json", "network.safetensors", "version.json", "SHA256SUMS"])
@pytest.mark.parametrize("position", [0, -1])
def test_one_flipped_bit_is_found(place: Path, name: str, position: int) -> None:
    data = bytearray((place / "0003" / name).read_bytes())
    data[position] ^= 4
    spoil(place / "0003" / name, bytes(data))
    says(lambda: read_version(place), str(place / "0003"), f"`owseg rollback {place} N`", "1, 2")
    if name != "network.safetensors":  # that one is shared
        assert read_version(place, 2)[0] == 2


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
def test_a_missing_or_shortened_file_is_found_without_checksums_too(place: Path, name: str, verify: bool) -> None:
    path = place / "0003" / name
    spoil(path, path.read_bytes()[:-2])
    says(lambda: read_version(place, verify=verify), f"{path} is damaged", "rollback")
    path.unlink()
    says(lambda: read_version(place, verify=verify), f"{path} is missing", "rollback")


def test_checksums_can_be_spared(place: Path) -> None:
    spoil(place / "0003" / "knowledge.json", b"X")
    assert read_version(place, verify=False)[0] == 3
    says(lambda: read_version(place), f"{place / '0003' / 'knowledge.json'} is damaged: its checksum")


def test_a_list_of_checksums_that_lost_a_line_is_found(place: Path) -> None:
    sums = place / "0003" / SUMS
    spoil(sums, b"".join(sums.read_bytes().splitlines(keepends=True)[1:]))
    says(lambda: read_version(place), f"{sums} and version.json differ")


def test_a_version_under_another_number_is_found(place: Path) -> None:
    shutil.copytree(place / "0001", place / "0004")
    says(lambda: read_version(place, 4), str(place / "0004" / "version.json"))


@pytest.mark.parametrize("text", ["", "[]", "{}", "3", '{"version": 3}', '{"version": "3", "parent": null}'])
def test_nonsense_in_the_record_is_found(place: Path, text: str) -> None:
    record = place / "0003" / RECORD
    spoil(record, text.encode())
    says(lambda: read_version(place, verify=False), f"{record} is damaged")
    says(lambda: rollback_version(place), f"{record} is damaged", "rollback", "1, 2")
    assert version_history(place)[2] == Version(3, None, "", "(version.json is damaged)", True)
    assert rollback_version(place, 2) == 2


def test_no_knowledge_base_there(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    why = {"none": "not exist", "file/kb": "not exist", "file": "is a file", "empty": "holds no version"}
    for call in (read_version, current_version, version_numbers, rollback_version, version_history):
        for name, words in why.items():
            says(partial(call, tmp_path / name), str(tmp_path / name), words)
    assert [p.name for p in (tmp_path / "empty").iterdir()] == []


@pytest.mark.parametrize("text", [None, "", "0007\n", "last\n", "3", "-001", "\xff\n"])
def test_a_lost_pointer_is_explained_and_mended_by_rollback(place: Path, text: str | None) -> None:
    (place / "CURRENT").unlink()
    if text is not None:
        (place / "CURRENT").write_text(text)
    for call in (read_version, current_version, rollback_version):
        says(partial(call, place), str(place / "CURRENT"), f"`owseg rollback {place} N`", "1, 2, 3")
    assert read_version(place, 2)[0] == 2
    assert [v.current for v in version_history(place)] == [False] * 3
    assert rollback_version(place, 3) == read_version(place)[0] == 3


def test_a_version_that_does_not_exist(place: Path) -> None:
    for number in (0, 4, -1):
        says(partial(read_version, place, number), f"{place} has no version {number}", "1, 2, 3")
        says(partial(rollback_version, place, number), f"{place} has no version {number}", "1, 2, 3")
    assert current_version(place) == 3


def test_a_directory_that_may_not_be_read(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, *_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", refuse)
        says(lambda: read_version(place), f"{place} cannot be read", "no permission for", str(place / "CURRENT"))
    assert read_version(place)[0] == 3


def test_a_version_that_may_not_be_read_is_a_line_of_history(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Path.open

    def refuse(path: Path, *args: object, **options: object) -> object:
        if path.parent.name == "0002":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path, *args, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", refuse)
    lines = version_history(place)
    assert [v.message for v in lines] == ["learned 1", "(version.json cannot be read)", "learned 3"]
    assert [(v.number, v.parent, v.current) for v in lines] == [(1, None, False), (2, None, False), (3, 2, True)]


def test_a_directory_that_may_not_be_looked_into(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, *_: object, **__: object) -> bool:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "exists", refuse)
    says(lambda: has_version(place), f"{place} cannot be read", "no permission for", str(place / "CURRENT"))


@pytest.mark.parametrize("moment", ["stored_numbers", "pointed_name"])
@pytest.mark.parametrize("call", [current_version, read_version, version_history])
def test_a_reader_overtaken_by_a_writer(
    place: Path, monkeypatch: pytest.MonkeyPatch, moment: str, call: Callable[[Path], object]
) -> None:
    real = getattr(versions, moment)

    def read_and_be_overtaken(directory: Path) -> object:
        found = real(directory)
        monkeypatch.setattr(versions, moment, real)
        commit_version(place, FILES)
        return found

    monkeypatch.setattr(versions, moment, read_and_be_overtaken)
    found = call(place)
    lines = found if isinstance(found, list) else version_history(place)
    assert sum(line.current for line in lines) == 1
    assert current_version(place) == 4


def test_versions_are_read_without_torch() -> None:
    code = "import sys, owseg.knowledge.commit; print({'torch', 'numpy', 'transformers'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"


def test_what_holds_a_knowledge_base(place: Path, tmp_path: Path) -> None:
    (tmp_path / "photos" / "2024").mkdir(parents=True)
    assert holds_versions(place) and has_version(place)
    assert not any(holds_versions(p) for p in (tmp_path / "photos", tmp_path / "none", place / "CURRENT"))
    (place / "CURRENT").unlink()
    assert holds_versions(place) and not has_version(place)
