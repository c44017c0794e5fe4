import copy
import io
import json
import os
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from owseg.data.images import read_mask
from owseg.knowledge.adaptation import adapt
from owseg.knowledge.load import load


def test_three_maps_are_written_for_each_image(run_cli, stored_kb, photos, tmp_path):
    code, out, _ = run_cli("predict", photos, "--kb", stored_kb, "-o", tmp_path / "maps")
    assert code == 0 and "3 of 3" in out and "Most unknown: " in out
    kinds = ("labels.png", "score.png", "open.jpg", "regions.json")
    expected = {
        "classes.json",
        "legend.png",
        "settings.toml",
        "results.jsonl",
        *(f"p{i}.{kind}" for i in range(3) for kind in kinds),
    }
    assert {p.name for p in (tmp_path / "maps").iterdir()} == expected
    prediction = load(stored_kb).predict(photos / "p1.png")
    assert np.array_equal(read_mask(tmp_path / "maps" / "p1.labels.png"), prediction.labels)
    with Image.open(tmp_path / "maps" / "p1.score.png") as image:
        score = 32768 + 8192 * (prediction.score - float(image.text["threshold"])) / float(image.text["unit"])
        assert np.abs(np.asarray(image).astype(float) - score.clip(0, 65535)).max() <= 0.5


def test_what_cannot_be_read_is_reported_and_the_rest_is_done(run_cli, stored_kb, photos, tmp_path):
    (photos / "broken.jpg").write_bytes(b"\xff\xd8 no")
    code, out, err = run_cli("predict", photos, "--kb", stored_kb, "-o", tmp_path / "maps", "--npy")
    assert code == 3 and "3 of 4" in out and err.startswith("skipped: ") and "broken.jpg" in err
    assert np.load(tmp_path / "maps" / "p0.score.npy").shape == (48, 64)
    assert not list((tmp_path / "maps").glob(".*")) and not list((tmp_path / "maps").glob("broken*"))


def test_json_says_what_a_prediction_says_and_where_its_files_are(run_cli, stored_kb, photos, tmp_path):
    (photos / "broken.jpg").write_bytes(b"\xff\xd8 no")
    code, out, _ = run_cli("predict", photos, "--kb", stored_kb, "-o", tmp_path / "maps", "--json")
    value = json.loads(out)
    assert code == 3 and value["out"] == str(tmp_path / "maps") and value["kb"] == str(stored_kb)
    broken, *done = value["results"]
    assert "broken.jpg" in broken["error"] and broken["files"] == [] and broken["unknown"] is None
    for result in done:
        prediction = load(stored_kb).predict(result["path"])
        assert {key: result[key] for key in prediction.to_json()} == prediction.to_json() and result["error"] is None
        stem = result["image"].removesuffix(".png")
        names = [f"{stem}.{kind}" for kind in ("labels.png", "score.png", "open.jpg", "regions.json")]
        assert result["files"] == [str(tmp_path / "maps" / name) for name in names]
    files = {f.rpartition("/")[2] for r in done for f in r["files"]}
    assert {p.name for p in (tmp_path / "maps").iterdir()} == files | {
        "classes.json",
        "legend.png",
        "settings.toml",
        "results.jsonl",
        "errors.csv",
    }


def test_a_line_of_json_for_each_image(run_cli, stored_kb, photos, tmp_path):
    (photos / "broken.jpg").write_bytes(b"\xff\xd8 no")
    load(stored_kb).save(stored_kb)
    run = ("predict", photos, "--kb", stored_kb, "-o", tmp_path / "maps")
    code, out, err = run_cli(*run, "--jsonl")
    lines, whole = [json.loads(line) for line in out.splitlines()], json.loads(run_cli(*run, "--json")[1])
    about = {"kb": str(stored_kb), "version": 2, "task": "unknown"}
    assert code == 3 and err == "" and lines == [{**about, **result} for result in whole["results"]]
    assert [line["error"] is None for line in lines] == [False, True, True, True] and whole["version"] == 2
    for line in lines[1:]:
        assert {"path", "threshold", "unknown", "classes", "regions", "files"} <= line.keys()
        assert line["threshold"] == load(stored_kb).threshold.value


def test_lines_come_as_images_are_done(run_cli, stored_kb, photos, tmp_path, monkeypatch):
    printed = []

    def line(*parts, **options):
        printed.append((len(list((tmp_path / "maps").glob("*.labels.png"))), options))

    monkeypatch.setattr("builtins.print", line)
    run_cli("predict", photos, "--kb", stored_kb, "-o", tmp_path / "maps", "--jsonl")
    assert printed == [(1, {"flush": True}), (2, {"flush": True}), (3, {"flush": True})]


