"""The list of data sets, and checking one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from owseg.data.check import SplitReport, absent_classes, check
from owseg.data.datasets import DATASETS, open_dataset
from owseg.data.images import read_mask
from owseg.errors import OwsegError
from tests.support import trees

DOCS = Path(__file__).parents[2] / "docs" / "data.md"


def test_the_page_has_the_table():
    lines = [line for line in DOCS.read_text().splitlines() if line.startswith("| `")]
    rows = [tuple(cell.strip() for cell in line.split("|")[1:-1]) for line in lines]
    assert rows == [
        (f"`{kind}`", e.help, e.facts["classes"], e.facts["layout"], ", ".join(e.facts["splits"]), e.source, licence)
        for kind, e in DATASETS.entries.items()
        for licence in [e.facts["licence"]]
    ]


def test_what_is_counted_is_what_is_there(tmp_path):
    tree = trees.roadanomaly21(tmp_path)
    val, test = check(f"roadanomaly21:{tmp_path}")
    classes = np.concatenate([frame[2].ravel() for frame in tree.frames["val"].values()])
    names = {"anomaly": "anomaly", "(known)": "known", "(void)": "void"}
    assert val.pixels == {printed: int((classes == name).sum()) for printed, name in names.items()}
    assert sum(val.shares().values()) == pytest.approx(1)
    assert (val.frames, val.without_ground_truth, val.errors) == (2, 0, ())
    assert (test.frames, test.without_ground_truth, test.pixels) == (1, 1, {"anomaly": 0})
    assert (val.unlabeled, test.unlabeled) == ((), tuple(open_dataset(f"roadanomaly21:{tmp_path}", "test").source.ids))
    assert val.sizes == {"9x6": 2}
    assert val.fingerprint == open_dataset(f"roadanomaly21:{tmp_path}", "val").fingerprint() != test.fingerprint
    assert val == check(f"roadanomaly21:{tmp_path}", "val")[0] != test and len({val, test}) == 2


def test_the_fingerprint_sees_one_pixel(tmp_path):
    tree = trees.idd(tmp_path)
    first = check(f"idd:{tmp_path}", "train")[0].fingerprint
    mask = tree.a_mask()[1]
    ids = read_mask(mask)
    ids[0, 0] = 3 if ids[0, 0] != 3 else 4
    trees.save(mask, ids)
    assert check(f"idd:{tmp_path}", "train")[0].fingerprint != first
    assert check(f"idd:{tmp_path}", "train")[0].fingerprint == check(f"idd:{tmp_path}")[0].fingerprint


def test_every_error_is_named_and_the_rest_is_counted(tmp_path, run_cli):
    tree = trees.streethazards(tmp_path)
    (first, second), ids = [p for p, _, _ in tree.frames["train"].values()], tree.frames["val"]["t4/1"][1]
    first.write_bytes(b"")
    trees.save(ids, np.full(trees.SIZE, 77))
    code, out, err = run_cli("data", "check", f"streethazards:{tmp_path}")
    assert code == 1
    assert str(first) in err and f"{ids} holds the values [77]" in err and str(second) not in err
    assert err.count("\n") == 2 and "Fingerprint: none" in out and "streethazards:test" in out
    code, out, _ = run_cli("data", "check", f"streethazards:{tmp_path}", "--split", "train", "--json")
    (found,) = json.loads(out)["splits"]
    assert code == 1 and found["fingerprint"] is None and found["frames"] == 2 and len(found["errors"]) == 1
    assert sum(found["pixels"].values()) == np.prod(trees.SIZE)


def test_a_whole_data_set_passes(tmp_path, run_cli):
    trees.cityscapes(tmp_path)
    code, out, err = run_cli("data", "check", f"cityscapes:{tmp_path}", "--split", "val", "--json")
    (found,) = json.loads(out)["splits"]
    assert code == 0 and err == "" and found["errors"] == [] and found["sizes"] == {"9x6": 2}
    assert found["share"]["road"] == found["pixels"]["road"] / sum(found["pixels"].values())


def test_masks_of_another_size_are_named(tmp_path):
    tree = trees.collected(tmp_path)
    for path, _, _ in tree.frames["val"].values():
        with Image.open(path) as image:
            image.resize((3, 2)).save(path)
    assert check(f"fishyscapes-lostfound:{tmp_path}")[0].sizes == {"3x2, mask 9x6": 2}
    errors = check(f"roadanomaly21:{tmp_path}")[0].errors
    assert len(errors) == 2 and all("must be of one size" in line for line in errors)


def test_splits_that_are_missing_are_passed_over_but_not_where_all_are(tmp_path):
    trees.folder(tmp_path)
    assert [c.split for c in check(f"folder:{tmp_path}")] == ["train", "val"]
    with pytest.raises(OwsegError, match="has no split 'test'"):
        check(f"folder:{tmp_path}", "test")
    with pytest.raises(OwsegError, match="laid out in another way"):
        check(f"idd:{tmp_path}")
    with pytest.raises(OwsegError, match="there is no kind of data set 'kitti'; owseg data list has"):
        check(f"kitti:{tmp_path}")


def test_a_folder_without_splits_is_checked_once(tmp_path):
    trees.save(tmp_path / "images" / "a.png", np.zeros((4, 4, 3)))
    trees.save(tmp_path / "masks" / "a.png", np.zeros((4, 4)))
    (tmp_path / "classes.json").write_text('["road"]')
    assert [c.pixels for c in check(f"folder:{tmp_path}")] == [{"road": 16}]


def report(split, pixels, without=0):
    return SplitReport(f"d:{split}", split, 2, {}, without, (), pixels, (), None)


def test_classes_without_a_pixel_are_named():
    train = report("train", {"road": 5, "sky": 5, "cow": 0, "(void)": 1})
    val, test = report("val", {"road": 5, "sky": 0, "cow": 0}), report("test", {"road": 0, "sky": 0}, without=2)
    assert absent_classes([train, val, test]) == [
        "d:train has no pixel of cow: what it does not show is not learned.",
        "d:val has no pixel of sky: what is learned of it is not measured.",
    ]
    assert absent_classes([val, test]) == absent_classes([replace(train, pixels={"sky": 1}), test]) == []
    assert len(absent_classes([train, replace(val, errors=("one",))])) == 1
