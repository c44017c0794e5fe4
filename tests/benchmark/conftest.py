"""A knowledge base, data of its own and an anomaly set on disk; a recipe of them, and its results."""

import json

import numpy as np
import pytest
from PIL import Image

from owseg.benchmark import run as benchmark
from owseg.benchmark.plots import KINDS
from owseg.benchmark.recipe import Data, Model, Recipe
from owseg.benchmark.run import run
from owseg.data.datasets import open_dataset
from owseg.knowledge.calibration import calibrate
from tests.support import tiny
from tests.support.benchmarks import NAMES


@pytest.fixture(scope="session")
def place(tmp_path_factory):
    """A knowledge base, images whose "tree" it does not know, and an anomaly set without named classes."""
    root = tmp_path_factory.mktemp("benchmark")
    data = tiny.dataset(6, size=(96, 128))
    for split, frames in (("train", range(4)), ("val", range(4)), ("test", range(6))):
        for i in frames:
            for kind, array in (("images", data[i].image.transpose(1, 2, 0)), ("masks", data[i].target)):
                folder = root / "own" / split / kind
                folder.mkdir(parents=True, exist_ok=True)
                Image.fromarray(array).save(folder / f"f{i}.png")
    (root / "own" / "classes.json").write_text(json.dumps(list(data.labels.names)))
    for i in range(3):
        for kind, array in (("images", data[i].image.transpose(1, 2, 0)), ("labels_masks", data[i].target == 2)):
            (root / "odd" / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(array.astype(np.uint8)).save(root / "odd" / kind / f"{i}.png")
    kb = tiny.knowledge_base(NAMES, kind="mobilenet_v2")  # the scores of the tiny ResNet fill one bin
    known = open_dataset(f"folder:{root / 'own'}", "val", kb.labels)
    calibrate(kb, known, 0.1, scorer="msp").save(root / "kb")
    return root


@pytest.fixture(scope="session")
def recipe(place):
    model = Model("mine", str(place / "kb"), scorers=("msp", "eds", "mc_dropout"))
    own = Data("own", f"folder:{place / 'own'}", most=4)
    return Recipe((model,), (own, Data("odd", f"roadanomaly21:{place / 'odd'}", "val", (48, 64))))


@pytest.fixture(scope="session")
def done(recipe, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    return run(recipe, out), out


@pytest.fixture
def no_plots(monkeypatch):
    """Runs write empty files where their plots would be: drawing takes longer than everything else."""

    def touch(folder, data, stem, *more):
        stem.parent.mkdir(parents=True, exist_ok=True)
        for kind in KINDS[:3]:
            stem.with_name(f"{stem.name}.{kind}.png").touch()

    monkeypatch.setattr(benchmark, "draw", touch)
