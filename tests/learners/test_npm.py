import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from owseg.errors import OwsegError
from owseg.labels import UNKNOWN
from owseg.learners import Shot, learn
from owseg.learners.npm import NovelPrototype, novel_prototype
from owseg.types import Output
from tests import tiny


def oracle_prototype(embeddings, masks):
    """Eq. 11 pixel by pixel in float64; embeddings (D, H, W), masks (H, W)."""
    total, count = np.zeros(embeddings[0].shape[0]), 0
    for f, y in zip(embeddings, masks, strict=True):
        for i in range(y.shape[0]):
            for j in range(y.shape[1]):
                if y[i, j]:
                    total += f[:, i, j].astype(np.float64)
                    count += 1
    return total / count


def oracle_claim(f, base, rivals, prototype, radius):
    """Eq. 12 pixel by pixel in float64."""
    claim = np.zeros(f.shape[1:], bool)
    for i in range(f.shape[1]):
        for j in range(f.shape[2]):
            d = ((f[:, i, j] - prototype) ** 2).sum()
            others = [((f[:, i, j] - m) ** 2).sum() for m in [*base, *rivals]]
            claim[i, j] = d < radius and all(d < o for o in others)
    return claim


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 5), st.integers(2, 6), st.integers(0, 2))
def test_equations_11_and_12(seed, shots, dim, rivals):
    rng = np.random.default_rng(seed)
    embeddings = [rng.normal(1, 1, (dim, 5, 7)).astype(np.float32) for _ in range(shots)]
    masks = [rng.random((5, 7)) < 0.5 for _ in range(shots)]
    for m in masks:
        m[2, 2] = True
    others = rng.normal(1, 1, (rivals, dim))
    increment = novel_prototype("x", [torch.tensor(e)[None] for e in embeddings], masks, radius=2.0, rivals=others)
    expected = oracle_prototype(embeddings, masks)
    assert np.allclose(increment.prototype, expected, rtol=1e-6)
    f = rng.normal(1, 1.5, (dim, 6, 8))
    base = 3 * np.eye(dim)
    logits = -((f[None] - base[:, :, None, None]) ** 2).sum(1)
    output = Output((), torch.tensor(f)[None], torch.tensor(logits)[None])
    claim = increment.claim(output, (6, 8))[0].numpy()
    assert (claim == oracle_claim(f, base, others, np.array(increment.prototype), 2.0)).all()


def test_weighting_by_images_is_the_mean_of_the_means():
    a, b = torch.zeros(1, 2, 4, 4), torch.full((1, 2, 4, 4), 3.0)
    few, many = np.zeros((4, 4), bool), np.ones((4, 4), bool)
    few[0, 0] = True
    assert novel_prototype("x", [a, b], [few, many], 1.0, weighting="images").prototype == (1.5, 1.5)
    assert novel_prototype("x", [a, b], [few, many], 1.0).prototype[0] == pytest.approx(3 * 16 / 17)


def test_the_radius_comes_from_the_shots_left_out():
    """Two tight clusters 2 apart: a pixel left out lies 2 away from the other shot's mean, so d^2 is 4."""
    a, b = torch.zeros(1, 1, 4, 4), torch.full((1, 1, 4, 4), 2.0)
    mask = np.ones((4, 4), bool)
    assert novel_prototype("x", [a, b], [mask, mask]).radius == pytest.approx(4.0)
    halves = torch.zeros(1, 1, 4, 4)
    halves[..., 2:] = 1.0
    assert novel_prototype("x", [halves], [mask]).radius == pytest.approx(1.0)


def test_increments_survive_json_to_the_bit():
    made = NovelPrototype("x", tuple(torch.rand(4).tolist()), 0.1, (tuple(torch.rand(4).tolist()),))
    import json

    assert NovelPrototype.from_json(json.loads(json.dumps(made.to_json()))) == made


def shot(seed=0):
    mask = np.zeros((48, 64), bool)
    mask[10:30, 10:40] = True
    return Shot(tiny.picture(seed), mask, f"s{seed}")


def test_learning_leaves_the_old_value_and_the_network_alone():
    kb = tiny.knowledge_base()
    before = {k: v.clone() for k, v in kb.network.state_dict().items()}
    size = (48, 64)
    output = kb.forward(tiny.picture(3))
    closed = kb.closed(output, size)[0]
    wiser = learn(kb, "rock", [shot(0), shot(1)], radius=1e9)
    assert kb.labels.names == ("road", "sky", "tree") and kb.increments == ()
    assert wiser.labels.names == ("road", "sky", "tree", "rock")
    assert all(torch.equal(v, before[k]) for k, v in kb.network.state_dict().items())
    labels, claimed = wiser.closed(wiser.forward(tiny.picture(3)), size)
    assert claimed.any()
    assert (labels[claimed] == 3).all() and (labels[~claimed] == closed[~claimed]).all()
    assert wiser.history[-1].details["shots"][0]["id"] == "s0"


def test_what_is_learned_is_unknown_no_more():
    from owseg.openset import Threshold

    from dataclasses import replace

    wiser = learn(tiny.knowledge_base(), "rock", [shot()], radius=1e9)
    everything = Threshold(value=-1e9, method="quantile", target_fpr=1.0, achieved_fpr=1.0, images=1, pixels=1, unit=1.0)
    prediction = replace(wiser, threshold=everything).predict(tiny.picture(3))
    claimed = prediction.labels == 3
    assert claimed.any() and not claimed.all()
    assert (prediction.open_set[claimed] == 3).all()
    assert (prediction.open_set[~claimed] == UNKNOWN).all()


def test_later_classes_are_compared_with_earlier_ones():
    first = learn(tiny.knowledge_base(), "rock", [shot(0)])
    second = learn(first, "cow", [shot(1)])
    assert second.increments[1].rivals == (first.increments[0].prototype,)
    assert second.increments[0] == first.increments[0]


@pytest.mark.parametrize(
    ("name", "shots", "message"),
    [
        ("sky", [shot()], "known already"),
        ("rock", [], "1 to 5 shots"),
        ("rock", [shot(i) for i in range(6)], "1 to 5 shots"),
        ("rock", [Shot(tiny.picture(), np.ones((4, 4), bool), "s")], "of one size"),
        ("rock", [Shot(tiny.picture(), np.zeros((48, 64), bool), "s")], "marks no pixel"),
    ],
)
def test_bad_shots_end_in_one_sentence(name, shots, message):
    with pytest.raises(OwsegError, match=message):
        learn(tiny.knowledge_base(), name, shots)


def test_a_linear_network_has_no_prototypes():
    with pytest.raises(OwsegError, match="prototype"):
        learn(tiny.knowledge_base(classifier="linear"), "rock", [shot()])
