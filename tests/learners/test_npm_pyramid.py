"""NPM in the whitened pyramid: nearest mean and margin, against distances in float64."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from owseg.data.datasets import open_dataset
from owseg.errors import OwsegError
from owseg.increments.probe import LinearProbe, compete
from owseg.knowledge.calibration import fit_scorers
from owseg.knowledge.load import load
from owseg.labels import UNKNOWN
from owseg.learners._pyramid_prototype import pyramid_prototype, shot_cells
from owseg.learners.learn import learn
from owseg.learners.npm import NPM
from owseg.learners.probe import Probe
from owseg.scorers.mahalanobis import RelativeMahalanobis
from owseg.types import Output, Shot
from tests.support import tiny
from tests.support.shots import SIZE, overlap

GRID, CHANNELS = (12, 16), 6
CENTRES = np.random.default_rng(0).normal(0, 2, (4, CHANNELS))  # three known classes and a new one


def clusters(seed):
    """The output for an image whose cells lie about the centres of their classes, and these classes."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, 4, GRID)
    features = CENTRES[ids] + rng.normal(0, 1, (*GRID, CHANNELS)) @ np.diag([1, 2, 0.5, 1, 1, 3])
    return Output((torch.tensor(features).movedim(-1, 0)[None].float(),), torch.empty(0), torch.empty(0)), ids


@pytest.fixture(scope="module")
def space():
    found = RelativeMahalanobis(CHANNELS, 3, level=0)
    return found.fit([(output, torch.tensor(ids)[None]) for output, ids in map(clusters, range(4))])


def shown(space, seed):
    output, ids = clusters(seed)
    left = np.arange(GRID[1]) < 2  # void
    return shot_cells(space.whitened(output)[0], (ids == 3) & ~left, (ids != 3) & ~left)


def squared(z, m):
    return np.array([((row - m) ** 2).sum() for row in z])


def decided(space, z, m, margin):
    """Where |z - m|^2 < |z|^2 - t, and nearer to m than to every known mean."""
    known = np.min([squared(z, mu.double().numpy()) for mu in space.means], 0)
    own = squared(z, m)
    return (own < known) & (own < (z**2).sum(1) - margin)


def mean_of(shots, weighting):
    parts = [s.cells.double().numpy()[s.positive.numpy()] for s in shots]
    return np.concatenate(parts).mean(0) if weighting == "pixels" else np.mean([p.mean(0) for p in parts], 0)


@pytest.mark.parametrize("weighting", ["pixels", "images"])
@pytest.mark.parametrize("most", [0.01, 0.1, 1.0])
@pytest.mark.parametrize("count", [1, 3])
def test_it_is_the_nearest_mean_and_the_margin_of_the_shots(space, weighting, most, count):
    """Mean, margin and prediction, written out with distances; the evidence is linear and folded into the weights."""
    shots = [shown(space, 10 + i) for i in range(count)]
    made = pyramid_prototype("rock", shots, space, weighting, most)
    scored = []
    for i, shot in enumerate(shots):
        z, m = shot.cells.double().numpy(), mean_of([s for j, s in enumerate(shots) if j != i] or shots, weighting)
        masks = shot.positive.numpy(), shot.negative.numpy()
        scored.append((decided(space, z, m, 0.0), (z**2).sum(1) - squared(z, m), *masks))
    positives, negatives = sum(s[2].sum() for s in scored), sum(s[3].sum() for s in scored)
    best, margin = 0.0, None
    for t in sorted(float(v) for ok, values, *_ in scored for v in values[ok]):
        hits = sum((ok & (values >= t) & inside).sum() for ok, values, inside, _ in scored)
        false = sum((ok & (values >= t) & outside).sum() for ok, values, _, outside in scored)
        if false <= most * negatives and hits / (positives + false) >= best:
            best, margin = hits / (positives + false), t
    assert best > 0.2 and float(made.biases[1]) == pytest.approx(margin, rel=1e-4)
    output, _ = clusters(20)
    z = space.whitened(output)[0].flatten(1).T.double().numpy()
    expected = decided(space, z, mean_of(shots, weighting), margin)
    found = made.predict_mask(output, GRID)[0].numpy().ravel()
    assert expected.any() and not expected.all() and (found == expected).all()


