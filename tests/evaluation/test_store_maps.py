from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from owseg.data.dataset import DataSet
from owseg.errors import OwsegError
from owseg.evaluation.evaluate import evaluate
from owseg.evaluation.maps import MapFolder
from owseg.evaluation.measure import measure
from owseg.evaluation.store_maps import store_maps
from owseg.knowledge.prediction import Assessment
from owseg.labels import UNKNOWN
from tests.support import tiny


def test_maps_of_a_knowledge_base_are_made_once_and_give_its_metrics(tmp_path):
    kb, data = tiny.knowledge_base(("road", "sky")), tiny.dataset(5, unknown=True)
    passed = []

    def forward(image):
        passed.append(image)
        return kb.forward(image)

    folder = store_maps(kb, data, tmp_path, ("msp", "max_logit"), forward)
    assert all(np.array_equal(image, sample.image) for image, sample in zip(passed, data, strict=True))
    assert len(passed) == 5
    folder.file("f3").write_bytes(folder.file("f3").read_bytes()[:-9])
    store_maps(kb, data, tmp_path, ("msp", "max_logit"), forward)
    assert len(passed) == 6 and np.array_equal(passed[5], data[3].image)
    found, expected = measure(tmp_path), evaluate(kb, data, ("msp", "max_logit"))
    assert found.closed_miou == expected.iou.mean()
    for name, exact in expected.scores.items():
        low, high = found.scores[name].pixel.bounds["auroc"]
        assert low <= exact.auroc <= high
    with pytest.raises(OwsegError, match="another knowledge base"):
        store_maps(tiny.knowledge_base(("road", "sky"), scale=2.0), data, tmp_path, ("msp", "max_logit"))
    with pytest.raises(OwsegError, match="another data set"):
        store_maps(kb, data.pick(range(4)), tmp_path, ("msp", "max_logit"))
    with pytest.raises(OwsegError, match="other settings"):
        store_maps(kb, data, tmp_path, ("msp", "max_logit"), settings={"multi_scale": True})
    with pytest.raises(OwsegError, match="no scorer"):
        store_maps(kb, data, tmp_path / "other", ("nonsense",))
    with pytest.raises(OwsegError, match="other labels"):
        store_maps(kb, DataSet(data.source, data.source.classes), tmp_path)


def test_a_score_is_minus_infinity_exactly_where_a_learned_class_is_predicted(stages, frames, tmp_path):
    kb = stages[-1]
    data = DataSet(frames.source, kb.labels).pick(range(4))
    beside = {"flat": lambda image: np.full(image.shape[1:], 0.5, np.float32)}
    folder = store_maps(kb, data, tmp_path, ("joint", "flat", "msp"), image_scorers=beside)
    learned_pixels = 0
    for sample in data:
        maps, assessed = folder.read(sample.id), kb.assess(kb.forward(sample.image), (48, 64), ("joint", "msp"))
        learned = maps.labels >= kb.network.num_classes
        learned_pixels += learned.sum()
        assert np.array_equal(maps.labels, assessed.labels) and np.array_equal(maps.target, sample.target)
        expected = {**assessed.scores, "flat": np.full((48, 64), 0.5, np.float32)}
        assert list(maps.scores) == ["joint", "flat", "msp"]
        for name, score in maps.scores.items():
            assert (score[learned] == -np.inf).all() and np.array_equal(score[~learned], expected[name][~learned])
    assert 0 < learned_pixels < 4 * 48 * 64


def test_one_rule_says_where_learned_classes_decide(stages, frames, tmp_path, monkeypatch):
    """For maps of scorers and of image scorers, and for the open-set map of a prediction."""
    monkeypatch.setattr(Assessment, "decided", lambda assessed, name: np.full_like(assessed.scores[name], 1e9))
    kb = stages[-1]
    data = DataSet(frames.source, kb.labels).pick([0])
    beside = {"flat": lambda image: np.full(image.shape[1:], 0.5, np.float32)}
    folder = store_maps(kb, data, tmp_path, ("joint", "flat"), image_scorers=beside)
    assert all((score == 1e9).all() for score in folder.read(data[0].id).scores.values())
    assert (kb.predict(data[0].image).open_set == UNKNOWN).all()


def test_by_default_the_score_in_use_and_the_knowledge_bases_own_forward_are_kept(stages, frames, tmp_path):
    data = DataSet(frames.source, stages[0].labels).pick([5])
    folder = store_maps(stages[0], data, tmp_path)
    assert folder.manifest.scores == ("joint",) and folder.manifest.images == ("f5",)
    output = stages[0].forward(data[0].image)
    assert np.array_equal(folder.read("f5").scores["joint"], stages[0].assess(output, (48, 64)).scores["joint"])


def test_another_forward_makes_other_maps_and_settings_are_kept(tmp_path):
    kb, data = tiny.knowledge_base(), tiny.dataset(2)
    plain = store_maps(kb, data, tmp_path / "plain", ("msp",))
    full = partial(kb.forward, full_resolution=True)
    other = store_maps(kb, data, tmp_path / "full", ("msp",), full, {"full_resolution": True})
    assert not np.array_equal(plain.read("f0").scores["msp"], other.read("f0").scores["msp"])
    assert MapFolder.open(tmp_path / "full").manifest.settings == {"full_resolution": True}


def test_masks_finer_than_the_images_decide_the_size(tmp_path):
    kb, data = tiny.knowledge_base(), tiny.dataset(1)
    source = replace(data.source, finer=True, read=lambda i: (data.source.read(i)[0], np.zeros((96, 128), np.uint8)))
    beside = {"own": lambda image: image[0].astype(np.float32)}
    maps = store_maps(kb, replace(data, source=source), tmp_path, ("msp", "own"), image_scorers=beside).read("f0")
    assert maps.labels.shape == maps.target.shape == maps.scores["msp"].shape == maps.scores["own"].shape == (96, 128)


def test_a_nan_or_a_missing_mask_is_refused_with_the_image(tmp_path):
    kb, data = tiny.knowledge_base(), tiny.dataset(2)
    beside = {"bad": lambda image: np.full(image.shape[1:], np.nan, np.float32)}
    with pytest.raises(OwsegError, match="the score bad of f0 is NaN"):
        store_maps(kb, data, tmp_path / "nan", ("bad",), image_scorers=beside)
    bare = replace(data.source, read=lambda i: (data.source.read(i)[0], None))
    with pytest.raises(OwsegError, match="f0 has no mask"):
        store_maps(kb, replace(data, source=bare), tmp_path / "bare", ("msp",))
