"""A batch gives what its images give alone: labels, every score, every class that was learned, for every network.

A convolution may add up a batch in another order than a single image, so scores differ in their last digits.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch

from owseg.knowledge.calibration import calibrate, fit_scorers
from owseg.learners.learn import learn
from owseg.learners.npm import NPM
from owseg.learners.plm import PLM
from owseg.learners.probe import Probe
from owseg.types import Shot
from tests.support import tiny
from tests.support.passes import learned_residual

SIZES = ((48, 64), (64, 48), (48, 64), (48, 64), (64, 48))


def images():
    return [tiny.image(i, size) for i, size in enumerate(SIZES)]


def shot(seed):
    positives = np.zeros((48, 64), bool)
    positives[10:30, 20:44] = True
    image = tiny.image(seed)
    image[:, positives] = np.array([[200], [30], [30]], np.uint8)
    return Shot(image, positives, str(seed))


def assert_same(kb, names, how):
    """Each image alone, and all of them in batches by two threads."""
    single, several = kb.to("cpu", batch=1, workers=1), kb.to("cpu", batch=3, workers=2)
    expected = single.predict(images(), single.engine(**how))
    found = several.predict(images(), several.engine(**how))
    for one, other in zip(expected, found, strict=True):
        assert (one.labels == other.labels).mean() > 0.999 and one.labels.shape == other.labels.shape
        assert np.array_equal(one.image, other.image)
        np.testing.assert_allclose(other.score, one.score, atol=2e-3 * one.threshold.unit)
    group = [image for image in images() if image.shape == (3, 48, 64)]
    for image, output in zip(group, several.engine(**how).run(group), strict=True):
        alone = single.engine(**how)(image)
        for name in names:
            score, expected_score = kb.scorers[name](output), kb.scorers[name](alone)
            spread = max(1e-3, float(expected_score.std()))
            torch.testing.assert_close(score, expected_score, rtol=0, atol=2e-3 * spread, msg=name)


CLASSIFIERS = ("prototype", "linear")
NETWORKS = [("mobilenet_v2", "linear"), *((kind, CLASSIFIERS[i % 2]) for i, kind in enumerate(tiny.CONFIGS))]
"""Every backbone, under one classifier or the other: a classifier sees a pixel, and not what found its embedding."""


@pytest.mark.parametrize(("kind", "classifier"), NETWORKS)
def test_networks(kind, classifier):
    kb = tiny.knowledge_base(kind=kind, classifier=classifier, negative=True)
    kb = calibrate(fit_scorers(kb, tiny.dataset(3)), tiny.dataset(3), scorer="joint", false_alarms=None)
    assert_same(kb, ("joint", "msp", "negative"), {})


@pytest.fixture(scope="module")
def full():
    kb = tiny.knowledge_base(kind="resnet", negative=True)
    kb = replace(kb, residual=learned_residual(kb.network))
    data = tiny.dataset(4)
    kb = fit_scorers(kb, data, ("joint", "knn", "sml", "mahalanobis"))
    kb = calibrate(kb, data, scorer="joint@segments", false_alarms=None)
    for name, method in (("cow", Probe()), ("hen", NPM()), ("dog", Probe()), ("cat", PLM(steps=2))):
        kb = learn(kb, name, [shot(0), shot(1)], method=method)
    return kb


HOW = {
    "plain": {},
    "full resolution": {"full_resolution": True},
    "multi-scale": {"multi_scale": True},
    "tiles": {"tile": True, "size": 160},
    "windows": {"window": 64, "size": 96},
    "sides": {"sides": (36, 96)},
}


@pytest.mark.parametrize("how", HOW.values(), ids=HOW)
def test_every_score_and_every_way_to_run_it(full, how):
    names = [name for name in full.scorers if not (how.get("sides") and name == "rpl")]
    assert_same(full, (*names, "joint@segments"), how)