def test_a_class_without_a_cell_is_no_competitor(space):
    """Its mean is zero, which is the common mean."""
    missing = RelativeMahalanobis(CHANNELS, 4, level=0)
    missing.fit([(output, torch.where(torch.tensor(ids) == 3, 255, torch.tensor(ids))[None])
                 for output, ids in map(clusters, range(4))])  # fmt: skip
    shots = [shown(space, 10), shown(space, 11)]
    made, expected = (pyramid_prototype("rock", shots, s, "pixels", 0.1) for s in (missing, space))
    assert torch.allclose(made.weights, expected.weights, rtol=1e-4) and len(made.weights) == 5


def test_classes_learned_so_compete_and_probes_do_not_compete_with_them(space):
    """Evidence and logits have other units."""
    rock, cow = (pyramid_prototype(n, [shown(space, s)], space, "pixels", 0.1) for n, s in (("rock", 10), ("cow", 11)))
    box = LinearProbe("box", torch.ones(1, CHANNELS), torch.ones(1), 0)
    increments = compete(compete((rock,), box), cow)
    assert [len(i.weights) for i in increments] == [6, 1, 6]
    assert torch.equal(increments[0].weights[-1], cow.weights[0])
    assert torch.equal(increments[2].weights[-1], rock.weights[0]) and increments[1] is box


@pytest.fixture(scope="module")
def kb():
    """A linear network, and whitened features that know three colours."""
    return fit_scorers(tiny.knowledge_base(classifier="linear"), tiny.dataset(size=SIZE))


def shot(i):
    """An image of coloured blocks, in which the last colour is new."""
    sample = tiny.dataset(classes=4, size=SIZE, unknown=True)[i]
    return Shot(sample.image, sample.target == UNKNOWN, sample.id)


def test_it_is_stored_with_its_method(kb, tmp_path):
    learned = learn(kb, "rock", [shot(0)], method=NPM())
    learned.save(tmp_path / "kb")
    stored = load(tmp_path / "kb").increments[0]
    assert stored.method == "npm" and torch.equal(stored.weights, learned.increments[0].weights)
    probe = learn(kb, "rock", [shot(0)], method=Probe())
    assert "method" not in probe.increments[0].to_json()  # as before there were two


def test_the_space_is_chosen_by_the_classifier(kb):
    metric = fit_scorers(tiny.knowledge_base(), tiny.dataset(size=SIZE))
    by = {space: learn(metric, "rock", [shot(0)], method=NPM(space=space)) for space in ("auto", "pyramid")}
    kinds = {space: learned.increments[0].to_json()["kind"] for space, learned in by.items()}
    assert kinds == {"auto": "novel_prototype", "pyramid": "probe"}
    assert learn(kb, "rock", [shot(0)], method=NPM()).increments[0].method == "npm"


def test_it_finds_its_class_in_another_image():
    """With the features of a real backbone."""
    scenes = load("synthetic")
    frames = open_dataset("synthetic", "shots", scenes.labels)
    raw = frames.source.classes.names.index("mattress")
    shots = []
    for i in range(len(frames)):
        image, ids = frames.source.read(i)
        if (ids == raw).sum() > 800:
            shots.append(Shot(image, ids == raw, str(i)))
    *few, other = shots[:6]
    learned = learn(scenes, "mattress", few, method=NPM(space="pyramid"))
    found = learned.increments[0].predict_mask(scenes.forward(other.image), other.size)[0].numpy()
    assert overlap(found, other) > 0.3


def test_what_cannot_be_learned_ends_in_one_sentence(kb, space):
    for method, why in (
        (NPM(space="embedding"), "has no prototypes"),
        (NPM(space="logits"), "'auto', 'embedding' or 'pyramid', not 'logits'"),
        (NPM(radius=1.0), "a radius is of the embedding"),
        (NPM(weighting="area"), "by 'pixels' or 'images', not 'area'"),
    ):
        with pytest.raises(OwsegError, match=why):
            learn(kb, "rock", [shot(0)], method=method)
    with pytest.raises(OwsegError, match="NPM in the pyramid needs the feature scorers"):
        learn(replace(kb, fitted={}, scorer="max_logit", threshold=None), "rock", [shot(0)], method=NPM())
    speck = np.zeros(SIZE, bool)
    speck[0, 0] = True
    with pytest.raises(OwsegError, match="half of no cell"):
        learn(kb, "rock", [shot(0), Shot(shot(5).image, speck, "speck")], method=NPM())
    one, other = shown(space, 10), shown(space, 11)
    with pytest.raises(OwsegError, match="too different, or too much like a known class"):
        pyramid_prototype("rock", [one, replace(other, cells=-other.cells)], space, "pixels", 0.0)
