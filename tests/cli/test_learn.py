import json

import numpy as np
import pytest
from PIL import Image

from owseg.data.images import read_mask
from owseg.discovery.discover import discover
from owseg.exchange import FORMATS
from owseg.exchange.formats import write
from owseg.knowledge.load import load
from owseg.knowledge.versions import version_history
from tests.support import tiny
from tests.support.annotated import COW, ROCK

WRITERS = {name: entry.facts["suffix"] for name, entry in FORMATS.entries.items() if "suffix" in entry.facts}


def test_learn_evaluate_roll_back(run_cli, stored_kb, own_data):
    data = ("--data", f"folder:{own_data}")
    assert run_cli("calibrate", stored_kb, *data, "--fpr", "0.2", "--scorer", "energy")[0] == 0
    code, out, _ = run_cli("learn", stored_kb, "rock", *data, "--count", "3", "--method", "npm", "--json")
    assert code == 0 and json.loads(out)["classes"] == ["road", "sky", "tree", "rock"]
    code, out, _ = run_cli("evaluate", stored_kb, *data, "--scorers", "all", "--json")
    value = json.loads(out)
    assert code == 0 and set(value["iou"]) == {"road", "sky", "tree", "rock"}
    assert value["scores"]["energy"]["auroc"] is None  # nothing is unknown any more
    code, out, _ = run_cli("history", stored_kb, "--json")
    assert [v["current"] for v in json.loads(out)["versions"]] == [False, False, True]
    assert "learned rock from 3 shots" in json.loads(out)["versions"][-1]["message"]
    assert run_cli("rollback", stored_kb)[0] == 0
    assert load(stored_kb).labels.names == ("road", "sky", "tree")
    code, out, _ = run_cli("evaluate", stored_kb, *data, "--json")
    assert json.loads(out)["scores"]["energy"]["auroc"] is not None


def test_a_threshold_from_a_histogram_says_so(run_cli, stored_kb, own_data, monkeypatch):
    data = ("--data", f"folder:{own_data}", "--count", "2", "--method", "npm", "--json")
    assert run_cli("calibrate", stored_kb, "--data", own_data)[0] == 0
    monkeypatch.setattr("owseg.knowledge.calibration.EXACT_PIXELS", 10_000)
    code, out, _ = run_cli("learn", stored_kb, "rock", *data)
    said = json.loads(out)
    assert code == 0 and said["threshold"]["binned"]
    assert any("the threshold is from a histogram of" in note for note in said["notes"])


def test_shots_from_a_folder(run_cli, stored_kb, shots, tmp_path):
    code, out, _ = run_cli("learn", stored_kb, "rock", "--shots", shots, "-o", tmp_path / "other", "--method", "npm")
    assert code == 0 and "version 2" in out  # version 1 is the knowledge base as it was
    assert "The threshold was not changed; --known KIND:DIR" in out
    assert out.endswith(f"Next: owseg predict --kb {tmp_path / 'other'} IMAGES\n")
    assert load(tmp_path / "other").labels.names[-1] == "rock"
    assert load(stored_kb).labels.names[-1] == "tree"


def test_the_regions_of_a_queue_that_were_accepted_are_learned(run_cli, fails, unsure_kb, tmp_path):
    unsure_kb.save(tmp_path / "kb")
    paths = sorted(tiny.write_photos(tmp_path / "photos", 3).iterdir())
    queue, _ = discover(unsure_kb, paths, tmp_path / "queue", "kb", min_area=20)
    line = ("learn", tmp_path / "kb", "rock", "--queue", tmp_path / "queue")
    said = fails(*line)
    assert "no region of" in said and "was accepted as 'rock'" in said
    by_image = {region.partition("-")[0]: region for group in queue.groups() for region in group.regions}
    assert len(by_image) == 3
    first, second, third = by_image.values()
    queue.accept([first, second], "rock")
    queue.reject(third)
    code, out, err = run_cli(*line, "--json")
    assert code == 0 and json.loads(out)["classes"][-1] == "rock", err
    assert json.loads(out)["did"][-1].startswith("learned rock from 2 shots and 1 counterexample")
    queue.choose("rock", [second.partition("-")[0]])
    assert run_cli("rollback", tmp_path / "kb")[0] == 0
    assert json.loads(run_cli(*line, "--json")[1])["did"][-1].startswith(
        "learned rock from 1 shot and 1 counterexample"
    )


def test_a_method_and_its_options(run_cli, fails, stored_kb, shots):
    learn = ("learn", stored_kb, "rock", "--shots", shots)
    for options, why in (
        (("--method", "plm", "--set", "radius=1"), "plm has no option 'radius'"),
        (("--method", "magic"), "no method 'magic'"),
        (("--method", "npm", "--set", "radius=far"), "radius"),
        (("--set", "radius=1"), "name it with --method"),
        (("--method", "npm", "--set", "radius"), "sets nothing"),
    ):
        assert why in fails(*learn, *options)
    radii = []
    for radius in (0.001, 1000):
        code, _, err = run_cli(*learn, "--method", "npm", "--set", f"radius={radius}")
        assert code == 0, err
        radii.append(load(stored_kb).increments[-1].to_json())
        assert run_cli("rollback", stored_kb)[0] == 0
    assert radii[0] != radii[1]


