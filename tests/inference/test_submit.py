"""Score files for hidden tests: read back and compared with the prediction, resumed, or refused in one sentence."""

from __future__ import annotations

import io
import json
import sys
from dataclasses import replace
from itertools import pairwise

import h5py
import numpy as np
import pytest
from PIL import Image

from owseg.data.dataset import DataSet
from owseg.data.datasets.cityscapes import CITYSCAPES
from owseg.data.shots import sample_shots
from owseg.errors import OwsegError
from owseg.inference.submissions import SUBMISSIONS
from owseg.inference.submissions.smiyc import in_16_bits
from owseg.inference.submit import submit
from owseg.knowledge.base import KnowledgeBase
from owseg.labels import LabelSpace
from owseg.learners.learn import learn
from owseg.openset import Threshold
from tests.reference import protocols as reference
from tests.support import tiny

SET = {"dataset": "AnomalyTrack-all"}
TABLE = {"smiyc": ["dataset", "method"], "fishyscapes": []}


def test_the_table_has_every_format():
    assert set(TABLE) == set(SUBMISSIONS)
    assert {name: list(entry.options) for name, entry in SUBMISSIONS.entries.items()} == TABLE


def read(path):
    with h5py.File(path) as file:
        assert list(file) == ["value"]
        assert (file["value"].compression, file["value"].compression_opts) == ("gzip", 9)
        return file["value"][()]


@pytest.fixture(scope="module")
def learned(kb):
    """The tiny knowledge base after it has learned rock."""
    frames = tiny.dataset(10, 4)
    return learn(kb, "rock", sample_shots(frames, "rock", 3), DataSet(frames.source, kb.labels))


def test_smiyc_has_the_score_of_the_prediction_in_16_bits(kb, photos, tmp_path):
    paths = sorted(photos.iterdir())
    results, note = submit(kb, paths, tmp_path / "out", "smiyc", {**SET, "method": "my-method"})
    folder = tmp_path / "out" / "anomaly_p" / "my-method" / "AnomalyTrack-all"
    assert sorted(p.name for p in folder.iterdir()) == ["p0.hdf5", "p1.hdf5", "p2.hdf5"] and note == ""
    pooled = []
    for path, result in zip(paths, results, strict=True):
        assert result.path == path and result.files == (folder / f"{path.stem}.hdf5",) and not result.kept
        prediction, value = kb.predict(path), read(result.files[0])
        assert value.dtype == np.float16 and value.shape == prediction.score.shape == (48, 64)
        expected = [
            [reference.in_16_bits(float(s), kb.threshold.value, kb.threshold.unit) for s in row]
            for row in prediction.score
        ]
        np.testing.assert_array_equal(value, np.array(expected).astype(np.float16))
        pooled += zip(prediction.score.ravel().tolist(), value.ravel().tolist(), strict=True)
    # Pooled over all images the order is that of the scores, and few of them tie.
    pooled.sort(key=lambda pair: pair[0])
    assert all(a[1] <= b[1] for a, b in pairwise(pooled))
    assert len({v for _, v in pooled}) > 0.5 * len({s for s, _ in pooled})


def test_a_score_in_16_bits_neither_overflows_nor_loses_its_order():
    threshold = Threshold(3e6, "quantile", 0.05, 0.05, 4e5, 1, 1)
    score = np.float32([-np.inf, -3e38, 0, 2.9999e6, 3e6, 3.0001e6, 3.5e6, 3e38])
    found = in_16_bits(score, threshold)
    expected = [reference.in_16_bits(float(s), threshold.value, threshold.unit) for s in score]
    np.testing.assert_array_equal(found, np.array(expected).astype(np.float16))
    assert np.isfinite(found).all() and found.dtype == np.float16
    assert (np.diff(found.astype(float))[1:-1] > 0).all() and found[4] == 0 and found[0] == found[1] == -65504
    # As they are, these scores would be infinite; next to each other, they would tie.
    with np.errstate(over="ignore"):
        assert np.isinf(score[4:6].astype(np.float16)).all()


