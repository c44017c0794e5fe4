"""Outliers that are pasted into images: set aside without a search, and measured in bounded memory."""

from dataclasses import replace

import pytest

from owseg.metrics.pooled import Pooled
from owseg.models.engine import Engine
from owseg.scorers.max_logit import max_logit
from owseg.training import pasting
from owseg.training.config import ResidualConfig
from owseg.training.pasting import pasted_ap, set_aside, sure_inliers
from tests.support import tiny
from tests.support.counting import Number, compared, grows_linearly
from tests.support.outliers import inlier_images, objects


def test_outliers_are_set_aside_without_a_search(monkeypatch):
    monkeypatch.setattr(pasting, "range", lambda n: [Number(i) for i in range(n)], raising=False)
    assert grows_linearly(lambda n: compared(lambda: set_aside(objects(n))), 400)


def test_what_is_unsure_in_photos_is_kept_up_to_a_limit():
    network, photos, read = tiny.network(), inlier_images(4), []

    def reading(i):
        read.append(i)
        return photos.source.read(i)

    counted = replace(photos, source=replace(photos.source, read=reading))
    kept, computed = (sure_inliers(counted, network, 0.2, limit=limit) for limit in (1 << 20, 0))
    assert kept.fingerprint() == computed.fingerprint() == kept.fingerprint() == computed.fingerprint()
    # Twice for an image that is scored, once for one whose unsure pixels are kept.
    assert len(read) == 4 * (2 + 2 + 1 + 2)


def test_validation_on_many_pixels_keeps_no_scores(monkeypatch):
    states = []

    def state():
        states.append(Pooled())
        return states[-1]

    monkeypatch.setattr(pasting, "Pooled", state)
    given = Engine(tiny.network().eval()), max_logit, inlier_images(2), objects(), ResidualConfig()
    exact = pasted_ap(*given)
    monkeypatch.setattr("owseg.metrics.pooled.EXACT_PIXELS", 100)
    assert pasted_ap(*given) == pytest.approx(exact, abs=0.02) and [s.exact for s in states] == [True, False]
