"""Files that are whole or absent, folders to go on with, and values as plain JSON."""

import errno
import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from owseg._files import (
    begin_or_resume,
    check_writable,
    fits,
    json_ready,
    read_at_most,
    read_json,
    read_toml,
    write_whole,
)
from owseg.benchmark.recipe import read_recipe
from owseg.data.datasets import open_source
from owseg.data.datasets.folder import read_classes
from owseg.data.outliers import open_outliers
from owseg.errors import OwsegError
from owseg.evaluation.maps import MapFolder
from owseg.exchange.formats import read
from owseg.knowledge.versions import read_record
from owseg.learners.sequence import read_manifest
from tests.support import annotated, tiny
from tests.support.killing import in_child

DIFFERS = {"data": "of another data set", "sizes": "made with other sizes"}


def test_a_file_is_there_whole_or_not_at_all(tmp_path, monkeypatch):
    path = write_whole(tmp_path / "deep" / "a.txt", b"one")
    monkeypatch.setattr(Path, "replace", lambda self, target: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(OwsegError, match="no space left"):
        write_whole(path, b"two")
    assert path.read_bytes() == b"one" and [p.name for p in path.parent.iterdir()] == ["a.txt"]


@pytest.mark.parametrize(("number", "text", "advice"), [
    (errno.ENOSPC, "No space left on device", "make room, or give another path"),
    (errno.EDQUOT, "Quota exceeded", "make room, or give another path"),
    (errno.EACCES, "Permission denied", "give another path"),
    (errno.ENAMETOOLONG, "File name too long", "give a shorter name"),
])  # fmt: skip
def test_the_advice_is_that_of_the_error(tmp_path, monkeypatch, number, text, advice):
    monkeypatch.setattr(Path, "write_bytes", lambda self, data: (_ for _ in ()).throw(OSError(number, text)))
    with pytest.raises(OwsegError) as caught:
        write_whole(tmp_path / "a.txt", b"one")
    assert str(caught.value) == f"{tmp_path / 'a.txt'} cannot be written ({text.lower()}); {advice}."


def test_any_name_that_fits_can_be_written(tmp_path):
    path = tmp_path / ("a" * 255)
    assert fits(path) and write_whole(path, b"one").read_bytes() == b"one"
    assert not fits(tmp_path / ("a" * 256)) and fits(tmp_path / "none" / "b") and not fits(tmp_path / ("a/" * 2100))
    with pytest.raises(OwsegError, match="give a shorter name"):
        write_whole(tmp_path / ("a" * 256), b"one")


def test_a_folder_is_probed_and_nothing_is_left(tmp_path, monkeypatch):
    check_writable(tmp_path / "not" / "yet")
    assert not list(tmp_path.iterdir())
    monkeypatch.chdir(tmp_path)
    check_writable(Path("not/yet"))
    (tmp_path / "file").write_text("x")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(
            OwsegError, match=r"file.* cannot be written \(it is, or lies in, a file\); give another path"
        ):
            check_writable(folder)
    if Path("/proc/self").exists():
        with pytest.raises(OwsegError, match=r"/proc/owseg cannot be written"):
            check_writable(Path("/proc/owseg"))
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def begin(folder, value):
    def read():
        return json.loads((folder / "about.json").read_text())

    return begin_or_resume(folder, "about.json", value, read, DIFFERS, "maps")


def test_a_folder_is_begun_once_and_gone_on_with(tmp_path):
    value = {"data": "d1", "sizes": (1, 2), "name": "one"}
    assert begin(tmp_path / "new" / "maps", value) is False
    assert begin(tmp_path / "new" / "maps", value) is True
    assert begin(tmp_path / "new" / "maps", {**value, "name": "another"}) is True  # which need not agree
    assert json.loads((tmp_path / "new" / "maps" / "about.json").read_text())["name"] == "one"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"data": "d2"}, r"maps holds maps of another data set \(d1, not d2\); remove it, or name another folder"),
        ({"sizes": (2, 1)}, r"made with other sizes \(\[1, 2\], not \[2, 1\]\)"),
        ({"sizes": list(range(99))}, "made with other sizes; remove"),  # too long to print
    ],
)
def test_what_differs_is_named_and_nothing_is_changed(tmp_path, change, words):
    value = {"data": "d1", "sizes": (1, 2)}
    begin(tmp_path / "maps", value)
    with pytest.raises(OwsegError, match=words):
        begin(tmp_path / "maps", {**value, **change})
    assert begin(tmp_path / "maps", value)


def test_a_folder_with_anything_else_in_it_is_not_touched(tmp_path):
    (tmp_path / "letter.txt").write_text("dear")
    for place in (tmp_path, tmp_path / "letter.txt"):
        with pytest.raises(OwsegError, match=r"holds other files and no about.json; name an empty or a new folder"):
            begin(place, {"data": "d1"})
    assert [p.name for p in tmp_path.iterdir()] == ["letter.txt"]
    (tmp_path / "empty").mkdir()
    assert begin(tmp_path / "empty", {"data": "d1"}) is False


