"""What the recipe of videos measures, on masks that are counted by hand, and the drive that it is measured on."""

import numpy as np
import pytest

from owseg.labels import IGNORE, UNKNOWN
from recipes import synthetic_drive
from recipes.video_metrics import Alarm, Decided, measured, together

SIZE = (10, 20)


def mask(x, width=4):
    found = np.zeros(SIZE, bool)
    found[2:6, x : x + width] = True
    return found


def frame(things=(), alarms=(), void=None):
    """A frame with things {number: x} and alarms (x, track)."""
    numbers = np.zeros(SIZE, np.uint8)
    for number, x in dict(things).items():
        numbers[mask(x)] = number
    target = np.where(numbers > 0, UNKNOWN, 0).astype(np.uint8)
    if void is not None:
        target[mask(void)] = IGNORE
    said = [Alarm(mask(x), track) for x, track in alarms]
    return Decided(target, numbers, np.any([a.mask for a in said], 0) if said else np.zeros(SIZE, bool), said)


def test_a_false_alarm_counts_once_with_tracks_and_in_each_frame_without():
    with_tracks = measured([frame(alarms=[(10, 7)])] * 3 + [frame(alarms=[(10, 8)])], rate=2)
    alone = measured([frame(alarms=[(10, None)])] * 3, rate=2)
    assert (with_tracks.false, with_tracks.frames_with_false, with_tracks.minutes) == (2, 4, 4 / 120)
    assert (alone.false, alone.frames_with_false) == (3, 3)


def test_half_known_is_false_and_void_is_neither():
    def false(x, **more):
        return measured([frame({1: 8}, [(x, 1)], **more)] * 2, 1).false

    assert [false(8), false(9), false(10), false(14)] == [0, 0, 1, 1]
    assert false(10, void=12) == 0  # of its four columns two are unknown, and two are void


def test_a_track_that_was_right_and_drifts_is_no_new_alarm():
    assert measured([frame({1: 8}, [(8, 1)]), frame({1: 8}, [(14, 1)])], 1).false == 0


def test_what_is_found_in_time_and_changes_its_number():
    def of(tracks):
        return measured([frame({1: 8}, [] if t is None else [(9, t)]) for t in tracks], 1)

    soon = of([None] * 5 + [3, 3, 4, None, 4, 5])
    assert (soon.things, soon.soon, soon.switches, soon.shown, soon.hit) == (1, 1, 2, 11, 5)
    assert of([None] * 6 + [3] * 4).soon == 0
    assert of([3] * 5).things == 0  # gone before it had to be found


def test_flicker_is_change_where_the_ground_truth_stays():
    """Four of 20 columns, in four of ten rows, are 16 of 200 pixels."""
    assert measured([frame(), frame(alarms=[(8, 1)])], 1).flicker == pytest.approx(16 / 200)
    assert measured([frame(), frame({1: 8}, alarms=[(8, 1)])], 1).flicker == 0
    assert measured([frame(), frame(alarms=[(8, 1)], void=8)], 1).flicker == 0


def test_videos_add_up():
    one = measured([frame({1: 8}, [(8, 1)])] * 6, 1)
    two = together([one, one])
    assert (two.frames, two.things, two.soon, two.minutes) == (12, 2, 2, 0.2) and two.flicker == one.flicker


def test_without_numbers_things_are_connected():
    bare = frame({1: 8}, [(8, None)])
    found = measured([Decided(bare.target, None, bare.unknown, bare.alarms)] * 2, 1)
    assert (found.shown, found.hit, found.things, found.switches) == (2, 2, None, None)


def test_things_of_a_drive_keep_their_numbers_and_come_and_go(monkeypatch):
    monkeypatch.setattr(synthetic_drive, "STREET", (216, 384))
    monkeypatch.setattr(synthetic_drive, "SIZE", (72, 96))
    monkeypatch.setattr(synthetic_drive, "LEAST", 12)
    frames = list(synthetic_drive.drive(3, 12))
    again = list(synthetic_drive.drive(3, 12))
    assert all((a.image == b.image).all() and (a.things == b.things).all() for a, b in zip(frames, again, strict=True))
    assert frames[0].image.shape == (3, 72, 96) and frames[0].image.dtype == np.uint8
    known = len(synthetic_drive.CLASSES) - 4
    for one in frames:
        assert (one.labels[one.things > 0] >= known).all() and (one.labels >= known).sum() < 2 * (
            one.things > 0
        ).sum() + 9
        for number in {*np.unique(one.things)} - {0}:  # one kind each
            assert len(np.unique(one.labels[one.things == number])) == 1
    shown = [{*np.unique(one.things)} - {0} for one in frames]
    assert shown[0] != shown[-1] and set.union(*shown)
