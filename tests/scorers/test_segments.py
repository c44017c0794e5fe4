"""A score pooled over segments of the image."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from owseg.errors import OwsegError
from owseg.models.ops import resize
from owseg.scorers.contrast import contrasted
from owseg.scorers.segments import ROWS, Segments, boundaries, merged, pooled, segment_ids, segmentations
from owseg.types import Output
from tests.support import tiny
from tests.support.outputs import each


def a_score(shape=(12, 16), seed=0):
    return np.random.default_rng(seed).normal(3, 2, shape).astype(np.float32)


def some_maps(shape=(12, 16), count=3, seed=0):
    """Coarse blocks and arbitrary sets of pixels; a segment need not be connected for its mean."""
    rng = np.random.default_rng(seed)
    return [np.unique(rng.integers(0, 2 + 4 * i, shape), return_inverse=True)[1].reshape(shape) for i in range(count)]


def slowly(score, maps):
    """``pooled``, pixel by pixel in float64."""
    height, width = score.shape
    everything = [float(v) for row in score for v in row]
    middle = sum(everything) / len(everything)
    total = sum((v - middle) ** 2 for v in everything) / len(everything)
    out = np.zeros((height, width))
    for ids in maps:
        for segment in range(ids.max() + 1):
            places = [(y, x) for y in range(height) for x in range(width) if ids[y, x] == segment]
            mean = sum(float(score[p]) for p in places) / len(places)
            spread = sum((float(score[p]) - mean) ** 2 for p in places) / len(places)
            kept = {}
            for p in places:
                d = float(score[p]) - mean
                kept[p] = d * (spread + d * d) / (spread + d * d + total)
            middle_kept = sum(kept.values()) / len(kept)
            for p in places:
                out[p] += (mean + kept[p] - middle_kept) / len(maps)
    return out


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_it_is_what_loops_find(seed):
    score, maps = a_score(seed=seed), some_maps(seed=seed)
    np.testing.assert_allclose(pooled(score, maps), slowly(score, maps), rtol=1e-5, atol=1e-5)


def test_a_constant_score_stays():
    assert (pooled(np.full((5, 7), 0.1, np.float32), some_maps((5, 7))) == np.float32(0.1)).all()


def test_a_score_that_is_not_finite_stays_as_it_is():
    score = a_score()
    score[3, 4] = np.inf
    assert np.array_equal(pooled(score, some_maps()), score)


@given(st.integers(0, 1000), st.floats(0.1, 50), st.floats(-100, 100))
@settings(deadline=None, max_examples=25)
def test_it_follows_scale_and_shift_of_the_score(seed, scale, shift):
    score, maps = a_score(seed=seed), some_maps(seed=seed)
    expected = scale * pooled(score, maps).astype(np.float64) + shift
    np.testing.assert_allclose(pooled(scale * score + shift, maps), expected, atol=1e-3 * scale + 1e-4)


@given(st.integers(0, 1000))
@settings(deadline=None, max_examples=25)
def test_the_numbers_of_segments_mean_nothing_and_their_means_stay(seed):
    score, (ids,) = a_score(seed=seed), some_maps(count=1, seed=seed)
    found = pooled(score, [ids])
    order = np.random.default_rng(seed).permutation(ids.max() + 1)
    np.testing.assert_allclose(pooled(score, [order[ids]]), found, atol=1e-5)
    for segment in range(ids.max() + 1):
        inside = ids == segment
        assert found[inside].mean() == pytest.approx(score[inside].mean(), abs=1e-4)


def test_an_even_segment_becomes_flat_and_an_uneven_one_stays():
    """Left, noise about one value, right, two things in one segment."""
    score = np.concatenate([np.tile([0.0, 0.2], (8, 4)), np.repeat([[0.0, 6.0]], 8, 0).repeat(4, 1)], 1)
    found = pooled(score.astype(np.float32), [np.repeat([0, 1], 8)[None].repeat(8, 0)])
    assert np.ptp(found[:, :8]) < 0.02 < 0.2 == np.ptp(score[:, :8])
    assert np.ptp(found[:, 8:]) > 0.5 * 6


def test_a_small_thing_in_a_large_even_segment_is_not_swallowed():
    score = np.zeros((40, 40), np.float32)
    score[20:22, 20:22] = 8
    assert pooled(score, [np.zeros((40, 40), int)])[20, 20] > 0.9 * 8


def an_image(gap=None):
    """A dark square on grey, with a column of grey through it where there is a gap."""
    image = np.full((60, 80, 3), 150, np.uint8)
    image[15:45, 20:60] = (30, 40, 90)
    if gap is not None:
        image[:, gap] = 150
    noise = np.random.default_rng(0).integers(-3, 4, image.shape)
    return (image.astype(int) + noise).astype(np.uint8)


@pytest.mark.parametrize("gap", [None, 40])
def test_the_haze_around_a_thing_goes_also_where_a_gap_of_one_pixel_splits_it(gap):
    from scipy import ndimage

    image, thing = an_image(gap), np.zeros((60, 80), bool)
    thing[15:45, 20:60] = True
    hazy = ndimage.gaussian_filter(4.0 * thing, 6).astype(np.float32)
    found = pooled(hazy, segmentations(image))
    inside, haze = ndimage.binary_erosion(thing, iterations=2), ndimage.binary_dilation(thing, iterations=6) & ~thing
    if gap is not None:
        inside[:, gap - 1 : gap + 2] = False
    assert found[inside].min() > found[haze].mean() + 0.3
    assert (found[haze] - hazy[haze]).mean() < -0.3 and found[inside].min() > hazy[inside].min() + 0.2


def test_each_scale_is_made_of_segments_of_the_finest():
    rng = np.random.default_rng(3)
    image = np.kron(rng.integers(0, 256, (9, 12, 3)), np.ones((10, 10, 1))).astype(np.uint8)
    image = (image * 0.9 + rng.integers(0, 25, image.shape)).astype(np.uint8)
    finest, *others = segmentations(image, (10, 40, 160))
    counts = [m.max() + 1 for m in (finest, *others)]
    assert counts[0] > counts[1] >= counts[2] > 1
    for ids in others:
        assert all(len(np.unique(ids[finest == i])) == 1 for i in range(finest.max() + 1))
        assert np.bincount(ids.ravel()).min() >= 40 and set(np.unique(ids)) == set(range(ids.max() + 1))


def test_a_plain_image_is_one_segment_and_two_plain_halves_are_two():
    plain, halves = np.full((60, 80, 3), 90, np.uint8), np.full((60, 80, 3), 20, np.uint8)
    halves[:, 40:] = 230
    assert [m.max() for m in segmentations(plain)] == [0] * 5
    ids = segmentations(halves)[-1]
    assert ids.max() == 1 and (ids[:, :38] == ids[0, 0]).all() and (ids[:, 42:] == ids[0, -1]).all()


def test_boundaries_are_what_loops_find():
    rng = np.random.default_rng(0)
    ids, image = np.kron(np.arange(6).reshape(2, 3), np.ones((3, 4), int)), rng.random((6, 12, 3))
    least = {}
    for y in range(6):
        for x in range(12):
            for v, u in ((y, x + 1), (y + 1, x)):
                if v < 6 and u < 12 and ids[y, x] != ids[v, u]:
                    pair = tuple(sorted((int(ids[y, x]), int(ids[v, u]))))
                    d = sum((image[y, x, c] - image[v, u, c]) ** 2 for c in range(3)) ** 0.5
                    least[pair] = min(d, least.get(pair, d))
    pairs, found = boundaries(ids, image)
    assert {tuple(p): d for p, d in zip(pairs.tolist(), found, strict=True)} == pytest.approx(least)


@pytest.mark.parametrize("seed", range(5))
def test_merging_is_what_sets_find(seed):
    """Felzenszwalb and Huttenlocher's rule with sets in place of a forest."""
    rng = np.random.default_rng(seed)
    n, k, least = 14, 0.6, 5
    pairs = np.array([(a, b) for a in range(n) for b in range(a + 1, n) if rng.random() < 0.4])
    differences, areas = rng.random(len(pairs)), rng.integers(1, 9, n)
    groups, inside = [{i} for i in range(n)], [0.0] * n
    edges = sorted(zip(differences, pairs.tolist(), strict=True))
    size = lambda group: sum(areas[i] for i in group)  # noqa: E731
    for enforced in (False, True):
        for difference, (a, b) in edges:
            i, j = (next(q for q, g in enumerate(groups) if p in g) for p in (a, b))
            limit = min(inside[i] + k / size(groups[i]), inside[j] + k / size(groups[j]))
            small = min(size(groups[i]), size(groups[j])) < least
            if i != j and (small if enforced else difference <= limit):
                groups[i] |= groups[j]
                inside[i] = difference
                del groups[j], inside[j]
    found = merged(pairs, differences, areas, k, least)
    assert {frozenset(np.flatnonzero(found == i)) for i in range(found.max() + 1)} == {frozenset(g) for g in groups}
    assert len(groups) > 1


