"""Thresholds keep their rate, belong to the score they were found for, and are found on images of their own."""

import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch

from owseg.data.dataset import DataSet
from owseg.errors import OwsegError
from owseg.knowledge import calibration as module
from owseg.knowledge.alarms import region_threshold
from owseg.knowledge.calibration import calibrate, data_card, divide_val, find_threshold, fit_scorers, in_own_labels
from owseg.labels import IGNORE, KNOWN, UNKNOWN
from owseg.learners.learn import learn
from owseg.learners.npm import NPM
from owseg.metrics.threshold import WIDTH
from owseg.models.ops import resize
from owseg.scorers import SCORERS, fitted_names
from tests.support import tiny
from tests.support.shots import corner_shot


@pytest.fixture(scope="module")
def data():
    """Twelve images of four classes, of which the last, rock, is unknown."""
    return tiny.dataset(12, 4, unknown=True)


def rates(kb, data):
    """The share of the known pixels of each image that are predicted unknown."""
    found = [(kb.predict(s.image).open_set == UNKNOWN)[s.target < UNKNOWN] for s in data]
    return [float(f.mean()) for f in found], float(np.concatenate(found).mean())


@pytest.mark.parametrize("fpr", [0.05, 0.3])
@pytest.mark.parametrize("scorer", ["energy", "joint"])
def test_the_rate_holds_on_the_data_of_the_calibration(kb, data, fpr, scorer):
    new = calibrate(kb, data, fpr, scorer=scorer)
    each, pooled = rates(new, data)
    assert fpr - 0.02 < pooled <= fpr and pooled == pytest.approx(new.threshold.achieved_fpr)
    assert (new.scorer, new.threshold.target_fpr, new.threshold.method) == (scorer, fpr, "quantile")
    conformal = calibrate(kb, data, 0.3, "conformal", scorer)
    each, _ = rates(conformal, data)
    assert 12 / 13 * np.mean(each) + 1 / 13 <= 0.3 and conformal.threshold.method == "conformal"
    assert conformal.threshold.achieved_fpr == pytest.approx(np.mean(each))


def test_the_history_says_on_what(kb, data):
    event = calibrate(kb, data, 0.1, "conformal", "msp").history[-1]
    assert (
        event.message == "calibrated msp at 10.0% false positives (conformal), 0.3 false alarms per image"
        and event.action == "calibrate"
    )
    assert event.details["scorer"] == "msp" and event.details["fingerprint"] == data.fingerprint()
    assert data_card(data) == {"data": "tiny", "images": 12, "fingerprint": data.fingerprint()}


def test_the_score_in_use_is_calibrated_by_default(kb, data):
    expected = find_threshold(kb, data, scorer="msp", false_alarms=0.3)
    assert calibrate(replace(kb, scorer="msp"), data).threshold == expected
    assert calibrate(kb, data).scorer == "joint"
    with pytest.raises(OwsegError, match="has no scorer 'knn'; owseg fit KB --data SET --scorers knn adds it"):
        find_threshold(kb, data, scorer="knn")


@pytest.mark.parametrize(
    ("options", "wrong"),
    [
        ({"fpr": 5}, "between 0 and 1, not 5; write 0.05 for 5 %"),
        ({"method": "conformel"}, "no method 'conformel'"),
        ({"method": "conformal", "fpr": 0.01}, "needs at least 99 images, not 12"),
        ({"method": "conformal", "fpr": 0.2, "false_alarms": 0.01}, "needs at least 99 images, not 12"),
        ({"false_alarms": 0}, "false alarms per image are asked for above 0"),
    ],
)
def test_what_cannot_be_asked_for_is_said_before_the_network_is_run(kb, data, options, wrong):
    def forward(image):
        raise AssertionError

    with pytest.raises(OwsegError, match=wrong):
        find_threshold(kb, data, forward=forward, **options)


