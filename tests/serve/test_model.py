"""Another version takes the place of the one in use, or does not, and no answer is of two versions."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("prometheus_client", reason="pip install 'owseg[serve]'")
from owseg.errors import OwsegError
from owseg.inference.export import export
from owseg.inference.runtime import load_export
from owseg.knowledge.commit import rollback_version
from owseg.knowledge.event import Event
from owseg.knowledge.load import load
from owseg.serve import service as service_module
from owseg.serve.model import Current, describe, pointer_of, served
from tests.support import tiny
from tests.support.service import client_of, photo, service_of
from tests.support.versions import spoil

PNG = {"content-type": "image/png"}


def other_threshold(place, value):
    """Store a version whose threshold is ``value``."""
    kb = load(place)
    threshold = replace(kb.threshold, value=value)
    return kb.after(Event("calibrate", f"moved to {value}"), threshold=threshold).save(place)


def break_current(place):
    """Store a version, and damage it."""
    number = other_threshold(place, 5.0)
    spoil(place / f"{number:04d}" / "knowledge.json", b"{}")
    return number


def test_a_new_version_a_rollback_and_one_that_does_not_load(stored_kb):
    current = Current(lambda: served(load(stored_kb), "kb"), pointer_of(str(stored_kb)))
    assert current.model.version == 1 and not current.has_changed()
    assert other_threshold(stored_kb, 9.0) == 2 and current.has_changed()
    assert current.reload().version == 2 == current.model.version and current.model.threshold.value == 9.0
    assert not current.has_changed() and current.failure is None
    rollback_version(stored_kb, 1)
    assert current.has_changed() and current.reload().version == 1
    break_current(stored_kb)
    with pytest.raises(OwsegError, match=r"^version 1 stays in use: .*knowledge.json"):
        current.reload()
    assert current.model.version == 1 and "stays in use" in current.failure
    assert not current.has_changed()  # it is not tried again and again
    rollback_version(stored_kb, 2)
    assert current.reload().version == 2 and current.failure is None


@pytest.mark.parametrize("fault", ["no threshold", "not finite", "a fault"])
def test_one_that_loads_but_does_not_predict_is_not_used(kb, fault):
    made = [served(kb, "kb")]
    current = Current(lambda: made[-1])

    def broken(images):
        if fault == "a fault":
            raise ZeroDivisionError("by zero")
        yield OwsegError("the score is not finite.")

    if fault == "no threshold":
        current._load = lambda: served(replace(kb, threshold=None), "kb")
    else:
        made.append(replace(made[0], predict=broken))
    with pytest.raises(OwsegError, match=r"stays in use: .*\.$"):
        current.reload()
    assert current.model is made[0]
    with pytest.raises((OwsegError, ZeroDivisionError)):  # nor is it where it is the first
        Current(current._load)


def test_what_has_no_versions_never_changes(kb):
    assert pointer_of("hf:nvidia/segformer")() is None
    current = Current(lambda: served(kb, "kb"))
    assert current.model.version is None and not current.has_changed()


def test_a_place_that_cannot_be_read_for_a_moment_has_not_changed(kb):
    names = iter([None, OSError()])

    def pointer():
        if isinstance(found := next(names), OSError):
            raise found
        return found

    assert not Current(lambda: served(kb, "kb"), pointer).has_changed()


def test_answers_of_a_model_are_those_of_the_knowledge_base_in_order(kb):
    images = [tiny.image(i, size) for i, size in enumerate([(48, 64), (64, 48), (48, 64), (40, 56)])]
    model = served(kb.to("cpu", batch=2, workers=2), "kb")
    assert model.at_once == 16
    for image, answer in zip(images, model.answers(images), strict=True):
        alone = kb.predict(image)
        assert (answer.prediction.labels == alone.labels).all()
        np.testing.assert_allclose(answer.prediction.score, alone.score, atol=1e-4)
        assert len(answer.prediction.regions) == len(alone.regions)


def test_one_image_that_fails_stops_no_other(kb, monkeypatch):
    model = served(kb, "kb")
    usual = type(kb).decide

    def decide(self, sample, output):
        if sample.image.shape[2] == 72:
            raise OwsegError("not this one.")
        return usual(self, sample, output)

    monkeypatch.setattr(type(kb), "decide", decide)
    found = [*model.answers([tiny.image(0), tiny.image(1, (48, 72)), tiny.image(2)])]
    assert [isinstance(answer, OwsegError) for answer in found] == [False, True, False]


def point_to(place, number):
    """Make a version the current one, in one step and without a look at it."""
    aside = place / "aside"
    aside.write_text(f"{number:04d}\n")
    aside.replace(place / "CURRENT")


def wait_for(condition):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_the_service_watches_and_no_request_is_lost_meanwhile(stored_kb, monkeypatch):
    monkeypatch.setattr(service_module, "WATCH", 0.01)
    other_threshold(stored_kb, -1000.0)  # all is unknown then
    break_current(stored_kb)
    point_to(stored_kb, 1)
    service, found, stop = service_of(stored_kb), [], threading.Event()
    with client_of(service) as client, ThreadPoolExecutor(3) as pool:

        def ask():
            while not stop.is_set():
                found.append(client.post("/v1/predict", content=photo(), headers=PNG))

        try:
            asking = [pool.submit(ask) for _ in range(3)]
            wait_for(lambda: found)
            point_to(stored_kb, 2)
            wait_for(lambda: service.current.model.version == 2)
            point_to(stored_kb, 3)
            wait_for(lambda: service.current.failure)
            assert "version 2 stays in use" in client.get("/v1/model").json()["failure"]
            rollback_version(stored_kb, 1)
            wait_for(lambda: service.current.model.version == 1)
            assert client.get("/v1/model").json()["failure"] is None
            count = len(found)
            wait_for(lambda: len(found) > count + 3)
        finally:
            stop.set()
        for asked in asking:
            asked.result(60)
        metrics = client.get("/metrics").text
    assert {f.status_code for f in found} == {200}
    for value in (f.json() for f in found):  # each of one version, all of it
        assert (value["unknown"] == 1.0) == (value["version"] == 2) == (value["threshold"] == -1000.0)
    assert {f.json()["version"] for f in found} == {1, 2}
    assert 'owseg_reloads_total{result="loaded"} 2.0' in metrics
    assert 'owseg_reloads_total{result="failed"} 1.0' in metrics and "owseg_version 1.0" in metrics


def test_a_reload_can_be_asked_for(stored_kb, monkeypatch):
    monkeypatch.setattr(service_module, "WATCH", 1000)
    with client_of(service_of(stored_kb)) as client:
        other_threshold(stored_kb, 9.0)
        assert client.get("/v1/model").json()["version"] == 1
        found = client.post("/v1/reload").json()
        assert (found["version"], found["threshold"]["value"]) == (2, 9.0)
        break_current(stored_kb)
        refused = client.post("/v1/reload")
        assert refused.status_code == 409 and "version 2 stays in use" in refused.json()["error"]
        assert client.post("/v1/predict", content=photo(), headers=PNG).json()["version"] == 2


def test_an_export_is_served_as_the_knowledge_base_and_a_newer_file_takes_its_place(unsure_kb, tmp_path):
    pytest.importorskip("onnxruntime")
    path = tmp_path / "model.onnx"
    export(unsure_kb, path, size=(48, 64))
    current = Current(lambda: served(load_export(path), "model.onnx"), pointer_of(str(path)))
    (expected,), (found,) = (list(model.answers([tiny.image(2)])) for model in (served(unsure_kb, "kb"), current.model))
    assert (found.prediction.labels == expected.prediction.labels).all() and found.version is None
    assert [r.area for r in found.prediction.regions] == [r.area for r in expected.prediction.regions] != []
    assert found.shift.to_json() == pytest.approx(expected.shift.to_json(), abs=1e-3)
    of_kb, of_file = describe(unsure_kb, "kb"), current.model.about
    same = ("classes", "scorer", "threshold", "calibration", "last_change")
    assert {key: of_file[key] for key in same} == {key: of_kb[key] for key in same}
    assert not current.has_changed()
    export(unsure_kb, path, size=(48, 64), licence="CC0")
    assert current.has_changed() and current.reload() is current.model and not current.has_changed()
