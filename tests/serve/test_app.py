"""The routes, in this process: what is answered, what is refused, and always with one sentence."""

import base64
import io
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("prometheus_client", reason="pip install 'owseg[serve]'")
from owseg.data.images import as_image
from owseg.data.masks import Rle
from owseg.knowledge.load import load
from owseg.labels import UNKNOWN
from owseg.serve import schema
from owseg.serve.settings import Limits
from tests.support import tiny
from tests.support.service import client_of, file_of, photo, service_of

PNG = {"content-type": "image/png"}


@pytest.fixture(scope="module")
def place(unsure_kb, tmp_path_factory):
    """A stored knowledge base that finds unknown regions in every image."""
    place = tmp_path_factory.mktemp("served") / "kb"
    replace(unsure_kb, threshold=replace(unsure_kb.threshold, regions=None)).save(place)
    return place


@pytest.fixture(scope="module")
def client(place):
    with client_of(service_of(place, max_bytes=1 << 20, max_pixels=100_000, max_queue=4)) as client:
        yield client


def one_sentence(found, status):
    """Whether an answer is a refusal of this status: JSON with one sentence and nothing else."""
    value = found.json()
    said = value["error"]
    assert found.status_code == status, (found.status_code, said)
    assert [*value] == ["error"] and said.endswith(".") and "\n" not in said and "Traceback" not in said
    return said


def decoded(data):
    return np.asarray(Image.open(io.BytesIO(data)))


def test_a_prediction_is_that_of_the_knowledge_base(client, place):
    kb, data = load(place), photo(1)
    expected = kb.predict(as_image(data))
    for found in (
        client.post("/v1/predict", content=data, headers=PNG),
        client.post("/v1/predict", content=data, headers={"content-type": "application/octet-stream"}),
        client.post("/v1/predict", files={"image": ("p1.png", data, "image/png")}),
    ):
        assert found.status_code == 200 and found.headers["x-owseg-version"] == "1"
        value = schema.Prediction.model_validate(found.json())
        assert value.size == (48, 64) and value.version == 1 and value.threshold == kb.threshold.value
        assert value.unknown == expected.unknown > 0 and value.classes == expected.shares()
        assert [Rle.from_json(r.mask.model_dump(), (48, 64)) for r in value.regions] == [
            r.mask for r in expected.regions
        ]
        assert [(r.box, r.nearest) for r in value.regions] == [(r.box, r.nearest) for r in expected.regions]
        assert value.regions and value.maps == {}
    assert value.image == "p1.png"


def test_a_map_is_a_png_by_query_or_by_accept(client, place):
    expected, data = load(place).predict(as_image(photo(1))), photo(1)
    ask = {"content": data, "headers": {**PNG, "accept": "image/png"}}
    found = {
        name: client.post(f"/v1/predict?maps={name}", **ask) for name in ("labels", "open_set", "score", "overlay")
    }
    assert all(f.headers["content-type"] == "image/png" for f in found.values())
    maps = {name: decoded(f.content) for name, f in found.items()}
    assert (maps["labels"] == expected.labels).all() and (maps["open_set"] == expected.open_set).all()
    assert (maps["open_set"] == UNKNOWN).any() and maps["score"].dtype == np.uint16
    assert ((maps["score"] > 32768) >= (maps["open_set"] == UNKNOWN)).all()
    assert (maps["overlay"] == expected.overlay()).all()
    by_query = client.post("/v1/predict?format=png", content=data, headers=PNG)
    assert by_query.content == found["overlay"].content  # the overlay unless another is named
    assert client.post("/v1/predict", **ask).content == by_query.content
    several = client.post("/v1/predict?maps=labels,score", content=data, headers=PNG).json()["maps"]
    assert {name: base64.b64decode(text) for name, text in several.items()} == {
        name: found[name].content for name in ("labels", "score")
    }
    wins = client.post("/v1/predict?format=json", **ask)
    assert wins.headers["content-type"] == "application/json"


