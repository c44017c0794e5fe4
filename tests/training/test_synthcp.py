import numpy as np
import pytest
import torch
import torch.nn.functional as F

from owseg.data.dataset import DataSet, Source
from owseg.errors import OwsegError
from owseg.image_scorers.synthcp import load, synthcp
from owseg.labels import IGNORE
from owseg.models.generator import Generator
from owseg.scorers.msp import msp
from owseg.training import BASELINES
from owseg.training.synthcp import fit_synthcp
from tests.support import tiny
from tests.support.drawn import GENERATOR, duir_of


def fitted(kb, data, sure=0.7):
    torch.manual_seed(0)
    return fit_synthcp(kb, data, Generator(**GENERATOR), sure)


def half_void(i):
    image, ids = tiny.dataset().source.read(i)
    return image, np.where(np.arange(64) < 32, ids, IGNORE).astype(np.uint8)


def test_the_threshold_is_a_quantile_over_known_pixels():
    kb, source = tiny.knowledge_base(), tiny.dataset().source
    data = DataSet(Source("half", source.classes, source.ids, half_void), source.classes)
    values = []
    for sample in data:
        full = F.interpolate(msp(kb.forward(sample.image))[:, None], size=(48, 64), mode="bilinear")[0, 0]
        values += [full[row, column].item() for row in range(0, 48, 4) for column in range(0, 32, 4)]
    model = fitted(kb, data)
    assert model.threshold.item() == pytest.approx(np.quantile(values, 0.7), rel=1e-5)
    assert np.mean(np.array(values) < model.threshold.item()) == pytest.approx(0.7, abs=0.01)
    assert fitted(kb, data, 0.3).threshold < model.threshold


def test_the_share_that_was_asked_keeps_its_msp():
    kb = tiny.knowledge_base()
    scores = np.concatenate([synthcp(kb, fitted(kb, tiny.dataset(), 0.6))(s.image).ravel() for s in tiny.dataset()])
    kept = fitted(kb, tiny.dataset(), 0.999999)
    unsure = np.concatenate([synthcp(kb, kept)(s.image).ravel() for s in tiny.dataset()])
    assert (scores == unsure).mean() == pytest.approx(0.6, abs=0.1)


def test_what_cannot_be_fitted_is_named():
    kb, source = tiny.knowledge_base(), tiny.dataset().source
    void = DataSet(
        Source("void", source.classes, ("f",), lambda i: (source.read(i)[0], np.full((48, 64), IGNORE, np.uint8))),
        source.classes,
    )
    with pytest.raises(OwsegError, match="no known pixel to find the threshold on"):
        fitted(kb, void)
    for sure in (0.0, 1.0):
        with pytest.raises(OwsegError, match="between 0 and 1"):
            fitted(kb, tiny.dataset(), sure)


OPTIONS = {
    "generator": "train", "generator_epochs": 1, "generator_batch": 4, "generator_crop": (32, 32),
    "generator_lr": 1e-3, "generator_width": 4, "generator_depth": 1, "generator_blocks": 1, "generator_side": 32,
    "sure": 0.7, "generator_feature_weight": 0.3, "precision": "bf16-mixed",
}  # fmt: skip


def test_the_card_trains_and_stores_with_its_options(tmp_path, monkeypatch):
    kb, out = tiny.knowledge_base(), tmp_path / "s.safetensors"
    assert set(OPTIONS) == set(BASELINES.entries["synthcp"].options)
    made = BASELINES.make("synthcp", kb, tiny.dataset(), tiny.dataset(3), out, tmp_path / "run", False, 5, **OPTIONS)
    model = load(made)
    assert made == out and model.generator.config == {"classes": 3, "width": 4, "depth": 1, "blocks": 1, "side": 32}
    assert model.threshold.item() == pytest.approx(fitted(kb, tiny.dataset(3), 0.7).threshold.item())
    assert synthcp(kb, model)(tiny.image()).shape == (48, 64)
    noted = []
    drawer = duir_of(kb).generator
    monkeypatch.setattr("owseg.training.synthcp.generator_from", lambda *given: noted.append(given) or drawer)
    BASELINES.make("synthcp", kb, "D", tiny.dataset(3), out, tmp_path / "run", True, 5, **OPTIONS)
    ((file, asked, data, _, drawing, place, resume),) = noted
    assert (file, asked, data, place, resume) == ("train", kb, "D", tmp_path / "run" / "generator", True)
    assert (drawing.epochs, drawing.batch, drawing.crop, drawing.lr, drawing.seed) == (1, 4, (32, 32), 1e-3, 5)
    assert (drawing.feature_weight, drawing.precision) == (0.3, "bf16-mixed")
