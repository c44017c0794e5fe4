"""The table on open data: a model for each set of unknown classes, baselines, costs, metrics that are kept."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from owseg.data.datasets.camvid import CLASSES as CAMVID
from owseg.errors import OwsegError
from owseg.image_scorers import IMAGE_SCORERS
from owseg.labels import UNKNOWN
from owseg.metrics.pixel import PixelMetrics
from owseg.training import BASELINES
from owseg.training.presets import RESIDUAL, TRAIN, configured
from recipes.papers import __main__ as command
from recipes.papers import run as module
from recipes.papers import stored
from recipes.papers.run import Run
from recipes.papers.sheet import draw_sheet, tile
from recipes.papers.stored import core_minutes, milliseconds, read_metrics, side_by_side, slug, write_metrics
from recipes.papers.table import Data, Model, Row, read_table
from recipes.papers.trees import write_trees
from tests.support import tiny

OPEN = read_table("open")
THREE = ("car", "pedestrian", "bicyclist")


def table(**changes):
    """The table with one linear model, on CamVid with three unknown classes and with none."""
    data = {"three": Data("camvid:$CAMVID", "test", THREE), "none": Data("camvid:$CAMVID", "test")}
    models = {"linear": Model("camvid:$CAMVID", classifier="linear", members=1)}
    return replace(OPEN, **{"models": models, "data": data, "rows": (Row("MSP", "linear", "msp"),), **changes})


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run of a table, whose networks are not trained: each is noted with what it would be trained with."""
    trees = write_trees(["CAMVID", "OUTLIER_OBJECTS", "COCO_CONTEXT"], tmp_path / "trees")
    for name, place in trees.items():
        monkeypatch.setenv(name, place)
    noted = []

    def built(data, backbone, unknown, config, run, **options):
        noted.append((tuple(unknown), config, run.name, options))
        return tiny.knowledge_base()

    monkeypatch.setattr(module, "build_knowledge_base", built)

    def make(**changes):
        made = Run(table(**changes), tmp_path / "runs", seed=3)
        made.noted = noted
        return made

    return make


def test_what_a_baseline_and_an_ensemble_name_is_there():
    names = {row.name for row in OPEN.rows}
    for row in OPEN.rows:
        assert set(row.settings) <= set(BASELINES.entries[row.scorer].options if row.fit else ())
        assert row.preset == "light" or not row.fit
        if "generator" in row.settings:
            assert row.settings["generator"] in names | {"none"}
        assert set(row.options.get("members", ())) <= set(OPEN.models)
        assert row.trained and len({slug(name) for name in names}) == len(OPEN.rows)
    assert {row.name for row in OPEN.rows if row.needs} == {r.name for r in OPEN.rows if "dense_crf" in r.scorer}
    assert "ms" in OPEN.metrics and not any(row.published for row in OPEN.rows)


def test_a_model_is_trained_once_for_each_set_of_unknown_classes(run):
    made = run()
    first = made.kb("linear", THREE)
    assert made.kb("linear", THREE) is first and made.kb("linear") is not first
    (one, other) = made.noted
    assert (one[0], other[0]) == (THREE, ()) and (one[2], other[2]) == (
        "linear-without-car-pedestrian-bicyclist.run",
        "linear.run",
    )
    kept = {path.name for path in made.runs.iterdir() if path.is_dir()}
    assert {"linear-without-car-pedestrian-bicyclist", "linear"} <= kept
    minutes = {path.stem for path in (made.runs / "metrics" / "trained").iterdir()}
    assert minutes == {"linear-without-car-pedestrian-bicyclist", "linear"}
    assert all(options["members"] == 1 for *_, options in made.noted)


def test_seed_and_classes_of_a_model_add_to_those_of_run_and_data(run):
    made = run(models={"m": Model("camvid:$CAMVID", ("sky",), seed=2)})
    made.kb("m", ("car",))
    ((unknown, config, _, options),) = made.noted
    assert unknown == ("sky", "car") and config == replace(TRAIN["light"].config, seed=5)
    assert options["members"] == TRAIN["light"].members


def test_members_of_an_ensemble_know_the_same_classes(run):
    models = {name: Model("camvid:$CAMVID", seed=i) for i, name in enumerate(("linear", "second"))}
    made = run(models=models)
    row = Row("E", "linear", "ensemble", {"members": ("second",), "score": "variance"})
    scorer = made.image_scorer(row, THREE)
    assert scorer.score == "variance" and [entry[0] for entry in made.noted] == [THREE, THREE]
    assert {entry[2] for entry in made.noted} == {f"{n}-without-car-pedestrian-bicyclist.run" for n in models}