def test_several_files_are_answered_in_order_and_a_bad_one_stops_no_other(client):
    files = [("a", ("a.png", photo(1))), ("b", ("b.txt", b"no image")), ("a", ("c.png", photo(2, (64, 48))))]
    found = client.post("/v1/predict/batch?maps=labels", files=files)
    assert found.status_code == 200
    first, bad, last = schema.Batch.model_validate(found.json()).results
    assert (first.image, bad.image, last.image) == ("a.png", "b.txt", "c.png")
    assert (first.size, last.size) == ((48, 64), (64, 48)) and "no PNG" in bad.error and set(last.maps) == {"labels"}
    alone = client.post("/v1/predict", content=photo(1), headers=PNG).json()
    assert first.regions == schema.Prediction.model_validate(alone).regions
    one_sentence(client.post("/v1/predict/batch", files=[("a", ("b.txt", b"no image"))] * 2), 415)
    assert "4 image" in one_sentence(client.post("/v1/predict/batch", files=[("a", ("b.png", photo()))] * 5), 413)
    one_sentence(client.post("/v1/predict/batch", content=photo(), headers=PNG), 415)


@pytest.mark.parametrize(
    ("path", "given", "status"),
    [
        ("/v1/predict", {"content": b"no image", "headers": PNG}, 415),
        ("/v1/predict", {"content": photo()[:300], "headers": PNG}, 422),
        ("/v1/predict", {"content": photo(0, (240, 480)), "headers": PNG}, 413),
        ("/v1/predict", {"content": b"x" * (1 << 20) + b"x", "headers": PNG}, 413),
        ("/v1/predict", {"content": (b"x" * (1 << 18) for _ in range(5)), "headers": PNG}, 413),  # says no length
        ("/v1/predict", {"content": photo()}, 415),
        ("/v1/predict", {"json": {"image": "photo.png"}}, 415),
        ("/v1/predict", {"data": {"image": "photo.png"}}, 415),
        ("/v1/predict", {"content": b"", "headers": PNG}, 415),
        ("/v1/predict", {"content": b"x", "headers": {"content-type": "multipart/form-data; boundary=x"}}, 400),
        ("/v1/predict", {"content": b"x", "headers": {"content-type": "multipart/form-data"}}, 400),
        ("/v1/predict", {"files": {"a": ("a.png", photo()), "b": ("b.png", photo())}}, 413),
        ("/v1/predict", {"files": {"a": (None, "text")}}, 422),
        ("/v1/predict?maps=classes", {"content": photo(), "headers": PNG}, 422),
        ("/v1/predict?format=gif", {"content": photo(), "headers": PNG}, 422),
        ("/v1/predict?format=png&maps=labels,score", {"content": photo(), "headers": PNG}, 422),
        ("/v1/predict", {"content": photo(), "headers": {**PNG, "accept": "text/html"}}, 406),
        ("/v1/predict", {"content": photo(), "headers": {**PNG, "origin": "http://evil.example"}}, 403),
        ("/v1/predict", {"content": photo(), "headers": {**PNG, "host": "evil.example"}}, 403),
        ("/v1/nothing", {}, 404),
        ("/%2e%2e/etc/passwd", {}, 404),
        ("/v1/model", {}, 405),
    ],
)
def test_whatever_is_refused_is_refused_in_a_sentence(client, path, given, status):
    one_sentence(client.post(path, **given), status)
    assert client.post("/v1/predict", content=photo(), headers=PNG).status_code == 200


def test_a_fault_of_the_service_shows_nothing_of_it(place, monkeypatch, caplog):
    service = service_of(place)
    with client_of(service) as client:
        monkeypatch.setattr(service.current, "model", broken := type("Broken", (), {"at_once": 1, "version": 1})())
        broken.answers = lambda images: [RuntimeError("secret path /x")]
        said = one_sentence(client.post("/v1/predict", content=photo(), headers=PNG), 500)
        assert "secret" not in said and "secret path" in caplog.text
        broken.answers = lambda images: [MemoryError()]
        assert "memory" in one_sentence(client.post("/v1/predict", content=photo(), headers=PNG), 500)
        broken.answers = lambda images: 1 / 0
        one_sentence(client.post("/v1/predict", content=photo(), headers=PNG), 500)
        monkeypatch.setattr(service, "answers", None)
        one_sentence(client.post("/v1/predict", content=photo(), headers=PNG), 500)
        assert client.get("/healthz").status_code == 200


def test_a_full_queue_refuses_and_says_when_to_come_again(place):
    service = service_of(place, max_queue=2)
    with client_of(service) as client:
        held = service.batcher
        held._closed = True  # the worker takes what is there and ends; then nothing is taken
        one_sentence(client.post("/v1/predict", content=photo(), headers=PNG), 503)
        assert one_sentence(client.get("/healthz"), 503) and one_sentence(client.get("/readyz"), 503)
    service = service_of(place, max_queue=2)
    with client_of(service) as client:
        service.batcher._waiting.extend([(None, None, 0.0)] * 2)  # nobody is notified, so they stay
        found = client.post("/v1/predict", content=photo(), headers=PNG)
        assert "wait already" in one_sentence(found, 429) and int(found.headers["retry-after"]) >= 1
        assert one_sentence(client.get("/readyz"), 503) and client.get("/healthz").status_code == 200
        service.batcher._waiting.clear()
        assert client.get("/readyz").status_code == 200


