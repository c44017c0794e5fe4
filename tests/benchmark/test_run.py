import csv
import io
import json
import os
import shutil
import signal
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from owseg.benchmark import run as benchmark
from owseg.benchmark.recipe import Data, Model, Recipe
from owseg.benchmark.run import run
from owseg.benchmark.tables import DASH, Published
from owseg.errors import OwsegError
from owseg.evaluation.evaluate import evaluate
from owseg.evaluation.maps import MapFolder
from owseg.metrics.components import ANOMALY_TRACK, Components
from owseg.metrics.pixel import Exact, PerImage
from tests.support import tiny
from tests.support.benchmarks import NAMES, rows_of
from tests.support.killing import in_child

AUTOENCODER = {"autoencoder": {"weights": "nowhere"}}


def test_metrics_are_those_of_evaluate(done, recipe):
    results, out = done
    kb = benchmark.load(recipe.models[0].kb)
    frames = benchmark._opened(recipe.data[0], kb, {}, {})
    pooled, single = (evaluate(kb, frames, ("msp", "eds"), metric) for metric in (Exact, lambda: PerImage("first")))
    found, folder = rows_of(results, "own"), MapFolder.open(out / "maps" / "own" / "mine")
    assert list(found) == ["msp", "eds", "mc_dropout"]
    for name in ("msp", "eds"):
        for key in ("auroc", "ap", "fpr95"):
            assert found[name][key] == pytest.approx(getattr(pooled.scores[name], key), abs=2e-3)  # binned
            assert found[name][f"image_{key}"] == pytest.approx(getattr(single.scores[name], key), abs=1e-12)
        assert found[name]["miou"] == pooled.iou.mean()
        kept = json.loads((out / "metrics" / "own.mine.json").read_text())["scores"][name]
        objects = Components(ANOMALY_TRACK)
        for image in folder.manifest.images:
            maps = folder.read(image)
            objects.update(maps.scores[name] > np.float32(kept["open"]["best_f1"]["threshold"]), maps.target)
        direct = objects.compute()
        assert (found[name]["siou"], found[name]["ppv"], found[name]["f1"]) == (direct.siou, direct.ppv, direct.f1)
    assert found["msp"]["fpr_asked"] == 0.1
    assert found["msp"]["fpr_achieved"] == pytest.approx(pooled.known_fpr)
    assert found["msp"]["open_miou_calibrated"] is not None
    assert found["eds"]["open_miou_calibrated"] is found["eds"]["fpr_achieved"] is None


def test_without_a_named_class_there_is_no_miou(done):
    results, out = done
    for metrics in rows_of(results, "odd").values():
        assert all(metrics[key] is None for key in metrics if "miou" in key)
        assert 0 <= metrics["ap"] <= 1 and 0 <= metrics["f1"] <= 1
    page = (out / "results.md").read_text().split("## odd")[1]
    cells = [cell.strip() for cell in next(line for line in page.splitlines() if "| msp |" in line).split("|")]
    titles = [cell.strip() for cell in next(line for line in page.splitlines() if "| score |" in line).split("|")]
    assert all(cells[i] == DASH for i, title in enumerate(titles) if "mIoU" in title)
    assert results.about["data"]["odd"]["resize"] == (48, 64)
    maps = MapFolder.open(out / "maps" / "odd" / "mine").read("0")
    assert maps.target.shape == maps.scores["msp"].shape == (96, 128)  # metrics are computed at the mask's size


def test_everything_is_written(done):
    results, out = done
    assert {p.name for p in out.iterdir() if p.is_file()} == {f"results.{s}" for s in ("json", "csv", "md", "tex")}
    for data, strips in (("own", 3), ("odd", 3)):
        kinds = ["curves", "scores", *(f"strip-{i}" for i in range(1, strips + 1))]
        for kind in kinds:
            plot = out / "images" / data / f"mine.{kind}.png"
            assert np.asarray(Image.open(plot).convert("L")).std() > 10, plot
            assert f"(images/{data}/mine.{kind}.png)" in (out / "results.md").read_text()
    value = json.loads((out / "results.json").read_text())
    assert [row["metrics"] for row in value["rows"]] == [dict(row.metrics) for row in results.rows]
    assert value["columns"]["image_ap"] == "per image AP"
    table = list(csv.DictReader(io.StringIO((out / "results.csv").read_text())))
    assert [float(row["ap"]) for row in table] == [row.metrics["ap"] for row in results.rows]


