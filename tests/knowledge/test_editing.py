"""Forgetting, renaming and merging: what is left is what it would be if it had been learned so."""

from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from owseg.errors import OwsegError
from owseg.increments.head import Head
from owseg.increments.probe import LinearProbe, compete
from owseg.increments.prototype import NovelPrototype
from owseg.knowledge.editing import forget, merge, rename
from owseg.knowledge.load import load
from owseg.learners.learn import correct, learn
from owseg.learners.npm import NPM
from owseg.learners.plm import PLM
from owseg.learners.probe import Probe
from owseg.models.cache import CachedForward
from owseg.openset import Threshold
from tests.support import tiny
from tests.support.pages import ROOT
from tests.support.shots import SIZE, blue_shot, corner_shot, red_shot

SHOTS = {"red": red_shot(), "blue": blue_shot(), "green": red_shot(9, (0, 255, 0))}
CHANNELS = sum(tiny.network().backbone.channels)


@dataclass(frozen=True)
class Drawn:
    """Learn a class at once: a random direction and a random prototype, which compete as real ones do."""

    seed: int = 0
    method = "probe"

    def __call__(self, kb, name, shots, forward):
        rng = torch.Generator().manual_seed(sum(map(ord, name)) + self.seed)
        probe = LinearProbe(name, torch.randn(1, CHANNELS, generator=rng), torch.randn(1, generator=rng), 1)
        others = [i for i in kb.increments if isinstance(i, NovelPrototype)]
        point = NovelPrototype(
            name, tuple(torch.rand(3, generator=rng).tolist()), 1.0,
            tuple(i.prototype for i in others), tuple(i.name for i in others),
        )  # fmt: skip
        old = [i.with_competitor(point) if isinstance(i, NovelPrototype) else i for i in kb.increments]
        *probes, last = compete(old, probe)
        return (*probes, point, last)


def state(kb):
    """All that increments are, to the bit."""
    values = [(i.to_json(), {n: t.tolist() for n, t in i.tensors().items()}) for i in kb.increments]
    return kb.labels.names, values


def learned(kb, names, method=None, forward=None):
    for name in names:
        kb = learn(kb, name, [SHOTS.get(name, corner_shot())], method=method or Drawn(), forward=forward or kb.forward)
    return kb


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.sampled_from("abcde")), max_size=12))
def test_what_was_forgotten_was_never_learned(kb, steps):
    """After any number of classes that were learned, corrected and forgotten, in any order."""
    expected, left = kb, []
    for forgets, name in steps:
        if forgets and name in kb.labels:
            kb, left = forget(kb, name), [step for step in left if step[0] != name]
        elif not forgets:
            left.append((name, len(left)))
            teach = correct if name in kb.labels else learn
            kb = teach(kb, name, [corner_shot()], method=Drawn(left[-1][1]), forward=kb.forward)
    for name, seed in left:
        teach = correct if name in expected.labels else learn
        expected = teach(expected, name, [corner_shot()], method=Drawn(seed), forward=kb.forward)
    assert state(kb) == state(expected)


METHODS = {"probe": Probe(scales=(1.0,)), "npm": NPM(4.0), "pyramid": NPM(space="pyramid")}


@pytest.mark.parametrize("method", METHODS)
def test_learned_three_and_forgot_one_is_learned_two(kb, method):
    """With what is really learned; all orders are above."""
    kb, forward = replace(kb, threshold=None), CachedForward(kb.engine())  # NPM's negatives depend on what is known
    three = learned(kb, SHOTS, METHODS[method], forward)
    for gone in SHOTS:
        two, expected = forget(three, gone), learned(kb, [n for n in SHOTS if n != gone], METHODS[method], forward)
        assert state(two) == state(expected)
        for shot in SHOTS.values():
            found, wanted = (k.assess(forward(shot.image), SIZE) for k in (two, expected))
            assert np.array_equal(found.labels, wanted.labels) and np.array_equal(found.learned, wanted.learned)
            assert (wanted.labels >= 3).any() or shot is SHOTS[gone]


@pytest.mark.parametrize("name", ["metric", "linear"])
def test_competitors_without_names_are_found_by_their_rows(name):
    """In knowledge bases that owseg 0.1.0 stored."""
    stored = load(ROOT / "tests" / "golden" / "kb" / name)
    kinds = (LinearProbe, NovelPrototype)
    assert not any(i.against for i in stored.increments if isinstance(i, kinds))
    for gone in stored.learned_classes:
        (own,) = (i for i in stored.increments if i.name == gone)
        if any(isinstance(i, Head) and i.alone for i in stored.increments[stored.increments.index(own) + 1 :]):
            continue
        left = forget(stored, gone)
        for after in left.increments:
            (before,) = (i for i in stored.increments if i.name == after.name)
            compete_ = isinstance(own, kinds) and type(own) is type(before) and count(before)
            assert count(after) == count(before) - bool(compete_)
            assert not any(equal(row, rows(own)[0]) for row in rows(after)[1:])