def test_subfolders_keep_their_names(run_cli, stored_kb, photos, tmp_path):
    (photos / "trip1").mkdir()
    (photos / "p1.png").rename(photos / "trip1" / "p0.png")
    run = ("predict", photos, "--kb", stored_kb, "-o", photos / "maps")
    code, out, err = run_cli(*run)
    assert code == 0 and "2 of 2" in out and err.startswith("Note: 1 more image in subfolders of")
    code, out, err = run_cli(*run, "--recursive")
    assert code == 0 and "3 of 3" in out and err == ""  # the maps of the first run are in a subfolder, too
    assert (photos / "maps" / "trip1" / "p0.labels.png").is_file() and (photos / "maps" / "p0.labels.png").is_file()


def test_two_images_of_one_name_are_said_before_the_network_is_loaded(run_cli, fails, stored_kb, photos, tmp_path):
    (photos / "trip1").mkdir()
    (photos / "trip1" / "p0.png").write_bytes((photos / "p0.png").read_bytes())
    sentence = "would both become p0.labels.png; rename one, or give the folder above both with --recursive."
    assert sentence in fails("predict", photos / "p0.png", photos / "trip1", "--kb", "none", "-o", tmp_path / "maps")
    code, _, _ = run_cli("predict", photos, "--recursive", "--kb", stored_kb, "-o", tmp_path / "maps")  # as it says
    assert code == 0 and len(list((tmp_path / "maps").rglob("p0.labels.png"))) == 2


def test_paths_come_from_standard_input(run_cli, stored_kb, photos, tmp_path, monkeypatch):
    run = ("predict", "-", "--kb", stored_kb, "-o", tmp_path / "maps")
    paths = [os.fsencode(path) for path in sorted(photos.iterdir())]
    for text, n in ((b"\n".join(paths), 3), (b"\r\n".join(paths[:2]) + b"\r\n", 2), (b"\0".join(paths[1:]) + b"\0", 2)):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text)))
        code, out, _ = run_cli(*run)
        assert code == 0 and f"{n} of {n}" in out


@pytest.mark.parametrize(("text", "why"), [(b"", "names no image"), (b"\n\n", "names no image"),
                                           (b"none.png", "none.png does not exist")])  # fmt: skip
def test_standard_input_without_an_image(fails, stored_kb, tmp_path, monkeypatch, text, why):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text)))
    assert why in fails("predict", "-", "--kb", stored_kb, "-o", tmp_path / "maps")


def test_a_list_without_end_is_refused(fails, stored_kb, tmp_path, monkeypatch):
    monkeypatch.setattr("owseg.cli._images.MAX_TEXT", 1 << 20)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"a" * (1 << 20 | 1))))
    assert "more than 1 MiB of paths" in fails("predict", "-", "--kb", stored_kb, "-o", tmp_path / "maps")


def test_both_kinds_of_json_are_refused(fails, stored_kb, photos, tmp_path):
    options = ("--kb", stored_kb, "-o", tmp_path / "maps", "--json", "--jsonl")
    assert "give either" in fails("predict", photos, *options) and not (tmp_path / "maps").exists()


@pytest.mark.parametrize("line", [
    ("predict", "photos"), ("annotate", "kb", "photos", "--format", "cvat"), ("discover", "kb", "photos"),
    ("submit", "kb", "photos", "--format", "smiyc"),
])  # fmt: skip
def test_a_folder_that_cannot_be_written_is_said_before_the_network_is_loaded(
    fails, photos, tmp_path, line, monkeypatch
):
    (tmp_path / "file").write_text("x")
    monkeypatch.chdir(tmp_path)
    assert "file/maps cannot be written (it is, or lies in, a file); give another path" in fails(
        *line, "-o", "file/maps"
    )


def test_small_images_are_not_called_the_most_unknown(run_cli, kb, photos, tmp_path):
    network = copy.deepcopy(kb.network)
    network.size = 48
    threshold = replace(kb.threshold, value=-1e9)  # all of every image is unknown, and the first would be named
    replace(kb, network=network, threshold=threshold).save(tmp_path / "kb")
    run = ("predict", photos, "--kb", tmp_path / "kb", "-o", tmp_path / "maps")
    for size in ((64, 31), (20, 15)):
        Image.new("RGB", size, (200, 0, 0)).save(photos / "a.png")
        _, out, err = run_cli(*run)
        assert "Most unknown: " in out and "a.png" not in out
        assert "Note: 1 of the images have a side below 32 pixels; too small for this network." in err
    Image.new("RGB", (200, 150), (200, 0, 0)).save(photos / "a.png")
    assert "a.png" in run_cli(*run)[1]