def test_unknown_and_void_pixels_do_not_count(kb, data):
    """What is anomalous may be in the images of the calibration: its mask leaves it out."""
    known = sum(int((s.target < UNKNOWN).sum()) for s in data)
    assert find_threshold(kb, data).pixels == known < 12 * 48 * 64
    void = DataSet(data.source, data.labels, IGNORE)
    assert find_threshold(kb, void) == find_threshold(kb, data)
    no_masks = replace(data, source=replace(data.source, read=lambda i: (data.source.read(i)[0], None)))
    assert find_threshold(kb, no_masks).pixels == 12 * 48 * 64


def test_regions_that_were_marked_as_known_count_besides_the_data(kb, data):
    alone = calibrate(kb, data, 0.1, scorer="joint")
    scores = [kb.assess(kb.forward(s.image), (48, 64), ("joint",)).scores["joint"] for s in data]
    i = max(range(12), key=lambda i: (scores[i] > alone.threshold.value).sum())
    target = np.where(scores[i] > alone.threshold.value, KNOWN, IGNORE).astype(np.uint8)  # all false alarms, say
    source = replace(data.source, name="3 regions", ids=("a",), read=lambda _: (data[i].image, target))
    marked = DataSet(source, data.labels)
    both = calibrate(kb, data, 0.1, scorer="joint", marked=marked)
    known = [score[s.target < UNKNOWN] for score, s in zip(scores, data, strict=True)]
    pooled = np.sort(np.concatenate([*known, scores[i][target == KNOWN]]).astype(np.float32))
    # The least score of which at most a tenth lie above.
    least = next(t for t in np.unique(pooled) if np.mean(pooled > t) <= 0.1)
    assert both.threshold.value == float(least) > alone.threshold.value
    maps = [(score, sample.target < UNKNOWN) for score, sample in zip(scores, data, strict=True)]
    assert both.threshold.regions == region_threshold([*maps, (scores[i], target == KNOWN)], both.threshold)
    # What the images are like is told by those that nobody chose.
    assert both.threshold.reference == alone.threshold.reference
    assert both.history[-1].message.endswith(", with 3 regions")
    assert both.history[-1].details["marked"] == data_card(marked)
    with pytest.raises(OwsegError, match="a conformal bound needs images that nobody chose by their scores"):
        calibrate(kb, data, 0.3, "conformal", marked=marked)


@pytest.mark.parametrize("method", ["quantile", "conformal"])
def test_of_more_pixels_than_are_held_maps_are_found_again(kb, data, monkeypatch, method):
    """The threshold keeps the share, all else is as it would be at that threshold, and few maps are in memory."""
    within = calibrate(kb, data, 0.3, method, false_alarms=0.4)
    pixels, made, most = 48 * 64, [], []
    real = module._Map

    def noting(*args):
        found = real(*args)
        made.append(weakref.ref(found))
        most.append(sum(ref() is not None for ref in made))
        return found

    monkeypatch.setattr(module, "_Map", noting)
    monkeypatch.setattr(module, "EXACT_PIXELS", 12 * pixels)
    forward = kb.engine(workers=1)
    assert find_threshold(kb, data, 0.3, method, forward=forward, false_alarms=0.4) == within.threshold
    assert len(made) == 12 == max(most)  # all are kept
    monkeypatch.setattr(module, "EXACT_PIXELS", 3 * pixels)
    made.clear(), most.clear()
    found = find_threshold(kb, data, 0.3, method, forward=forward, false_alarms=0.4)
    assert len(made) == 24 and max(most) <= 5
    exact = within.threshold
    assert found.binned and 0 <= found.value - exact.value <= WIDTH * abs(exact.value)
    assert (found.reference, found.images, found.pixels) == (exact.reference, exact.images, exact.pixels)
    assessed = [kb.assess(kb.forward(s.image), (48, 64)).decided("joint") for s in data]
    maps = [(score, s.target < UNKNOWN) for score, s in zip(assessed, data, strict=True)]
    assert found.regions == region_threshold(maps, replace(found, reference=None), 0.4, method)
    each, pooled = rates(replace(kb, threshold=found), data)
    assert found.achieved_fpr == pytest.approx(pooled if method == "quantile" else np.mean(each)) and pooled <= 0.3
    event = calibrate(kb, data, 0.3, method, false_alarms=0.4).history[-1]
    assert event.details["binned"] and event.message.endswith(", from a histogram of the scores")
    assert "binned" not in within.history[-1].details and "histogram" not in within.history[-1].message


