"""An export predicts what its knowledge base predicts, or is not written."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from owseg.errors import OwsegError
from owseg.inference import export as room
from owseg.inference.export import compare, export
from owseg.inference.runtime import load_export
from owseg.knowledge.calibration import fit_scorers
from owseg.knowledge.load import load
from owseg.openset import open_set_map
from owseg.scorers.joint import Joint
from tests.support import tiny
from tests.support.espnetv2 import stored_weights
from tests.support.exported import SIZES, THRESHOLD, learned, untrained
from tests.support.pages import ROOT, blocks
from tests.support.passes import learned_residual

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")


@pytest.fixture(autouse=True, scope="module")
def small():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(room, "SIZES", SIZES)
        patch.setattr(room, "drawn", lambda: [tiny.image(i, (96, 128)) for i in range(3)])
        patch.setattr("owseg.scorers.segments.ROWS", 72)
        yield


@pytest.fixture(scope="module")
def kb():
    """The tiny knowledge base on a backbone of half as many layers, each a node to trace; half of an image is known."""
    kb = tiny.calibrated(kind="resnet")
    middle = np.median([kb.predict(tiny.image(i, (96, 128))).decided for i in range(6)])
    return replace(kb, threshold=replace(kb.threshold, value=float(middle)))


def assert_equal(done):
    assert [(one.size, one.batch) for one in done.compared] == [(SIZES[0], 1), *((size, 3 if size == SIZES[0] else 1)
                                                                for size in SIZES)]  # fmt: skip
    for one in done.compared:
        assert (1 - one.labels) * one.batch * one.size[0] * one.size[1] < 2.5 and one.score <= 1e-3, one


INCREMENTS = {"mobilenet_v2": {"probes": 3}, "resnet": {"probes": 1, "prototypes": 2, "heads": 2}}


@pytest.mark.parametrize("kind", INCREMENTS)
def test_increments_of_every_kind_are_in_the_graph(tmp_path, kind):
    some = learned(tiny.calibrated(kind=kind), **INCREMENTS[kind])
    shown = {name: share for i in range(3) for name, share in some.predict(tiny.image(i, (96, 128))).shares().items()}
    assert len(shown) > 1
    assert_equal(export(some, tmp_path / "model.onnx"))


def scored(kb, scorer):
    fitted = fit_scorers(kb, tiny.dataset(), ("sml", "knn")) if scorer in ("sml", "knn") else kb
    return replace(fitted, scorer=scorer, threshold=THRESHOLD)


@pytest.mark.parametrize("scorer", ["sml", "knn", "eds_code"])
def test_scores_of_every_form_are_in_the_graph(kb, tmp_path, scorer):
    assert_equal(export(scored(kb, scorer), tmp_path / "model.onnx"))


def test_a_working_size_and_several_scales_are_in_the_graph(tmp_path):
    kb = untrained("efficientnet_lite", "energy", negative=True, decoder="pyramid")
    kb.network.size, kb.network.scales = 70, (1.0, 0.667)
    assert_equal(export(kb, tmp_path / "model.onnx"))


def test_a_transformer_with_a_residual_is_in_the_graph(tmp_path):
    kb = untrained("segformer")
    assert_equal(export(replace(kb, residual=learned_residual(kb.network), scorer="rpl"), tmp_path / "model.onnx"))


def test_espnetv2_is_in_the_graph(tmp_path):
    stored_weights(tmp_path)
    kb = replace(load(f"espnetv2-cityscapes:{tmp_path}"), threshold=THRESHOLD)
    assert_equal(export(kb, tmp_path / "model.onnx"))


@pytest.fixture
def padded_by_hand(monkeypatch):
    """MobileNetV2 as transformers has it: it pads for the numbers of the size that it is traced with."""
    monkeypatch.setattr("owseg.models.backbones.mobilenet_v2._pad_without_a_branch", lambda model: None)


def test_features_of_another_kind_are_noticed(kb, tmp_path, monkeypatch):
    monkeypatch.setattr("owseg.inference.graph.region_map", lambda output, space: space.whitened(output) * 1.1)
    with pytest.raises(OwsegError, match=r"does not find the regions .* nothing was written"):
        export(kb, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_padding_for_one_size_alone_is_noticed_and_nothing_is_written(padded_by_hand, tmp_path):
    kb = untrained("mobilenet_v2", "entropy")
    sentence = "does not predict what the knowledge base does: of images of .* nothing was written"
    with pytest.raises(OwsegError, match=sentence):
        export(kb, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())
    # For images of one size it is right.
    of_one = export(kb, tmp_path / "model.onnx", size=(49, 65))
    assert all(one.labels == 1 for one in of_one.compared)


def test_another_score_than_the_one_of_the_knowledge_base_is_noticed(kb, tmp_path, monkeypatch):
    forward = Joint.forward
    monkeypatch.setattr(Joint, "forward", lambda self, output: forward(self, output) + 0.01 * torch.jit.is_tracing())
    with pytest.raises(OwsegError, match="scores differ by up to"):
        export(kb, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def written(kb, tmp_path_factory):
    """An export of the tiny knowledge base with a class that was learned."""
    some, path = learned(kb, probes=1), tmp_path_factory.mktemp("written") / "model.onnx"
    export(some, path, licence="CC0")
    return some, path


def test_it_runs_without_owseg_at_its_own_threshold_and_at_another(written):
    kb, path = written
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    image = tiny.image(5, (50, 70))
    expected = kb.predict(image)
    names = [output.name for output in session.get_outputs()]
    assert names == ["labels", "score", "open_set", "learned", "features"]
    maps = dict(zip(names, session.run(None, {"image": image[None]}), strict=True))
    assert maps["labels"].dtype == maps["open_set"].dtype == np.uint8 and maps["score"].dtype == np.float32
    assert np.array_equal(maps["labels"][0], expected.labels) and np.array_equal(maps["open_set"][0], expected.open_set)
    other = float(np.median(expected.score))
    (moved,) = session.run(["open_set"], {"image": image[None], "threshold": np.array(other, np.float32)})
    at_other = open_set_map(maps["labels"][0], expected.decided, other)
    assert (moved[0] != at_other).mean() < 1e-3 and not np.array_equal(moved[0], expected.open_set)


def test_the_program_of_the_documentation_runs(written, tmp_path, monkeypatch, capsys):
    kb, path = written
    monkeypatch.chdir(tmp_path)
    shutil.copy(path, "model.onnx")
    image = tiny.image(5, (50, 70))
    Image.fromarray(image.transpose(1, 2, 0)).save("photo.jpg", "png")  # PNG, so that the bytes stay
    (program,) = blocks("python", (ROOT / "docs" / "export.md").read_text())
    exec(compile(program, "docs/export.md", "exec"), {})
    shown = capsys.readouterr().out
    assert repr(kb.labels.names[0]) in shown
    assert float(shown.split()[-1]) == pytest.approx(kb.predict(image).unknown, abs=1e-3)


def test_it_says_what_it_is(written):
    kb, path = written
    facts = onnxruntime.InferenceSession(str(path)).get_modelmeta().custom_metadata_map
    assert [c["name"] for c in json.loads(facts["classes"])] == list(kb.labels.names)
    assert json.loads(facts["classes"]) == kb.labels.to_json()
    assert kb.threshold.to_json() == json.loads(facts["threshold"]) and facts["fingerprint"] == kb.fingerprint()
    assert facts["licence"] == "CC0" and facts["scorer"] == kb.scorer and facts["size"] == "dynamic"
    assert json.loads(facts["history"])[-1]["message"] == kb.history[-1].message
    assert "calibrate" in facts["calibration"] and facts["owseg"] and facts["outside"] == ""


def test_a_score_over_segments_is_compared_pooled_and_the_file_says_what_is_left_to_do(kb, tmp_path):
    done = export(replace(kb, scorer="joint@segments"), tmp_path / "model.onnx")
    assert_equal(done)
    facts = onnxruntime.InferenceSession(str(done.path)).get_modelmeta().custom_metadata_map
    assert "pooled over segments" in facts["outside"]


@pytest.mark.parametrize(("options", "match"), [
    ({"format": "tflite"}, "no format 'tflite'; it is onnx, openvino, torch"),
    ({"format": "torch"}, "ends with .pt; call it model.pt"),
    ({"precision": "fp8"}, "no precision 'fp8'; it is fp32, fp16, int8"),
    ({"precision": "int8"}, "give --images DIR"),
    ({"working_size": 64}, "give --images DIR"),
    ({"scorer": "msp"}, "give --images DIR"),
    ({"scorer": "nonsense", "images": [tiny.image()]}, "no scorer 'nonsense'"),
])  # fmt: skip
def test_what_cannot_be_asked_for_is_refused(kb, tmp_path, options, match):
    with pytest.raises(OwsegError, match=match):
        export(kb, tmp_path / "model.onnx", **options)
    assert not list(tmp_path.iterdir())


def test_a_score_on_the_road_and_none_at_all_are_refused(kb, tmp_path):
    with pytest.raises(OwsegError, match="joint@road cannot be exported: the road's convex hull is found by no"):
        export(replace(kb, scorer="joint@road"), tmp_path / "model.onnx")
    with pytest.raises(OwsegError, match="no threshold yet"):
        export(replace(kb, threshold=None), tmp_path / "model.onnx")


def test_tiles_need_a_size(kb, tmp_path):
    with pytest.raises(OwsegError, match="give --size HxW"):
        export(kb, tmp_path / "model.onnx", tile=True)


def test_a_library_that_is_not_there_is_named(kb, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(OwsegError, match=r"exports need onnxruntime; install it with `pip install 'owseg\[export\]'`"):
        export(kb, tmp_path / "model.onnx")


def test_an_older_file_stays_where_the_new_one_fails(kb, tmp_path, monkeypatch):
    (tmp_path / "model.onnx").write_text("old")
    monkeypatch.setattr(room, "compare", lambda *_: iter([room.Compared((1, 1), 1, 0.5, 0.5, 9.0, 9.0, 0.0)]))
    with pytest.raises(OwsegError, match=r"50\.000% of the labels"):
        export(kb, tmp_path / "model.onnx")
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"] and (tmp_path / "model.onnx").read_text() == "old"


def test_weights_of_16_bits_are_half_and_predict_nearly_the_same(kb, written, tmp_path, monkeypatch):
    monkeypatch.setitem(room.TOLERANCE, "fp16", (0.95, 0.5, 1.0))  # random weights, and images of noise
    done = export(kb, tmp_path / "model.onnx", precision="fp16")
    assert done.bytes < 0.8 * written[1].stat().st_size
    assert min(one.labels for one in done.compared) > 0.95


def test_8_bits_have_a_threshold_of_their_own(kb, tmp_path, monkeypatch):
    monkeypatch.setitem(room.TOLERANCE, "int8", (0.5, 100.0, 100.0))  # random weights, and images of noise
    images = [tiny.dataset()[i].image for i in range(4)]
    done = export(kb, tmp_path / "model.onnx", precision="int8", images=images)
    model = load_export(done.path)
    before, after = done.thresholds
    assert before == kb.threshold.value != after == model.threshold.value and model.threshold.estimated
    operators = {node.op_type for node in onnx.load(str(done.path)).graph.node}
    assert "DequantizeLinear" in operators
    # As many pixels are above it as with the knowledge base.
    share = np.mean([kb.predict(image).unknown for image in images])
    assert np.mean([model.predict(image).unknown for image in images]) == pytest.approx(share, abs=0.01)
    # OpenVINO computes the same with them, and stores them so; as it reads the graph half of the labels were equal.
    other = load_export(export(kb, tmp_path / "model.xml", "openvino", "int8", images=images).path)
    equal = [model.predict(image).labels == other.predict(image).labels for image in images]
    assert np.mean(equal) > 0.9
    assert (tmp_path / "model.bin").stat().st_size < 3 * sum(p.numel() for p in kb.network.parameters())


def test_comparing_counts_every_pixel(kb, written):
    model = load_export(written[1])
    same = next(iter(compare(written[0], model, [tiny.image()], (48, 64))))
    assert same.labels == same.open_set == 1 and same.typical <= same.score < 1e-3
    low = replace(model, threshold=replace(kb.threshold, value=-99.0))
    other = next(iter(compare(written[0], low, [tiny.image()], (48, 64))))
    assert other.open_set < 0.9 and other.labels == 1


@pytest.mark.parametrize("format", ["onnx", "torch"])
def test_another_score_and_working_size_have_a_threshold_of_their_own(kb, tmp_path, monkeypatch, format):
    monkeypatch.setitem(room.TOLERANCE, "fp32", (0.9999, 0.1, 0.01))  # scores that are much the same
    images, path = [tiny.image(i, (96, 128)) for i in range(6)], tmp_path / f"model{room.FORMATS[format]}"
    done = export(kb, path, format, images=images, scorer="msp", working_size=64)
    assert done.thresholds[0] == kb.threshold.value != done.thresholds[1]
    assert all(one.labels == one.open_set == 1 for one in done.compared)
    model = load_export(path)
    assert (model.scorer, model.working_size) == ("msp", 64) and model.threshold.estimated
    before, after = (np.mean([one.predict(image).unknown for image in images]) for one in (kb, model))
    assert 0 < before < 1 and after == pytest.approx(before, abs=0.01)
    assert np.array_equal(model.predict(images[0]).labels, kb.predict(images[0], kb.engine(size=64)).labels)