def test_where_a_learned_class_is_predicted_no_score_is_lower(learned, tmp_path):
    sample = tiny.dataset(10, 4)[3]
    path = tmp_path / "photos" / "a.png"
    path.parent.mkdir()
    Image.fromarray(sample.image.transpose(1, 2, 0)).save(path)
    ((result,), _) = submit(learned, [path], tmp_path / "out", "smiyc", SET)
    rock = learned.predict(path).labels == learned.labels.index("rock")
    assert 0 < rock.mean() < 1
    assert np.array_equal(read(result.files[0]) == -65504, rock)


@pytest.fixture(scope="module")
def street():
    """The tiny knowledge base under the names of two classes of Cityscapes and one of its own, at a small size."""
    kb = tiny.calibrated(size=64)
    return replace(kb, labels=LabelSpace.of(("sky", "road", "lawn")))


@pytest.fixture
def street_photo(tmp_path):
    path = tmp_path / "photos" / "0003_weimar_000010_leftImg8bit.png"
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(tiny.image(5, (1024, 2048)).transpose(1, 2, 0)).save(path)
    return path


def test_fishyscapes_has_the_score_and_the_classes_in_its_ids(street, street_photo, tmp_path):
    ((result,), note) = submit(street, [street_photo], tmp_path / "out", "fishyscapes")
    names = [path.name for path in result.files]
    assert names == ["0003_weimar_000010_anomaly.npy", "0003_weimar_000010_segmentation.npy"]
    prediction = street.predict(street_photo)
    score, classes = (np.load(path) for path in result.files)
    assert score.dtype == np.float32 and np.array_equal(score, prediction.score)
    ids = {0: CITYSCAPES.index("sky"), 1: CITYSCAPES.index("road"), 2: 19}
    assert classes.shape == (1024, 2048) and classes.max() < 20
    for label, id in ids.items():
        assert np.array_equal(classes == id, prediction.labels == label)
    assert len(np.unique(classes)) > 1 and "no class lawn: id 19" in note


def test_fishyscapes_has_no_infinite_score(learned):
    encode = SUBMISSIONS["fishyscapes"].make(learned).encode
    score = np.full((1024, 2048), -np.inf, np.float32)
    score[0] = 2
    found = np.load(io.BytesIO(encode(score, np.zeros((1024, 2048), np.uint8))[0]))
    assert np.isfinite(found).all() and (found[0] == 2).all() and (found[1:] < -1e38).all()


def test_a_run_that_was_stopped_does_only_what_is_missing(kb, photos, tmp_path, monkeypatch):
    paths, predicted = sorted(photos.iterdir()), []
    decide = KnowledgeBase.decide
    monkeypatch.setattr(KnowledgeBase, "decide", lambda kb, *of: predicted.append(of[0].id) or decide(kb, *of))
    first, _ = submit(kb, paths[:2], tmp_path / "out", "smiyc", SET)
    before = {r.files[0]: r.files[0].stat().st_mtime_ns for r in first}
    first[1].files[0].unlink()
    results, _ = submit(kb, paths, tmp_path / "out", "smiyc", SET)
    assert sorted(predicted[:2]) == ["p0.png", "p1.png"] and sorted(predicted[2:]) == ["p1.png", "p2.png"]
    assert [r.kept for r in results] == [True, False, False]
    assert first[0].files[0].stat().st_mtime_ns == before[first[0].files[0]]
    assert not [p for p in (tmp_path / "out").rglob("*") if p.name.endswith(".part")]


def test_an_image_with_one_of_its_two_files_is_done_again(street, street_photo, tmp_path):
    ((result,), _) = submit(street, [street_photo], tmp_path / "out", "fishyscapes")
    result.files[0].unlink()
    ((again,), _) = submit(street, [street_photo], tmp_path / "out", "fishyscapes")
    assert not again.kept and again.files == result.files and all(path.is_file() for path in again.files)


@pytest.mark.parametrize("change, words", [
    ({"kb": 0.3}, "of another knowledge base"), ({"options": {**SET, "method": "x"}}, "of other options"),
    ({"run": {"size": 64}}, "run in another way"), ({"format": "fishyscapes", "options": {}}, "of another format"),
])  # fmt: skip
def test_scores_of_two_kinds_are_never_mixed(kb, unsure_kb, photos, tmp_path, change, words):
    path = (photos / "p0.png").rename(photos / "0_p.png")
    submit(kb, [path], tmp_path / "out", "smiyc", SET)
    given = {"format": "smiyc", "options": SET, **change}
    with pytest.raises(OwsegError, match=words) as caught:
        submit(unsure_kb if given.pop("kb", None) else kb, [path], tmp_path / "out", **given)
    assert "\n" not in str(caught.value)


