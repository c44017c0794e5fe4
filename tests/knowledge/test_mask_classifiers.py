"""Mask classifiers as knowledge bases: what other networks do, they do."""

import numpy as np
import pytest
import torch

from owseg.data.dataset import DataSet
from owseg.errors import OwsegError
from owseg.evaluation.evaluate import evaluate
from owseg.image_scorers.mirrored import mirrored
from owseg.knowledge.calibration import calibrate, fit_scorers
from owseg.knowledge.load import load
from owseg.labels import UNKNOWN
from owseg.learners.finetune import FineTune
from owseg.learners.learn import learn
from owseg.learners.npm import NPM
from owseg.learners.plm import PLM
from owseg.learners.probe import Probe
from owseg.types import Shot
from tests.support import tiny
from tests.support.mask_models import MODELS

SIZE = (64, 96)


@pytest.fixture(scope="module", params=MODELS)
def kb(request, tmp_path_factory):
    place = tmp_path_factory.mktemp(request.param)
    MODELS[request.param]().save_pretrained(place)
    return load(f"hf:{place}")


def data(**options):
    return tiny.dataset(4, 3, SIZE, **options)


def shot(number=0):
    sample = tiny.dataset(4, 4, SIZE, unknown=True)[number]
    return Shot(sample.image, sample.target == UNKNOWN, sample.id)


def test_it_comes_with_the_scores_of_masks_and_no_threshold(kb):
    assert {"rba", "eam", "mask_msp", "msp", "max_logit", "energy", "entropy"} == set(kb.scorers)
    assert kb.labels.names == ("road", "sky", "tree", "car") and kb.threshold is None
    scores = kb.assess(kb.forward(tiny.image(0, SIZE)), SIZE, tuple(kb.scorers)).scores
    assert all(np.isfinite(s).all() and s.shape == SIZE and s.std() > 0 for s in scores.values())
    np.testing.assert_allclose(scores["mask_msp"], 1 + scores["max_logit"], atol=1e-6)
    assert not np.allclose(scores["rba"], scores["eam"]) and "Knowledge" in repr(kb)


def test_it_is_fitted_calibrated_learns_and_is_stored_to_the_bit(kb, tmp_path):
    fitted = calibrate(fit_scorers(kb, data()), data(), 0.1, scorer="joint")
    assert {"joint", "mahalanobis", "mahalanobis_absolute"} <= set(fitted.scorers)
    learned = learn(fitted, "rock", [shot(0), shot(1)], method=Probe(scales=(1.0,)))
    learned = learn(learned, "cow", [shot(2)], method=NPM())
    learned.save(tmp_path / "kb")
    again = load(tmp_path / "kb")
    assert again.fingerprint(decides=True) == learned.fingerprint(decides=True)
    assert again.network.config == learned.network.config and again.learned_classes == ("rock", "cow")
    image = tiny.image(5, SIZE)
    one, other = learned.predict(image), again.predict(image)
    assert np.array_equal(one.labels, other.labels) and np.array_equal(one.score, other.score)
    before = kb.forward(image)
    assert torch.equal(before.embedding, again.forward(image).embedding)


def test_a_calibrated_score_of_masks_has_the_rate_that_was_asked(kb):
    ready = calibrate(kb, data(), 0.1, scorer="rba")
    assert ready.threshold.achieved_fpr == pytest.approx(0.1, abs=0.01)
    unknown = [(ready.predict(s.image).open_set == UNKNOWN).mean() for s in data()]
    assert np.mean(unknown) == pytest.approx(0.1, abs=0.01)


def test_it_is_evaluated_by_every_score(kb):
    shown = DataSet(tiny.dataset(4, 4, SIZE).source, kb.labels)  # its rocks are of no class
    found = evaluate(kb, shown, scorers=("rba", "eam", "mask_msp", "energy"))
    assert set(found.scores) == {"rba", "eam", "mask_msp", "energy"}
    assert all(0 < metrics.auroc < 1 for metrics in found.scores.values())


@pytest.mark.parametrize("method", [PLM(), FineTune()])
def test_its_head_grows_by_no_class(kb, method):
    with pytest.raises(OwsegError, match="the head of a mask classifier cannot learn a class; learn with the method"):
        learn(kb, "rock", [shot()], method=method)


def test_the_mean_over_the_mirror_image_is_mask2anomaly_s(kb):
    image = tiny.image(3, SIZE)
    own, other = (kb.forward(np.ascontiguousarray(i)).logits for i in (image, image[..., ::-1]))
    scores = [torch.nn.functional.interpolate(1 - s.amax(1, keepdim=True), SIZE, mode="bilinear") for s in (own, other)]
    expected = (scores[0] + scores[1].flip(-1))[0, 0] / 2
    np.testing.assert_allclose(mirrored(kb, "mask_msp")(image), expected, atol=1e-5)
    np.testing.assert_array_equal(mirrored(kb)(image), mirrored(kb, kb.scorer)(image))
    with pytest.raises(OwsegError, match="no scorer 'uno'"):
        mirrored(kb, "uno")
