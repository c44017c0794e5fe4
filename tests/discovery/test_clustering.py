from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.cluster import AgglomerativeClustering
from sklearn.metrics import adjusted_rand_score

from owseg.discovery import clustering
from owseg.discovery.clustering import cluster, find_duplicates, principal, priority, rank, sort_by_typicality
from owseg.errors import OwsegError


def gaussians(groups=5, each=12, dimensions=60, noise=0.25, seed=0):
    """Points around orthogonal directions, in random order and of random length, and their groups."""
    rng = np.random.default_rng(seed)
    expected = rng.permutation(np.repeat(np.arange(groups), each))
    directions = np.linalg.qr(rng.normal(size=(dimensions, groups)))[0].T
    points = directions[expected] + noise * rng.normal(size=(len(expected), dimensions)) / np.sqrt(dimensions)
    return (points * rng.uniform(1, 20, (len(expected), 1))).astype(np.float32), expected


@pytest.mark.parametrize("groups, each", [(1, 10), (2, 30), (5, 12), (9, 4), (20, 1)])
def test_gaussians_are_found_and_counted(groups, each):
    points, expected = gaussians(groups, each)
    for z in (points, principal(points, 32)):
        assert adjusted_rand_score(expected, cluster(z)) == 1


@pytest.mark.parametrize("max_pairwise", [8, 17, 59])
def test_few_pairs_at_once_find_the_same(max_pairwise):
    points, expected = gaussians()
    assert adjusted_rand_score(expected, cluster(points, max_pairwise=max_pairwise)) == 1
    assert np.array_equal(cluster(points, max_pairwise=60), cluster(points))


def test_no_more_than_max_pairwise_are_compared_pair_by_pair(monkeypatch):
    sizes, whole = [], clustering._average_linkage

    def recording(units, min_cosine):
        sizes.append(len(units))
        return whole(units, min_cosine)

    monkeypatch.setattr(clustering, "_average_linkage", recording)
    cluster(gaussians()[0], max_pairwise=17)
    assert max(sizes) == 17


def average_linkage(z, min_cosine):
    """Merge the two groups of the highest mean cosine as long as that is at least ``min_cosine``, in loops."""
    units = z.astype(np.float64) / np.linalg.norm(z, axis=1, keepdims=True)
    parts = [[i] for i in range(len(z))]
    while len(parts) > 1:
        pairs = [(a, b) for a in range(len(parts)) for b in range(a)]
        means = [np.mean([units[i] @ units[j] for i in parts[a] for j in parts[b]]) for a, b in pairs]
        if max(means) < min_cosine:
            break
        a, b = pairs[int(np.argmax(means))]
        parts[b] += parts.pop(a)
    ids = np.zeros(len(z), int)
    for g, part in enumerate(parts):
        ids[part] = g
    return ids


@pytest.mark.parametrize("min_cosine", [-0.1, 0.1, 0.3, 0.7])
def test_groups_are_average_linkage(min_cosine):
    z = np.random.default_rng(1).normal(size=(25, 4))
    found = cluster(z, min_cosine)
    assert adjusted_rand_score(average_linkage(z, min_cosine), found) == 1
    apart = AgglomerativeClustering(None, metric="cosine", linkage="average", distance_threshold=1 - min_cosine)
    assert adjusted_rand_score(apart.fit_predict(z), found) == 1
    assert list(dict.fromkeys(found)) == list(range(found.max() + 1))  # numbered as they come


def test_groups_depend_on_directions_only_and_not_on_the_order():
    points, _ = gaussians(seed=3)
    z = points + 0.4 * np.random.default_rng(0).normal(size=points.shape).astype(np.float32)
    found = cluster(z)
    assert np.array_equal(found, cluster(z)) and np.array_equal(found, cluster(7 * z))
    order = np.random.default_rng(1).permutation(len(z))
    assert adjusted_rand_score(found[order], cluster(z[order])) == 1
    turn = np.linalg.qr(np.random.default_rng(2).normal(size=(60, 60)))[0]
    assert adjusted_rand_score(found, cluster(z @ turn)) == 1


def test_few_regions_are_fine():
    assert cluster(np.zeros((0, 3))).tolist() == [] and cluster(np.ones((1, 3))).tolist() == [0]
    assert cluster(np.zeros((2, 3))).tolist() == [0, 1]  # a zero vector is like nothing
    assert rank(np.zeros(0, int), np.zeros(0), np.zeros((0, 3))) == []
    with pytest.raises(OwsegError, match="not finite"):
        cluster(np.array([[np.nan, 1]]))


