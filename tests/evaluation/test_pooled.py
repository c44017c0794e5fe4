from functools import partial

import numpy as np
import pytest

from owseg.evaluation import pooled
from owseg.evaluation.evaluate import evaluate, evaluate_image_scorers
from owseg.evaluation.pooled import Pooled
from owseg.labels import IGNORE, UNKNOWN
from owseg.metrics.binned import Binned
from owseg.metrics.pixel import Exact, PerImage
from tests.support import tiny


def images(count=3, shape=(8, 10)):
    for seed in range(count):
        rng = np.random.default_rng(seed)
        yield rng.normal(0, 1, shape).astype(np.float32), rng.choice([0, UNKNOWN, IGNORE], shape).astype(np.uint8)


def filled(state, count=3):
    for score, target in images(count):
        state.update(score, target)
    return state


COUNTED = sum(int((target != IGNORE).sum()) for _, target in images())


def test_metrics_are_exact_up_to_the_limit_and_from_a_histogram_beyond():
    within, beyond = filled(Pooled(COUNTED)), filled(Pooled(COUNTED - 1))
    assert within.exact and within.compute() == filled(Exact()).compute()
    assert not beyond.exact and beyond.compute() == filled(Binned()).compute()
    assert beyond.compute() != within.compute()
    for state, same in ((within, Exact()), (beyond, Binned())):
        for name in ("tpr", "fpr", "precision"):
            assert np.array_equal(getattr(state.curves(), name), getattr(filled(same).curves(), name))


def test_beyond_the_limit_no_score_is_held():
    state = filled(Pooled(COUNTED - 1))
    assert state._exact is None and state.pixels == COUNTED
    state.update(*next(images()))
    assert not state.exact


@pytest.mark.parametrize("limit", [COUNTED, 10**9, 1])
def test_two_states_merge_to_that_of_all_images(limit):
    merged = filled(Pooled(limit), 2) + filled(Pooled(limit), 3)
    direct = Pooled(limit)
    for state in (*images(2), *images(3)):
        direct.update(*state)
    assert merged.exact == direct.exact and merged.compute() == direct.compute()


def test_evaluate_pools_and_says_how(monkeypatch, run_cli, stored_kb, own_data):
    """The default, for knowledge bases and for image scorers, and the command, above a low limit."""
    kb, data = tiny.knowledge_base(), tiny.dataset(4, 4, unknown=True)
    scorers = {"mine": lambda image: kb.assess(kb.forward(image), (48, 64), ("msp",)).scores["msp"]}
    exact = evaluate(kb, data, ["msp"])
    assert exact.scores["msp"].bounds is None and exact.protocol.endswith("recall of .95, exact")
    assert exact.scores == evaluate(kb, data, ["msp"], Exact).scores
    pixels = 4 * 48 * 64
    assert evaluate(kb, data, ["msp"], partial(Pooled, pixels)).scores == exact.scores
    monkeypatch.setattr(pooled, "EXACT_PIXELS", pixels - 1)
    binned = evaluate(kb, data, ["msp"])
    assert binned.scores == evaluate(kb, data, ["msp"], Binned).scores
    assert binned.scores["msp"].bounds is not None
    assert "from histograms, as there are more than 12,287 pixels" in binned.protocol
    assert binned.to_json()["protocol"] == binned.protocol and binned.protocol in str(binned.tables())
    assert evaluate_image_scorers(scorers, data) == {"mine": binned.scores["msp"]}
    code, out, err = run_cli("evaluate", stored_kb, "--data", f"folder:{own_data}")
    assert code == 0, err
    assert "from histograms" in " ".join(out.split())


def test_the_protocol_says_what_the_metric_is():
    kb, data = tiny.knowledge_base(), tiny.dataset(2, 4, unknown=True)
    protocols = {
        metric: evaluate(kb, data, ["msp"], metric).protocol for metric in (Exact, Binned, PerImage)
    }  # fmt: skip
    assert protocols == {
        Exact: "pixels pooled, void ignored, FPR at the first recall of .95, exact",
        Binned: "pixels pooled, void ignored, FPR at the first recall of .95, from histograms",
        PerImage: "mean over images that show both, void ignored, FPR at the nearest recall of .95, exact",
    }
