"""``left_out_iou``: each shot is predicted by what is learned from the others."""

from dataclasses import replace
from math import isnan

import numpy as np
import pytest

from owseg.errors import OwsegError
from owseg.learners import leave_one_out
from owseg.learners.learn import correct, learn
from owseg.learners.leave_one_out import left_out_iou
from owseg.learners.npm import NPM
from owseg.learners.probe import Probe
from owseg.types import Shot
from tests.support.shots import corner_shot, overlap, red_shot

PLAIN = Probe(strength=100, favour=0, views=100)


def test_it_is_the_iou_of_what_the_others_teach(kb):
    shots = [red_shot(i) for i in range(3)]
    found = left_out_iou(kb, "square", shots, PLAIN)
    assert list(found) == ["s0", "s1", "s2"]
    for shot in shots:
        learned = learn(kb, "square", [s for s in shots if s is not shot], method=PLAIN)
        predicted = (learned.assess(kb.forward(shot.image), shot.size).labels == 3) & ~shot.void
        assert found[shot.id] == pytest.approx(overlap(predicted, shot))
    assert min(found.values()) > 0.4


def test_a_shot_of_another_thing_is_found_out(kb):
    green = red_shot(3, (0, 255, 0))
    found = left_out_iou(kb, "square", [red_shot(0), red_shot(1), green], PLAIN)
    assert found["s3"] < 0.2 < min(found["s0"], found["s1"])


def test_the_method_and_the_forward_are_used(kb, monkeypatch):
    given = []

    def spy(kb, name, shots, method, forward):
        given.append((name, [s.id for s in shots], method, forward))
        return learn(kb, name, shots, method=method, forward=forward)

    monkeypatch.setattr(leave_one_out, "learn", spy)
    method = NPM(5.0)
    left_out_iou(kb, "square", [red_shot(0), red_shot(1)], method, kb.forward)
    assert given == [("square", ["s1"], method, kb.forward), ("square", ["s0"], method, kb.forward)]


def test_of_many_shots_several_are_left_out_at_once(kb, monkeypatch):
    given = []

    def spy(kb, name, shots, method, forward):
        given.append([s.id for s in shots])
        return learn(kb, name, shots, method=method, forward=forward)

    monkeypatch.setattr(leave_one_out, "learn", spy)
    not_it = Shot.counterexample(red_shot(9).image, red_shot(9).positives, "not")
    shots = [not_it, *(red_shot(i) for i in range(7))]
    found = left_out_iou(kb, "square", shots, NPM(5.0))
    assert list(found) == [f"s{i}" for i in range(7)] and not any(map(isnan, found.values()))
    left_out = [[s.id for s in shots if s.id not in ids] for ids in given]
    assert left_out == [["s0", "s5"], ["s1", "s6"], ["s2"], ["s3"], ["s4"]]  # the counterexample never


def test_shots_of_a_known_class_are_predicted_once_it_is_corrected_without_them(kb):
    shots = [red_shot(i) for i in range(2)]
    found = left_out_iou(kb, "sky", shots, NPM(5.0))
    corrected = correct(kb, "sky", shots[:1], method=NPM(5.0))
    predicted = (corrected.assess(kb.forward(shots[1].image), shots[1].size).labels == 1) & ~shots[1].void
    assert found["s1"] == pytest.approx(overlap(predicted, shots[1]))


def test_one_shot_has_no_others(kb):
    assert left_out_iou(kb, "square", [red_shot()]) == {}


def test_shots_of_one_name_are_all_there(kb):
    found = left_out_iou(kb, "corner", [corner_shot(1), corner_shot(2)], NPM(1.0))
    assert list(found) == ["shot", "shot (2)"]


def test_what_nothing_can_be_learned_from_is_undefined(kb):
    tiny_mask = np.zeros((96, 128), bool)
    tiny_mask[40, 40] = True
    dot = replace(red_shot(1), positives=tiny_mask)
    with pytest.raises(OwsegError):
        learn(kb, "square", [dot])
    assert isnan(left_out_iou(kb, "square", [red_shot(0), dot])["s0"])


def test_void_does_not_count(kb):
    """Half of the square is void; it is predicted as well, and that is no mistake."""
    shots = [red_shot(i) for i in range(3)]
    half = shots[0].positives & (np.arange(128) >= np.nonzero(shots[0].positives)[1].mean())
    shots[0] = replace(shots[0], positives=shots[0].positives & ~half, void=shots[0].void | half)
    learned = learn(kb, "square", shots[1:])
    predicted = learned.assess(kb.forward(shots[0].image), shots[0].size).labels == 3
    assert (predicted & half).any()
    assert left_out_iou(kb, "square", shots)["s0"] == pytest.approx(overlap(predicted & ~shots[0].void, shots[0]))
