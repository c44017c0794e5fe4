import json

import numpy as np
import pytest

from owseg.exchange import FORMATS
from owseg.exchange.formats import read
from owseg.knowledge.load import load
from owseg.labels import UNKNOWN
from tests.support import tiny

WRITERS = {name: entry.facts["suffix"] for name, entry in FORMATS.entries.items() if "suffix" in entry.facts}


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


def test_mistakes_end_in_one_sentence(fails, tmp_path, stored_kb, images):
    out = tmp_path / "out"
    (tmp_path / "uncalibrated").mkdir()
    tiny.knowledge_base().save(tmp_path / "uncalibrated")
    cases = [
        ((stored_kb, tmp_path / "none", "--format", "coco", "-o", out), "does not exist"),
        ((tmp_path / "uncalibrated", images, "--format", "coco", "-o", out), "owseg calibrate"),
        ((stored_kb, images, "--format", "labelme", "-o", out), "cannot be written"),
    ]
    for args, why in cases:
        assert why in fails("annotate", *args)
    (images / "broken.png").write_bytes(b"no")
    assert "broken.png" in fails("annotate", stored_kb, images, "--format", "cvat", "-o", out)
    assert not out.exists()