def test_a_baseline_is_fitted_as_its_row_says_and_reads_the_generator_of_another(run, monkeypatch):
    drawer = Row("S", "linear", "synthcp", fit=True, preset="light", settings={"generator_epochs": 7})
    reader = Row("D", "linear", "duir", fit=True, settings={"generator": "S", "epochs": 4})
    made, noted = run(rows=(reader, drawer)), []

    def fitted(name, kb, data, val, out, preset, settings, seed):
        noted.append((name, out.name, preset, settings, seed, data.source.name, val.source.name))
        out.write_bytes(b"")
        return out

    monkeypatch.setattr(module, "fit_baseline", fitted)
    monkeypatch.setattr(module, "open_known", lambda spec, kb: tuple(tiny.dataset() for _ in range(2)))
    file = made.fitted(reader, THREE)
    one, other = noted
    assert one[:5] == (
        "synthcp",
        "s-without-car-pedestrian-bicyclist.safetensors",
        "light",
        {"generator_epochs": "7"},
        3,
    )
    assert other[0] == "duir" and other[1] == file.name and other[2] == "paper"
    assert other[3] == {"generator": str(made.runs / one[1]), "epochs": "4"}
    assert made.fitted(reader, THREE) == file and len(noted) == 2


def test_a_context_of_its_own_is_shown_beside_the_outliers(run, monkeypatch):
    noted = []

    def trained(base, inliers, val, objects, context, config, run, resume):
        noted.append((objects.name, None if context is None else context.name, config))
        return base

    monkeypatch.setattr(module, "train_residual", trained)
    model = Model(base="linear", inliers="camvid:$CAMVID", outliers="$OUTLIER_OBJECTS", settings={"epochs": 2})
    models = {"linear": Model("camvid:$CAMVID"), "a": model, "b": replace(model, context="$COCO_CONTEXT")}
    made = run(models=models)
    for name in ("a", "b"):
        made.kb(name, THREE)
    assert [entry[1] for entry in noted] == ["OUTLIER_OBJECTS", "COCO_CONTEXT"]
    assert noted[0][2] == configured(RESIDUAL["light"], {"epochs": "2"}, seed=3)
    assert [entry[0] for entry in made.noted] == [THREE]


def test_scores_of_one_network_are_measured_in_one_pass(run, monkeypatch):
    noted = []

    class Evaluated:
        def __init__(self, scorers):
            self.scores = {
                n: PixelMetrics(auroc=i, ap=10 + i, fpr95=0.5, outliers=1, inliers=1) for i, n in enumerate(scorers)
            }

        def summary(self):
            return {"miou": 0.25}

    def measured(kb, data, scorers, metric, forward):
        noted.append((data.source.name, scorers))
        return Evaluated(scorers)

    monkeypatch.setattr(module, "evaluate", measured)
    monkeypatch.setattr(module, "milliseconds", lambda score, data: score(data[0].image).shape[0])
    rows = (Row("A", "linear", "max_logit"), Row("B", "linear", "msp"), Row("C", "linear", "mc_dropout"))
    found = {row.name: metrics for row, metrics in run(rows=rows[:2]).rows()}
    assert [scorers for _, scorers in noted] == [["max_logit", "msp"]] * 2
    assert found["B"]["three"] == {"ap": 11, "auroc": 1, "fpr95": 0.5, "miou": 0.25, "ms": 64}
    assert found["A"]["none"]["ap"] == 10


def test_a_row_that_needs_what_is_not_installed_stays_empty(run):
    made = run(rows=(Row("CRF", "linear", "dense_crf", needs="no_such_library"),))
    ((row, found),) = made.rows()
    _, lines = side_by_side(made.table, [(row, found)])
    assert found == {} and made.noted == [] and lines[0][0] == "CRF (needs no_such_library)"
    assert lines[0][1] == "– / – / – / –" and not (made.runs / "metrics").exists()


def test_metrics_are_kept_by_the_name_of_the_row(tmp_path):
    row, other = Row("MSP + CRF"), Row("MSP")
    metrics = {"d": {"ap": 0.25, "auroc": float("nan")}}
    write_metrics(tmp_path, row, metrics)
    assert [path.name for path in tmp_path.iterdir()] == ["msp-crf.json"] and read_metrics(tmp_path, other) == {}
    found = read_metrics(tmp_path, row)["d"]
    assert found["ap"] == 0.25 and np.isnan(found["auroc"])


def test_a_line_has_the_metrics_of_all_data(tmp_path):
    rows = [(Row("R", "linear", "msp", trained="network"), {"three": {"ap": 0.5, "ms": 31.6, "auroc": float("nan")}})]
    header, lines = side_by_side(table(), rows)
    assert header == ["row", "three: AP / AUROC / FPR95 / ms", "none: AP / AUROC / FPR95 / ms", "trained"]
    assert lines == [["R", "50.0 / – / – / 32", "– / – / – / –", "network"]]


