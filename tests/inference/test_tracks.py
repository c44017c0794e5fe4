"""Tracks: against slow oracles, and as a person would expect of things that move, vanish and come back."""

from dataclasses import replace

import numpy as np
import pytest

from owseg.data.masks import Rle
from owseg.errors import OwsegError
from owseg.inference.tracks import (
    Detection,
    TrackOptions,
    Tracks,
    affinities,
    associate,
    detection_of,
    limit_of,
    lowered,
    shifted,
)
from owseg.openset import RegionThreshold, Threshold
from tests.reference import tracks as reference

SIZE = (60, 200)
THRESHOLD = Threshold(2.0, "quantile", 0.05, 0.05, 0.5, 10, 1000)


def thing(x, y=20, side=10, score=2.0, kind=0, width=None):
    """A region whose features are those of one of three kinds of things."""
    width = side if width is None else width
    mask = np.zeros(SIZE, bool)
    mask[y : y + side, max(x, 0) : x + width] = True
    return Detection((x, y, width, side), Rle.of(mask), score, np.eye(3)[kind])


def after(frames, options=None, rate=10.0):
    """The tracks after each of ``frames``, lists of regions."""
    tracks, found = Tracks(options=options or TrackOptions()), []
    for i, regions in enumerate(frames):
        tracks = tracks.after(regions, i / rate)
        found.append(tracks)
    return found


@pytest.mark.parametrize("seed", range(20))
def test_the_assignment_is_the_best_of_all(seed):
    """Crowded, so that the nearest region of one track is the nearest of another, too."""
    rng = np.random.default_rng(seed)
    options = TrackOptions(overlap=0.1)

    def drawn():
        return [thing(int(x), side=int(s), kind=int(k)) for x, s, k in
                zip(rng.integers(0, 40, 5), rng.integers(8, 30, 5), rng.integers(0, 3, 5), strict=True)]  # fmt: skip

    (tracks,), regions = after([drawn()], options), drawn()[: rng.integers(0, 6)]
    fits = affinities(tracks.alive, regions, 0.1, options)
    pairs = associate(tracks.alive, regions, 0.1, options)
    assert len({i for i, _ in pairs}) == len({j for _, j in pairs}) == len(pairs)
    assert sum(fits[pair] for pair in pairs) == pytest.approx(reference.best_sum(fits))
    assert all(fits[pair] > 0 for pair in pairs)


def test_what_fits_is_overlap_plus_likeness():
    options = TrackOptions(overlap=0.25)
    (tracks,) = after([[thing(0), thing(100)]], options)
    regions = [thing(5, kind=0), thing(5, kind=1), thing(7, kind=1), thing(9, kind=0), thing(120, kind=0)]
    # 5 of 10 columns are shared, of 15 in all; 3 of 17 are too few, unless features are alike and the centre is near.
    np.testing.assert_allclose(
        affinities(tracks.alive, regions, 0.0, options), [[5 / 15 + 1, 5 / 15, 0, 1 / 19 + 1, 0], [0, 0, 0, 0, 0]]
    )


def test_the_score_of_a_track_is_an_exponential_mean():
    scores = [2.0, 0.9, None, 3.0, 1.2, None]
    frames = [[thing(10 + i, score=s)] if s else [] for i, s in enumerate(scores)]
    for alpha in (0.3, 0.5, 1.0):
        tracks = after(frames, TrackOptions(smoothing=alpha))
        for i, now in enumerate(tracks):
            expected = reference.smoothed([s or 0.0 for s in scores[: i + 1]], alpha)
            assert now.alive[0].score == pytest.approx(expected) and now.alive[0].id == 1
    embedding = after([[thing(10)], [thing(10, kind=1)]], TrackOptions(smoothing=0.25))[-1].alive[0].embedding
    np.testing.assert_allclose(embedding, [0.75, 0.25, 0])


@pytest.mark.parametrize("lasts", [1, 2, 4])
def test_an_alarm_begins_when_a_thing_has_lasted(lasts):
    found = after([[thing(10 + i)] for i in range(6)], TrackOptions(lasts=lasts))
    assert [len(now.alarms) for now in found] == [0] * (lasts - 1) + [1] * (7 - lasts)
    flashes = [[thing(30 * (i % 4), y=5 + 20 * (i % 2), kind=i % 3)] for i in range(6)]
    assert lasts == 1 or not any(now.alarms for now in after(flashes, TrackOptions(lasts=lasts)))


def test_a_thing_that_is_missed_for_a_frame_has_lasted_no_less():
    found = after([[thing(10)], [], [thing(12)], [thing(13)]])
    assert [len(now.alarms) for now in found] == [0, 0, 0, 1] and found[-1].count == 1


def test_what_is_weak_is_no_alarm_and_an_alarm_ends_later_than_it_begins():
    options = TrackOptions(smoothing=1.0, weak=0.5)
    assert not any(now.alarms for now in after([[thing(10, score=0.9)]] * 6, options))
    scores = (2, 2, 2, 0.9, 0.6, 0.4, 0.9, 1.1)
    found = after([[thing(10, score=s)] for s in scores], options)
    assert [bool(now.alarms) for now in found] == [False, False, True, True, True, False, False, True]


def test_without_a_limit_whatever_lasts_is_an_alarm():
    tracks = Tracks()
    for i in range(3):
        tracks = tracks.after([thing(10, score=0.01)], i / 10, limit=0.0)
    assert len(tracks.alarms) == 1