def test_without_false_alarms_maps_are_seen_once(kb, data, monkeypatch):
    monkeypatch.setattr(module, "EXACT_PIXELS", 1)
    images = []
    find_threshold(kb, data, forward=lambda image: images.append(1) or kb.forward(image))
    assert len(images) == 12


def test_pixels_of_a_learned_class_lie_below(kb, data):
    updated = learn(kb, "rock", [corner_shot()], method=NPM(1e9))
    learned = np.mean([updated.assess(updated.forward(s.image), (48, 64)).learned.mean() for s in tiny.dataset()])
    assert learned > 0.05
    known = tiny.dataset()
    without, found = find_threshold(kb, known), find_threshold(updated, DataSet(known.source, updated.labels))
    assert found.value < without.value and found.pixels == without.pixels  # they count, as known and not unknown
    scores = [updated.assess(updated.forward(s.image), (48, 64)) for s in known]
    below = np.concatenate([np.where(a.learned, -np.inf, a.scores["joint"]).ravel() for a in scores])
    assert (below > np.float32(found.value)).mean() <= 0.05 < (below >= np.float32(found.value)).mean()


def test_the_given_forward_is_used(kb, data):
    images = []

    def forward(image):
        images.append(image)
        return kb.forward(image)

    assert find_threshold(kb, data, forward=forward) == find_threshold(kb, data)
    assert [i.sum() for i in images] == [s.image.sum() for s in data]


# ---- images of their own


@pytest.mark.parametrize(("count", "apart"), [(1, False), (9, False), (10, True), (13, True)])
def test_val_is_divided_where_it_is_large_enough(count, apart):
    val = tiny.dataset(count)
    choose, calibration = divide_val(val)
    if apart:
        assert [*choose.source.ids] == [f"f{i}" for i in range(0, count, 2)]
        assert [*calibration.source.ids] == [f"f{i}" for i in range(1, count, 2)]
        assert np.array_equal(calibration[1].image, val[3].image) and np.array_equal(choose[2].target, val[4].target)
    else:
        assert choose is val and calibration is val


# ---- fitted scorers


@pytest.mark.parametrize(
    ("scorer", "stays"), [("joint", False), ("joint@segments", False), ("mahalanobis", False), ("energy", True)]
)
def test_fitting_anew_takes_away_the_threshold_of_what_was_fitted(scorer, stays):
    data = tiny.dataset(4)
    kb = calibrate(fit_scorers(tiny.knowledge_base(), data), data, scorer=scorer)
    anew = fit_scorers(kb, data.pick([0, 1]))
    assert kb.threshold is not None and anew.threshold == (kb.threshold if stays else None)
    assert anew.scorer == scorer and anew.history[-1].action == "fit"


def test_other_fits_stay(kb):
    data = tiny.dataset(4)
    both = calibrate(fit_scorers(kb, data, ("knn", "sml")), data, scorer="knn")
    assert set(both.fitted) == {"joint", "knn", "sml"} and both.fitted["joint"] is kb.fitted["joint"]
    assert fit_scorers(both, data, ["sml"]).threshold == both.threshold
    assert fit_scorers(both, data, ["knn"]).threshold is None


def test_what_is_held_out_is_fitted_to():
    """The scales of joint are those of images that the network was not trained on."""
    train, held_out = tiny.dataset(4), tiny.dataset(8).pick([5, 6, 7])
    kb = fit_scorers(tiny.knowledge_base(), train, held_out=held_out)
    alone = fit_scorers(tiny.knowledge_base(), train)
    joint = SCORERS["joint"].make(kb.network)

    def outputs(data):
        return [(kb.forward(s.image), torch.from_numpy(s.target)[None]) for s in data]

    joint.fit(outputs(train), outputs(held_out))
    state = kb.fitted["joint"].state_dict()
    assert all(torch.equal(v, state[n]) for n, v in joint.state_dict().items())
    other = alone.fitted["joint"].state_dict()
    assert not torch.equal(other["scale"], state["scale"]) and torch.equal(
        other["mahalanobis.means"], state["mahalanobis.means"]
    )
    details = kb.history[-1].details
    assert details["fingerprint"] == train.fingerprint() and details["held_out"] == data_card(held_out)
    assert "held_out" not in alone.history[-1].details