# ---- as a scorer


def an_output(images=2, size=(120, 160)):
    rng = np.random.default_rng(0)
    image = torch.from_numpy(rng.integers(0, 256, (images, 3, *size), np.uint8))
    maps = torch.from_numpy(rng.normal(size=(images, 3, 12, 16)).astype(np.float32))
    return Output((), maps, maps, image=image)


def the_mean(output):
    return output.logits.mean(1)


def test_a_batch_is_its_images_alone():
    output = an_output()
    found = Segments(the_mean)(output)
    alone = [Segments(the_mean)(one) for one in each(output)]
    assert found.shape == (2, ROWS, 360) and torch.equal(found, torch.cat(alone))
    assert not torch.equal(alone[0], alone[1])


def test_the_score_is_pooled_over_the_segments_of_that_image():
    output = an_output(1, (ROWS, 360))  # of the size at which segments are found: nothing is resized
    score = resize(the_mean(output)[:, None], (ROWS, 360))[0, 0].numpy()
    expected = pooled(score, segmentations(output.image[0].permute(1, 2, 0).numpy()))
    expected = contrasted(torch.from_numpy(expected)[None])[0].numpy()
    assert np.array_equal(Segments(the_mean)(output)[0].numpy(), expected)


def test_an_output_without_its_image_is_refused():
    with pytest.raises(OwsegError, match="needs the image"):
        Segments(the_mean)(Output((), *[torch.zeros(1, 2, 3, 4)] * 2))


@pytest.mark.parametrize("how", [{}, {"tile": True}, {"full_resolution": True}, {"sides": (48, 64)}, {"size": 64}])
def test_a_knowledge_base_pools_any_of_its_scores(how):
    kb, image = tiny.knowledge_base(), tiny.dataset(1)[0].image
    output = kb.forward(image, **how)
    assert torch.equal(output.image, torch.from_numpy(image)[None])
    for name in ("max_logit", "energy"):
        found = kb.assess(output, (48, 64), (f"{name}@segments",)).scores[f"{name}@segments"]
        expected = resize(Segments(kb.scorers[name])(output)[:, None], (48, 64))[0, 0].numpy()
        assert np.array_equal(found, expected)


def test_segments_of_an_image_are_those_that_scores_are_pooled_over():
    image = tiny.image(0, (54, 72))
    ids, seen = segment_ids(image), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("owseg.scorers.segments.pooled", lambda score, maps: seen.extend(maps) or score)
        maps = torch.zeros(1, 2, 3, 4)
        Segments(lambda output: maps[:, 0])(Output((), maps, maps, image=torch.from_numpy(image)[None]))
    assert len(ids) == ROWS and np.array_equal(ids, seen[2]) and not np.array_equal(ids, seen[1])
