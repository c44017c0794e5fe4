"""Outliers that are pasted into images: set aside without a search, and measured in bounded memory."""

import pytest

from owseg.metrics.pooled import Pooled
from owseg.models.engine import Engine
from owseg.scorers.max_logit import max_logit
from owseg.training import pasting
from owseg.training.config import ResidualConfig
from owseg.training.pasting import pasted_ap, set_aside
from tests.support import tiny
from tests.support.counting import Number, compared, grows_linearly
from tests.support.outliers import inlier_images, objects


def test_outliers_are_set_aside_without_a_search(monkeypatch):
    monkeypatch.setattr(pasting, "range", lambda n: [Number(i) for i in range(n)], raising=False)
    assert grows_linearly(lambda n: compared(lambda: set_aside(objects(n))), 400)


def test_validation_on_many_pixels_keeps_no_scores(monkeypatch):
    states = []

    def state():
        states.append(Pooled())
        return states[-1]

    monkeypatch.setattr(pasting, "Pooled", state)
    given = Engine(tiny.network().eval()), max_logit, inlier_images(2), objects(), ResidualConfig()
    exact = pasted_ap(*given)
    monkeypatch.setattr("owseg.metrics.pooled.EXACT_PIXELS", 100)
    assert pasted_ap(*given) == pytest.approx(exact, abs=0.02) and [s.exact for s in states[::2]] == [True, False]
