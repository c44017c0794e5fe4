"""An exported model predicts, and is measured, like the knowledge base that it was made of, whatever runs it."""

import shutil
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest

from owseg.errors import OwsegError
from owseg.evaluation.evaluate import evaluate
from owseg.inference import export as room
from owseg.inference.export import export
from owseg.inference.graph import FEATURES
from owseg.inference.predict import predict_files
from owseg.inference.runtime import load_export
from owseg.inference.video import labelled_frames
from owseg.metrics.pixel import Exact
from owseg.models.cores import available_cores
from owseg.types import Sample
from tests.support import tiny, videos
from tests.support.exported import SIZES, THRESHOLD, learned

pytest.importorskip("onnxruntime")
pytest.importorskip("openvino")


@pytest.fixture(scope="module")
def kb():
    """The calibrated tiny knowledge base on a backbone of half as many layers: each is a node to trace."""
    return tiny.calibrated(kind="resnet")


@pytest.fixture(scope="module")
def told():
    """What openvino tells Google Analytics."""
    told = []
    with pytest.MonkeyPatch.context() as patch:
        for name in ("start_session", "send_event") if find_spec("openvino_telemetry") else ():
            patch.setattr(f"openvino_telemetry.Telemetry.{name}", lambda *what, **_: told.append(what))
        yield told


@pytest.fixture(scope="module", params=["onnx", "openvino", "torch"])
def both(request, kb, told, tmp_path_factory):
    """A knowledge base whose score is pooled over segments, and its export, in each format."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(room, "SIZES", SIZES[:2])
        patch.setattr(room, "drawn", lambda: [tiny.image(i, (96, 128)) for i in range(3)])
        patch.setattr("owseg.scorers.segments.ROWS", 72)
        some = learned(replace(kb, scorer="joint@segments"), probes=1)
        path = tmp_path_factory.mktemp("both") / f"model{room.FORMATS[request.param]}"
        export(some, path, request.param)
    return some, path


@pytest.fixture(scope="module")
def model(both):
    """The export, which is loaded once: it takes a second."""
    return load_export(both[1], workers=2)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(room, "SIZES", SIZES[:2])
    monkeypatch.setattr(room, "drawn", lambda: [tiny.image(i, (96, 128)) for i in range(3)])
    monkeypatch.setattr("owseg.scorers.segments.ROWS", 72)


def test_it_predicts_what_the_knowledge_base_predicts(both, model):
    kb = both[0]
    images = [tiny.image(i, size) for i, size in enumerate(((48, 64), (80, 40), (48, 64)))]
    for one, other in zip(kb.predict(images), model.predict_all(images), strict=True):
        assert np.array_equal(one.labels, other.labels) and np.array_equal(one.learned, other.learned)
        assert np.abs(one.score - other.score).max() < 1e-3 and (one.open_set != other.open_set).mean() < 1e-3
    assert model.labels == kb.labels and model.threshold == kb.threshold and model.scorer == kb.scorer
    assert model.learned_classes == kb.learned_classes and model.base_classes == kb.base_classes


def test_its_regions_are_those_of_the_knowledge_base(both, model):
    kb = both[0]
    assert model.history == kb.history
    unsure = [replace(one, threshold=replace(kb.threshold, value=-1.0)) for one in (kb, model)]
    expected, found = (one.predict(tiny.image(3, (96, 128))).regions for one in unsure)
    assert len(found) == len(expected) > 0
    for one, other in zip(expected, found, strict=True):
        assert one.nearest == other.nearest and one.distance == pytest.approx(other.distance, rel=1e-3)
        assert abs(one.area - other.area) <= 2 and one.mean == pytest.approx(other.mean, abs=1e-3)
        np.testing.assert_allclose(one.embedding, other.embedding, atol=1e-2)
        assert one.mask.to_json().keys() == other.mask.to_json().keys() and one.box[2:] == other.box[2:]


def test_a_network_without_a_feature_space_has_regions_too(kb, tmp_path):
    kb = replace(kb, fitted={}, scorer="entropy")
    export(kb, tmp_path / "model.onnx")
    unsure = [replace(m, threshold=replace(THRESHOLD, value=0.0)) for m in (kb, load_export(tmp_path / "model.onnx"))]
    expected, found = (one.predict(tiny.image()).regions for one in unsure)
    assert [r.nearest for r in found] == [r.nearest for r in expected] and len(expected) > 0
    assert {r.distance for r in found} == {None} and [r.area for r in found] == [r.area for r in expected]


def test_a_file_without_features_has_no_regions(model):
    image = tiny.image()
    output = model.engine()(image)
    before = replace(output, maps={name: maps for name, maps in output.maps.items() if name != FEATURES})
    prediction = model.decide(Sample(image, None, ""), before)
    assert prediction.find is None and "regions.json" not in dict(prediction.files())
    with pytest.raises(OwsegError, match="no regions"):
        _ = prediction.regions


def test_a_video_is_labelled_by_an_export_as_by_the_knowledge_base(both, model):
    found = [list(labelled_frames(one, videos.frames(3))) for one in (both[0], model)]
    for one, other in zip(*found, strict=True):
        assert (one.labels != other.labels).mean() < 1e-3 and len(one.regions) == len(other.regions)
        assert [r.score for r in one.regions] == pytest.approx([r.score for r in other.regions], abs=1e-2)


def test_it_is_measured_as_the_knowledge_base(both, model):
    kb, data = both[0], tiny.dataset(4)
    data = type(data)(data.source, kb.labels)
    expected, found = (evaluate(one, data, metric=Exact) for one in (kb, model))
    assert found.iou.mean() == pytest.approx(expected.iou.mean(), abs=1e-3)
    assert found.known_fpr == pytest.approx(expected.known_fpr, abs=1e-3)


def test_files_are_predicted_and_a_run_that_was_stopped_goes_on(model, tmp_path):
    photos = tiny.write_photos(tmp_path / "photos", 2)
    paths = sorted(photos.iterdir())
    first = predict_files(model, paths, tmp_path / "out")
    assert [r.error for r in first] == [None, None] and not any(r.kept for r in first)
    assert (tmp_path / "out" / "p0.labels.png").exists() and (tmp_path / "out" / "p0.regions.json").exists()
    assert all(r.kept for r in predict_files(model, paths, tmp_path / "out"))
    moved = replace(model, threshold=replace(model.threshold, value=0.0))
    assert not any(r.kept for r in predict_files(moved, paths, tmp_path / "out"))


def test_its_threshold_may_be_another(model):
    image = tiny.image()
    none = replace(model, threshold=replace(model.threshold, value=1e9)).predict(image)
    assert none.unknown == 0 < model.predict(image).score.std()


def test_what_is_not_in_the_graph_is_refused(model):
    with pytest.raises(OwsegError, match="how images are run is in the export; omit --multi-scale"):
        model.engine(full_resolution=False, multi_scale=True)
    with pytest.raises(OwsegError, match="has the score joint@segments alone, not msp"):
        evaluate(model, type(tiny.dataset(1))(tiny.dataset(1).source, model.labels), ["msp"])


def test_nobody_is_told_of_a_conversion(both, told):
    """As openvino's own ``convert_model`` would, in a process of its own."""
    assert told == []