def test_images_that_were_enlarged_are_not_called_the_most_unknown(run_cli, kb, photos, tmp_path):
    network = copy.deepcopy(kb.network)
    network.size = 96
    replace(kb, network=network, threshold=replace(kb.threshold, value=-1e9)).save(tmp_path / "kb")
    run = ("predict", photos, "--kb", tmp_path / "kb", "-o", tmp_path / "maps")
    Image.new("RGB", (60, 40), (200, 0, 0)).save(photos / "a.png")
    _, out, err = run_cli(*run)
    assert "p0.png (100.0% of its pixels)" in out and "some images are less than half of" in err
    assert "a.png (100.0% of its pixels)" in run_cli(*run, "--size", 48)[1]


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


def test_maps_are_not_written_among_the_images_of_a_folder(run_cli, fails, stored_kb, photos):
    said = fails("predict", photos, "--kb", stored_kb, "-o", f"{photos}/../{photos.name}")
    assert "is the folder of the images" in said and not list(photos.glob("*.labels.png"))
    # One image that is named itself is not taken for more.
    assert run_cli("predict", photos / "p0.png", "--kb", stored_kb, "-o", photos)[0] == 0


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


@pytest.fixture
def elsewhere(kb, tmp_path):
    """The folder of ``kb`` with its threshold and reference far below the scores of any image."""
    threshold = kb.threshold
    reference = replace(threshold.reference, mean=threshold.reference.mean - 50)
    replace(kb, threshold=replace(threshold, value=threshold.value - 50, reference=reference)).save(tmp_path / "kb")
    return tmp_path / "kb"


def test_images_of_another_place_are_noticed(run_cli, elsewhere, photos, tmp_path):
    code, _, err = run_cli("predict", photos, "--kb", elsewhere, "-o", tmp_path / "maps")
    assert code == 0 and err.count("\n") == 1
    assert "differ from those that the threshold was calibrated on: an estimated 100% of the known pixels" in err
    assert "(5% asked); --adapt moves" in err and f"owseg adapt {elsewhere} IMAGES stores it" in err
    value = json.loads(run_cli("predict", photos, "--kb", elsewhere, "-o", tmp_path / "maps", "--json")[1])
    assert value["shift"]["significant"] and value["shift"]["lost"] > 0.9 and value["shift"]["images"] == 3
    assert value["threshold"] == load(elsewhere).threshold.to_json()


def test_images_of_the_same_place_are_not(run_cli, stored_kb, photos, tmp_path):
    code, _, err = run_cli("predict", photos, "--kb", stored_kb, "-o", tmp_path / "maps")
    assert code == 0 and err == ""
    value = json.loads(run_cli("predict", photos, "--kb", stored_kb, "-o", tmp_path / "maps", "--json")[1])
    assert value["shift"]["significant"] is False


def test_adapt_moves_the_threshold_of_what_is_written_and_of_nothing_else(run_cli, elsewhere, photos, tmp_path):
    before = sorted(elsewhere.rglob("*"))
    code, out, err = run_cli("predict", photos, "--kb", elsewhere, "-o", tmp_path / "maps", "--adapt")
    new = adapt(load(elsewhere), sorted(photos.iterdir()))
    assert code == 0 and err == "" and sorted(elsewhere.rglob("*")) == before
    assert f"unknown where joint > {new.threshold.value:.4g} (estimated; no rate is promised)" in out
    with Image.open(tmp_path / "maps" / "p1.score.png") as image:
        assert float(image.text["threshold"]) == pytest.approx(new.threshold.value)
    options = ("--kb", elsewhere, "-o", tmp_path / "maps", "--json")
    adapted, plain = (json.loads(run_cli("predict", photos, *options, *more)[1]) for more in (("--adapt",), ()))
    assert adapted["threshold"] == new.threshold.to_json() and not adapted["shift"]["significant"]
    for result, as_it_is in zip(adapted["results"], plain["results"], strict=True):
        assert result["unknown"] == new.predict(result["path"]).unknown < 0.5 < as_it_is["unknown"]


def test_an_image_that_cannot_be_read_does_not_stop_adapting(run_cli, elsewhere, photos, tmp_path):
    (photos / "broken.jpg").write_bytes(b"\xff\xd8 no")
    code, out, err = run_cli("predict", photos, "--kb", elsewhere, "-o", tmp_path / "maps", "--adapt")
    assert code == 3 and "3 of 4" in out and err.startswith("skipped: ") and err.count("\n") == 1


def test_a_threshold_of_an_earlier_version_notices_nothing(run_cli, kb, photos, tmp_path):
    threshold = replace(kb.threshold, value=kb.threshold.value - 50, reference=None)
    replace(kb, threshold=threshold).save(tmp_path / "kb")
    code, out, err = run_cli("predict", photos, "--kb", tmp_path / "kb", "-o", tmp_path / "maps", "--json")
    assert code == 0 and err == "" and json.loads(out)["shift"] is None