def test_what_is_undefined_or_infinite_is_null_wherever_it_stands():
    nan, inf = float("nan"), float("inf")
    value = {"a": nan, "b": (inf, 1.5, {"c": [-inf, np.float64("nan"), 2]}), "d": "nan", "e": (True, None)}
    assert json_ready(value) == {"a": None, "b": [None, 1.5, {"c": [None, None, 2]}], "d": "nan", "e": [True, None]}


# --- text of users ---

DEEP, LONG = "[" * 100_000, "9" * 5000
HOSTILE = (DEEP, '{"a": ' * 100_000, LONG, "\xff", f"x = {DEEP}", f"x = {LONG}", "a.b\n" * 9)


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
@pytest.mark.parametrize("reader", [read_json, read_toml])
def test_text_that_a_parser_cannot_take_ends_in_a_sentence(tmp_path, reader, text):
    path = tmp_path / "a.txt"
    path.write_text(text, "latin-1")
    with pytest.raises(OwsegError, match=r"a.txt is not (JSON|TOML) \(.*\); correct it there\.$") as error:
        reader(path)
    assert len(str(error.value)) < 300 and "\n" not in str(error.value)


def test_a_file_has_at_most_so_many_bytes(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    path.write_bytes(b" " * ((1 << 20) - 1) + b"1")
    assert read_json(path, most=1 << 20) == 1 and len(read_at_most(path)) == 1 << 20
    path.write_bytes(b" " * (1 << 20) + b"1")
    with pytest.raises(OwsegError, match=r"a\.json has more than 1 MiB; name another file, or split it\.$"):
        read_json(path, most=1 << 20)
    with pytest.raises(OwsegError, match="has more than 1 MiB"):
        read_toml(path)
    with pytest.raises(OwsegError, match="has more than 1 MiB"):
        read_at_most(Path("/dev/zero"), 1 << 20)
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "none")


def test_a_key_is_not_too_deep(tmp_path):
    """tomllib takes memory of the square of the dots in a key: 4 GiB for 64 KiB."""
    path = tmp_path / "a.toml"
    path.write_text("a" + ".a" * 100 + " = 1  # " + "." * 200)
    assert read_toml(path)
    for text in ("a" + ".a" * 101 + " = 1", "[a" + ".a" * 30_000 + "]"):
        path.write_text(text)
        with pytest.raises(OwsegError, match="a line has more than 100 dots"):
            read_toml(path)


READERS = {
    "classes.json": read_classes,
    "val.txt": lambda place: open_source(f"folder:{place}", "val"),
    "index.json": open_outliers,
    "instances.json": open_outliers,
    "maps.json": MapFolder.open,
    "version.json": read_record,
    "recipe.toml": lambda place: read_recipe(place / "recipe.toml"),
    "manifest.json": lambda place: read_manifest(place / "manifest.json", tiny.dataset()),
    "coco.json": lambda place: list(read(place / "coco.json")),
}


@pytest.mark.parametrize("name", READERS)
def test_every_file_of_a_user_is_read_within_these_limits(tmp_path, monkeypatch, name):
    if name in ("instances.json", "val.txt"):
        annotated.write_images(tmp_path / "images")
    if name == "index.json":
        Image.new("RGBA", (4, 4)).save(tmp_path / "cow.png")
    Path(tmp_path, name).write_text("[" * 100_000)
    asked = []
    for module in ("_files", "exchange.archive", "data.datasets.folder"):
        monkeypatch.setattr(f"owseg.{module}.read_at_most", lambda p, *most: asked.append(p) or read_at_most(p, *most))
    with pytest.raises(OwsegError, match=name.replace(".", r"\.")):
        READERS[name](tmp_path)
    assert set(asked) == {tmp_path / name}


def left_behind(folder):
    return sorted(p.name for p in folder.iterdir() if p.name.endswith(".part"))


def write_and_die(path):
    """Be killed when all is written but the name."""
    Path.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
    write_whole(path, b"half")


def test_what_a_killed_writer_left_is_removed_by_the_next(tmp_path):
    assert in_child(lambda: write_and_die(tmp_path / "a.txt")) == -signal.SIGKILL
    (left,) = left_behind(tmp_path)
    others = (f".{left[1:9]}-{os.getppid()}-00000000.part", ".ffffffff-1-00000000.part", "mine.part", ".a-b-c.part",
              f".{left[1:9]}-x-0.part")  # fmt: skip
    for name in others:  # of a process that lives, of another machine, and of others
        (tmp_path / name).write_text("")
    assert in_child(lambda: write_whole(tmp_path / "b.txt", b"whole")) == 0
    assert left_behind(tmp_path) == sorted(others) and (tmp_path / "b.txt").read_bytes() == b"whole"
    assert not (tmp_path / "a.txt").exists()


def test_a_name_may_be_as_long_as_names_can_be(tmp_path):
    path = tmp_path / ("n" * 251 + ".png")
    assert write_whole(path, b"whole").read_bytes() == b"whole"
