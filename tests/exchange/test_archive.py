"""Folders and zips: what is broken, or meant to harm, ends in one sentence that names the file."""

import json
import struct
import zipfile

import pytest

from owseg.errors import OwsegError
from owseg.exchange import archive
from owseg.exchange.archive import opened
from owseg.exchange.formats import read, recognise
from tests.support.exports import COCO, refused, zipped


@pytest.mark.parametrize(
    "name", ["../a.json", "a/../../b.json", "/etc/a.json", "..\\a.json", "C:\\a.json", "C:/a.json"]
)
def test_a_zip_whose_members_would_leave_it(tmp_path, name):
    path = zipped(tmp_path / "slip.zip", {"fine.json": json.dumps(COCO), name: json.dumps(COCO)})
    refused(path, "coco", "would be outside")
    with pytest.raises(OwsegError, match=r"slip\.zip.*would be outside"):
        recognise(path)


def test_a_zip_that_would_fill_the_memory(tmp_path, monkeypatch):
    path = zipped(tmp_path / "bomb.zip", {"a.json": b" " * (65 << 20)})
    refused(path, "coco", "are 68,157,440 unpacked; do not trust it")
    monkeypatch.setattr(archive, "MAX_UNPACKED", 1 << 20)
    path = zipped(tmp_path / "many.zip", {f"{i}.json": b" " * (1 << 16) for i in range(17)})
    refused(path, "coco", "more than 0 GiB unpacked")


def test_a_zip_that_lies_about_its_size(tmp_path):
    """What a member declares is all that is ever unpacked of it."""
    path = zipped(tmp_path / "liar.zip", {"a.json": b" " * (65 << 20)})
    data = path.read_bytes()
    path.write_bytes(data.replace(struct.pack("<I", 65 << 20), struct.pack("<I", 100)))
    refused(path, "coco", "cannot be unpacked|not a COCO")


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_member_that_is_damaged(tmp_path, method):
    path = tmp_path / "damaged.zip"
    with zipfile.ZipFile(path, "w", method) as made:
        made.writestr("a.json", json.dumps({**COCO, "info": [str(i) for i in range(9999)]}))
    data = bytearray(path.read_bytes())
    data[60:600] = bytes(540)
    path.write_bytes(bytes(data))
    refused(path, "coco", "cannot be unpacked")


def test_a_zip_that_is_none_or_encrypted(tmp_path):
    path = tmp_path / "none.zip"
    path.write_bytes(b"PK\3\4 no")
    refused(path, "coco", "cannot be unpacked")
    path = zipped(tmp_path / "secret.zip", {"a.json": json.dumps(COCO)})
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(bytes(data))
    refused(path, "coco", "encrypted")


def test_a_folder_with_nothing_but_a_zip_is_that_zip(tmp_path):
    with zipfile.ZipFile(tmp_path / "annotations.ZIP", "w") as packed:
        packed.writestr("inside.json", "1")
    (tmp_path / "annotations.labels.json").write_text("[]")
    with opened(tmp_path) as files:
        assert [*files] == ["inside.json"] and files.json("inside.json") == 1
    (tmp_path / "photo.png").write_bytes(b"")
    with opened(tmp_path) as files:
        assert [*files] == ["annotations.ZIP", "annotations.labels.json", "photo.png"]


def test_a_broken_file_beside_annotations_is_named(tmp_path):
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(OwsegError, match=r"a\.json is not JSON .*; correct or remove it"):
        recognise(tmp_path)
    (tmp_path / "b.json").write_text(json.dumps(COCO))
    assert recognise(tmp_path) == "coco"
    with pytest.raises(OwsegError, match=rf"^{tmp_path / 'a.json'} is not JSON"):
        recognise(tmp_path / "a.json")  # its name once
    with pytest.raises(OwsegError, match=r"a\.json is not JSON"):  # it may have been annotations
        list(read(tmp_path))
    assert [a.name for a in read(tmp_path / "b.json")] == ["car"]
    hidden = zipped(tmp_path / "mac.zip", {"__MACOSX/._b.json": b"\0\5\x16\7", "b.json": json.dumps(COCO)})
    assert [a.name for a in read(hidden)] == ["car"]