def test_the_network_is_run_as_asked(kb, photos, tmp_path):
    ((result,), _) = submit(kb, [photos / "p0.png"], tmp_path / "out", "smiyc", SET, {"full_resolution": True})
    score = kb.predict(photos / "p0.png", lambda image: kb.forward(image, full_resolution=True)).score
    assert np.array_equal(read(result.files[0]), in_16_bits(score, kb.threshold))
    assert not np.array_equal(score, kb.predict(photos / "p0.png").score)


def test_an_image_that_cannot_be_read_does_not_stop_the_others(kb, photos, tmp_path):
    (photos / "p1.png").write_bytes(b"no image")
    results, _ = submit(kb, sorted(photos.iterdir()), tmp_path / "out", "smiyc", SET)
    assert [bool(r.error) for r in results] == [False, True, False] and "p1.png" in results[1].error
    assert not results[1].files and len(list((tmp_path / "out").rglob("*.hdf5"))) == 2


def refusals(kb, photos):
    p0 = photos / "p0.png"
    yield "there is no submission format 'x'", kb, [p0], "x", {}
    yield "the data set is not given; give --set dataset=NAME", kb, [p0], "smiyc", {}
    yield "there is no data set 'RoadAnomaly21'", kb, [p0], "smiyc", {"dataset": "RoadAnomaly21"}
    yield "cannot name a method", kb, [p0], "smiyc", {**SET, "method": "../x"}
    yield "cannot name a method", kb, [p0], "smiyc", {**SET, "method": ".."}
    yield "has no option 'name'", kb, [p0], "smiyc", {**SET, "name": "x"}
    yield "p0 is no name of an image of Fishyscapes", kb, [p0], "fishyscapes", {}
    yield "have the same name, 'p0'", kb, [p0, photos / "b" / "p0_leftImg8bit.png"], "smiyc", SET
    yield "has no threshold yet", replace(kb, threshold=None), [p0], "smiyc", SET


def test_what_cannot_be_handed_in_is_one_sentence_and_nothing_is_written(kb, photos, tmp_path):
    for words, one, paths, format, options in refusals(kb, photos):
        with pytest.raises(OwsegError, match=words) as caught:
            submit(one, paths, tmp_path / "out", format, options)
        assert "\n" not in str(caught.value) and not (tmp_path / "out").exists(), words
    with pytest.raises(OwsegError, match=r"holds other files and no submission.json"):
        submit(kb, [photos / "p0.png"], photos, "smiyc", SET)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "submission.json").write_text("[]")
    with pytest.raises(OwsegError, match="is not the record of a submission"):
        submit(kb, [photos / "p0.png"], tmp_path / "out", "smiyc", SET)


def test_an_image_of_another_size_is_not_one_of_fishyscapes(kb, photos, tmp_path):
    path = (photos / "p0.png").rename(photos / "0000_p.png")
    ((result,), _) = submit(kb, [path], tmp_path / "out", "fishyscapes")
    assert "is 2048x1024, not 64x48" in result.error and not list(tmp_path.rglob("*.npy"))


def test_without_h5py_the_extra_is_named(kb, photos, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(OwsegError, match=r"pip install 'owseg\[submit\]'"):
        submit(kb, [photos / "p0.png"], tmp_path / "out", "smiyc", SET)


def test_the_command_writes_them_and_says_how_many(run_cli, stored_kb, photos, tmp_path):
    command = (
        "submit",
        stored_kb,
        photos,
        "--format",
        "smiyc",
        "-o",
        tmp_path / "out",
        "--set",
        "dataset=AnomalyTrack-all",
    )
    code, out, err = run_cli(*command)
    assert code == 0 and "3 of 3 images" in out, err
    (photos / "p3.png").write_bytes(b"no image")
    code, out, err = run_cli(*command)
    assert code == 3 and "3 of 4 images" in out and "3 of them before" in out and "p3.png" in err
    found = json.loads(run_cli(*command, "--json")[1])
    assert [r["kept"] for r in found["results"]] == [True, True, True, False] and found["note"] == ""
