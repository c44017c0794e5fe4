import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from owseg._files import plain
from owseg.data.dataset import DataSet
from owseg.errors import OwsegError
from owseg.evaluation.evaluate import evaluate
from owseg.evaluation.maps import Folder, Manifest, Maps
from owseg.evaluation.measure import measure
from owseg.evaluation.store_maps import store_maps
from owseg.labels import IGNORE, UNKNOWN
from owseg.metrics.components import Sizes
from owseg.metrics.pixel import Exact
from owseg.openset import Threshold
from tests.reference import components as slow_components
from tests.reference import open_iou as slow_open_iou
from tests.support import tiny

NAMES, SIZES = ("road", "sky"), Sizes(6, 4)


def scene(seed, shape=(24, 30)):
    """Smooth blobs that are to be found, and a score that finds them more or less; the first shows no outlier."""
    rng = np.random.default_rng(seed)
    truth = (gaussian_filter(rng.standard_normal(shape), 3) > 0.1) & (seed > 0)
    target = np.where(truth, UNKNOWN, rng.integers(0, 2, shape)).astype(np.uint8)
    target[:3] = IGNORE
    noise = gaussian_filter(rng.standard_normal(shape), 1.5)
    score = (noise + truth * rng.uniform(0.1, 0.6)).astype(np.float32)
    labels = np.where(rng.random(shape) < 0.8, np.minimum(target, 1), 0).astype(np.uint8)
    return Maps(labels, target, {"msp": score, "joint": -score})


SCENES = [scene(seed) for seed in range(11)]
THRESHOLD = Threshold(0.15, "quantile", 0.1, 0.1, 1.0, 5, 500)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    images = tuple(f"p{i}" for i in range(len(SCENES)))
    made = Folder.begin(tmp_path_factory.mktemp("maps"), Manifest("k", "d", "s", NAMES, ("msp", "joint"), images))
    for picture, maps in zip(images, SCENES, strict=True):
        made.write(picture, maps)
    return made


@pytest.fixture(scope="module")
def figures(folder):
    return measure(folder.path, {"msp": THRESHOLD}, SIZES)


def called(scene, threshold):
    return scene.scores["msp"] > np.float32(threshold)


def test_figures_are_those_of_slow_oracles(figures):
    found = figures.scores["msp"]
    exact = Exact()
    for scene in SCENES:
        exact.update(scene.scores["msp"], scene.target)
    for name, (low, high) in found.pixel.bounds.items():
        assert low <= getattr(exact.compute(), name) <= high
    assert set(found.open) == {"tpr95", "fpr5", "best_f1", "calibrated"}
    flat = [
        row
        for s in SCENES
        for row in zip(*(m.ravel().tolist() for m in (s.scores["msp"], s.labels, s.target)), strict=True)
    ]
    for point, at in found.open.items():
        counts = slow_open_iou.confusion(flat, 2, at.threshold if point != "calibrated" else float(np.float32(0.15)))
        ious = [slow_open_iou.open_iou(counts, k) for k in range(3)]
        assert at.miou == pytest.approx(float(sum(ious[:2]) / 2)), point
        assert at.unknown == pytest.approx(float(ious[2])), point
    assert found.open["tpr95"].recall >= 0.95 and found.open["fpr5"].fpr <= 0.05
    for point in ("best_f1", "calibrated"):
        shots = [(called(s, found.open[point].threshold), s.target) for s in SCENES]
        slow = slow_components.figures(shots, SIZES.predicted, SIZES.ground_truth)
        for name in ("siou", "ppv", "f1"):
            assert getattr(found.components[point], name) == pytest.approx(float(slow[name])), (point, name)
        assert found.components[point].tp == slow["tp"]


def test_every_picture_has_its_own_figures(figures):
    found = figures.scores["msp"]
    assert [p.picture for p in found.images] == [f"p{i}" for i in range(11)]
    for scene, own in zip(SCENES, found.images, strict=True):
        single = Exact()
        single.update(scene.scores["msp"], scene.target)
        assert repr(own.pixel) == repr(single.compute())
        slow = slow_components.figures([(called(scene, 0.15), scene.target)], SIZES.predicted, SIZES.ground_truth)
        for name in ("siou", "ppv"):
            value = getattr(own.components["calibrated"], name)
            assert np.isnan(value) if slow[name] is None else value == pytest.approx(float(slow[name]))
        known = scene.target < UNKNOWN
        assert own.fpr == pytest.approx(called(scene, 0.15)[known].mean())
    assert found.achieved.above == np.mean([p.fpr > 0.1 for p in found.images])
    assert found.achieved.pooled == pytest.approx(found.open["calibrated"].fpr)


