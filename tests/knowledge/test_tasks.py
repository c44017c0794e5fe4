"""Tasks: all that is unknown, and what lies on the road."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from owseg.errors import OwsegError
from owseg.knowledge.adaptation import adapt
from owseg.knowledge.calibration import calibrate, find_threshold, fit_scorers
from owseg.knowledge.load import load
from owseg.knowledge.regions import MIN_AREA, OBSTACLE_AREA, min_area_of
from owseg.knowledge.tasks import for_task, scorer_for
from owseg.labels import LabelSpace
from owseg.scorers.road import hull
from tests.support import tiny


@pytest.fixture(scope="module")
def kb():
    """Calibrated for both tasks."""
    return calibrate(tiny.calibrated(), tiny.dataset(), 0.2, task="obstacles")


def test_the_threshold_is_of_known_pixels_on_the_road(kb):
    """Computed once more from the logits: in the hull of the road, and not in the whole image."""
    name = kb.scorer + "@road"
    counted, whole = [], []
    for sample in tiny.dataset():
        output, size = kb.forward(sample.image), sample.image.shape[1:]
        assessed = kb.assess(output, size, (name, kb.scorer))
        closed = torch.nn.functional.interpolate(output.logits, size, mode="bilinear", align_corners=False).argmax(1)
        on_road = hull(closed[0].numpy() == kb.labels.names.index("road"))
        assert not on_road.all()
        counted.append(assessed.scores[name][on_road])
        whole.append(np.median(assessed.scores[kb.scorer]))
    pooled = np.concatenate(counted)
    assert sum(map(len, counted)) > 300  # in some images the network calls nothing road
    assert (pooled > np.float32(kb.obstacles.value)).mean() == pytest.approx(0.2, abs=1 / len(pooled))
    assert kb.obstacles.pixels == pooled.size
    assert kb.obstacles.reference.mean == pytest.approx(np.mean(whole), abs=1e-5)  # of the whole image
    assert kb.obstacles.regions.images == len(tiny.dataset())


def test_the_other_threshold_and_the_score_in_use_stay(kb):
    before = tiny.calibrated()
    assert (kb.scorer, kb.threshold) == (before.scorer, before.threshold) and before.obstacles is None
    assert kb.history[-1].details["scorer"] == kb.scorer + "@road"


def test_a_task_is_done_by_its_score_at_its_threshold(kb):
    found = for_task(kb, "obstacles")
    assert (found.scorer, found.threshold) == (kb.scorer + "@road", kb.obstacles)
    assert for_task(kb, "unknown") is kb and for_task(found, "obstacles") is found
    image = tiny.image()
    score = kb.assess(kb.forward(image), image.shape[1:], (found.scorer,)).scores[found.scorer]
    assert np.array_equal(found.predict(image).score, score)
    assert not np.array_equal(kb.predict(image).score, score)


def test_obstacles_may_be_smaller_than_other_unknown_things(kb):
    assert min_area_of(kb.scorer) == MIN_AREA > min_area_of(kb.scorer + "@road") == OBSTACLE_AREA
    found, image = for_task(kb, "obstacles"), tiny.image()
    output = found.forward(image)
    sizes = []

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("owseg.knowledge.model.find_regions", lambda *a: sizes.append(a[-2]))
        for base in (found, kb):
            base._regions(output, base.predict(image))
    assert sizes == [OBSTACLE_AREA, MIN_AREA]


def test_regions_on_the_road_are_calibrated_at_their_own_size(kb, monkeypatch):
    sizes = []
    monkeypatch.setattr("owseg.knowledge.calibration.region_threshold", lambda *a: sizes.append(a[-1]))
    for name in (kb.scorer, kb.scorer + "@road"):
        find_threshold(kb, tiny.dataset(2), 0.2, scorer=name, false_alarms=1)
    assert sizes == [MIN_AREA, OBSTACLE_AREA]


def test_it_is_stored_and_part_of_what_decides(kb, tmp_path):
    kb.save(tmp_path / "kb")
    found = load(tmp_path / "kb")
    assert found.obstacles == kb.obstacles and found.fingerprint(decides=True) == kb.fingerprint(decides=True)
    without = replace(kb, obstacles=None)
    assert without.fingerprint() == kb.fingerprint() and without.fingerprint(True) != kb.fingerprint(True)


def test_it_goes_with_the_score_that_it_is_of(kb):
    data = tiny.dataset()
    assert calibrate(kb, data, 0.1).obstacles == kb.obstacles
    assert calibrate(kb, data, 0.1, scorer="msp").obstacles is None
    assert fit_scorers(kb, data, ("joint",)).obstacles is None  # the score in use is joint


def test_it_moves_to_another_place_by_the_shift_of_the_whole_image(kb):
    images = [tiny.image(i) for i in range(3)]
    both = adapt(kb, images)
    medians = [np.median(kb.predict(image).score) for image in images]
    shift = np.mean(medians) - kb.obstacles.reference.mean
    assert both.obstacles.value == pytest.approx(kb.obstacles.value + shift, abs=1e-5) and abs(shift) > 1e-3
    assert both.obstacles.estimated and both.threshold.estimated
    alone = adapt(for_task(kb, "obstacles"), images)
    assert alone.threshold == both.obstacles
    assert both.threshold.reference.mean == pytest.approx(np.mean(medians))


def test_what_cannot_be_done_is_said(kb):
    with pytest.raises(OwsegError, match="there is no task 'things'; it is unknown or obstacles"):
        for_task(kb, "things")
    with pytest.raises(OwsegError, match="owseg calibrate KB --data KIND:DIR --task obstacles"):
        for_task(tiny.calibrated(), "obstacles")
    names = LabelSpace.of(("street", "sky", "tree"))
    with pytest.raises(OwsegError, match="needs a network with a class 'road'"):
        for_task(replace(kb, labels=names), "obstacles")
    for other in ("msp", "msp@road"):  # its threshold would be read as that of the score in use
        with pytest.raises(OwsegError, match="without --task"):
            scorer_for(kb, "obstacles", other)
    for own in (kb.scorer, kb.scorer + "@road"):
        assert scorer_for(kb, "obstacles", own) == kb.scorer + "@road"