@given(hnp.arrays(np.float64, st.tuples(st.integers(1, 12), st.integers(1, 20)), elements=st.floats(-9, 9, width=32)))
@settings(max_examples=60, deadline=None)
def test_principal_keeps_what_is_longest(z):
    low = principal(z, 5).astype(np.float64)
    assert low.shape == (len(z), min(5, z.shape[1]))
    kept = np.sort(np.linalg.svd(z, compute_uv=False))[::-1][:5]
    assert (low**2).sum() == pytest.approx((kept**2).sum(), rel=1e-4, abs=1e-4)
    assert principal(z, 20) @ principal(z, 20).T == pytest.approx(z @ z.T, rel=1e-3, abs=1e-2)  # nothing else is lost


def test_frames_of_a_video_repeat_themselves():
    rng = np.random.default_rng(0)
    car, dog = rng.normal(size=(2, 30))
    frames = np.array([0, 1, 2, 2, 3, 5])
    embeddings = np.stack([car, 2 * car, car, dog, car, car]) + 0.05 * rng.normal(size=(6, 30))
    boxes = np.array([[0.10, 0.1, 0.2, 0.2], [0.12, 0.1, 0.2, 0.2], [0.14, 0.1, 0.2, 0.2],
                      [0.14, 0.1, 0.2, 0.2], [0.60, 0.1, 0.2, 0.2], [0.14, 0.1, 0.2, 0.2]])  # fmt: skip
    # 4 is at another place, 3 is another object, 5 comes after a gap.
    assert find_duplicates(frames, boxes, embeddings, np.array([1.0, 3, 2, 1, 1, 1])).tolist() == [1, 1, 1, 3, 4, 5]
    assert find_duplicates(frames, boxes, embeddings, np.ones(6)).tolist() == [0, 0, 0, 3, 4, 5]
    order = rng.permutation(6)
    values = np.array([1.0, 3, 2, 1, 1, 1])
    again = find_duplicates(frames[order], boxes[order], embeddings[order], values[order])
    assert order[again].tolist() == np.array([1, 1, 1, 3, 4, 5])[order].tolist()
    assert find_duplicates(np.zeros(0), np.zeros((0, 4)), np.zeros((0, 3)), np.zeros(0)).tolist() == []


def test_duplicates_are_as_alike_as_was_asked():
    embeddings, boxes = np.array([[1.0, 0], [4.0, 3]]), np.array([[0, 0, 0.2, 0.2], [0.1, 0, 0.2, 0.2]])
    found = partial(find_duplicates, np.array([0, 1]), boxes, embeddings, np.ones(2))  # cosine 0.8, IoU 1/3
    assert found().tolist() == found(0.79, 0.3).tolist() == found(0.8, 0.33).tolist() == [0, 0]
    assert found(0.81, 0.3).tolist() == found(0.8, 0.34).tolist() == [0, 1]


def test_regions_of_one_frame_are_never_duplicates():
    same = np.ones((3, 4))
    assert find_duplicates(np.zeros(3), np.tile([0, 0, 1, 1], (3, 1)), same, np.ones(3)).tolist() == [0, 1, 2]


def test_priority_is_area_times_score_times_novelty():
    assert priority([0.1], [2.0], [3.0]).tolist() == pytest.approx([0.6])
    assert priority([0.1, 0.1], [-1.0, 0.0], [-1.0, 9.0]).tolist() == [0, 0]


def test_the_highest_priority_comes_first_unless_it_is_like_what_came_before():
    east, northeast, north = np.array([1.0, 0]), np.array([1.0, 1]), np.array([0.0, 1])
    groups, z = np.array([0, 0, 1, 2]), np.stack([east, east, east + 0.1 * north, north])
    # The second has a higher priority than the third, but is like the first.
    assert rank(groups, np.array([3.0, 3, 5, 2]), z) == [0, 2, 1]
    assert rank(groups, np.array([3.0, 3, 5, 2]), np.stack([east, east, north, -north])) == [0, 1, 2]
    assert rank(np.array([0, 1, 2]), np.ones(3), np.stack([east, northeast, north])) == [0, 2, 1]
    assert rank(np.array([0, 1]), np.ones(2), np.stack([east, -east])) == [0, 1]  # ties keep their order


@given(st.integers(1, 8), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_each_group_is_ranked_once_the_highest_priority_first(count, seed):
    rng = np.random.default_rng(seed)
    groups = rng.permutation(np.r_[np.arange(count), rng.integers(0, count, 10)])
    values, z = rng.uniform(size=len(groups)), rng.normal(size=(len(groups), 3))
    order = rank(groups, values, z)
    assert sorted(order) == list(range(count))
    assert order[0] == np.bincount(groups, values).argmax()


def test_the_most_typical_comes_first():
    z = np.array([[0.0, 9.0], [1, 0.1], [1, 0.6], [5, 1.0], [1, 0]])
    assert sort_by_typicality([1, 2, 3, 4], z) == [3, 1, 4, 2]
