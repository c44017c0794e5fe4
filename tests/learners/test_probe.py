"""The linear probe is the ridge that its docstring states, and predicts its class alone."""

import threading
import warnings
from functools import partial

import numpy as np
import pytest
import torch

from owseg.errors import OwsegError
from owseg.knowledge.calibration import fit_scorers
from owseg.knowledge.load import load
from owseg.learners.learn import learn
from owseg.learners.probe import Probe, _annotated
from owseg.models.cache import CachedForward
from owseg.types import Shot
from tests.support import tiny
from tests.support.shots import SIZE, blue_shot, overlap, red_shot


@pytest.fixture(scope="module")
def kb():
    return fit_scorers(tiny.knowledge_base(), tiny.dataset())


def whitened(kb, image, scale):
    """The whitened pyramid of an image with sides ``scale`` times as long, from the raw stages, in float64."""
    size = [round(scale * side) for side in image.shape[1:]]
    batch = torch.from_numpy(image.copy())[None].float() / 255
    resized = torch.nn.functional.interpolate(batch, size=size, mode="bilinear", antialias=scale < 1)
    with torch.no_grad():
        distance, stages = kb.feature_space, kb.network(resized).features
    grid = stages[distance.level].shape[2:]
    maps = [torch.nn.functional.interpolate(s, size=grid, mode="bilinear") for s in stages]
    x = torch.cat(maps, 1)[0].double()
    return torch.einsum("dc,chw->dhw", distance.whiten_within.double(), x - distance.centre.double()[:, None, None])


