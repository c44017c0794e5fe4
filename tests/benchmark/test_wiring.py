"""Every field of a recipe, and every argument of a run, reaches the place where it acts; nothing is done twice."""

import copy
import inspect
import json
import shutil
from collections import Counter
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from owseg._files import json_ready
from owseg.benchmark import run as benchmark
from owseg.benchmark.recipe import ALL, Model
from owseg.benchmark.resizing import at_size
from owseg.benchmark.run import run
from owseg.benchmark.tables import Published, Row
from owseg.data.datasets import open_dataset
from owseg.errors import OwsegError
from owseg.evaluation.maps import MapFolder
from owseg.image_scorers.autoencoder import Autoencoder, load, save, score
from owseg.image_scorers.ensemble import mc_dropout
from owseg.knowledge.calibration import find_threshold
from owseg.knowledge.load import load as open_kb
from owseg.metrics.components import ANOMALY_TRACK, OBSTACLE_TRACK
from owseg.models.engine import Engine
from tests.support.benchmarks import rows_of


def test_an_images_maps_are_opened_twice(recipe, tmp_path, monkeypatch):
    """By the two passes of the metrics; only the three images that are plotted whole are opened once more."""
    small = replace(recipe, data=(replace(recipe.data[0], most=None),))
    opened, read = Counter(), MapFolder.read
    monkeypatch.setattr(MapFolder, "read", lambda self, image: opened.update([image]) or read(self, image))
    run(small, tmp_path)
    assert sorted(opened.values()) == [2, 2, 2, 3, 3, 3]
    opened.clear()
    run(small, tmp_path)
    assert not opened
    (tmp_path / "images" / "own" / "mine.curves.png").unlink()
    run(small, tmp_path)
    assert sorted(opened.values()) == [1, 1, 1, 2, 2, 2]  # plots need the first pass alone


@pytest.mark.usefixtures("no_plots")
def test_what_was_fitted_in_a_run_is_not_loaded_in_it(place, recipe, tmp_path, monkeypatch):
    """And what a later run loads gives the same digits."""
    spec = f"folder:{place / 'own'}"
    model = Model("fit", str(place / "kb"), ("sml",), spec, spec, ("sml",))
    asked = replace(recipe, models=(model,), data=recipe.data[:1])
    loaded, load = [], benchmark.load
    monkeypatch.setattr(benchmark, "load", lambda path: loaded.append(Path(path)) or load(path))
    first = run(asked, tmp_path / "one", load=benchmark.load)
    assert loaded == [place / "kb"]
    shutil.copytree(tmp_path / "one" / "fitted", tmp_path / "two" / "fitted")
    loaded.clear()
    assert run(asked, tmp_path / "two", load=benchmark.load) == first
    assert loaded == [place / "kb", *(tmp_path / "two" / "fitted").iterdir()]


@pytest.mark.usefixtures("no_plots")
@pytest.mark.parametrize("scorer", ["msp", "mc_dropout"])
def test_the_network_gets_images_of_the_size_that_was_asked_for(recipe, tmp_path, monkeypatch, scorer):
    model = replace(recipe.models[0], scorers=(scorer,))
    shapes, outputs = [], Engine._outputs

    def recorded(engine, images, scale):
        shapes.append(images[0].shape)
        return outputs(engine, images, scale)

    monkeypatch.setattr(Engine, "_outputs", recorded)
    run(replace(recipe, models=(model,), data=(replace(recipe.data[0], resize=(48, 64), most=2),)), tmp_path)
    assert set(shapes) == {(3, 48, 64)}
    manifest = MapFolder.open(tmp_path / "maps" / "own" / "mine").manifest
    assert manifest.settings == ({"resize": [48, 64], "seed": 0} if scorer == "mc_dropout" else {"resize": [48, 64]})


@pytest.mark.usefixtures("no_plots")
def test_the_seed_reaches_the_scorers_and_the_points_that_are_plotted(recipe, tmp_path, monkeypatch):
    small = replace(recipe, data=(replace(recipe.data[0], most=2),))
    sampled, draw = [], benchmark.draw
    monkeypatch.setattr(benchmark, "draw", lambda *a: sampled.append(a[-1]["msp"].sampled) or draw(*a))
    first, second = (run(replace(small, seed=seed), tmp_path / str(seed)) for seed in (1, 2))
    assert first.about["seed"] == 1 and second.about["seed"] == 2
    dropout, msp = (
        [next(row.metrics["image_ap"] for row in results.rows if row.scorer == name) for results in (first, second)]
        for name in ("mc_dropout", "msp")
    )
    assert dropout[0] != dropout[1] and msp[0] == msp[1]
    one, other = (np.concatenate(found["tree"]) for found in sampled)
    assert len(one) == len(other) and not np.array_equal(one, other)