@pytest.mark.parametrize("patience", [0, 2])
def test_a_track_lives_on_for_a_while_and_its_number_is_never_used_again(patience):
    options = TrackOptions(patience=patience)
    found = after([[thing(10)], *[[]] * (patience + 1), [thing(10)]], options)
    assert [len(now.alive) for now in found] == [1] * (patience + 1) + [0, 1]
    assert found[-1].alive[0].id == 2 and found[-1].count == 2


def test_a_thing_is_followed_where_it_moves_farther_than_it_is_large():
    """By its velocity: the first step overlaps, the later ones would not overlap with the place before."""
    steps = [0, 6, 20, 34, 48, 62, 76]
    found = after([[thing(x, kind=i % 2)] for i, x in enumerate(steps)], TrackOptions(smoothing=1.0, alike=1.01))
    assert found[-1].count > 1  # from 6 to 20, at first
    even = after([[thing(x, kind=i % 2)] for i, x in enumerate(range(0, 60, 6))], TrackOptions(alike=1.01))
    assert even[-1].count == 1
    missed = after([[thing(0)], [thing(6)], [], [], [thing(24)]], TrackOptions(alike=1.01))
    assert missed[-1].count == 1  # without the velocity the boxes at 6 and 24 would not touch


def test_velocity_is_of_seconds_and_not_of_frames():
    """Frames that come late, as a camera's that drops some, move a thing by as much farther."""
    tracks = Tracks()
    for time in (0.0, 0.1, 0.2, 0.6, 0.7):
        tracks = tracks.after([thing(round(60 * time), kind=round(10 * time) % 2)], time)
    assert tracks.count == 1 and tracks.alive[0].velocity[0] == pytest.approx(60)


def test_things_that_pass_each_other_keep_their_numbers():
    frames = [[thing(4 * i, kind=0), thing(60 - 4 * i, kind=1)] for i in range(16)]
    found = after(frames)
    assert found[-1].count == 2
    by_kind = {int(t.embedding.argmax()): t.id for t in found[-1].alive}
    assert by_kind == {0: 1, 1: 2}


def test_a_track_that_leaves_the_image_ends():
    found = after([[thing(170)], [thing(180)], [thing(190)], [], []], TrackOptions(lasts=2, patience=4))
    assert [len(now.alarms) for now in found] == [0, 1, 1, 0, 0] and found[3].alive == ()


def test_a_track_that_is_missed_is_no_alarm_where_it_may_be_anywhere():
    """At a frame a second a thing has moved far by the next; it is an alarm again as soon as it is found."""
    slow, fast = ([thing(x), thing(x + 1), thing(x + 1 + step)] for x, step in ((20, 2), (20, 9)))
    for steps, alarms in ((slow, [0, 1, 1, 1, 1]), (fast, [0, 1, 1, 0, 1])):
        back = thing(round(2 * steps[2].box[0] - steps[1].box[0] + 2))
        found = after([*([s] for s in steps), [], [back]], TrackOptions(lasts=2, smoothing=0.9, weak=0.05))
        assert [len(now.alarms) for now in found] == alarms and found[-1].count == 1


def test_a_track_that_is_missed_moves_on_with_its_mask():
    found = after([[thing(10)], [thing(16)], []])[-1].alive[0]
    assert found.missed == 1 and found.box[0] == pytest.approx(22) and found.mask().box == (22, 20, 10, 10)
    gone = replace(found, box=(250.0, 20.0, 10.0, 10.0))
    assert gone.mask().area == 0


@pytest.mark.parametrize("seed", range(6))
def test_a_mask_is_moved_pixel_by_pixel(seed):
    rng = np.random.default_rng(seed)
    mask = np.zeros((12, 15), bool)
    mask[3:9, 4:12] = rng.random((6, 8)) < 0.5
    for dx, dy in rng.integers(-14, 15, (12, 2)).tolist():
        np.testing.assert_array_equal(shifted(Rle.of(mask), dx, dy).mask(), reference.shifted(mask, dx, dy))


def test_a_region_counts_by_its_evidence_in_multiples_of_the_limit(unsure_kb):
    from tests.support import videos

    limited = replace(THRESHOLD, regions=RegionThreshold(0.25, "quantile", 0.3, 0.3, 10))
    region = unsure_kb.predict(videos.images(1)[0]).regions[0]
    region = replace(region, mean=2.8)
    evidence = (2.8 - 2.0) / 0.5 * region.share**0.25
    assert detection_of(region, THRESHOLD).score == pytest.approx(evidence)
    assert detection_of(region, limited).score == pytest.approx(evidence / 0.25)
    assert detection_of(replace(region, mean=1.0), limited).score == 0
    assert (limit_of(THRESHOLD), limit_of(limited)) == (0.0, 1.0)
    assert lowered(limited, TrackOptions(weak=0.4)).regions.value == pytest.approx(0.1)
    assert lowered(THRESHOLD, TrackOptions()) is THRESHOLD


@pytest.mark.parametrize("given", [{"overlap": 1.5}, {"overlap": -0.1}, {"smoothing": 0.0}, {"smoothing": 1.1},
                                   {"lasts": 0}, {"patience": -1}])  # fmt: skip
def test_options_out_of_range_are_refused(given):
    with pytest.raises(OwsegError):
        TrackOptions(**given)