@pytest.mark.parametrize("scales", [(1.0,), (0.5, 1.0, 2.0)])
@pytest.mark.parametrize("balance", [None, 1.0, 0.0])
def test_the_probe_is_the_ridge_that_it_says(kb, scales, balance):
    """The gradient of the objective, written out in float64, vanishes at w and b."""
    strength, shots = 1.0, [red_shot(0), red_shot(1)]
    probe = learn(kb, "rock", shots, method=Probe(strength, balance, scales, favour=0, views=100)).increments[0]
    z, y = [], []
    for view, scale in ((v, f) for s in shots for f in scales for v in (s, s.mirrored())):
        cells = whitened(kb, view.image, scale)
        (height, width), (rows, columns) = view.size, cells.shape[1:]
        assert height % rows == width % columns == 0  # so that every cell is a whole number of pixels
        for i in range(cells.shape[1]):
            for j in range(cells.shape[2]):
                part = np.s_[i * height // rows : (i + 1) * height // rows,
                             j * width // columns : (j + 1) * width // columns]  # fmt: skip
                on, off = view.positives[part].mean(), view.negatives[part].mean()
                if on > 0.5 or off > 0.5:
                    z.append(cells[:, i, j].numpy())
                    y.append(1.0 if on > 0.5 else -1.0)
    z, y = np.array(z), np.array(y)
    # w in whitened coordinates, from the folded weights
    whiten, centre = (t.double().numpy() for t in (kb.feature_space.whiten_within, kb.feature_space.centre))
    w = np.linalg.solve(whiten.T, probe.weights[0].double().numpy())
    b = float(probe.biases[0]) + probe.weights[0].double().numpy() @ centre
    s = np.where(y > 0, (y > 0).sum(), (y < 0).sum()) ** -(0.75 if balance is None else balance)  # (1 + 1/2) / 2
    s = s / s.mean()
    slope = -strength / len(y) * s * y / (1 + np.exp(y * (z @ w + b)))
    gradient = w + z.T @ slope
    assert np.abs(gradient).max() < 2e-3 * np.abs(z.T @ np.abs(slope)).max()
    assert abs(slope.sum()) < 2e-3 * np.abs(slope).sum()


def test_it_predicts_the_class_and_changes_nothing_else(kb):
    updated = learn(kb, "rock", [red_shot(i) for i in range(5)])
    assert updated.history[-1].details["method"] == "probe"
    unseen = red_shot(7)
    after = updated.assess(updated.forward(unseen.image), SIZE)
    assert overlap(after.learned, unseen) > 0.45
    before = kb.assess(kb.forward(unseen.image), SIZE).labels
    assert np.array_equal(after.labels[~after.learned], before[~after.learned])


def test_the_higher_logit_wins_whatever_the_order(kb):
    one = learn(learn(kb, "rock", [red_shot(0)]), "cow", [blue_shot(0)])
    two = learn(learn(kb, "cow", [blue_shot(0)]), "rock", [red_shot(0)])
    output = kb.forward(red_shot(5).image)
    first, second = one.assess(output, SIZE).labels, two.assess(output, SIZE).labels
    by_name = np.array([two.labels.names.index(name) for name in one.labels.names])
    assert (first >= 3).any() and np.array_equal(by_name[first], second)
    assert [len(i.biases) for i in one.increments] == [2, 2]
    assert len(learn(kb, "rock", [red_shot(0)]).increments[0].biases) == 1


def test_a_probe_is_stored(kb, tmp_path):
    updated = learn(learn(kb, "rock", [red_shot(0)]), "cow", [blue_shot(0)])
    updated.save(tmp_path / "kb")
    loaded = load(tmp_path / "kb")
    output = kb.forward(red_shot(5).image)
    assert np.array_equal(loaded.assess(output, SIZE).labels, updated.assess(output, SIZE).labels)


def test_what_a_probe_cannot_work_with_ends_in_one_sentence(kb):
    with pytest.raises(OwsegError, match="fit them first: owseg fit"):
        learn(tiny.knowledge_base(), "rock", [red_shot()], method=Probe())
    for wrong, message in (
        ({"strength": 0.0}, "strength must be above 0, not 0"),
        ({"strength": float("nan")}, "strength must be a number, not nan"),
        ({"favour": float("inf")}, "favour must be a number, not inf"),
        ({"scales": (1.0, 0.0)}, "scales must be above 0, not 0"),
        ({"balance": -1.0}, "balance must be 0 or more, not -1"),
        ({"views": 0}, "views must be 1 or more, not 0"),
    ):
        with pytest.raises(OwsegError, match=message):
            Probe(**wrong)
    dot, all_of_it = np.zeros(SIZE, bool), np.ones(SIZE, bool)
    dot[3, 3] = True
    with pytest.raises(OwsegError, match="half of no cell"):
        learn(kb, "rock", [Shot(red_shot().image, dot, "dot")])
    with pytest.raises(OwsegError, match="nothing else to compare"):
        learn(kb, "rock", [Shot(red_shot().image, all_of_it, "all")])


def test_the_solver_converges(kb):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        learn(kb, "rock", [red_shot(0), red_shot(1)])


def test_few_shots_favour_the_class_and_counterexamples_do_not_count(kb):
    shots = [red_shot(i) for i in range(4)]
    plain, favoured = (learn(kb, "rock", shots, method=Probe(favour=f)).increments[0] for f in (0.0, 3.0))
    assert torch.equal(plain.weights, favoured.weights)
    assert float(favoured.biases[0] - plain.biases[0]) == pytest.approx(1.5)  # 3 / sqrt(4)
    other = red_shot(9)
    no = Shot.counterexample(other.image, ~other.positives, "no")
    found = [learn(kb, "rock", [shots[0], no], method=Probe(favour=f)).increments[0].biases[0] for f in (0.0, 3.0)]
    assert float(found[1] - found[0]) == pytest.approx(3.0)


def test_many_shots_are_seen_in_fewer_views_and_drawn_cells_stand_for_the_others(kb, monkeypatch):
    seen = []

    def forward(image, scale=1.0):
        seen.append(scale)
        return kb.forward(image, scale)

    shots = [red_shot(i) for i in range(4)]
    learn(kb, "rock", shots, method=Probe(scales=(0.5, 1.0, 2.0), views=9), forward=forward)
    assert seen == [0.5, 1.0, 2.0, 0.5, 1.0, 2.0, 0.5, 1.0]  # the first three in turn mirrored, then the others
    monkeypatch.setattr("owseg.learners.probe.MOST_CELLS", 80)
    cells_of = partial(_annotated, kb.forward, 1, kb.feature_space.channels)
    for z, positive, counts in Probe()._cells(shots, cells_of, kb.feature_space, 1):
        assert z.shape == (20, kb.feature_space.channels) and positive.sum() == 10
        assert len(set(counts[positive])) == len(set(counts[~positive])) == 1 and counts.sum() > 20
    again = learn(kb, "rock", shots).increments[0], learn(kb, "rock", shots).increments[0]
    assert torch.equal(again[0].weights, again[1].weights)


def test_threads_look_at_several_views_at_the_same_time(kb):
    shots = [red_shot(i) for i in range(3)]
    expected = learn(kb, "rock", shots, forward=kb.engine(workers=1)).increments[0]
    both, names = threading.Barrier(2, timeout=30), set()

    def forward(self, image, scale=1.0):
        if len(names) < 2:  # the first two views wait for each other
            names.add(threading.current_thread().name)
            both.wait()
        return kb.forward(image, scale)

    engine = type("Waiting", (), {"__call__": forward, "threads": 2, "batch_size": 1, "run": forward})()
    found = learn(kb, "rock", shots, forward=engine).increments[0]
    assert len(names) == 2 and torch.equal(found.weights, expected.weights)


def test_an_engine_runs_the_backbone_alone(kb, monkeypatch):
    """The decoder is not asked, and the probe is the same."""
    expected = learn(kb, "rock", [red_shot(0)], forward=kb.forward).increments[0]

    def decoded(*_):
        raise AssertionError("the decoder was run")

    monkeypatch.setattr(type(kb.network), "decode", decoded)
    for forward in (kb.engine(), CachedForward(kb.engine())):
        found = learn(kb, "rock", [red_shot(0)], forward=forward).increments[0]
        assert torch.equal(found.weights, expected.weights)


def test_it_is_fitted_on_the_grid_of_a_stage(kb):
    probe = learn(kb, "rock", [red_shot(0)], method=Probe(level=0)).increments[0]
    default = learn(kb, "rock", [red_shot(0)]).increments[0]
    assert (probe.level, default.level) == (0, kb.feature_space.level) and probe.level != default.level
    assert not torch.equal(probe.weights, default.weights)
    for level in (-1, 9):
        with pytest.raises(OwsegError, match=f"there is no stage {level}; the pyramid has the stages 0 to "):
            learn(kb, "rock", [red_shot(0)], method=Probe(level=level))
