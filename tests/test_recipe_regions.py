"""The recipe of regions: what is measured on which images."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from owseg.data.dataset import DataSet
from owseg.knowledge.adaptation import adapt
from owseg.knowledge.alarms import region_threshold
from owseg.knowledge.calibration import calibrate
from owseg.knowledge.pieces import EXTENT, GROWTH, pieces_above, rated_pieces, sure_pieces
from owseg.labels import IGNORE, UNKNOWN
from owseg.metrics.components import Components, Sizes
from owseg.openset import Reference, RegionThreshold, Threshold, quantiles
from recipes import froc, region_images, regions
from recipes.region_images import CHOICE, REPORTED, SETS, Scored, Set, adapted, scored
from tests.support import tiny

LIMITS = {one.limits for one in REPORTED.values()}

THRESHOLD = Threshold(
    0.5, "quantile", 0.05, 0.05, 0.8, 1, 1, Reference(0.0, 0.1, 9), False, RegionThreshold(0.3, "quantile", 0.3, 0, 1)
)


def some_image(seed, shift=0.0, shape=(40, 50)):
    """Hills of noise, a thing with a hill on it, another with none, and void at the left edge."""
    rng = np.random.default_rng(seed)
    score = ndimage.gaussian_filter(rng.normal(size=shape), 3) * 8
    score -= np.median(score)
    target = np.zeros(shape, np.uint8)
    y, x = rng.integers(2, 22, 2)
    target[y : y + 12, x : x + 12], target[35:38, 40:48], target[:, :3] = UNKNOWN, UNKNOWN, IGNORE
    score[y : y + 12, x : x + 12] += 2.5
    score = (score + shift).astype(np.float32)
    return Scored(score, target, quantiles(score))


def some_images(count, shift=0.0, first=0):
    return [some_image(first + i, shift) for i in range(count)]


@pytest.mark.parametrize("rate", [0.1, 0.3, 1.0])
def test_a_limit_is_the_one_that_a_calibration_finds(rate):
    images = some_images(12)
    found = region_threshold([(image.score, image.known) for image in images], THRESHOLD, rate)
    _, each = regions.assessed(images, THRESHOLD, Sizes(1, 1))
    assert froc.limit_at(each, rate) == found.value > 0
    assert froc.alarms(each, found.value) == pytest.approx(found.achieved)


def test_the_form_the_growth_and_the_extent_that_are_in_use_are_among_those_tried():
    assert GROWTH in regions.GROWTHS and EXTENT in regions.EXTENTS
    for seed in range(4):
        score = some_image(seed).score
        pieces, forms = regions.rated(score, THRESHOLD, GROWTH, EXTENT)
        expected, rating = rated_pieces(score, score > 0.5, THRESHOLD, 4)
        assert np.array_equal(pieces, expected) and forms[regions.IN_USE] == pytest.approx(rating)
        whole, forms = regions.rated(score, THRESHOLD, GROWTH, 0.0)
        assert np.array_equal(whole, sure_pieces(score, score > 0.5, THRESHOLD, 4))
        highest = [(score[whole == i].max() - 0.5) / 0.8 for i in range(1, whole.max() + 1)]
        assert forms["highest excess"] == pytest.approx(highest)
        assert forms["e a^(1/2)"] ** 2 == pytest.approx(forms["e"] ** 2 * np.bincount(whole.ravel())[1:] / 2000)
    assert [len(e) for e in regions.rated(score, THRESHOLD, 99.0, EXTENT)[1].values()] == [0] * 5


# ---- images


def test_scores_and_thresholds_are_those_of_the_package_and_are_kept(tmp_path):
    kb = calibrate(tiny.calibrated(), tiny.dataset(), fpr=0.3, false_alarms=0.5)
    data = tiny.dataset(12)
    found = scored(kb, data, tmp_path / "a" / "kept.npz", 12)
    for sample, image in zip(data, found, strict=True):
        score = kb.assess(kb.forward(sample.image), sample.target.shape).scores[kb.scorer]
        assert np.array_equal(image.score, score) and np.array_equal(image.target, sample.target)
    again = scored(kb, iter(()), tmp_path / "a" / "kept.npz", 12)
    assert all(np.array_equal(a.score, b.score) for a, b in zip(found, again, strict=True))
    for seed in (0, 1):
        drawn = np.random.default_rng(seed).choice(12, 8, replace=False)
        assert adapted(kb.threshold, found, seed) == adapt(kb, [data[i].image for i in drawn]).threshold
    assert adapted(kb.threshold, found, 0) != adapted(kb.threshold, found, 1)


def test_of_obstacles_the_score_is_that_on_the_road_and_moves_with_that_of_the_whole_image(tmp_path, monkeypatch):
    kb = calibrate(calibrate(tiny.calibrated(), tiny.dataset(), fpr=0.3), tiny.dataset(), task="obstacles")
    monkeypatch.setattr(region_images, "load", lambda name: kb)
    data = tiny.dataset(12)
    monkeypatch.setitem(SETS, "here", Set("tiny", 12, lambda place, labels: data, task="obstacles"))
    images = region_images.Images(tmp_path, tmp_path)
    found = images("here")
    for sample, image in zip(data, found, strict=True):
        scores = kb.assess(kb.forward(sample.image), sample.target.shape, (kb.scorer, f"{kb.scorer}@road")).scores
        assert np.array_equal(image.score, scores[f"{kb.scorer}@road"])
        assert np.array_equal(image.quantiles, quantiles(scores[kb.scorer]))
    assert images.threshold("here") == kb.obstacles != kb.threshold
    drawn = np.random.default_rng(0).choice(12, 8, replace=False)
    assert adapted(kb.obstacles, found, 0) == adapt(kb, [data[i].image for i in drawn]).obstacles


def test_what_is_chosen_on_is_not_what_calibrates_and_neither_is_reported(tmp_path, monkeypatch):
    opened = []

    def opening(spec, split, labels):
        data = tiny.dataset(40)
        source = replace(data.source, ids=tuple(f"{spec.split(':')[0]} {split} {i}" for i in range(40)))
        opened.append(split)
        return DataSet(source, data.labels)

    shown = {}
    monkeypatch.setattr(region_images, "open_dataset", opening)
    monkeypatch.setattr(region_images, "open_towns", lambda place, classes, labels: opening("towns", "all", labels))
    monkeypatch.setattr(region_images, "objects_of", lambda place, labels: None)
    monkeypatch.setattr(region_images, "set_aside", lambda objects: ("shown in training", "set aside"))
    monkeypatch.setattr(region_images, "with_objects", lambda data, objects, *how: shown.update({objects: 1}) or data)
    ids = {name: set(one.samples(tmp_path, tiny.dataset().labels).source.ids) for name, one in SETS.items()}
    numbers = {name: {int(i.split()[-1]) % 2 for i in found} for name, found in ids.items()}
    chosen = set().union(*(ids[name] for name in CHOICE))
    assert {" ".join(i.split()[:2]) for i in chosen} == {"camvid val", "towns all"} and shown == {"set aside": 1}
    assert all(numbers[name] == {1} and len(ids[name]) == 20 for name in LIMITS)
    assert all(numbers[name] == {0} for name in CHOICE if name.startswith("val"))
    assert not chosen & set().union(*(ids[name] for name in (*LIMITS, *REPORTED)))
    assert {i.split()[1] for i in ids["CamVid test"]} == {"test"} and SETS["CamVid test"].kb == "street8"
    assert {i.split()[0] for i in ids["Lost & Found"]} == {"fishyscapes-lostfound"}


# ---- the steps

BLOCK = np.ones((3, 3), np.uint8)


class MadeUp:
    """Images of every set; those that are reported score higher by ``shift``."""

    def __init__(self, shift=0.0):
        self.shift, self.read = shift, []

    def __call__(self, name):
        self.read.append(name)
        number = list(SETS).index(name)
        found = some_images(10, self.shift if name in REPORTED else 0.0, 100 * number)
        # Three times as large: of the least sizes in pixels, all things have more.
        return [Scored(np.kron(i.coarse, BLOCK), np.kron(i.target, BLOCK), i.quantiles) for i in found]

    def threshold(self, name):
        return THRESHOLD


def test_adapting_undoes_a_shift_of_all_scores_and_limits_come_from_val(capsys):
    images = MadeUp()
    there, here = regions.measure(MadeUp(2.0)), regions.measure(images)
    assert set(images.read) == {*REPORTED, *LIMITS}
    for name in REPORTED:
        shifted, usual = there[name]["components"], here[name]["components"]
        for kind in ("all unknown pixels", "regions"):
            moved = [m["f1"] for m in shifted[f"{kind}, after adapt"]]
            assert len(moved) == 3 and moved == pytest.approx([m["f1"] for m in usual[f"{kind}, after adapt"]])
            assert shifted[f"{kind}, as it is"][0]["f1"] != moved[0]
        every, after = (shifted[f"all unknown pixels, {state}"][0]["f1"] for state in ("as it is", "after adapt"))
        assert every < after
        best, again = (found["all unknown pixels, best pixel F1"][0]["f1"] for found in (shifted, usual))
        assert best == pytest.approx(again, abs=0.05)  # up to the width of a bin
        for asked, rates in there[name]["false alarms"].items():
            limit = regions.limits(images, SETS[name])[asked]
            _, each = regions.assessed(MadeUp(2.0)(name), THRESHOLD, SETS[name].sizes, SETS[name].min_area)
            assert rates["as it is"] == [froc.alarms(each, limit)]
            assert rates["after adapt"] == pytest.approx(here[name]["false alarms"][asked]["after adapt"])
            assert np.mean(rates["as it is"]) > np.mean(rates["after adapt"])
    assert "| RoadAnomaly21 | regions | after adapt |" in capsys.readouterr().out


def test_regions_are_those_above_the_threshold_of_regions_and_the_best_f1_is_of_all_pixels():
    images, sizes = some_images(6), Sizes(20, 20)
    states, best = (Components(sizes), Components(sizes)), []
    for image in images:
        unknown = image.score > 0.5
        states[0].update(unknown, image.target)
        states[1].update(pieces_above(image.score, unknown, THRESHOLD, 4) > 0, image.target)
    assert list(regions.assessed(images, THRESHOLD, sizes)[0].values()) == [state.compute() for state in states]
    score, target = (np.concatenate([getattr(i, part).ravel() for i in images]) for part in ("score", "target"))
    for t in np.quantile(score, np.linspace(0.5, 1, 400)):
        tp, fp = ((score > t) & (target == UNKNOWN)).sum(), ((score > t) & (target < UNKNOWN)).sum()
        best.append((2 * tp / (tp + fp + (target == UNKNOWN).sum()), t))
    expected = Components(sizes)
    for image in images:
        expected.update(image.score > max(best)[1], image.target)
    assert regions.at_best_f1(images, sizes).f1 == pytest.approx(expected.compute().f1, abs=0.06)


def test_each_limit_is_that_of_the_rate_asked_for(monkeypatch):
    images = MadeUp()
    for task, area in (("unknown", 0.002), ("obstacles", 2.5e-5)):
        of = Set("street8", 9, lambda place, labels: (), task=task)
        images.read.clear()
        name = f"limits of street8, {task}"
        monkeypatch.setitem(SETS, name, of)
        found = regions.limits(images, of)
        assert set(images.read) == {name} and found[0.3] < found[0.1]
        maps = [(image.score, image.known) for image in images(name)]
        assert found == {rate: region_threshold(maps, THRESHOLD, rate, min_area=area).value for rate in (0.3, 0.1)}


@pytest.mark.parametrize(("rate", "said"), [(0.16, "yes"), (0.6, "yes"), (0.14, "no"), (0.62, "no")])
def test_within_a_factor_of_two(rate, said, monkeypatch, capsys):
    monkeypatch.setattr(regions.froc, "alarms", lambda images, limit: rate)
    regions.measure(MadeUp())
    rows = [
        line.split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("| Lost & Found | 0.3")
    ]
    assert rows[0][-1] == f"{said} |"


def test_a_choice_reads_its_own_sets_alone_and_holds_what_is_in_use(monkeypatch):
    monkeypatch.setattr(regions, "GROWTHS", (0.1, GROWTH))
    images = MadeUp()
    found = regions.choose(images)
    assert set(images.read) == {*CHOICE, *(one.limits for one in CHOICE.values())}
    growth, extent = found["growth"], found["extent"]
    assert set(growth) == {"0.1", f"{GROWTH:g}"} and set(growth["0.1"]) == set(regions.FORMS)
    for name in CHOICE:
        limit = regions.limits(images, SETS[name])[0.3]
        threshold = adapted(THRESHOLD, images(name), 0)
        threshold = replace(threshold, regions=replace(threshold.regions, value=limit))
        expected = regions.assessed(images(name), threshold, SETS[name].sizes)[0]["regions"].f1
        assert growth[f"{GROWTH:g}"][regions.IN_USE][name]["f1"] == pytest.approx(expected)
        assert extent[f"{EXTENT:g}"][name]["f1"] == pytest.approx(expected)
        assert extent["0"][name]["f1"] != expected
    assert growth["0.1"][regions.IN_USE] != growth[f"{GROWTH:g}"][regions.IN_USE] != growth[f"{GROWTH:g}"]["e"]


def test_the_step_froc_writes_metrics_and_a_plot(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(regions, "Images", lambda data, runs: MadeUp(2.0))
    options = ["--measured", str(tmp_path / "m"), "--plot", str(tmp_path / "p.png")]
    monkeypatch.setattr(sys, "argv", ["regions", "froc", *options])
    regions.main()
    found = json.loads((tmp_path / "m" / "froc.json").read_text())
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    for name in REPORTED:
        states = found[name]
        every = MadeUp(2.0)(name)
        _, expected = regions.assessed(every, adapted(THRESHOLD, every, 0), SETS[name].sizes, SETS[name].min_area)
        at = [froc.found(expected, froc.limit_at(expected, rate)) for rate in froc.RATES]
        assert list(states["after adapt"]["found"].values()) == at != list(states["as it is"]["found"].values())
        assert sum(count for _, count in states["as it is"]["sizes"].values()) == sum(len(d.best) for d in expected)
    assert "| Lost & Found | after adapt |" in capsys.readouterr().out


def test_the_plot_has_a_curve_for_each_state_and_a_dot_at_the_limit_in_use():
    _, each = regions.assessed(some_images(8), THRESHOLD, Sizes(1, 1))
    figure = froc.plot({"one": {"as it is": each, "after adapt": each}}, {"one": 0.3})
    lines = figure.axes[0].lines
    assert len(lines) == 4 and lines[1].get_ydata() == [froc.found(each, 0.3)]
    rates, shares = froc.curve(each)
    assert np.array_equal(lines[0].get_ydata(), shares) and lines[0].get_xdata()[1] == max(rates[1], froc.LEFT)