def rows(increment):
    if isinstance(increment, LinearProbe):
        return torch.cat([increment.weights, increment.biases[:, None]], 1).tolist()
    return [increment.prototype, *increment.competitors] if isinstance(increment, NovelPrototype) else [None]


def count(increment):
    return len(rows(increment)) - 1


def equal(one, two):
    return one is not None and two is not None and list(one) == list(two)


def test_names_are_stored_and_old_files_stay_as_they_are(kb, tmp_path):
    three = learned(kb, ("red", "blue", "green"))
    three.save(tmp_path / "kb")
    assert state(load(tmp_path / "kb")) == state(three)
    assert state(forget(load(tmp_path / "kb"), "blue")) == state(learned(kb, ("red", "green")))
    with_names = [i.to_json()["against"] for i in three.increments]
    assert with_names == [[n for n in SHOTS if n != i.name] for i in three.increments]
    bare = replace(three, increments=tuple(replace(i, against=()) for i in three.increments))
    assert all("against" not in i.to_json() for i in bare.increments)  # so is the fingerprint of what is stored


def test_the_event_says_who_and_what(kb):
    made = learned(kb, ("red", "blue"))
    for after, action, message in (
        (forget(made, "red"), "forget", "forgot red"),
        (rename(made, "sky", "heaven"), "rename", "renamed sky to heaven"),
        (merge(made, "red", "blue"), "merge", "merged red and blue"),
        (merge(made, "red", "sky", "above"), "merge", "merged red and sky as above"),
    ):
        event = after.history[-1]
        assert (event.action, event.message) == (action, message) and event.details["user"]
        assert after.history[:-1] == made.history and after.threshold == made.threshold


def test_a_class_is_renamed_wherever_it_is_named(kb):
    made = learned(kb, ("red", "blue"))
    after = rename(rename(made, "red", "scarlet"), "sky", "heaven")
    assert after.labels.names == ("road", "heaven", "tree", "scarlet", "blue")
    assert after.labels.colors == made.labels.colors
    assert all(i.against in (("scarlet",), ("blue",)) and i.name not in i.against for i in after.increments)
    image = SHOTS["red"].image
    assert np.array_equal(after.assess(kb.forward(image), SIZE).labels, made.assess(kb.forward(image), SIZE).labels)
    assert state(forget(after, "scarlet")) == state(rename(learned(kb, ("blue",)), "sky", "heaven"))


@pytest.mark.parametrize("classes", [("red", "blue"), ("blue", "red"), ("red", "sky"), ("sky", "blue")])
def test_what_was_either_is_the_merged_class(kb, classes):
    made = learned(kb, ("red", "blue", "green"), Probe(scales=(1.0,)))
    after = merge(made, *classes)
    names = [n for n in made.labels.names if n not in classes]
    assert sorted([*names, classes[1]]) == sorted(after.labels.names)
    assert after.labels.colors[after.labels.index(classes[1])] == made.labels.colors[made.labels.index(classes[1])]
    for name in names:
        assert after.labels.colors[after.labels.index(name)] == made.labels.colors[made.labels.index(name)]
    strict = Threshold(value=-1e9, method="quantile", target_fpr=1.0, achieved_fpr=1.0, images=1, pixels=1, unit=1.0)
    for shots in combinations(SHOTS.values(), 2):  # side by side, so that every image shows red or blue
        image = np.concatenate([shot.image for shot in shots], 2)
        before, found = (replace(k, threshold=strict).predict(image) for k in (made, after))
        for name in names:
            assert np.array_equal(before.labels == made.labels.index(name), found.labels == after.labels.index(name))
        either = np.isin(before.labels, [made.labels.index(n) for n in classes])
        assert either.any() and np.array_equal(either, found.labels == after.labels.index(classes[1]))
        # What was decided still is: merged into a class of the network it is unknown no more, either.
        assert np.array_equal(before.open_set == 254, found.open_set == 254) and (found.open_set != 254).any()


def test_two_increments_may_write_one_class_and_one_of_the_network(kb):
    forward = CachedForward(kb.engine())
    made = learned(kb, ("red",), Probe(scales=(1.0,)), forward)
    made = correct(made, "red", [SHOTS["blue"]], method=Probe(scales=(1.0,)), forward=forward)
    made = correct(made, "sky", [SHOTS["green"]], method=Probe(scales=(1.0,)), forward=forward)
    assert made.labels.names == ("road", "sky", "tree", "red") and len(made.increments) == 3
    assert [e.message for e in made.history[-2:]] == [
        "corrected red from 1 shot by probe", "corrected sky from 1 shot by probe"
    ]  # fmt: skip
    for name, label in (("red", 3), ("blue", 3), ("green", 1)):
        found = made.assess(forward(SHOTS[name].image), SIZE)
        inside = SHOTS[name].positives
        assert (found.labels[inside] == label).mean() > 0.8 and found.learned[inside].mean() > 0.8
    after = forget(made, "red")
    assert [i.name for i in after.increments] == ["sky"] and count(after.increments[0]) == 0
    assert after.labels.names == kb.labels.names


