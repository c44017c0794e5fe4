"""The command line as a person meets it: what it prints, what it writes, how it fails."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from owseg import cli
from owseg.data.images import read_mask
from owseg.knowledge.calibration import calibrate, fit_scorers
from owseg.knowledge.load import load
from tests.support import tiny


@pytest.fixture
def kb(tmp_path):
    data = tiny.dataset()
    kb = calibrate(fit_scorers(tiny.knowledge_base(), data), data, scorer="joint")
    kb.save(tmp_path / "kb")
    return tmp_path / "kb"


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(3):
        Image.fromarray(tiny.image(i).transpose(1, 2, 0)).save(folder / f"p{i}.png")
    return folder


@pytest.fixture
def own(tmp_path):
    """A labelled folder in the words of the tiny knowledge base, with a class more."""
    data = tiny.dataset(8, 4)
    for i, sample in enumerate(data):
        for kind, array in (("images", sample.image.transpose(1, 2, 0)), ("masks", sample.target)):
            (tmp_path / "own" / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(tmp_path / "own" / kind / f"f{i}.png")
    (tmp_path / "own" / "classes.json").write_text(json.dumps(list(data.labels.names)))
    return tmp_path / "own"


def run(capsys, *args):
    """Run the command line in this process; return exit code, standard output, standard error."""
    old, sys.argv = sys.argv, ["owseg", *map(str, args)]
    try:
        cli.main()
        code = 0
    except SystemExit as end:
        code = int(end.code or 0)
    finally:
        sys.argv = old
    return code, *capsys.readouterr()


def test_help_does_not_wait_for_torch():
    """No timing here: what makes help slow is importing torch, and that can be seen."""
    script = (
        "import sys, owseg.cli as c; sys.argv = ['owseg', '--help']\n"
        "try: c.main()\nexcept SystemExit: pass\nprint('torch' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert out.strip().endswith("False")
    commands = (
        "train", "train-residual", "audit", "fit", "calibrate", "predict", "learn", "export", "exchange", "evaluate",
        "data", "discover", "history", "rollback", "demo",
    )  # fmt: skip
    for command in commands:
        assert command in out


def test_python_runs_the_package(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "owseg", "history", tmp_path / "none"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("error: ") and "does not exist" in done.stderr and done.stderr.count("\n") == 1


def test_predict_writes_the_three_maps(capsys, kb, photos, tmp_path):
    code, out, _ = run(capsys, "predict", photos, "--kb", kb, "-o", tmp_path / "maps")
    assert code == 0 and "3 of 3" in out
    assert sorted(p.name for p in (tmp_path / "maps").iterdir()) == sorted(
        f"p{i}.{kind}" for i in range(3) for kind in ("labels.png", "score.png", "open.jpg")
    )
    prediction = load(kb).predict(photos / "p1.png")
    assert np.array_equal(read_mask(tmp_path / "maps" / "p1.labels.png"), prediction.labels)
    with Image.open(tmp_path / "maps" / "p1.score.png") as image:
        score = 32768 + 8192 * (prediction.score - float(image.text["threshold"])) / float(image.text["unit"])
        assert np.abs(np.asarray(image).astype(float) - score.clip(0, 65535)).max() <= 0.5


def test_predict_reports_what_it_cannot_read_and_goes_on(capsys, kb, photos, tmp_path):
    (photos / "broken.jpg").write_bytes(b"\xff\xd8 no")
    code, out, _ = run(capsys, "predict", photos, "--kb", kb, "-o", tmp_path / "maps", "--json", "--npy")
    assert code == 1
    results = json.loads(out)["results"]
    assert [r["error"] is None for r in results] == [False, True, True, True]
    assert "broken.jpg" in results[0]["error"]
    assert np.load(tmp_path / "maps" / "p0.score.npy").shape == (48, 64)
    assert not list((tmp_path / "maps").glob(".*")) and not list((tmp_path / "maps").glob("broken*"))


def test_the_daily_round(capsys, kb, own, photos, tmp_path):
    assert run(capsys, "calibrate", kb, "--data", f"folder:{own}", "--fpr", "0.2", "--scorer", "energy")[0] == 0
    code, out, _ = run(
        capsys, "learn", kb, "rock", "--data", f"folder:{own}", "--count", "3", "--method", "npm", "--json"
    )
    assert code == 0
    assert json.loads(out)["classes"] == ["road", "sky", "tree", "rock"]
    code, out, _ = run(capsys, "evaluate", kb, "--data", f"folder:{own}", "--scorers", "all", "--json")
    value = json.loads(out)
    assert code == 0 and set(value["iou"]) == {"road", "sky", "tree", "rock"}
    assert value["scores"]["energy"]["auroc"] is None  # nothing is unknown any more
    code, out, _ = run(capsys, "history", kb, "--json")
    assert [v["current"] for v in json.loads(out)["versions"]] == [False, False, True]
    assert "learned rock from 3 shots" in json.loads(out)["versions"][-1]["message"]
    assert run(capsys, "rollback", kb)[0] == 0
    assert load(kb).labels.names == ("road", "sky", "tree")
    code, out, _ = run(capsys, "evaluate", kb, "--data", f"folder:{own}", "--json")
    assert json.loads(out)["scores"]["energy"]["auroc"] is not None


def test_further_scorers_are_fitted_compared_and_taken(capsys, kb, own):
    code, out, _ = run(capsys, "fit", kb, "--data", f"folder:{own}")
    assert code == 0 and "fitted knn, sml on" in out and "--scorers all" in out
    code, out, _ = run(capsys, "evaluate", kb, "--data", f"folder:{own}", "--scorers", "knn,sml,msp", "--json")
    assert code == 0 and set(json.loads(out)["scores"]) == {"knn", "sml", "msp"}
    code, out, _ = run(capsys, "calibrate", kb, "--data", f"folder:{own}", "--scorer", "sml")
    assert code == 0 and "Above sml =" in out and load(kb).scorer == "sml"
    code, _, err = run(capsys, "fit", kb, "--data", f"folder:{own}", "--scorers", "svm")
    assert code == 1 and "no fitted scorer 'svm'" in err


def test_a_network_from_elsewhere_gets_the_feature_scorers_and_learns_by_the_probe(capsys, own, tmp_path):
    from tests.training.test_residual import base

    kb, shots = tmp_path / "kb", write_shots(own, tmp_path / "shots")
    base("segformer").save(kb)
    code, _, err = run(capsys, "learn", kb, "rock", "--shots", shots, "--method", "probe")
    assert code == 1 and "owseg fit KB --data SET --scorers joint" in err
    code, out, _ = run(capsys, "fit", kb, "--data", f"folder:{own}", "--scorers", "joint,sml")
    assert code == 0 and {"joint", "mahalanobis", "sml"} < set(load(kb).scorers())
    code, out, err = run(capsys, "learn", kb, "rock", "--shots", shots)
    assert code == 0 and load(kb).labels.names[-1] == "rock" and "probe" in out, err


def write_shots(own, shots):
    for kind in ("images", "masks"):
        (shots / kind).mkdir(parents=True)
    for i in range(2):
        (shots / "images" / f"f{i}.png").write_bytes((own / "images" / f"f{i}.png").read_bytes())
        mask = (read_mask(own / "masks" / f"f{i}.png") == 3) * 255 // 2
        Image.fromarray(mask.astype(np.uint8)).save(shots / "masks" / f"f{i}.png")
    return shots


def test_shots_from_a_folder(capsys, kb, own, tmp_path):
    shots = write_shots(own, tmp_path / "shots")
    code, out, _ = run(capsys, "learn", kb, "rock", "--shots", shots, "-o", tmp_path / "other", "--method", "npm")
    assert code == 0 and "version 2" in out  # version 1 is the knowledge base as it was
    assert load(tmp_path / "other").labels.names[-1] == "rock"
    assert load(kb).labels.names[-1] == "tree"


def failures(tmp_path, kb, own):
    empty = tmp_path / "empty"
    empty.mkdir()
    yield ["predict", tmp_path / "none.png", "--kb", kb], "none.png"
    yield ["predict", empty, "--kb", kb], "holds no image"
    yield ["predict", own / "images", "--kb", tmp_path / "nokb"], "does not exist"
    yield ["predict", own / "images", "--kb", empty], "holds no version"
    yield ["predict", own / "images", "--kb", kb, "-o", own / "classes.json"], "classes.json"
    yield ["learn", kb, "sky", "--data", f"folder:{own}"], "known already"
    yield ["learn", kb, "cow", "--data", f"folder:{own}"], "no class 'cow'"
    yield ["learn", kb, "rock", "--data", f"folder:{own}", "--count", "6"], "1 to 5"
    yield ["learn", kb, "rock"], "--shots"
    yield ["learn", kb, "rock", "--shots", empty], "not a folder"
    yield ["learn", "street", "rock", "--data", f"folder:{own}"], "--out"
    yield ["calibrate", kb, "--data", f"folder:{own}", "--fpr", "2"], "between 0 and 1"
    yield (
        ["calibrate", kb, "--data", f"folder:{own}", "--fpr", "0.01", "--method", "conformal"],
        "at least 99",
    )
    yield ["calibrate", kb, "--data", f"folder:{own}", "--scorer", "magic"], "no scorer"
    yield ["evaluate", kb, "--data", "kitti:/x"], "names no data set"
    yield ["rollback", kb, "7"], "7"
    yield ["rollback", kb], "before"
    yield ["train", tmp_path / "new", "--data", f"folder:{own}", "--backbone", "./none"], "cannot be loaded"
    yield (
        ["train", tmp_path / "new", "--data", f"folder:{own}", "--backbone", "./none", "--unknown", "x"],
        "no class 'x'",
    )
    yield (
        ["train", tmp_path / "new", "--data", f"folder:{own}", "--backbone", "./none", "--crop", "x"],
        "no size",
    )
    yield ["learn", kb, ",", "--data", f"folder:{own}"], "name the class"
    yield ["learn", kb, "rock", "--data", f"folder:{own}", "--seed", "-1"], "seed"
    yield ["learn", kb, "rock", "--data", f"folder:{own}", "--radius", "1", "--method", "plm"], "--radius"
    yield (
        ["learn", kb, "rock", "--data", f"folder:{own}", "--manifest", kb / "0001" / "network.safetensors"],
        "no manifest",
    )
    yield ["evaluate", kb, "--data", f"folder:{own}", "--stream", "--per-image"], "--stream"
    yield ["rollback", "street"], "of your own"
    yield ["calibrate", tmp_path / "typo", "--data", f"folder:{own}"], "does not exist"
    for option, message in (("batch", "batch is 1"), ("epochs", "epochs is 1"), ("devices", "devices is 1")):
        yield (
            ["train", tmp_path / "new", "--data", f"folder:{own}", "--backbone", "./none", f"--{option}", "0"],
            message,
        )
    yield (
        ["train", tmp_path / "new", "--data", f"folder:{own}", "--backbone", "./none", "--precision", "8"],
        "precision",
    )
    yield ["train", own, "--data", f"folder:{own}", "--backbone", "./none"], "holds other files"


CASES = 32


@pytest.mark.parametrize("number", range(CASES))
def test_bad_input_ends_in_one_sentence(capsys, kb, own, tmp_path, number):
    cases = list(failures(tmp_path, kb, own))
    assert len(cases) == CASES
    args, message = cases[number]
    before = sorted(p.name for p in kb.rglob("*"))
    code, out, err = run(capsys, *args)
    assert code == 1
    assert message in err
    assert err.count("\n") == 1 and "Traceback" not in err
    assert out == ""
    assert sorted(p.name for p in kb.rglob("*")) == before
    assert not (tmp_path / "new").exists()


def test_a_knowledge_base_that_cannot_be_written(capsys, kb, own, monkeypatch):
    import builtins

    real = builtins.open

    def refuse(path, mode="r", *args, **kwargs):
        if any(m in mode for m in "wxa") and str(kb) in str(path):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, mode, *args, **kwargs)

    monkeypatch.setattr(builtins, "open", refuse)
    code, _, err = run(capsys, "learn", kb, "rock", "--data", f"folder:{own}", "--count", "2", "--method", "npm")
    assert code == 1 and "ermission" in err and err.count("\n") == 1
    monkeypatch.undo()
    assert load(kb).labels.names[-1] == "tree"


def test_a_stream_is_learned_written_down_and_told(capsys, kb, own, tmp_path):
    classes = list(json.loads((own / "classes.json").read_text()))
    for path in sorted((own / "masks").iterdir()):  # a fifth class, cut out of the fourth
        mask = read_mask(path)
        mask[(mask == 3) & (np.arange(mask.shape[1]) % 32 < 16)] = 4
        Image.fromarray(mask).save(path)
    (own / "classes.json").write_text(json.dumps([*classes, "cow"]))
    args = ("--data", f"folder:{own}", "--count", "3", "--manifest", tmp_path / "m.json")
    code, out, err = run(capsys, "learn", kb, "rock,cow", *args, "--json", "-o", tmp_path / "first")
    assert code == 0, err
    assert json.loads(out)["version"] == 3  # as it was, with rock, with cow
    again = ("learn", kb, "rock,cow", *args, "--seed", "9", "-o", tmp_path / "second")
    assert run(capsys, *again)[0] == 0  # the seed no longer matters
    first, second = load(tmp_path / "first"), load(tmp_path / "second")
    assert first.history[-1].details["shots"] == second.history[-1].details["shots"]
    code, _, err = run(capsys, "learn", kb, "cow,rock", *args, "-o", tmp_path / "third")
    assert code == 1 and "teaches rock,cow" in err
    page = tmp_path / "page.html"
    told = ("evaluate", tmp_path / "first", "--data", f"folder:{own}", "--stream")
    code, out, err = run(capsys, *told, "--report", page)
    assert code == 0, err
    assert "+ rock" in out and "forgotten" in out and "<svg" in page.read_text()
    value = json.loads(run(capsys, *told, "--json")[1])
    assert value["learned"] == ["rock", "cow"] and len(value["stages"]) == 3
    assert run(capsys, "evaluate", kb, "--data", f"folder:{own}", "--report", page)[0] == 1
    assert run(capsys, "evaluate", kb, "--data", f"folder:{own}", "--stream")[0] == 1
