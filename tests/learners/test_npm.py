"""DMLNet's novel prototypes (Eq. 11-12) and the radius that the shots give, against loops in float64."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from owseg.errors import OwsegError
from owseg.labels import UNKNOWN
from owseg.learners.learn import learn
from owseg.learners.npm import NPM, ShotOutput, novel_prototype, radius_left_out
from owseg.models.ops import resize
from owseg.openset import Threshold
from owseg.types import Output, Shot
from tests.support import tiny
from tests.support.outputs import metric_output


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


def oracle_mask(f, base, competitors, prototype, radius):
    """Eq. 12 pixel by pixel in float64."""
    mask = np.zeros(f.shape[1:], bool)
    for i in range(f.shape[1]):
        for j in range(f.shape[2]):
            d = ((f[:, i, j] - prototype) ** 2).sum()
            others = [((f[:, i, j] - m) ** 2).sum() for m in [*base, *competitors]]
            mask[i, j] = d < radius and all(d < o for o in others)
    return mask


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 5), st.integers(2, 6), st.integers(0, 2))
def test_equations_11_and_12(seed, shots, dim, competitors):
    rng = np.random.default_rng(seed)
    embeddings = [rng.normal(1, 1, (dim, 5, 7)).astype(np.float32) for _ in range(shots)]
    masks = [rng.random((5, 7)) < 0.5 for _ in range(shots)]
    for m in masks:
        m[2, 2] = True
    others = rng.normal(1, 1, (competitors, dim))
    increment = novel_prototype("x", [shown(e, m) for e, m in zip(embeddings, masks, strict=True)], 2.0, others)
    expected = oracle_prototype(embeddings, masks)
    assert np.allclose(increment.prototype, expected, rtol=1e-6)
    f = rng.normal(1, 1.5, (dim, 6, 8))
    base = 3 * np.eye(dim)
    logits = -((f[None] - base[:, :, None, None]) ** 2).sum(1)
    output = Output((), torch.tensor(f)[None], torch.tensor(logits)[None])
    predicted = increment.predict_mask(output, (6, 8))[0].numpy()
    assert (predicted == oracle_mask(f, base, others, np.array(increment.prototype), 2.0)).all()


def shown(embedding, mask, negatives=None):
    """A shot of which the network has the embedding (D, H, W), with prototypes 3 e_t."""
    output = metric_output(torch.as_tensor(embedding)[None])
    return ShotOutput(output, mask, ~mask if negatives is None else negatives)


def test_the_mean_is_that_of_the_interpolated_embedding():
    """Eq. 11 over the pixels of masks that are larger than the grid of the network."""
    rng = np.random.default_rng(0)
    embeddings = [torch.tensor(rng.normal(1, 1, (3, 5, 7))) for _ in range(2)]
    masks = [rng.random((17, 28)) < share for share in (0.1, 0.6)]
    full = [resize(e[None], (17, 28))[0].numpy() for e in embeddings]
    made = novel_prototype("x", [shown(e, m) for e, m in zip(embeddings, masks, strict=True)], 1.0)
    assert np.allclose(made.prototype, oracle_prototype(full, masks), rtol=1e-6)


def test_weighting_by_images_is_the_mean_of_the_means():
    a, b = np.zeros((2, 4, 4)), np.full((2, 4, 4), 3.0)
    few, many = np.zeros((4, 4), bool), np.ones((4, 4), bool)
    few[0, 0] = True
    assert novel_prototype("x", [shown(a, few), shown(b, many)], 1.0, weighting="images").prototype == (1.5, 1.5)
    assert novel_prototype("x", [shown(a, few), shown(b, many)], 1.0).prototype[0] == pytest.approx(3 * 16 / 17)


def oracle_radius(views, max_false):
    """Try every distance as the radius, pixel by pixel; return the one with the best IoU among those allowed."""
    rows, mask, negatives = [], 0, 0
    for i, held_out in enumerate(views):
        others = [v for j, v in enumerate(views) if j != i and v.positives.any()]
        prototype = oracle_prototype([v.output.embedding[0].numpy() for v in others], [v.positives for v in others])
        f, base = held_out.output.embedding[0].numpy(), 3 * np.eye(held_out.output.embedding.shape[1])
        for y, x in np.ndindex(held_out.positives.shape):
            d = ((f[:, y, x] - prototype) ** 2).sum()
            if d < min(((f[:, y, x] - m) ** 2).sum() for m in base):
                rows.append((d, held_out.positives[y, x], held_out.negatives[y, x]))
        mask, negatives = mask + held_out.positives.sum(), negatives + held_out.negatives.sum()
    best = (0.0, None)
    for radius in sorted(d for d, *_ in rows):  # of radii equally good the smallest, which predicts least
        hits = sum(m for d, m, _ in rows if d <= radius)
        false = sum(e for d, _, e in rows if d <= radius)
        if false <= max_false * negatives and hits / (mask + false) > best[0]:
            best = (hits / (mask + false), radius)
    return best[1]


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.02, 0.2, 1.0]), st.integers(0, 2))
def test_the_radius_is_the_best_one_for_the_shots_left_out(seed, max_false, counterexamples):
    rng = np.random.default_rng(seed)
    views = []
    for share in (*[0.4] * 3, *[0.0] * counterexamples):
        mask = rng.random((6, 7)) < share
        f = np.where(mask, rng.normal(1, 0.3, (3, 6, 7)), rng.normal(1, 1.2, (3, 6, 7))).astype(np.float32)
        views.append(shown(f, mask, ~mask & (rng.random((6, 7)) < 0.8)))
    expected = oracle_radius(views, max_false)
    if expected is None:
        with pytest.raises(OwsegError, match="no radius fits the shots"):
            radius_left_out(views, max_false=max_false)
    else:
        assert radius_left_out(views, max_false=max_false) == pytest.approx(expected, rel=1e-4)


def test_a_single_shot_is_cut_in_two():
    """Left half at 0, right half 0.5 away in one of two coordinates: all of it is predicted from d^2 = .25 on."""
    f = np.full((2, 4, 4), 1.0, np.float32)
    f[0, :, 2:] = 1.5
    mask = np.ones((4, 4), bool)
    assert novel_prototype("x", [shown(f, mask)]).radius == pytest.approx(0.25)


def test_beside_a_single_shot_counterexamples_are_left_out_of_both_halves():
    f = np.full((2, 4, 4), 1.0, np.float32)
    f[0, :, 2:] = 1.5
    mask, nothing = np.ones((4, 4), bool), np.zeros((4, 4), bool)
    near = np.full((2, 4, 4), 1.25, np.float32)
    near[1] = 1.3  # 0.09 from the mean of both halves
    far = novel_prototype("x", [shown(f, mask), shown(near + 3, nothing)])
    assert far.radius == pytest.approx(0.25) and far.prototype == (1.25, 1.0)
    with pytest.raises(OwsegError, match="no radius fits"):  # each cell of it would be let in first
        novel_prototype("x", [shown(f, mask), shown(near, nothing)])


def shot(seed=0):
    mask = np.zeros((48, 64), bool)
    mask[10:30, 10:40] = True
    return Shot(tiny.image(seed), mask, f"s{seed}")


def test_learning_leaves_the_old_value_and_the_network_alone():
    kb = tiny.knowledge_base()
    before = {k: v.clone() for k, v in kb.network.state_dict().items()}
    size = (48, 64)
    output = kb.forward(tiny.image(3))
    closed = kb.assess(output, size).labels
    updated = learn(kb, "rock", [shot(0), shot(1)], method=NPM(1e9))
    assert kb.labels.names == ("road", "sky", "tree") and kb.increments == ()
    assert updated.labels.names == ("road", "sky", "tree", "rock")
    assert all(torch.equal(v, before[k]) for k, v in kb.network.state_dict().items())
    after = updated.assess(updated.forward(tiny.image(3)), size)
    labels, learned = after.labels, after.learned
    assert learned.any()
    assert (labels[learned] == 3).all() and (labels[~learned] == closed[~learned]).all()
    assert updated.history[-1].details["shots"][0]["id"] == "s0"


def test_what_is_learned_is_unknown_no_more():
    updated = learn(tiny.knowledge_base(), "rock", [shot()], method=NPM(1e9))
    everything = Threshold(
        value=-1e9, method="quantile", target_fpr=1.0, achieved_fpr=1.0, images=1, pixels=1, unit=1.0
    )
    prediction = replace(updated, threshold=everything).predict(tiny.image(3))
    learned = prediction.labels == 3
    assert learned.any() and not learned.all()
    assert (prediction.open_set[learned] == 3).all()
    assert (prediction.open_set[~learned] == UNKNOWN).all()


def test_later_classes_are_compared_with_earlier_ones():
    first = learn(tiny.knowledge_base(), "rock", [shot(0)], method=NPM(1.0))
    second = learn(first, "cow", [shot(1)], method=NPM(1.0))
    assert second.increments[1].competitors == (first.increments[0].prototype,)
    assert second.increments[0].competitors == (second.increments[1].prototype,)
    assert first.increments[0].competitors == ()


def test_all_prototypes_are_compared_with_all():
    """Eq. 12 literally, old and novel ones alike; the order of learning plays no part."""
    kb = tiny.knowledge_base()
    for order in ([0, 1, 2], [2, 0, 1]):
        updated = kb
        for seed in order:
            updated = learn(updated, f"class {seed}", [shot(seed)], method=NPM(6.0))
        output = kb.forward(tiny.image(9))
        f = output.embedding[0].double().numpy()
        after = updated.assess(output, f.shape[1:])
        labels, learned = after.labels, after.learned
        own = np.array([((f - np.array(i.prototype)[:, None, None]) ** 2).sum(0) for i in updated.increments])
        base = np.array([((f - 3 * np.eye(3)[k][:, None, None]) ** 2).sum(0) for k in range(3)])
        nearest, name = own.min(0), own.argmin(0)
        expected = (nearest < 6.0) & (nearest < base.min(0))
        margin = np.minimum(np.abs(nearest - 6.0), np.abs(nearest - np.sort(np.concatenate([own, base]), 0)[1]))
        clear = margin > 1e-3
        assert expected[clear].any() and not expected[clear].all()
        assert (learned == expected)[clear].all()
        names = np.array([updated.increments[j].name for j in range(3)])
        assert (names[labels[learned & clear] - 3] == names[name[learned & clear]]).all()


def test_the_options_reach_the_increment():
    kb, shots = tiny.knowledge_base(), [shot(0), Shot(tiny.image(1), np.arange(48)[:, None] * np.ones(64) < 2, "thin")]
    by_pixels, by_images = (learn(kb, "rock", shots, method=NPM(2.5, w)).increments[0] for w in ("pixels", "images"))
    assert by_pixels.radius == by_images.radius == 2.5
    assert not np.allclose(by_pixels.prototype, by_images.prototype, atol=1e-3)
    with pytest.raises(OwsegError, match="by 'pixels' or 'images', not 'area'"):
        learn(kb, "rock", shots, method=NPM(2.5, "area"))
    with pytest.raises(OwsegError, match="positive squared distance, not 0"):
        learn(kb, "rock", shots, method=NPM(0.0))


def test_what_is_unknown_counts_as_no_false_positive():
    """Outside the mask the class may be there, too: only what is predicted as known is a negative."""
    kb = tiny.knowledge_base()
    threshold = Threshold(value=0.0, method="quantile", target_fpr=0.5, achieved_fpr=0.5, images=1, pixels=1, unit=1.0)
    radii = []
    for value in (-1e9, 1e9):  # everything is unknown, nothing is
        calibrated = replace(kb, threshold=replace(threshold, value=value))
        radii.append(learn(calibrated, "rock", [shot(0), shot(1)], method=NPM()).increments[0].radius)
    assert radii[0] > radii[1]
    assert radii[1] == learn(kb, "rock", [shot(0), shot(1)], method=NPM()).increments[0].radius