def test_milliseconds_are_those_of_one_thread(monkeypatch):
    seen, threads = [], torch.get_num_threads()
    clock = iter([0.0, 9.0, 10.0, 10.5, 11.0, 11.25])
    monkeypatch.setattr(stored.time, "process_time", lambda: next(clock))

    def score(image):
        seen.append((torch.get_num_threads(), image.shape))
        return image

    torch.set_num_threads(2)
    try:
        assert milliseconds(score, tiny.dataset(), most=3) == 500
        assert torch.get_num_threads() == 2 and seen == [(1, (3, 48, 64))] * 3
    finally:
        torch.set_num_threads(threads)


def test_core_minutes_are_kept_of_what_ends(tmp_path, monkeypatch):
    clock = iter([60.0, 150.0, 0.0])
    monkeypatch.setattr(stored.time, "process_time", lambda: next(clock))
    with core_minutes(tmp_path / "a.json"):
        pass
    assert '"core_minutes": 1.5' in (tmp_path / "a.json").read_text()
    with pytest.raises(OwsegError), core_minutes(tmp_path / "b.json"):
        raise OwsegError("no.")
    assert not (tmp_path / "b.json").exists()


def test_what_was_measured_is_printed_again_without_training(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(command, "Run", lambda *a, **k: pytest.fail("trains"))
    stored.write_json(tmp_path / "trained" / "ae.json", {"core_minutes": 2.345})
    write_metrics(tmp_path, OPEN.rows[0], {"CamVid test": {"ap": 0.123, "auroc": 0.5, "fpr95": 1.0, "ms": 7.0}})
    monkeypatch.setattr(sys, "argv", ["papers", "open", "--measured", str(tmp_path)])
    command.main()
    out = capsys.readouterr().out
    assert f"| {OPEN.rows[0].name} | 12.3 / 50.0 / 100.0 / 7 | – / – / – / – |" in out and "| ae | 2.3 |" in out


def test_an_image_scorer_is_measured_on_what_its_network_does_not_know(run, monkeypatch):
    noted = []

    def measured(scorers, data, metric):
        noted.append((list(scorers), data.labels.names))
        return {name: PixelMetrics(auroc=0.5, ap=0.25, fpr95=1, outliers=1, inliers=1) for name in scorers}

    monkeypatch.setattr(module, "evaluate_image_scorers", measured)
    monkeypatch.setattr(module, "milliseconds", lambda score, data: 1.0)
    made = run(rows=(Row("D", "linear", "mc_dropout"),))
    ((_, found),) = made.rows()
    assert found["three"]["ap"] == 0.25 and [scorers for scorers, _ in noted] == [["mc_dropout"]] * 2
    assert noted[0][1] == made.kb("linear", THREE).labels.names and "mc_dropout" in IMAGE_SCORERS


def test_a_sheet_has_a_tile_for_each_row_that_was_measured(run, tmp_path):
    rows = tuple(Row(f"row {i}", "linear", "msp") for i in range(7))
    made = run(rows=rows)
    made.kb = lambda name, unknown=(): tiny.knowledge_base(CAMVID.without(unknown).names)
    with pytest.raises(OwsegError, match="run the table first"):
        draw_sheet(made, tmp_path / "sheet.png", "three", 1)
    for row in rows[:6]:
        write_metrics(made.runs / "metrics", row, {"three": {"ap": 0.5}})
    page = Image.open(draw_sheet(made, tmp_path / "sheet.png", "three", 1))
    assert page.size == (5 * 246 - 6, 2 * (160 + 18 + 6) - 6)
    second = np.asarray(page)[160 + 18 + 6 :]
    assert (second[30:, :240] < 255).any() and (second[:, 246:] == 255).all()


def test_a_tile_shows_ranks_and_the_edge_of_what_is_unknown():
    score = np.linspace(0, 1e-6, 240 * 160, dtype=np.float32).reshape(160, 240)
    target = np.zeros((160, 240), np.uint8)
    target[40:80, 60:120] = UNKNOWN
    pixels = np.asarray(tile(score, target))
    assert pixels.shape == (160, 240, 3) and tuple(pixels[40, 60]) == tuple(pixels[79, 119]) == (255, 80, 0)
    grey = pixels[:, 0, 0].astype(int)
    assert grey[0] == 0 and grey[-1] >= 252 and (np.diff(grey) >= 0).all() and tuple(pixels[60, 90]) != (255, 80, 0)
