import numpy as np
import pytest

from owseg.errors import OwsegError
from owseg.evaluation.histograms import images_with_unknown, score_histograms
from owseg.evaluation.maps import Manifest, MapFolder, Maps
from owseg.labels import IGNORE, UNKNOWN
from owseg.metrics.binned import Binned
from owseg.metrics.pixel import Exact

IMAGES = tuple(f"p{i}" for i in range(11))
POINTS = {image: {"road": np.array([i, 7, 8], np.int32)} for i, image in enumerate(IMAGES)}


def maps(seed):
    rng = np.random.default_rng(seed)
    target = rng.choice([0, 1, IGNORE, *([UNKNOWN] * (seed % 3 == 0))], (6, 9)).astype(np.uint8)
    score = rng.normal(0, 1, target.shape).astype(np.float32)
    score.flat[7] = -np.inf
    return Maps(np.minimum(target, 1), target, {"msp": score, "joint": -2 * score.clip(-5)})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = MapFolder.begin(
        tmp_path_factory.mktemp("maps"), Manifest("k", "d", "s", ("road", "sky"), ("msp", "joint"), IMAGES)
    )
    for number, image in enumerate(IMAGES):
        made.write(image, maps(number))
    return made


def points(image):
    return {**POINTS[image], **({"cow": np.array([3], np.int32)} if image == "p9" else {})}


@pytest.mark.parametrize("workers", [1, 2])
def test_one_pass_gives_histogram_own_metrics_and_samples_of_every_image_in_order(folder, workers):
    found = score_histograms(folder, workers, 12, points)
    assert list(found) == ["msp", "joint"]
    for name, histogram in found.items():
        pooled = Binned(12)
        for number, own in enumerate(histogram.images):
            single, one = Exact(), maps(number)
            single.update(one.scores[name], one.target)
            pooled.update(one.scores[name], one.target)
            assert repr(own) == repr(single.compute())
        assert len(histogram.images) == 11 and histogram.binned.compute() == pooled.compute()
        sampled = np.concatenate(histogram.sampled["road"])
        wanted = np.concatenate([maps(i).scores[name].ravel()[points(image)["road"]] for i, image in enumerate(IMAGES)])
        assert np.array_equal(sampled, wanted[np.isfinite(wanted)])  # where a class was learned a score is -inf
        assert np.array_equal(np.concatenate(histogram.sampled["cow"]), maps(9).scores[name].ravel()[[3]])
    assert images_with_unknown(folder, found) == ["p0", "p3", "p6", "p9"]


def test_without_points_nothing_is_sampled(folder):
    assert score_histograms(folder)["msp"].sampled == {}


def test_maps_that_are_missing_end_in_a_sentence(folder, tmp_path):
    MapFolder.begin(tmp_path, folder.manifest)
    with pytest.raises(OwsegError, match="compute the maps again"):
        score_histograms(MapFolder.open(tmp_path))