def test_a_run_that_was_killed_goes_on_to_the_same_digits_and_nothing_is_done_twice(
    done, recipe, tmp_path, monkeypatch
):
    _, out = done
    written = MapFolder.write

    def die_at_the_third(folder, image, maps):
        if len(list(tmp_path.rglob("*.zst"))) == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return written(folder, image, maps)

    monkeypatch.setattr(MapFolder, "write", die_at_the_third)
    assert in_child(lambda: run(recipe, tmp_path) and None) == -signal.SIGKILL
    assert len(list(tmp_path.rglob("*.zst"))) == 2 and not (tmp_path / "results.json").exists()
    redone = []
    monkeypatch.setattr(
        MapFolder, "write", lambda folder, image, maps: redone.append(image) or written(folder, image, maps)
    )
    run(recipe, tmp_path)
    assert len(redone) == 4 + 3 - 2
    files = [p for p in out.rglob("*") if p.is_file()]
    assert len(files) == len([p for p in tmp_path.rglob("*") if p.is_file()])
    for path in files:
        assert path.read_bytes() == (tmp_path / path.relative_to(out)).read_bytes(), path.name

    def refuse(*args, **options):
        raise AssertionError("done twice")

    for name in ("score_histograms", "measure", "draw"):
        monkeypatch.setattr(benchmark, name, refuse)
    monkeypatch.setattr("owseg.knowledge.base.KnowledgeBase.forward", refuse)
    run(recipe, tmp_path)


@pytest.mark.usefixtures("no_plots")
def test_fitted_and_calibrated_scorers_are_kept(place, recipe, tmp_path):
    spec = f"folder:{place / 'own'}"
    model = Model("fit", str(place / "kb"), ("sml",), spec, spec, ("sml", "msp"))
    asked = replace(recipe, models=(model,), data=recipe.data[:1], fpr=0.2)
    first = run(asked, tmp_path)
    found = rows_of(first, "own")
    assert found["sml"]["fpr_asked"] == found["msp"]["fpr_asked"] == 0.2
    assert found["sml"]["open_miou_calibrated"] is not None
    assert len(list((tmp_path / "fitted").iterdir())) == len(list((tmp_path / "thresholds").iterdir())) == 1
    assert run(asked, tmp_path) == first