def test_a_network_without_fitted_scorers_learns_by_the_probe_once_they_are_fitted(run_cli, fails, shots, tmp_path):
    kb, own = tmp_path / "kb", tmp_path / "own"
    tiny.knowledge_base(kind="segformer", classifier="linear").save(kb)
    assert "owseg fit KB --data SET --scorers joint" in fails(
        "learn", kb, "rock", "--shots", shots, "--method", "probe"
    )
    code, out, err = run_cli("fit", kb, "--data", f"folder:{own}", "--scorers", "joint,sml")
    assert code == 0 and {"joint", "mahalanobis", "sml"} < set(load(kb).scorers), err
    code, out, err = run_cli("learn", kb, "rock", "--shots", shots)
    assert code == 0 and load(kb).labels.names[-1] == "rock" and "probe" in out, err


@pytest.mark.usefixtures("quick_tsne")
def test_several_classes_are_learned_recorded_and_evaluated(run_cli, fails, stored_kb, own_data, tmp_path):
    classes = list(json.loads((own_data / "classes.json").read_text()))
    for path in sorted((own_data / "masks").iterdir()):  # a fifth class, cut out of the fourth
        mask = read_mask(path)
        mask[(mask == 3) & (np.arange(mask.shape[1]) % 32 < 16)] = 4
        Image.fromarray(mask).save(path)
    (own_data / "classes.json").write_text(json.dumps([*classes, "cow"]))
    args = ("--data", f"folder:{own_data}", "--count", "3", "--manifest", tmp_path / "m.json", "--method", "npm")
    code, out, err = run_cli("learn", stored_kb, "rock,cow", *args, "--json", "-o", tmp_path / "first")
    assert code == 0, err
    assert json.loads(out)["version"] == 3  # as it was, with rock, with cow
    assert [v.message[:12] for v in version_history(tmp_path / "first")][1:] == ["learned rock", "learned cow "]
    again = ("learn", stored_kb, "rock,cow", *args, "--seed", "9", "-o", tmp_path / "second")
    assert run_cli(*again)[0] == 0  # the seed no longer matters
    first, second = load(tmp_path / "first"), load(tmp_path / "second")
    assert first.history[-1].details["shots"] == second.history[-1].details["shots"]
    assert "lists rock,cow, not cow,rock" in fails("learn", stored_kb, "cow,rock", *args, "-o", tmp_path / "third")
    page = tmp_path / "page.html"
    evaluate = ("evaluate", tmp_path / "first", "--data", f"folder:{own_data}", "--sequence")
    code, out, err = run_cli(*evaluate, "--report", page)
    assert code == 0, err
    assert "+ rock" in out and "forgotten" in out and "<svg" in page.read_text() and str(page) in err
    value = json.loads(run_cli(*evaluate, "--json")[1])
    assert value["learned"] == ["rock", "cow"] and len(value["stages"]) == 3


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


def test_mistakes_in_an_export_end_in_one_sentence(fails, tmp_path, stored_kb, images, made):
    path = write(made, tmp_path / "made", "coco")
    (tmp_path / "x.json").write_text("{}")
    cases = [
        ((stored_kb, "tree2", "--shots", path, "--images", images), "no image is annotated with 'tree2'"),
        ((stored_kb, "rock", "--shots", path), "there is no image f0.png"),
        ((stored_kb, "rock", "--shots", tmp_path / "x.json"), "x.json holds no annotations"),
        ((stored_kb, "rock", "--shots", tmp_path / "none.zip"), "none.zip does not exist"),
        ((stored_kb, "rock", "--data", "synthetic", "--images", images), "--images"),
    ]
    for args, why in cases:
        assert why in fails("learn", *args)


@pytest.mark.parametrize("name, options, why", [
    ("sky", ("--data", "DATA"), "known already"),
    ("cow", ("--data", "DATA"), "no class 'cow'"),
    ("rock", ("--data", "DATA", "--count", "0"), "from one shot or more"),
    ("rock", ("--data", "DATA", "--seed", "-1"), "seed"),
    ("rock", ("--data", "DATA", "--manifest", "KB/0001/network.safetensors"), "not a manifest"),
    ("rock", ("--data", "DATA", "--images", "EMPTY"), "--images"),
    (",", ("--data", "DATA"), "name the class"),
    ("rock", (), "give --shots"),
    ("rock", ("--shots", "SHOTS", "--data", "DATA"), "give one of --shots"),
    ("rock", ("--shots", "SHOTS", "--manifest", "m.json"), "--manifest"),
    ("rock,cow", ("--shots", "SHOTS"), "one at a time"),
    ("rock", ("--shots", "EMPTY"), "masks"),
])  # fmt: skip
def test_mistakes_end_in_one_sentence(fails, stored_kb, own_data, shots, tmp_path, name, options, why):
    (tmp_path / "empty").mkdir()
    places = {"DATA": f"folder:{own_data}", "KB": str(stored_kb), "SHOTS": str(shots), "EMPTY": str(tmp_path / "empty")}
    for word, place in places.items():
        options = tuple(option.replace(word, place) for option in options)
    before = sorted(stored_kb.rglob("*"))
    assert why in fails("learn", stored_kb, name, *options)
    assert sorted(stored_kb.rglob("*")) == before


def test_a_shipped_knowledge_base_is_not_changed(fails, own_data):
    assert "--out" in fails("learn", "street", "rock", "--data", f"folder:{own_data}")
