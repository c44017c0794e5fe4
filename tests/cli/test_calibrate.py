import json

import pytest

from owseg.knowledge.load import load
from tests.support.queues import IDS, make


def test_the_threshold_is_stored_as_a_new_version(run_cli, stored_kb, own_data, tmp_path):
    assert run_cli("calibrate", stored_kb, "--data", own_data)[0] == 0  # folder: is guessed
    before = load(stored_kb).threshold
    code, out, _ = run_cli("calibrate", stored_kb, "--data", f"folder:{own_data}", "--fpr", "0.3")
    threshold = load(stored_kb).threshold
    assert code == 0 and threshold.target_fpr == 0.3 and threshold.value < before.value
    assert f"unknown where joint > {threshold.value:.4g}" in out and "is at version 3" in out
    assert out.endswith(f"Next: owseg predict --kb {stored_kb} IMAGES\n")
    assert run_cli("calibrate", stored_kb, "--data", own_data, "-o", tmp_path / "copy")[0] == 0
    assert load(stored_kb).threshold == threshold and load(tmp_path / "copy").threshold == before


def test_a_threshold_from_a_histogram_says_so(run_cli, stored_kb, own_data, monkeypatch):
    monkeypatch.setattr("owseg.knowledge.calibration.EXACT_PIXELS", 10_000)
    code, out, err = run_cli("calibrate", stored_kb, "--data", own_data, "--json")
    said = json.loads(out)
    assert code == 0 and said["threshold"]["binned"] and said["did"][-1].endswith("from a histogram of the scores")
    assert any("the threshold is from a histogram of" in note for note in said["notes"])
    code, out, err = run_cli("calibrate", stored_kb, "--data", own_data)
    assert code == 0 and "Note: the threshold is from a histogram of" in err
    assert load(stored_kb).threshold.binned


def test_obstacles_have_a_threshold_of_their_own(run_cli, fails, stored_kb, own_data, tmp_path):
    image = next((own_data / "images").iterdir())
    asked = ("predict", "--kb", stored_kb, image, "-o", tmp_path / "maps", "--task", "obstacles")
    assert "--task obstacles" in fails(*asked)
    before = load(stored_kb)
    code, out, _ = run_cli("calibrate", stored_kb, "--data", own_data, "--task", "obstacles", "--fpr", "0.1")
    after = load(stored_kb)
    assert code == 0 and out.endswith(f"Next: owseg predict --kb {stored_kb} --task obstacles IMAGES\n")
    assert after.threshold == before.threshold and after.obstacles.target_fpr == 0.1
    assert run_cli(*asked)[0] == 0
    code, out, _ = run_cli(*asked, "--json")
    found = json.loads(out)
    assert found["task"] == "obstacles" and found["threshold"]["value"] == after.obstacles.value
    assert found["shift"] is None  # how much road an image shows is no matter of its place
    code, out, _ = run_cli(*asked, "--adapt", "--json")
    assert json.loads(out)["threshold"]["estimated"]
    assert "there is no task 'things'" in fails(*asked[:-1], "things")


def test_false_alarms_of_a_queue_count_besides_the_data(run_cli, fails, stored_kb, own_data, tmp_path):
    queue = make(tmp_path / "reviewed")
    asked = ("calibrate", stored_kb, "--data", own_data, "--queue", queue.folder)
    assert "was marked as known" in fails(*asked)
    queue.mark_known([IDS[0], IDS[3]], "sky")
    assert run_cli("calibrate", stored_kb, "--data", own_data)[0] == 0
    alone = load(stored_kb).threshold
    code, out, _ = run_cli(*asked)
    both = load(stored_kb).threshold
    assert code == 0 and "0.3 false alarms per image, with 2 regions of queue." in out
    assert both.pixels == alone.pixels + 36 + 64 and both.images == alone.images + 2
    assert "and 2 regions of queue, 10 images: " in run_cli("info", stored_kb)[1]
    assert "a conformal bound needs images that nobody chose" in fails(*asked, "--method", "conformal")


@pytest.mark.parametrize("options, why", [
    (("--scorer", "msp", "--task", "obstacles"), "without --task"),
    (("--fpr", "2"), "between 0 and 1"),
    (("--fpr", "0.01", "--method", "conformal"), "at least 99"),
    (("--scorer", "magic"), "no scorer 'magic'"),
    (("--method", "magic"), "magic"),
    (("--split", "magic"), "magic"),
])  # fmt: skip
def test_mistakes_end_in_one_sentence(fails, stored_kb, own_data, options, why):
    before = sorted(stored_kb.rglob("*"))
    (own_data / "train").mkdir()
    for name in ("images", "masks"):
        (own_data / name).rename(own_data / "train" / name)
    (own_data / "train").rename(own_data / "val")
    assert why in fails("calibrate", stored_kb, "--data", f"folder:{own_data}", *options)
    assert sorted(stored_kb.rglob("*")) == before


def test_a_knowledge_base_that_is_not_there_or_not_yours(fails, own_data, tmp_path):
    assert "does not exist" in fails("calibrate", tmp_path / "typo", "--data", f"folder:{own_data}")
    assert "--out" in fails("calibrate", "street", "--data", f"folder:{own_data}")