def test_another_model_in_its_place_is_refused(recipe, done, place, tmp_path):
    tiny.knowledge_base(NAMES, scale=2.0).save(tmp_path / "kb")
    other = replace(recipe.models[0], kb=str(tmp_path / "kb"))
    with pytest.raises(OwsegError, match="another knowledge base"):
        run(replace(recipe, models=(other,)), done[1])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"models": (Model("m", "nowhere"),)}, "models.m.kb: "),
        ({"models": (Model("m", "synthetic", scorers=("magic",)),)}, "models.m.scorers: there is no score 'magic'"),
        (
            {"models": (Model("m", "synthetic", scorers=("ensemble",)),)},
            "m.scorers: an ensemble has at least two",
        ),
        (
            {"models": (Model("m", "synthetic", scorers=("autoencoder",), options=AUTOENCODER),)},
            "models.m.options.autoencoder: nowhere does not hold an autoencoder",
        ),
        ({"data": (Data("d", "folder:nowhere"),)}, "data.d.spec: nowhere does not exist"),
        ({"data": (Data("d", "synthetic", "moon"),)}, "data.d.spec: the synthetic scenes have no split 'moon'"),
        ({"models": (Model("m", "synthetic", data=("x",)),)}, "pairs no model with any data"),
        ({"models": ()}, "pairs no model with any data"),
    ],
)
def test_what_cannot_be_opened_is_refused_before_anything_is_computed(tmp_path, change, words):
    whole = Recipe((Model("m", "synthetic"),), (Data("d", "synthetic"),))
    with pytest.raises(OwsegError, match=words):
        run(replace(whole, **change), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("no_plots")
def test_what_was_published_stands_beside_or_below(place, recipe, done, tmp_path):
    rows = (
        Published("own", "mine", "msp", "A, Table 1", {"ap": 0.25}),
        Published("own", "theirs", "rpl", "B, Table 2", {"ap": 0.75, "fpr95": 0.1}),
    )
    out = done[1]  # what is there already is not redone
    results = run(replace(recipe, published=rows), out)
    found = {(r.model, r.scorer): r for r in results.rows if r.published}
    assert found["mine", "msp"].published == rows[:1] and found["mine", "msp"].images == 4
    assert found["theirs", "rpl"].images is None and set(found["theirs", "rpl"].metrics.values()) == {None}
    assert "AP 0.250 (A, Table 1)" in (out / "results.md").read_text()
    run(recipe, out)


def test_what_is_damaged_or_half_written_is_made_anew(recipe, place, tmp_path):
    model = replace(recipe.models[0], scorers=("msp", "sml"), fit=("sml",), fit_on=f"folder:{place / 'own'}",
                    calibrate_on=f"folder:{place / 'own'}")  # fmt: skip
    small = replace(recipe, models=(model,), data=(replace(recipe.data[0], most=1),))
    first = run(small, tmp_path)
    (fitted,), (thresholds,) = (tmp_path / "fitted").iterdir(), (tmp_path / "thresholds").iterdir()
    (fitted / "CURRENT").unlink()  # as a kill in the middle of the first commit leaves it
    whole = thresholds.read_text()
    for damaged in ("{}", "", whole[:-20], "[1]"):
        thresholds.write_text(damaged)
        assert run(small, tmp_path).to_json() == first.to_json()
        assert thresholds.read_text() == whole


@pytest.mark.usefixtures("no_plots")
def test_a_size_that_squeezes_images_is_reported(recipe, tmp_path):
    said = []
    run(replace(recipe, data=(replace(recipe.data[1], resize=(64, 48)),)), tmp_path, report=said.append)
    assert "images of 96x128 are squeezed into 64x48" in said[1]
    said.clear()
    run(replace(recipe, data=(recipe.data[1],)), tmp_path / "whole", report=said.append)
    assert len(said) == 1


@pytest.mark.usefixtures("no_plots")
def test_what_cannot_be_read_is_skipped_for_every_model(recipe, place, tmp_path):
    model = replace(recipe.models[0], scorers=("msp",))
    models, said = (model, replace(model, name="twin")), []
    found = {}
    for name in ("bad", "fewer"):
        shutil.copytree(place / "own", tmp_path / name)
        damaged = tmp_path / name / "test" / "masks" / "f1.png"
        if name == "bad":
            damaged.write_bytes(b"no mask")
        else:
            damaged.unlink()
            (tmp_path / name / "test" / "images" / "f1.png").unlink()
        data = Data("own", f"folder:{tmp_path / name}")
        found[name] = run(replace(recipe, models=models, data=(data,)), tmp_path / f"{name} out", report=said.append)
    rows = {name: [(row.metrics, row.images) for row in results.rows] for name, results in found.items()}
    assert rows["bad"] == rows["fewer"] and [images for _, images in rows["bad"]] == [5, 5]
    assert len([line for line in said if line.startswith("skipped: ") and "f1.png" in line]) == 1
    assert list(found["bad"].about["data"]["own"]["skipped"]) == ["f1"]
    assert found["fewer"].about["data"]["own"]["skipped"] == {}
    for mask in (tmp_path / "bad" / "test" / "masks").iterdir():
        mask.write_bytes(b"no mask")
    with pytest.raises(OwsegError, match=r"^data\.own\.spec: none of the 6 images of folder:test can be measured"):
        run(replace(recipe, data=(Data("own", f"folder:{tmp_path / 'bad'}"),)), tmp_path / "none")
    assert not (tmp_path / "none").exists()
