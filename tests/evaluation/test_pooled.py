"""Metrics are exact up to a number of pixels, and say so (see tests/metrics/test_pooled.py)."""

from functools import partial

from owseg.evaluation.evaluate import evaluate, evaluate_image_scorers
from owseg.metrics import pooled
from owseg.metrics.binned import Binned
from owseg.metrics.pixel import Exact, PerImage
from owseg.metrics.pooled import Pooled
from tests.support import tiny


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