def test_workers_do_not_wait_for_each_other(both):
    """OpenVINO has no more streams than cores."""
    if both[1].suffix == ".xml":
        for workers in (1, 2):
            model = load_export(both[1], workers=workers).session._model
            assert model.get_property("NUM_STREAMS") == min(workers, available_cores())


def test_bf16_is_for_openvino(both):
    if both[1].suffix == ".xml":
        assert load_export(both[1], precision="bf16").session.title == "OpenVINO, bf16"
    else:
        with pytest.raises(OwsegError, match=r"omit --precision \(bf16 is for OpenVINO, .xml\)"):
            load_export(both[1], precision="bf16")


def test_a_damaged_file_is_one_sentence(both, tmp_path):
    kept = tmp_path / both[1].name
    kept.write_bytes(both[1].read_bytes()[: both[1].stat().st_size // 2])
    if both[1].suffix == ".xml":
        shutil.copy(both[1].with_suffix(".bin"), tmp_path)
    with pytest.raises(OwsegError, match=f"{kept.name} is no graph that "):
        load_export(kept)


def test_a_graph_without_its_weights_is_one_sentence(both, tmp_path):
    if both[1].suffix == ".xml":
        kept = shutil.copy(both[1], tmp_path)
        with pytest.raises(OwsegError, match=r"\.bin, with the weights of .*\.xml, does not exist; put it beside that"):
            load_export(kept)


def test_an_image_of_another_size_does_not_fit_a_graph_of_one(kb, tmp_path):
    export(kb, tmp_path / "model.onnx", size=(48, 64))
    model = load_export(tmp_path / "model.onnx")
    assert model.predict(tiny.image()).labels.shape == (48, 64)
    with pytest.raises(OwsegError, match="an image of 48x64 does not fit this export, which is for 64x48"):
        model.predict(tiny.image(0, (64, 48)))


def test_a_graph_of_another_program_is_refused(tmp_path):
    onnx = pytest.importorskip("onnx")
    node = onnx.helper.make_node("Identity", ["image"], ["labels"])
    kind = onnx.helper.make_tensor_value_info
    inputs, outputs = [kind("image", 1, [1])], [kind("labels", 1, [1])]
    graph = onnx.helper.make_graph([node], "other", inputs, outputs)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, str(tmp_path / "model.onnx"))
    with pytest.raises(OwsegError, match=r"model.onnx cannot be used: it does not say which classes"):
        load_export(tmp_path / "model.onnx")