def test_who_has_no_token_gets_nothing_but_the_probes(place):
    service = service_of(place)
    with client_of(service, "s3cret", False, "http://serve.lan:8000") as client:
        for path in ("/", "/v1/model", "/metrics", "/openapi.json", "/page.js"):
            for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": "Basic s3cret"}):
                found = client.get(path, headers=headers)
                assert one_sentence(found, 401) and found.headers["www-authenticate"] == "Bearer"
        one_sentence(client.post("/v1/predict", content=photo(), headers=PNG), 401)
        one_sentence(client.post("/v1/reload"), 401)
        for path in ("/healthz", "/readyz"):
            assert client.get(path).json() == {"status": "ok"}
        for scheme in ("Bearer", "bearer"):
            assert client.get("/v1/model", headers={"authorization": f"{scheme} s3cret"}).status_code == 200
        assert client.get("/?token=s3cret").status_code == 200 and client.get("/v1/model").status_code == 200  # cookie


def test_the_model_says_what_is_served(client, place):
    kb, found = load(place), client.get("/v1/model")
    value = schema.ModelInfo.model_validate(found.json())
    assert [c.name for c in value.classes] == list(kb.labels.names) and not any(c.learned for c in value.classes)
    assert [c.color for c in value.classes] == list(kb.labels.colors)
    assert value.threshold == json.loads(json.dumps(kb.threshold.to_json()))
    assert value.fingerprint == kb.fingerprint(decides=True) and value.version == 1
    assert value.calibration["data"] == "tiny" and kb.history[-1].message in value.last_change
    assert value.failure is None


def test_openapi_describes_every_route_with_examples(client):
    page = client.get("/openapi.json").json()
    assert set(page["paths"]) == {"/v1/predict", "/v1/predict/batch", "/v1/model", "/v1/reload", "/healthz", "/readyz",
                                  "/metrics"}  # fmt: skip
    predict = page["paths"]["/v1/predict"]["post"]
    assert {"image/jpeg", "multipart/form-data"} <= set(predict["requestBody"]["content"])
    assert {"200", "401", "408", "413", "415", "422", "429", "503"} <= set(predict["responses"])
    assert {"application/json", "image/png"} == set(predict["responses"]["200"]["content"])
    for name, model in page["components"]["schemas"].items():
        for field, value in model["properties"].items():
            known = "examples" in value or "$ref" in json.dumps(value)
            assert known, f"{name}.{field} has no example"


def test_clients_at_once_are_answered_alike(place):
    with client_of(service_of(place)) as client, ThreadPoolExecutor(8) as pool:
        alone = {seed: client.post("/v1/predict", content=photo(seed), headers=PNG).content for seed in range(4)}

        def ask(i):
            return client.post("/v1/predict", content=photo(i % 4), headers=PNG)

        found = [*pool.map(ask, range(32))]
        assert all(f.status_code == 200 for f in found)
        assert all(f.content == alone[i % 4] for i, f in enumerate(found))


def test_an_image_of_another_place_has_a_warning(place):
    kb = load(place)
    white = file_of(np.where(np.indices((3, 48, 64)).sum(0) % 2, 255, 250).astype(np.uint8))
    usual = [tiny.dataset()[i].image for i in range(4)]
    with client_of(service_of(place)) as client:
        found = client.post("/v1/predict", content=white, headers=PNG).json()
        assert found["shift"]["significant"] and "another" in found["warnings"][0].replace("differs", "another")
        for image in usual:
            value = client.post("/v1/predict", content=file_of(image), headers=PNG).json()
            assert not value["shift"]["significant"] and value["warnings"] == []
        flat = client.post("/v1/predict", content=file_of(np.zeros((3, 48, 64), np.uint8)), headers=PNG).json()
        assert flat["shift"] is None
    assert kb.threshold.reference is not None


@pytest.mark.parametrize("wrong", [{"max_queue": 0}, {"seconds": 0}, {"max_wait": -1}, {"max_bytes": float("nan")}])
def test_limits_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValueError, match="at least"):
        Limits(**wrong)
