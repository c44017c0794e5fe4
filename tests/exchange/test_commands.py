"""``owseg exchange``, ``owseg annotate`` and ``owseg learn --shots``, from the command line to the files."""

import json

import numpy as np
import pytest

from owseg.exchange import FORMATS
from owseg.exchange.formats import read, write
from owseg.knowledge.load import load
from owseg.labels import UNKNOWN
from tests.support import tiny
from tests.support.annotated import COW, ROCK

WRITERS = {name: entry.facts["suffix"] for name, entry in FORMATS.entries.items() if "suffix" in entry.facts}


@pytest.mark.parametrize("kind", WRITERS)
def test_classes_are_learned_from_an_export(run_cli, tmp_path, stored_kb, images, made, kind):
    path = write([a for a in made if a.image != "elsewhere.png"], tmp_path / "made", kind)
    code, out, err = run_cli(
        "learn", stored_kb, "rock,cow", "--shots", path, "--images", images, "-o", tmp_path / kind, "--json"
    )
    assert code == 0, err
    assert json.loads(out)["classes"] == ["road", "sky", "tree", "rock", "cow"]
    target = next(iter(tiny.dataset(1, 5))).target
    labels = load(tmp_path / kind).predict(images / "f0.png").labels
    assert np.isin(labels[np.isin(target, [ROCK, COW])], [ROCK, COW]).mean() > 0.3


@pytest.mark.parametrize("kind", WRITERS)
def test_a_prediction_is_annotated_class_by_class(run_cli, tmp_path, stored_kb, images, kind):
    (images / "deep").mkdir()
    (images / "f1.png").rename(images / "deep" / "f1.png")
    out, as_json = tmp_path / "out", ["--json"] * (kind == "coco")
    code, text, err = run_cli("annotate", stored_kb, images, images / "deep", "--format", kind, "-o", out, *as_json)
    assert code == 0, err
    base, found = load(stored_kb), {}
    names = {**dict(enumerate(base.labels.names)), UNKNOWN: "unknown"}
    for a in read(out / f"annotations{WRITERS[kind]}"):
        label = next(k for k, n in names.items() if n == a.name)
        assert a.color == tuple(base.labels.palette()[label].tolist())
        found.setdefault(a.image.removesuffix(".png"), np.full(a.mask.shape, 7, np.uint8))[a.mask] = label
    assert found.keys() == {"f0", "deep/f1"}
    for name, labels in found.items():
        assert np.array_equal(labels, base.predict(images / f"{name}.png").open_set)
    if kind == "coco":
        assert json.loads(text)["file"] == str(out / "annotations.json")
    else:
        assert "Next:" in text and f"{out}/annotations.labels." in text


@pytest.mark.parametrize(("kind", "place"), [("labelstudio", "predictions"), ("cvat", 'source="auto"')])
def test_what_is_annotated_is_marked_as_predicted(run_cli, tmp_path, stored_kb, images, kind, place):
    for url in ([], ["--url", "http://h/"]) if kind == "labelstudio" else ([],):
        code, _, err = run_cli("annotate", stored_kb, images, "--format", kind, "-o", tmp_path / "out", *url)
        text = (tmp_path / "out" / f"annotations{WRITERS[kind]}").read_text()
        assert code == 0 and place in text, err
        assert ("http://h/f0.png" in text) == bool(url)


def test_annotations_are_taken_from_tool_to_tool(run_cli, tmp_path, made):
    first = write(made, tmp_path / "1", "cvat")
    second = tmp_path / "2" / "x.json"
    code, text, _ = run_cli("exchange", first, second, "--to", "labelstudio", "--url", "http://h/")
    assert code == 0 and "cow in 3" in text and "Next: in Label Studio" in text
    (task, *_) = json.loads(second.read_text())
    assert task["data"]["image"] == "http://h/f0.png" and "predictions" not in task
    code, text, _ = run_cli("exchange", second, tmp_path / "3", "--from", "labelstudio", "--to", "cvat", "--json")
    assert code == 0 and json.loads(text) == {
        "file": str(tmp_path / "3" / "annotations.xml"),
        "format": "cvat",
        "images": {"rock": 2, "cow": 3, "void": 1},
    }
    assert (tmp_path / "3" / "annotations.xml").read_bytes() == first.read_bytes()


def test_help_names_the_formats_of_the_registry(run_cli):
    written, readable = ", ".join(WRITERS), ", ".join(FORMATS)
    exchange, annotate = (f"DST: {written}.", f"SRC: {readable};"), (f"annotations: {written}.",)
    for command, named in (("exchange", exchange), ("annotate", annotate)):
        code, out, _ = run_cli(command, "--help")
        text = " ".join(out.replace("│", " ").split())
        assert code == 0 and all(names in text for names in named), text


def test_mistakes_end_in_one_sentence(run_cli, tmp_path, stored_kb, images, made):
    path, out = write(made, tmp_path / "made", "coco"), tmp_path / "out"
    (tmp_path / "x.json").write_text("{}")
    (tmp_path / "uncalibrated").mkdir()
    tiny.knowledge_base().save(tmp_path / "uncalibrated")
    cases = [
        (["learn", stored_kb, "tree2", "--shots", path, "--images", images], "no image is annotated with 'tree2'"),
        (["learn", stored_kb, "rock", "--shots", path], "there is no image f0.png"),
        (["learn", stored_kb, "rock", "--shots", tmp_path / "x.json"], "x.json holds no annotations"),
        (["learn", stored_kb, "rock", "--shots", tmp_path / "none.zip"], "none.zip does not exist"),
        (["learn", stored_kb, "rock", "--data", "synthetic", "--images", images], "--images"),
        (["exchange", path, out, "--to", "labelme"], "'labelme' cannot be written"),
        (["exchange", path, out, "--to", "cvat", "--from", "x"], "no format 'x'"),
        (["exchange", path, out, "--to", "coco", "--url", "x"], "coco has no option 'url'"),
        (["exchange", tmp_path / "x.json", out, "--to", "coco"], "x.json"),
        (["exchange", path, out, "--to", "coco", "--from", "cvat"], "annotations.json"),
        (["annotate", stored_kb, tmp_path / "none", "--format", "coco", "-o", out], "is not an image"),
        (["annotate", tmp_path / "uncalibrated", images, "--format", "coco", "-o", out], "owseg calibrate"),
    ]
    for args, message in cases:
        code, text, err = run_cli(*args)
        assert code == 1 and message in err and err.count("\n") == 1 and text == "", (args, err)
    (images / "broken.png").write_bytes(b"no")
    code, _, err = run_cli("annotate", stored_kb, images, "--format", "cvat", "-o", out)
    assert code == 1 and "broken.png" in err
    assert not out.exists()