def test_a_score_without_a_threshold_has_no_calibrated_figures(figures):
    other = figures.scores["joint"]
    assert set(other.open) == {"tpr95", "fpr5", "best_f1"} and set(other.components) == {"best_f1"}
    assert other.achieved is None and np.isnan(other.images[0].fpr)


def test_several_processes_say_the_same(folder, figures):
    parallel = measure(folder.path, {"msp": THRESHOLD}, SIZES, workers=2)
    assert json.dumps(parallel.to_json()) == json.dumps(figures.to_json())


def test_what_is_undefined_or_infinite_is_null_wherever_it_stands():
    nan, inf = float("nan"), float("inf")
    value = {"a": nan, "b": (inf, 1.5, {"c": [-inf, np.float64("nan"), 2]}), "d": "nan", "e": (True, None)}
    assert plain(value) == {"a": None, "b": [None, 1.5, {"c": [None, None, 2]}], "d": "nan", "e": [True, None]}


def test_json_is_plain_and_whole(figures):
    value = json.loads(json.dumps(figures.to_json(), allow_nan=False))
    assert value["scores"]["msp"]["images"][0]["pixel"]["auroc"] is None  # no outlier there
    assert value["scores"]["msp"]["open"]["best_f1"]["iou"].keys() == {"road", "sky"}
    assert value["manifest"]["images"][3] == "p3" and "SegmentMeIfYouCan" in value["protocol"]
    assert value["closed_miou"] == figures.closed_miou


def test_without_outliers_only_what_is_defined_is_there(tmp_path):
    made = Folder.begin(tmp_path, Manifest("k", "d", "s", NAMES, ("msp", "joint"), ("calm",)))
    made.write("calm", SCENES[0])
    found = measure(tmp_path, {"msp": THRESHOLD}, SIZES).scores["msp"]
    assert set(found.open) == {"fpr5", "calibrated"} and np.isnan(found.pixel.auroc)
    assert np.isnan(found.components["calibrated"].siou) and found.components["calibrated"].ppv == 0


def test_what_cannot_be_measured_is_refused(folder, tmp_path):
    with pytest.raises(OwsegError, match="no score 'energy'"):
        measure(folder.path, {"energy": THRESHOLD})
    Folder.begin(tmp_path, folder.manifest)
    with pytest.raises(OwsegError, match="compute the maps again"):
        measure(tmp_path)
    Folder.begin(tmp_path / "none", replace(folder.manifest, images=()))
    with pytest.raises(OwsegError, match="nothing to measure"):
        measure(tmp_path / "none")


def test_maps_of_a_knowledge_base_are_made_once_and_give_its_figures(tmp_path):
    kb, data = tiny.knowledge_base(("road", "sky")), tiny.dataset(5, unknown=True)
    looks = []

    def forward(image):
        looks.append(image)
        return kb.forward(image)

    folder = store_maps(kb, data, tmp_path, ("msp", "max_logit"), forward)
    assert len(looks) == 5
    folder.file("f3").write_bytes(folder.file("f3").read_bytes()[:-9])
    store_maps(kb, data, tmp_path, ("msp", "max_logit"), forward)
    assert len(looks) == 6
    found, expected = measure(tmp_path), evaluate(kb, data, ("msp", "max_logit"))
    assert found.closed_miou == expected.iou.mean()
    for name, exact in expected.scores.items():
        low, high = found.scores[name].pixel.bounds["auroc"]
        assert low <= exact.auroc <= high
    with pytest.raises(OwsegError, match="another knowledge base"):
        store_maps(tiny.knowledge_base(("road", "sky"), scale=2.0), data, tmp_path, ("msp", "max_logit"))
    with pytest.raises(OwsegError, match="another data set"):
        store_maps(kb, data.pick(range(4)), tmp_path, ("msp", "max_logit"))
    with pytest.raises(OwsegError, match="other settings"):
        store_maps(kb, data, tmp_path, ("msp", "max_logit"), settings={"multi_scale": True})
    with pytest.raises(OwsegError, match="no scorer"):
        store_maps(kb, data, tmp_path / "other", ("nonsense",))
    with pytest.raises(OwsegError, match="other labels"):
        store_maps(kb, DataSet(data.source, data.source.classes), tmp_path)
