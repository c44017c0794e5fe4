"""``owseg correct``, and counterexamples (``--not``), with real images."""

import json

import numpy as np
import pytest
from PIL import Image

from owseg.discovery.discover import discover
from owseg.knowledge.load import load
from owseg.knowledge.versions import version_history
from tests.support import tiny
from tests.support.shots import blue_shot, red_shot


def write(place, shots):
    """A folder of shots."""
    for i, shot in enumerate(shots):
        for kind, array in (("images", shot.image.transpose(1, 2, 0)), ("masks", shot.positives.astype(np.uint8))):
            (place / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(place / kind / f"{i}.png")
    return place


@pytest.fixture
def red(tmp_path):
    return write(tmp_path / "red", [red_shot(0), red_shot(1)])


def test_a_class_of_the_network_is_found_where_shots_show_it(run_cli, stored_kb, red, tmp_path):
    unseen = red_shot(2)
    before = load(stored_kb).predict(unseen.image)
    code, out, err = run_cli("correct", stored_kb, "--known", "sky", "--shots", red, "-o", tmp_path / "new")
    assert code == 0 and "new is at version 2: corrected sky from 2 shots by probe." in out, err
    assert "It knows road, sky, tree.\n" in out and "each shot of sky is found with an IoU of" in err
    kb = load(tmp_path / "new")
    after = kb.predict(unseen.image)
    assert (after.open_set[unseen.positives] == 1).mean() > 0.5 > (before.open_set[unseen.positives] == 1).mean()
    assert [v.parent for v in version_history(tmp_path / "new")] == [None, 1] and not load(stored_kb).increments
    assert run_cli("rollback", tmp_path / "new")[0] == 0 and not load(tmp_path / "new").increments
    event = json.loads(run_cli("history", tmp_path / "new", "--json")[1])["versions"][1]["events"][0]
    assert event["action"] == "correct" and [s["id"] for s in event["details"]["shots"]] == ["0", "1"]
    assert event["details"]["user"] in run_cli("history", tmp_path / "new")[1]


def test_the_regions_of_a_queue_correct_a_class(run_cli, fails, unsure_kb, tmp_path):
    unsure_kb.save(tmp_path / "kb")
    paths = sorted(tiny.write_photos(tmp_path / "photos", 3).iterdir())
    queue, _ = discover(unsure_kb, paths, tmp_path / "queue", "kb", min_area=20)
    line = ("correct", tmp_path / "kb", "--known", "sky", "--queue", tmp_path / "queue")
    assert "is of 'sky'; mark some as known" in fails(*line)
    regions = [r for g in queue.groups() for r in g.regions]
    queue.mark_known(regions[0], "sky")
    queue.mark_known([r for r in regions if r[:16] != regions[0][:16]], "road")
    code, out, err = run_cli(*line, "--json")
    assert code == 0, err
    assert (
        json.loads(out)["did"][-1].startswith("corrected sky from 1 shot and ") and len(load(line[1]).increments) == 1
    )


def test_what_is_marked_as_something_else_is_predicted_less(run_cli, stored_kb, red, tmp_path):
    blue = write(tmp_path / "blue", [blue_shot(0), blue_shot(1)])
    unseen, found = blue_shot(2), {}
    for name, more in (("plain", ()), ("told", ("--not", blue))):
        code, out, err = run_cli(
            "learn",
            stored_kb,
            "box",
            "--shots",
            red,
            *more,
            "--method",
            "probe",
            "--set",
            "views=24",
            "-o",
            tmp_path / name,
        )
        assert code == 0, err
        found[name] = (load(tmp_path / name).predict(unseen.image).labels == 3)[unseen.positives].mean()
    assert "learned box from 2 shots and 2 counterexamples by probe" in out
    assert found["told"] < 0.02 or found["told"] < found["plain"] / 2


@pytest.mark.parametrize("line, why", [
    ("correct KB --known sky", "give --shots FOLDER or --queue QUEUE, of what is sky, and not both"),
    ("correct KB --known sky --shots RED --queue Q", "and not both"),
    ("correct KB --known sky --queue RED", "is not a queue"),
    ("correct KB --known sky --queue Q --images RED", "--images says where the images of --shots are"),
    ("correct KB --known cow --shots RED", "'cow' is no known class; known are road, sky, tree; learn it first"),
    ("correct KB --known sky --shots RED --method plm", "a head is trained for a new class, and 'sky' is known"),
    ("correct KB --known sky --shots RED --set radius=1", "name it with --method"),
    ("correct street --known road --shots RED", "give --out DIR"),
    ("learn KB red --shots RED --not EMPTY", "EMPTY"),
    ("learn KB red,cow --data DATA --not RED", "--not says what one class is not; learn one at a time"),
    ("learn KB sky --shots RED", "extends it, or give the new class another name"),
])  # fmt: skip
def test_mistakes_end_in_one_sentence(fails, stored_kb, red, own_data, tmp_path, line, why):
    (tmp_path / "EMPTY").mkdir()
    places = {"KB": stored_kb, "RED": red, "EMPTY": tmp_path / "EMPTY", "DATA": own_data, "Q": tmp_path / "Q"}
    before = sorted(stored_kb.rglob("*"))
    assert why in fails(*(places.get(word, word) for word in line.split()))
    assert sorted(stored_kb.rglob("*")) == before
