"""What /metrics says, as Prometheus's own parser reads it."""

import numpy as np
import pytest

pytest.importorskip("prometheus_client", reason="pip install 'owseg[serve]'")
from prometheus_client.parser import text_string_to_metric_families as parse

from owseg.data.images import as_image
from owseg.knowledge.adaptation import find_shift, quantiles_of
from owseg.serve.metrics import RECENT, Metrics
from owseg.serve.model import Answer, served
from tests.support import tiny
from tests.support.service import client_of, file_of, photo, service_of

PNG = {"content-type": "image/png"}


def values(text):
    """The samples by name and labels, without those of histograms' bars."""
    found = {}
    for family in parse(text if isinstance(text, str) else text.decode()):
        for s in family.samples:
            if "le" not in s.labels:
                found[(s.name, *sorted(s.labels.items()))] = s.value
    return found


def test_requests_images_and_refusals_are_counted(stored_kb, kb):
    with client_of(service_of(stored_kb), "s3cret", False) as client:
        auth = {"authorization": "Bearer s3cret"}
        images = [photo(seed) for seed in range(3)]
        unknown = 0.0
        for data in images:
            unknown += client.post("/v1/predict", content=data, headers={**PNG, **auth}).json()["unknown"]
        client.post("/v1/predict", content=b"no image", headers={**PNG, **auth})
        client.post("/v1/predict", content=images[0], headers=PNG)
        client.get("/nothing/that/is/there", headers=auth)
        found = values(client.get("/metrics", headers=auth).text)
    path = ("path", "/v1/predict")
    assert found["owseg_requests_total", path, ("status", "200")] == 3
    assert found["owseg_requests_total", path, ("status", "415")] == 1
    assert found["owseg_requests_total", path, ("status", "401")] == 1
    assert found["owseg_requests_total", ("path", "other"), ("status", "404")] == 1
    assert found["owseg_request_seconds_count", path] == 5 and found["owseg_request_seconds_sum", path] > 0
    assert found["owseg_images_total",] == found["owseg_unknown_share_count",] == 3
    assert found["owseg_unknown_share_sum",] == pytest.approx(unknown)
    assert found["owseg_batch_images_sum",] == 3 and found["owseg_queue_images",] == 0
    assert found["owseg_version",] == 1 and found["process_resident_memory_bytes",] > 0


def answer(kb, image, version=None):
    prediction = kb.predict(image)
    return Answer(prediction, version, quantiles_of(prediction.image, prediction.score), None)


def test_drift_is_that_of_the_latest_images_of_the_version_in_use(kb):
    model = served(kb, "kb")
    metrics = Metrics(lambda: 7, lambda: model)
    found = values(metrics.text())
    assert found["owseg_queue_images",] == 7 and found["owseg_version",] == -1
    assert found["owseg_new_place",] == 0 and np.isnan(found["owseg_score_shift_critical",])
    usual = [answer(kb, tiny.dataset()[i].image) for i in range(4)]
    for one in usual:
        metrics.answered(one)
    expected = find_shift(kb.threshold, [one.scores for one in usual])
    found = values(metrics.text())
    assert found["owseg_score_shift",] == pytest.approx(expected.score)
    assert found["owseg_score_shift_critical",] == pytest.approx(expected.critical)
    assert found["owseg_known_lost_share",] == pytest.approx(expected.lost) and found["owseg_new_place",] == 0
    far = answer(kb, as_image(file_of(np.where(np.indices((3, 48, 64)).sum(0) % 2, 255, 250).astype(np.uint8))))
    metrics.answered(Answer(far.prediction, 6, far.scores, None))  # of a version before
    assert values(metrics.text())["owseg_score_shift",] == pytest.approx(expected.score)
    for _ in range(RECENT):  # the usual ones are forgotten
        metrics.answered(far)
    found = values(metrics.text())
    assert found["owseg_score_shift",] == pytest.approx(find_shift(kb.threshold, [far.scores]).score)
    assert found["owseg_new_place",] == 1 and found["owseg_images_total",] == 5 + RECENT
    metrics.reloaded(False)
    assert values(metrics.text())["owseg_new_place",] == 1
    metrics.reloaded(True)
    found = values(metrics.text())
    assert found["owseg_new_place",] == 0 and found["owseg_reloads_total", ("result", "failed")] == 1