@pytest.mark.usefixtures("no_plots")
def test_options_reach_image_scorers_and_maps_of_others_are_refused(place, recipe, tmp_path):
    """Others are another value, and a file of the same name that holds something else."""
    weights = tmp_path / "ae.safetensors"
    small = replace(recipe, data=(replace(recipe.data[0], most=1),))

    def results(passes, width):
        torch.manual_seed(0)
        save(Autoencoder(width, 2, 3).eval(), weights)
        options = {"mc_dropout": {"passes": passes}, "autoencoder": {"weights": str(weights)}}
        model = replace(recipe.models[0], scorers=("mc_dropout", "autoencoder"), options=options)
        return run(replace(small, models=(model,)), tmp_path / "out")

    first = results(2, 4)
    assert first.about["models"]["mine"]["options"]["mc_dropout"] == {"passes": 2} and results(2, 4) == first
    folder = MapFolder.open(tmp_path / "out" / "maps" / "own" / "mine")
    maps, kb = folder.read(folder.manifest.images[0]), benchmark.load(recipe.models[0].kb)
    image = benchmark._opened(small.data[0], kb, {}, {})[0].image
    assert np.allclose(maps.scores["mc_dropout"], mc_dropout(kb, 2)(image), atol=1e-6)
    assert np.allclose(maps.scores["autoencoder"], score(load(weights), image), atol=1e-6)
    for passes, width in ((3, 4), (2, 5)):
        with pytest.raises(OwsegError, match="made with other settings"):
            results(passes, width)


@pytest.mark.usefixtures("no_plots")
def test_options_may_follow_the_name_of_a_score(place, recipe, tmp_path, no_plots):
    """And of "all" the score in use has its own, as that of a network of RPL has."""
    kb = open_kb(place / "kb")
    replace(kb, scorer="mixture:beta=7", threshold=None).save(tmp_path / "kb")
    odd = replace(recipe.data[1], most=2)
    model = replace(recipe.models[0], kb=str(tmp_path / "kb"), scorers=("mixture", "mixture:beta=3"))
    rows = rows_of(run(replace(recipe, models=(model,), data=(odd,)), tmp_path / "named"), "odd")
    assert list(rows) == ["mixture", "mixture:beta=3"]
    maps = MapFolder.open(tmp_path / "named" / "maps" / "odd" / "mine").read("0").scores
    image = at_size(kb.forward, odd.resize)
    expected = kb.assess(image(benchmark._opened(odd, kb, {}, {})[0].image), (96, 128), ("mixture:beta=3",)).scores[
        "mixture:beta=3"
    ]
    np.testing.assert_allclose(maps["mixture:beta=3"], expected, atol=2e-3)
    assert np.abs(maps["mixture"] - maps["mixture:beta=3"]).max() > 0.01
    every = benchmark._scorers(replace(model, scorers=(ALL,)), open_kb(tmp_path / "kb"))
    assert every == (*kb.scorers, "mixture:beta=7")
    with pytest.raises(OwsegError, match=r"models.mine.scorers: the score mixture has no option 'delta'"):
        run(replace(recipe, models=(replace(model, scorers=("mixture:delta=1",)),)), tmp_path / "wrong")


def test_a_score_that_is_fitted_first_may_be_pooled_over_segments(place, recipe, tmp_path, no_plots):
    spec = f"folder:{place / 'own'}"
    model = Model("fit", str(place / "kb"), ("knn",), spec, scorers=("knn", "knn@segments"))
    one = replace(recipe.data[1], most=1)
    rows = rows_of(run(replace(recipe, models=(model,), data=(one,)), tmp_path / "out"), one.name)
    assert list(rows) == ["knn", "knn@segments"]
    maps = MapFolder.open(tmp_path / "out" / "maps" / one.name / "fit").read("0").scores
    assert maps["knn"].shape == maps["knn@segments"].shape and np.abs(maps["knn"] - maps["knn@segments"]).max() > 0


def test_options_reach_the_scorers_that_are_fitted(place, recipe, tmp_path):
    spec = f"folder:{place / 'own'}"
    model = Model("fit", str(place / "kb"), ("mahalanobis",), spec, scorers=("mahalanobis",))
    asked = replace(recipe, data=(replace(recipe.data[0], most=1),))
    for options in ({}, {"mahalanobis": {"shrinkage": 0.5}}):
        run(replace(asked, models=(replace(model, options=options),)), tmp_path / str(len(options)))
    found = [benchmark.load(next((tmp_path / str(n) / "fitted").iterdir())).fitted["mahalanobis"] for n in (0, 1)]
    assert [scorer.config["shrinkage"] for scorer in found] == [0.2, 0.5]
    run(replace(asked, models=(replace(model, name="fit", options={"mahalanobis": {"shrinkage": 0.7}}),)), tmp_path)
    assert len(list((tmp_path / "fitted").iterdir())) == 1


