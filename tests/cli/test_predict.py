import copy
import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from owseg.data.images import read_mask
from owseg.knowledge.load import load


def test_three_maps_are_written_for_each_image(run_cli, stored_kb, photos, tmp_path):
    code, out, _ = run_cli("predict", photos, "--kb", stored_kb, "-o", tmp_path / "maps")
    assert code == 0 and "3 of 3" in out and "Most unknown: " in out
    assert sorted(p.name for p in (tmp_path / "maps").iterdir()) == sorted(
        f"p{i}.{kind}" for i in range(3) for kind in ("labels.png", "score.png", "open.jpg", "regions.json")
    )
    prediction = load(stored_kb).predict(photos / "p1.png")
    assert np.array_equal(read_mask(tmp_path / "maps" / "p1.labels.png"), prediction.labels)
    with Image.open(tmp_path / "maps" / "p1.score.png") as image:
        score = 32768 + 8192 * (prediction.score - float(image.text["threshold"])) / float(image.text["unit"])
        assert np.abs(np.asarray(image).astype(float) - score.clip(0, 65535)).max() <= 0.5


def test_what_cannot_be_read_is_reported_and_the_rest_is_done(run_cli, stored_kb, photos, tmp_path):
    (photos / "broken.jpg").write_bytes(b"\xff\xd8 no")
    code, out, err = run_cli("predict", photos, "--kb", stored_kb, "-o", tmp_path / "maps", "--npy")
    assert code == 1 and "3 of 4" in out and err.startswith("skipped: ") and "broken.jpg" in err
    assert np.load(tmp_path / "maps" / "p0.score.npy").shape == (48, 64)
    assert not list((tmp_path / "maps").glob(".*")) and not list((tmp_path / "maps").glob("broken*"))


def test_json_says_what_a_prediction_says_and_where_its_files_are(run_cli, stored_kb, photos, tmp_path):
    (photos / "broken.jpg").write_bytes(b"\xff\xd8 no")
    code, out, _ = run_cli("predict", photos, "--kb", stored_kb, "-o", tmp_path / "maps", "--json")
    value = json.loads(out)
    assert code == 1 and value["out"] == str(tmp_path / "maps") and value["kb"] == str(stored_kb)
    broken, *done = value["results"]
    assert "broken.jpg" in broken["error"] and broken["files"] == [] and broken["unknown"] is None
    for result in done:
        prediction = load(stored_kb).predict(result["path"])
        assert {key: result[key] for key in prediction.to_json()} == prediction.to_json() and result["error"] is None
        stem = result["image"].removesuffix(".png")
        names = [f"{stem}.{kind}" for kind in ("labels.png", "score.png", "open.jpg", "regions.json")]
        assert result["files"] == [str(tmp_path / "maps" / name) for name in names]
    assert {p.name for p in (tmp_path / "maps").iterdir()} == {f.rpartition("/")[2] for r in done for f in r["files"]}


@pytest.mark.parametrize("images, place, out, why", [
    ("none.png", "kb", "maps", "none.png"),
    ("empty", "kb", "maps", "holds no image"),
    ("photos", "none", "maps", "does not exist"),
    ("photos", "empty", "maps", "holds no"),
    ("photos", "kb", "file", "file"),
])  # fmt: skip
def test_mistakes_end_in_one_sentence(fails, stored_kb, photos, tmp_path, images, place, out, why):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    assert why in fails("predict", tmp_path / images, "--kb", tmp_path / place, "-o", tmp_path / out)
    assert not (tmp_path / "maps").exists() and (tmp_path / "file").read_text() == "x"


@pytest.mark.parametrize(("working", "options", "note"), [
    (20, (), "3 of the images are more than twice as large as the working size (20 pixels, shorter side)"),
    (120, (), "some images are less than half of the working size (120 pixels, shorter side)"),
    (24, (), None), (96, (), None), (None, (), None), (20, ("--size", 48), None),
])  # fmt: skip
def test_images_far_from_the_working_size_are_noticed(run_cli, kb, photos, tmp_path, working, options, note):
    network = copy.deepcopy(kb.network)
    network.size = working
    replace(kb, network=network).save(tmp_path / "sized")
    code, _, err = run_cli("predict", photos, "--kb", tmp_path / "sized", "-o", tmp_path / "maps", *options)
    assert code == 0 and (note in err if note else "working size" not in err)
    if note:
        assert "--size N asks for another size" in err
