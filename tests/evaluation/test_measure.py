import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from owseg.errors import OwsegError
from owseg.evaluation.histograms import score_histograms
from owseg.evaluation.maps import Manifest, MapFolder, Maps
from owseg.evaluation.measure import measure
from owseg.labels import IGNORE, UNKNOWN
from owseg.metrics.components import Sizes
from owseg.metrics.pixel import Exact
from owseg.openset import Threshold
from tests.reference import components as slow_components
from tests.reference import open_iou as slow_open_iou

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
VALUE = float(np.sort(np.concatenate([s.scores["msp"][s.target < 2] for s in SCENES]))[-700])
"""The score of a known pixel, which is not above it."""
THRESHOLD = Threshold(VALUE, "quantile", 0.1, 0.1, 1.0, 5, 500)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    images = tuple(f"p{i}" for i in range(len(SCENES)))
    made = MapFolder.begin(tmp_path_factory.mktemp("maps"), Manifest("k", "d", "s", NAMES, ("msp", "joint"), images))
    for image, maps in zip(images, SCENES, strict=True):
        made.write(image, maps)
    return made


@pytest.fixture(scope="module")
def metrics(folder):
    return measure(folder.path, {"msp": THRESHOLD}, SIZES)


def predicted(scene, threshold):
    return scene.scores["msp"] > np.float32(threshold)


def test_metrics_are_those_of_slow_oracles(metrics):
    found = metrics.scores["msp"]
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
        counts = slow_open_iou.confusion(flat, 2, at.threshold if point != "calibrated" else VALUE)
        ious = [slow_open_iou.open_iou(counts, k) for k in range(3)]
        assert at.miou == pytest.approx(float(sum(ious[:2]) / 2)), point
        assert at.unknown == pytest.approx(float(ious[2])), point
    assert found.open["tpr95"].recall >= 0.95 and found.open["fpr5"].fpr <= 0.05
    for point in ("best_f1", "calibrated"):
        shots = [(predicted(s, found.open[point].threshold), s.target) for s in SCENES]
        slow = slow_components.metrics(shots, SIZES.predicted, SIZES.ground_truth)
        for name in ("siou", "ppv", "f1"):
            assert getattr(found.components[point], name) == pytest.approx(float(slow[name])), (point, name)
        assert found.components[point].tp == slow["tp"]


def test_every_image_has_its_own_metrics(metrics):
    found = metrics.scores["msp"]
    assert [p.image for p in found.images] == [f"p{i}" for i in range(11)]
    for scene, own in zip(SCENES, found.images, strict=True):
        single = Exact()
        single.update(scene.scores["msp"], scene.target)
        assert repr(own.pixel) == repr(single.compute())
        slow = slow_components.metrics([(predicted(scene, VALUE), scene.target)], SIZES.predicted, SIZES.ground_truth)
        for name in ("siou", "ppv"):
            value = getattr(own.components["calibrated"], name)
            assert np.isnan(value) if slow[name] is None else value == pytest.approx(float(slow[name]))
        known = scene.target < UNKNOWN
        assert own.fpr == pytest.approx(predicted(scene, VALUE)[known].mean())
    assert found.achieved.above == np.mean([p.fpr > 0.1 for p in found.images])
    assert found.achieved.pooled == pytest.approx(found.open["calibrated"].fpr)


def test_a_score_without_a_threshold_has_no_calibrated_metrics(metrics):
    other = metrics.scores["joint"]
    assert set(other.open) == {"tpr95", "fpr5", "best_f1"} and set(other.components) == {"best_f1"}
    assert other.achieved is None and np.isnan(other.images[0].fpr)


def test_several_processes_say_the_same(folder, metrics):
    parallel = measure(folder.path, {"msp": THRESHOLD}, SIZES, workers=2)
    assert json.dumps(parallel.to_json()) == json.dumps(metrics.to_json())


def test_json_is_plain_and_whole(metrics):
    value = json.loads(json.dumps(metrics.to_json(), allow_nan=False))
    assert value["scores"]["msp"]["images"][0]["pixel"]["auroc"] is None  # no outlier there
    assert value["scores"]["msp"]["open"]["best_f1"]["iou"].keys() == {"road", "sky"}
    assert value["manifest"]["images"][3] == "p3" and "SegmentMeIfYouCan" in value["protocol"]
    assert value["closed_miou"] == metrics.closed_miou


def test_without_outliers_only_what_is_defined_is_there(tmp_path):
    made = MapFolder.begin(tmp_path, Manifest("k", "d", "s", NAMES, ("msp", "joint"), ("calm",)))
    made.write("calm", SCENES[0])
    found = measure(tmp_path, {"msp": THRESHOLD}, SIZES).scores["msp"]
    assert set(found.open) == {"fpr5", "calibrated"} and np.isnan(found.pixel.auroc)
    assert np.isnan(found.components["calibrated"].siou) and found.components["calibrated"].ppv == 0


def test_what_cannot_be_measured_is_refused(folder, tmp_path):
    with pytest.raises(OwsegError, match="no score 'energy'"):
        measure(folder.path, {"energy": THRESHOLD})
    MapFolder.begin(tmp_path, folder.manifest)
    with pytest.raises(OwsegError, match="compute the maps again"):
        measure(tmp_path)
    MapFolder.begin(tmp_path / "none", replace(folder.manifest, images=()))
    with pytest.raises(OwsegError, match="nothing to measure"):
        measure(tmp_path / "none")


def test_metrics_can_be_compared_hashed_and_printed(metrics):
    score = metrics.scores["msp"]
    assert metrics == metrics and len({metrics, score, score.images[0]}) == 3
    assert len(repr(metrics)) < 200 and "11 images of s" in repr(metrics) and "p3" not in repr(score)


def test_maps_are_read_twice_and_the_first_pass_is_handed_on(folder, metrics, monkeypatch):
    opened = []
    read = MapFolder.read
    monkeypatch.setattr(MapFolder, "read", lambda self, image: opened.append(image) or read(self, image))
    again = measure(folder.path, {"msp": THRESHOLD}, SIZES, points=lambda image: {"all": np.arange(7)})
    assert opened == 2 * list(folder.manifest.images)
    assert json.dumps(again.to_json()) == json.dumps(metrics.to_json())
    assert "histograms" not in metrics.to_json()
    first = score_histograms(folder, points=lambda image: {"all": np.arange(7)})
    assert again.histograms.keys() == first.keys() == metrics.histograms.keys()
    for name, histogram in first.items():
        assert again.histograms[name].images == histogram.images
        assert again.histograms[name].binned.compute() == histogram.binned.compute()
        assert list(metrics.histograms[name].sampled) == []
        np.testing.assert_array_equal(
            np.concatenate(again.histograms[name].sampled["all"]), np.concatenate(histogram.sampled["all"])
        )


def test_more_bits_give_narrower_intervals(folder):
    coarse, fine = (measure(folder.path, bits=bits).scores["joint"].pixel.bounds["ap"] for bits in (10, 20))
    assert coarse[1] - coarse[0] > fine[1] - fine[0]


def test_the_sizes_of_components_that_were_given_are_used(folder):
    measured = {n: measure(folder.path, sizes=Sizes(n, n)).scores["msp"] for n in (1, 30)}
    counts = {n: scores.components["best_f1"].ground_truths for n, scores in measured.items()}
    assert counts[1] > counts[30]
