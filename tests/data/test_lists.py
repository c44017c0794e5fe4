"""Lists of images: text, CSV and Parquet, and what the images in them are called."""

import sys
from pathlib import Path

import pytest

from owseg.data.lists import read_list
from owseg.data.search import search_images
from owseg.errors import OwsegError


@pytest.fixture(autouse=True)
def every_file_is_there(request, monkeypatch):
    if "is_not_there" not in request.node.name:
        monkeypatch.setattr(Path, "exists", lambda path: True)


def names_of(path):
    found = search_images([str(path)])
    return dict(zip(found.paths, found.names, strict=True))


def test_a_path_a_line(tmp_path):
    (tmp_path / "l.txt").write_bytes(b"a/1.png\n\n  b/1.png \r\n" + str(tmp_path / "c.jpg").encode() + b"\n\xff.png\n")
    found = names_of(tmp_path / "l.txt")
    assert list(found.values())[:3] == ["a/1", "b/1", "c"] and len(found) == 4
    assert set(found) >= {tmp_path / "a" / "1.png", tmp_path / "c.jpg"}


def test_elsewhere_it_is_the_folder_that_all_share(tmp_path):
    (tmp_path / "lists").mkdir()
    for line in (f"{tmp_path}/x/a/1.png\n{tmp_path}/x/b/1.png\n", "../x/a/1.png\n../x/b/1.png\n"):
        (tmp_path / "lists" / "l.txt").write_text(line)
        assert list(names_of(tmp_path / "lists" / "l.txt").values()) == ["a/1", "b/1"]


@pytest.mark.parametrize("column", ["path", "image", "file"])
def test_a_column_of_a_table(tmp_path, column):
    (tmp_path / "l.csv").write_text(f'\ufeff{column},town\n"a, b.png",x\n,y\nc.png,z\n', encoding="utf-8")
    assert read_list(tmp_path / "l.csv") == [tmp_path / "a, b.png", tmp_path / "c.png"]


def test_parquet(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = pyarrow.table({"town": ["x", "y", "z"], "path": ["a.png", None, "c.png"]})
    parquet.write_table(table, tmp_path / "l.parquet")
    assert read_list(tmp_path / "l.parquet") == [tmp_path / "a.png", tmp_path / "c.png"]
    (tmp_path / "l.parquet").write_bytes(b"no parquet")
    with pytest.raises(OwsegError, match="cannot be read as Parquet"):
        read_list(tmp_path / "l.parquet")


def test_without_pyarrow_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "l.parquet").write_bytes(b"PAR1")
    with pytest.raises(OwsegError, match="`pip install pyarrow`, or give it as CSV"):
        read_list(tmp_path / "l.parquet")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("l.txt", "\n \n", r"l\.txt lists no image; write one path a line"),
        ("l.csv", "town,x\na,b\n", r"no column path, image or file; its columns are town, x\."),
        ("l.csv", "", r"no column path, image or file; its columns are none\."),
        ("l.csv", 'path\n"' + "x" * 200_000, "the list is no CSV"),
        ("l.csv", "path\n", "lists no image"),
    ],
)
def test_what_is_no_list_is_one_sentence(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(OwsegError, match=message) as caught:
        read_list(tmp_path / name)
    assert "\n" not in str(caught.value) and str(caught.value).endswith(".")


def test_an_image_that_is_not_there_is_found_when_it_is_read(tmp_path):
    (tmp_path / "a.png").touch()
    (tmp_path / "l.txt").write_text("a.png\nmissing.png\n")
    assert list(names_of(tmp_path / "l.txt").values()) == ["a", "missing"]
    (tmp_path / "notes.txt").write_text("buy milk\n")
    with pytest.raises(OwsegError, match=r"^.*notes\.txt is taken for a list of images, and buy milk, its first, does"):
        names_of(tmp_path / "notes.txt")
