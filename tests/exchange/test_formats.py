"""Formats by name: the registry, what is recognised, what every format refuses, and that options reach the writer."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from owseg.errors import FormatNotRecognised, OwsegError
from owseg.exchange import FORMATS, archive
from owseg.exchange.annotation import Annotation
from owseg.exchange.base import Format
from owseg.exchange.formats import read, recognise, write
from tests.support.exports import COCO, MASK, refused

MADE = Path(__file__).parent / "made"
DOCS = Path(__file__).parents[2] / "docs" / "exchange.md"

TABLE = {
    # name: the suffix of what is written, options, a file of the format
    "coco": (".json", [], "coco.json"),
    "cvat": (".xml", [], "cvat.xml"),
    "cvat-masks": (".zip", [], "cvat-masks.zip"),
    "labelme": (None, [], "labelme.json"),
    "labelstudio": (".json", ["url"], "labelstudio.json"),
}


def test_the_table_has_every_format():
    assert list(TABLE) == list(FORMATS)


@pytest.mark.parametrize("name", TABLE)
def test_a_format_is_what_its_card_says(name):
    suffix, options, file = TABLE[name]
    entry, card = FORMATS.entries[name], FORMATS[name]
    known = ("name", "help", "source", "options", "facts")
    assert [getattr(entry, k) for k in known] == [getattr(card, k) for k in known]
    assert entry.facts.get("suffix") == suffix and list(entry.options) == options
    format = card.make()
    assert isinstance(format, Format) and (format.write is None) == (suffix is None) == ("hint" not in entry.facts)
    assert recognise(MADE / file) == name
    assert len(list(read(MADE / file))) == len(list(read(MADE / file, name))) > 0


@pytest.mark.parametrize("place", ["", "out.xml"])
@pytest.mark.parametrize(("predicted", "source"), [(True, "auto"), (False, "manual")])
def test_what_no_person_has_checked_is_marked(tmp_path, place, predicted, source):
    path = write([Annotation("car", MASK, "a.jpg")], tmp_path / place, "cvat", predicted=predicted)
    assert f'source="{source}"' in path.read_text()


def test_the_page_has_the_table():
    lines = [line for line in DOCS.read_text().splitlines() if line.startswith("| ")][1:]
    rows = [tuple(cell.strip() for cell in line.split("|")[1:-1]) for line in lines]
    assert rows == [
        (e.help, f"`{name}`", e.facts["reads"], e.facts["writes"], e.facts["loses"])
        for name, e in FORMATS.entries.items()
    ]


def test_no_torch_is_loaded():
    script = (
        "import sys, owseg.exchange\nassert not {'numpy', 'pycocotools'} & sys.modules.keys()\n"
        f"from owseg.exchange.formats import read\nlist(read({str(MADE / 'cvat.xml')!r}))\n"
        "import owseg.exchange.shots\nprint('torch' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert out == "False\n"


def test_a_file_is_opened_and_parsed_once(tmp_path, monkeypatch):
    """To be recognised and to be read."""
    path, opened, parsed = tmp_path / "a.json", [], []
    path.write_text(json.dumps(COCO))
    read_at_most, loads = archive.read_at_most, json.loads
    monkeypatch.setattr(archive, "read_at_most", lambda p, most: opened.append(p) or read_at_most(p, most))
    monkeypatch.setattr(archive.json, "loads", lambda data: parsed.append(data) or loads(data))
    assert [a.name for a in read(path)] == ["car"]
    assert opened == [path] and len(parsed) == 1


@pytest.mark.parametrize("kind", TABLE)
def test_what_is_not_there_or_something_else(tmp_path, kind):
    refused(tmp_path / "no.json", kind, "does not exist")
    for name, data in (("a.json", b"{"), ("b.json", b"\xff"), ("c.json", b"[" * 200000), ("d.json", b'{"x": 1}')):
        (tmp_path / name).write_bytes(data)
        refused(tmp_path / name, kind, "is not|not a")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", kind, "not a")


def test_formats_that_there_are_not(tmp_path):
    (tmp_path / "d.json").write_text('{"x": 1}')
    refused(tmp_path / "d.json", None, r"d\.json holds no annotations of a known format")
    with pytest.raises(FormatNotRecognised):
        next(read(tmp_path / "d.json"))
    names = "coco, cvat, cvat-masks, labelme, labelstudio"
    with pytest.raises(OwsegError, match=f"no format 'x'; it is one of {names}"):
        read(tmp_path / "d.json", "x")
    with pytest.raises(OwsegError, match=f"no format 'x'; it is one of {names}"):
        write([], tmp_path, "x")
    with pytest.raises(
        OwsegError, match="'labelme' cannot be written; take one of coco, cvat, cvat-masks, labelstudio"
    ):
        write([], tmp_path, "labelme")
    for name, (_, options, _) in TABLE.items():
        if not options:
            with pytest.raises(OwsegError, match=f"{name} has no option 'url'"):
                write([], tmp_path, name, options={"url": "x"})
    assert [p.name for p in tmp_path.iterdir()] == ["d.json"]


@pytest.mark.parametrize("name", [name for name, (suffix, _, _) in TABLE.items() if suffix])
def test_annotations_go_into_a_folder_or_a_file_of_their_own(tmp_path, name):
    made, suffix = [Annotation("car", MASK, "a.png")], TABLE[name][0]
    assert write(made, tmp_path / "a" / "b", name) == tmp_path / "a" / "b" / f"annotations{suffix}"
    assert write(made, tmp_path / f"c.v1{suffix.upper()}", name) == tmp_path / f"c.v1{suffix.upper()}"


@settings(max_examples=150, deadline=None)
@given(data=st.data(), kind=st.sampled_from(["coco", "cvat", "labelstudio"]))
def test_a_file_with_flipped_bytes_is_read_or_refused(tmp_path_factory, data, kind):
    """Never another exception, whatever a file holds."""
    folder = tmp_path_factory.mktemp("flipped")
    path = write([Annotation("car", MASK, "a.png", (1, 2, 3)), Annotation("cow", ~MASK, "b.png")], folder, kind)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.sampled_from(b'09-"[]{},.e<>&x/ \xff'))
    path.write_bytes(bytes(content))
    try:
        for a in read(path, kind):
            assert a.mask.dtype == bool
    except OwsegError as error:
        assert path.name in str(error)
