import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("nicegui", reason="the page needs NiceGUI: pip install 'owseg[review]'")
from fastapi import FastAPI
from starlette.testclient import TestClient

from owseg.data.masks import Rle
from owseg.review import state as review_state
from owseg.review.files import serve_files
from owseg.review.state import ReviewState
from owseg.scorers.segments import segment_ids
from owseg.serve.guard import MAX_BODY, Guard
from tests.support.queues import IDS, make, square


@pytest.fixture
def state(tmp_path):
    return ReviewState(make(tmp_path))


@pytest.fixture
def web(state):
    app = FastAPI()
    serve_files(app, state, None)
    return client(app)


def client(app):
    web = TestClient(Guard(app, "s3cret"), base_url="http://127.0.0.1")
    web.get("/?token=s3cret")
    return web


def test_images_thumbnails_and_masks(web, state):
    assert web.get(f"/thumbnails/{IDS[0]}.jpg").content == b"jpeg"
    assert web.get(f"/images/{IDS[0][:16]}.jpg").headers["content-type"] == "image/jpeg"
    sent = web.post(f"/masks/{IDS[3]}", json={"name": "<b>dog", "counts": Rle.of(square(9, 9, 3)).counts})
    assert sent.status_code == 200 and state.view(IDS[3])["corrected"] and state.class_names() == ["<b>dog"]


def test_segments_are_ids_in_three_colours(web, state):
    found = web.get(f"/segments/{IDS[0][:16]}.png")
    assert found.headers["content-type"] == "image/png" and found.headers["cache-control"].startswith("private")
    pixels = np.asarray(Image.open(io.BytesIO(found.content))).astype(int)
    ids = segment_ids(state.queue.image(IDS[0][:16]))
    assert np.array_equal(pixels @ [1, 256, 65536], ids) and ids.shape == (270, 360)


def test_many_segments_fit(state, web, monkeypatch):
    monkeypatch.setattr(review_state, "segment_ids", lambda image: np.array([[0, 255, 256, 70_000]]))
    pixels = np.asarray(Image.open(io.BytesIO(web.get(f"/segments/{IDS[0][:16]}.png").content)))
    assert pixels.tolist() == [[[0, 0, 0], [255, 0, 0], [0, 1, 0], [112, 17, 1]]]


def test_label_maps_are_those_of_the_version_that_was_asked_for(state):
    class Session:
        def overlay(self, version, image_id):
            return f"{version} of {image_id}".encode()

    app = FastAPI()
    serve_files(app, state, Session())
    web = client(app)
    assert web.get(f"/maps/12/{IDS[0][:16]}.jpg").content == f"12 of {IDS[0][:16]}".encode()


@pytest.mark.parametrize(
    "path",
    ["/segments/x.png", f"/segments/{'f' * 16}.png",
     "/thumbnails/..%2f..%2fqueue.jpg", "/thumbnails/x.jpg", f"/thumbnails/{IDS[0]}9.jpg", "/images/%00.jpg",
     "/images/..%2fp0.jpg", f"/images/{'f' * 16}.jpg", "/maps/x/y.jpg", f"/images/{'é' * 300}.jpg"],
)  # fmt: skip
def test_what_is_not_there_is_refused(web, path):
    assert 400 <= web.get(path).status_code < 500


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"{}", b"\xff", b'{"name": "dog"}', b"[" * 100_000, b'{"name": "dog", "counts": [0, 1e400]}',
     b'{"name": "dog", "counts": [767]}', b'{"name": "dog", "counts": [768]}', b'{"name": "road", "counts": [0, 768]}',
     b'{"name": "unknown", "counts": [0, 768]}', b'{"name": "", "counts": [0, 768]}',
     b'{"name": "a\\nb", "counts": [0, 768]}', b'{"name": ["dog"], "counts": [0, 768]}',
     json.dumps({"name": "x" * 61, "counts": [0, 768]}).encode()],
)  # fmt: skip
def test_what_is_not_a_mask_is_refused_in_a_sentence(web, state, body):
    found = web.post(f"/masks/{IDS[3]}", content=body)
    assert found.status_code == 400 and found.json()["error"].endswith(".") and state.decisions() == {}


def test_a_mask_that_is_too_large_is_refused(web, state):
    found = web.post(f"/masks/{IDS[3]}", content=b'{"name": "dog", "counts": [' + b"0," * (MAX_BODY // 2) + b"768]}")
    assert found.status_code == 413 and found.json()["error"].endswith(".") and state.decisions() == {}


def test_an_image_that_changed_is_refused(web, state):
    path = Path(state.queue.info.root, "p0.png")
    path.write_bytes(path.read_bytes() + b"x")
    assert "has changed" in web.get(f"/images/{IDS[0][:16]}.jpg").json()["error"]