@pytest.mark.parametrize("name", fitted_names())
def test_unknown_pixels_are_not_fitted_to(name):
    shown, hidden = (DataSet(tiny.dataset(4, 4).source, tiny.knowledge_base().labels, as_) for as_ in (UNKNOWN, IGNORE))
    one, two = (fit_scorers(tiny.knowledge_base(), d, [name]).fitted[name].state_dict() for d in (shown, hidden))
    assert all(torch.equal(v, two[n]) for n, v in one.items())


def test_each_image_passes_the_network_once(monkeypatch):
    """Whatever is fitted, and however often a scorer reads its images."""
    calls, made = [], module.CachedForward
    monkeypatch.setattr(module, "CachedForward", lambda forward: made(lambda i: calls.append(1) or forward(i)))
    fit_scorers(tiny.knowledge_base(), tiny.dataset(4), fitted_names())
    assert len(calls) == 4


def test_what_cannot_be_fitted_ends_in_one_sentence(kb):
    every = "joint, knn, mahalanobis, mahalanobis_absolute, sml"
    with pytest.raises(OwsegError, match=f"there is no fitted scorer 'svm'; it is one of {every}"):
        fit_scorers(kb, tiny.dataset(), ["svm"])
    data = tiny.dataset(2)
    bare = replace(data, source=replace(data.source, read=lambda i: (data.source.read(i)[0], None)))
    with pytest.raises(OwsegError, match="f0 has no mask; a fit needs one for every image"):
        fit_scorers(kb, bare)
    nothing = replace(
        data, source=replace(data.source, read=lambda i: (tiny.image(i), np.full((48, 64), 255, np.uint8)))
    )
    with pytest.raises(OwsegError, match="no pixel"):
        fit_scorers(kb, nothing)


def test_images_in_the_network_s_own_labels(kb):
    data = tiny.dataset(3)
    own = in_own_labels(kb, data)
    for mine, sample in zip(own, data, strict=True):
        expected = resize(kb.forward(sample.image).logits, (48, 64)).argmax(1)[0].numpy()
        assert np.array_equal(mine.image, sample.image) and np.array_equal(mine.target, expected)
    fitted = fit_scorers(kb, own, ("mahalanobis",)).fitted["mahalanobis"]
    by_hand = fit_scorers(kb, data, ("mahalanobis",)).fitted["mahalanobis"]
    assert fitted.counts.sum() >= by_hand.counts.sum() and not torch.equal(fitted.counts, by_hand.counts)


def test_photos_are_fitted_to_in_the_network_s_own_labels():
    """As if these had been the ground truth of images like any other; scales stay those of held-out images."""
    kb, data, photos = tiny.knowledge_base(), tiny.dataset(4), tiny.dataset(9)
    photos = photos.pick(range(5, 9))
    images = replace(photos, source=replace(photos.source, read=lambda i: (photos.source.read(i)[0], None)))
    found = fit_scorers(kb, data, held_out=tiny.dataset(3), unlabeled=images)
    own = in_own_labels(kb, images)
    every = [*data, *own]
    source = replace(data.source, ids=tuple("abcdefgh"), read=lambda i: (every[i].image, every[i].target))
    expected = fit_scorers(kb, DataSet(source, data.labels), held_out=tiny.dataset(3)).fitted["joint"].state_dict()
    assert all(torch.equal(v, expected[n]) for n, v in found.fitted["joint"].state_dict().items())
    assert found.history[-1].message == "fitted joint on tiny and 4 images without labels"
    assert found.history[-1].details["unlabeled"] == data_card(images)