@pytest.mark.usefixtures("no_plots")
def test_the_workers_that_were_asked_for_compute_the_metrics(recipe, tmp_path, monkeypatch):
    given, measure = [], benchmark.measure

    def counted(*args, **options):
        given.append(inspect.signature(measure).bind(*args, **options).arguments["workers"])
        return measure(*args, **options)

    monkeypatch.setattr(benchmark, "measure", counted)
    run(replace(recipe, data=(replace(recipe.data[0], most=1),)), tmp_path, workers=1)
    assert given == [1]
    passes = []
    monkeypatch.setattr(
        "owseg.evaluation.passes._processes", lambda workers: passes.append(workers) or nullcontext(map)
    )
    run(replace(recipe, data=(replace(recipe.data[0], most=2),)), tmp_path / "more", workers=7)
    assert given == [1, 7] and passes == [7, 7]


@pytest.mark.usefixtures("no_plots")
def test_thresholds_and_the_track_reach_the_metrics(place, recipe, tmp_path):
    """Of each scorer, found on val at the rate asked for; of the knowledge base's own, where none is asked for."""
    spec = f"folder:{place / 'own'}"
    model = replace(recipe.models[0], scorers=("msp", "eds"), calibrate_on=spec)
    small = replace(recipe, models=(model,), data=(replace(recipe.data[0], most=2, track="obstacle"),), fpr=0.2)
    run(small, tmp_path)
    kept = json.loads((tmp_path / "metrics" / "own.mine.json").read_text())
    kb = benchmark.load(model.kb)
    val = open_dataset(spec, "val", kb.labels)
    for name in ("msp", "eds"):
        found = find_threshold(kb, val, 0.2, scorer=name)
        assert kept["scores"][name]["open"]["calibrated"]["threshold"] == found.value
        assert kept["scores"][name]["achieved"]["asked"] == 0.2
    assert kept["sizes"]["predicted"] == OBSTACLE_TRACK.predicted != ANOMALY_TRACK.predicted


@pytest.mark.usefixtures("no_plots")
def test_another_recipe_computes_thresholds_and_metrics_anew_from_the_same_maps(place, recipe, tmp_path, monkeypatch):
    spec = f"folder:{place / 'own'}"
    model = replace(recipe.models[0], scorers=("msp",), calibrate_on=spec)
    small = replace(recipe, models=(model,), data=(replace(recipe.data[0], most=2),), fpr=0.2)
    run(small, tmp_path)
    monkeypatch.setattr(MapFolder, "write", lambda *args: pytest.fail("the maps are there already"))
    again = run(replace(small, fpr=0.4), tmp_path)
    assert rows_of(again, "own")["msp"]["fpr_asked"] == 0.4


def test_results_can_be_read_back(done):
    results, out = done
    value = json.loads((out / "results.json").read_text())
    rows = [Row(**{**row, "published": tuple(Published(**p) for p in row["published"])}) for row in value["rows"]]
    assert rows == [
        replace(row, metrics=dict(row.metrics), bounds=json_ready(dict(row.bounds))) for row in results.rows
    ]
    assert {key: value[key] for key in results.about} == json.loads(json.dumps(results.about))
    assert len({results, *results.rows}) == 1 + len(rows)


@pytest.mark.usefixtures("no_plots")
def test_a_network_with_a_working_size_gets_the_images_as_they_are(recipe, tmp_path, monkeypatch):
    """It resizes them itself; ``resize`` would do so twice."""
    kb = benchmark.load(recipe.models[0].kb)
    sized = copy.deepcopy(kb.network)
    sized.size = 72
    replace(kb, network=sized).save(tmp_path / "sized")
    shapes, outputs = [], Engine._outputs

    def recorded(engine, images, scale):
        shapes.append(images[0].shape)
        return outputs(engine, images, scale)

    monkeypatch.setattr(Engine, "_outputs", recorded)
    model = replace(recipe.models[0], kb=str(tmp_path / "sized"), scorers=("msp",))
    run(replace(recipe, models=(model,), data=(replace(recipe.data[0], resize=(48, 64), most=2),)), tmp_path / "out")
    assert set(shapes) == {(3, 96, 128)}
    assert MapFolder.open(tmp_path / "out" / "maps" / "own" / "mine").manifest.settings == {"resize": None}
