"""Files that are whole or absent, folders to go on with, and values as plain JSON."""

import json
from pathlib import Path

import numpy as np
import pytest

from owseg._files import begin_or_resume, json_ready, write_whole
from owseg.errors import OwsegError

DIFFERS = {"data": "of another data set", "sizes": "made with other sizes"}


def test_a_file_is_there_whole_or_not_at_all(tmp_path, monkeypatch):
    path = write_whole(tmp_path / "deep" / "a.txt", b"one")
    monkeypatch.setattr(Path, "replace", lambda self, target: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(OwsegError, match="no space left"):
        write_whole(path, b"two")
    assert path.read_bytes() == b"one" and [p.name for p in path.parent.iterdir()] == ["a.txt"]


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