def test_heads_go_on_where_a_class_before_them_is_forgotten():
    kb, method = tiny.knowledge_base(), PLM(steps=12, lr=1e-2)
    two = learned(kb, ("red", "blue"), method)
    left = forget(two, "red")
    shot = SHOTS["blue"]
    before, after = (k.assess(k.forward(shot.image), SIZE) for k in (two, left))
    was_blue = before.labels == two.labels.index("blue")
    assert was_blue.any() and np.array_equal(was_blue, after.labels == left.labels.index("blue"))
    # Its ids are no longer those of the labels, so the next head grows from the network.
    last = learned(left, ("green",), PLM(steps=0)).increments[-1]
    assert last.classifier.num_classes == 5 and last.last == 4
    with torch.no_grad():  # as in a prediction, where norms are folded
        logits = last.classifier(last.decoder(kb.forward(shot.image).features))
    assert torch.allclose(logits[:, :3], kb.forward(shot.image).logits, atol=1e-4)


def test_a_head_that_labels_every_pixel_cannot_do_without_a_class():
    kb = tiny.knowledge_base()
    made = learned(kb, ("red",))
    made = learned(made, ("blue",), PLM("latest", steps=12, lr=1e-2))
    made = learned(made, ("green",))
    for edit in (lambda: forget(made, "red"), lambda: merge(made, "red", "sky")):
        with pytest.raises(OwsegError, match=r"'red' cannot be .* 'blue' labels every pixel and knows it; roll back"):
            edit()
    assert state(forget(forget(made, "green"), "blue")) == state(learned(kb, ("red",)))
    # Merged itself, it writes the other class in the place of its own.
    into_sky, image = merge(made, "blue", "sky"), SHOTS["blue"].image
    before, after = (k.assess(k.forward(image), SIZE).labels for k in (made, into_sky))
    assert np.array_equal(np.isin(before, (1, 4)), after == 1) and (before == 4).any()
    assert np.array_equal(before == 5, after == 4) and np.array_equal(before == 3, after == 3)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda kb: forget(kb, "sky"), "'sky' is a class that the network was trained for, and cannot be forgotten"),
        (lambda kb: forget(kb, "cow"), "there is no class 'cow'; the classes are road, sky, tree, red, blue"),
        (lambda kb: rename(kb, "cow", "ox"), "there is no class 'cow'"),
        (lambda kb: rename(kb, "red", "sky"), "'sky' is another class; merge the two"),
        (lambda kb: rename(kb, "red", "red"), "'red' is its name already"),
        (lambda kb: rename(kb, "red", "void"), "reserved"),
        (lambda kb: merge(kb, "red", "red"), "'red' and 'red' are one class"),
        (lambda kb: merge(kb, "road", "sky"), "both classes that the network was trained for, and cannot be merged"),
        (lambda kb: merge(kb, "red", "cow"), "there is no class 'cow'"),
        (lambda kb: merge(kb, "red", "blue", "sky"), "'sky' is another class; give the merged one another name"),
        (lambda kb: merge(kb, "red", "blue", " x"), "begins or ends with a blank"),
        (lambda kb: correct(kb, "cow", [red_shot()]), "'cow' is no known class; known are road, sky, tree, red, blue"),
        (lambda kb: correct(kb, "sky", [red_shot()], method=PLM(steps=1)), "'sky' is known; correct it by the probe"),
    ],
)
def test_what_cannot_be_done_ends_in_one_sentence(kb, edit, message):
    with pytest.raises(OwsegError, match=message) as caught:
        edit(learned(kb, ("red", "blue")))
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value)


def test_a_correction_makes_known_what_was_unknown_and_changes_nothing_else(kb):
    shot = SHOTS["green"]
    unsure = replace(kb, threshold=replace(kb.threshold, value=-1e9))
    corrected = correct(unsure, "sky", [shot], method=Probe(scales=(1.0,)))
    before, after = (k.predict(shot.image) for k in (unsure, corrected))
    assert (before.open_set[shot.positives] == 254).all() and (after.open_set[shot.positives] == 1).mean() > 0.8
    rest = ~after.learned
    assert rest.any() and np.array_equal(after.labels[rest], before.labels[rest]) and not before.learned.any()
    assert np.isneginf(after.decided[after.learned]).all() and np.array_equal(after.decided[rest], after.score[rest])


def test_the_names_of_increments_must_be_classes(kb):
    made = learned(kb, ("red",))
    for labels in (made.labels.extend("nobody"), kb.labels):
        with pytest.raises(OwsegError, match="do not fit a network of 3 classes and red, which were learned"):
            replace(made, labels=labels)
    assert replace(made, labels=kb.labels, increments=()).learned_classes == ()
