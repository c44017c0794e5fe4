"""DMLNet's pseudo-label method: Algorithm 1, and the head that is trained by it."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from owseg.errors import OwsegError
from owseg.increments.head import Head
from owseg.knowledge.commit import rollback_version
from owseg.knowledge.load import load
from owseg.labels import IGNORE, LabelSpace
from owseg.learners.learn import learn
from owseg.learners.npm import NPM
from owseg.learners.plm import PLM, pseudo_labels
from owseg.types import Output, Shot
from tests.support import tiny
from tests.support.shots import SIZE, overlap, red_shot


def oracle_pseudo_labels(m_in, m_out, y, void):
    """DMLNet's Algorithm 1, pixel by pixel, line by line; ids from 0, so that class N + t has id N + t - 1."""
    k, n = len(m_out), 3
    pl = np.empty_like(m_in)
    for i in range(m_in.shape[0]):
        for j in range(m_in.shape[1]):
            value, t = m_in[i, j], 1
            while t <= k:
                if m_out[t - 1][i, j] == 1:
                    value = n + t - 1
                t += 1
            if void[i, j]:
                value = IGNORE
            if y[i, j] == 1:
                value = n + k + 1 - 1
            pl[i, j] = value
    return pl


class Fixed:
    """An increment that predicts a given mask."""

    def __init__(self, name, mask):
        self.mask, self.name = torch.from_numpy(mask)[None], name

    def predict_mask(self, output, size):
        return self.mask


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 3))
def test_algorithm_1_pixel_by_pixel(seed, learned):
    rng = np.random.default_rng(seed)
    m_out = [rng.random((6, 8)) < 0.3 for _ in range(learned)]
    y, void = rng.random((6, 8)) < 0.3, rng.random((6, 8)) < 0.2
    logits = torch.tensor(rng.normal(size=(1, 3, 6, 8)))

    class Known:
        increments = tuple(Fixed(f"novel {t}", m) for t, m in enumerate(m_out))
        labels = LabelSpace.of(["a", "b", "c", *(increment.name for increment in increments)])

    shot = Shot(np.zeros((3, 6, 8), np.uint8), y, "s", void)
    made = pseudo_labels(Known, Output((), logits, logits), shot)
    m_in = logits[0].numpy().argmax(0)
    assert np.array_equal(made, oracle_pseudo_labels(m_in, m_out, y, void))


def test_the_old_heads_label_what_is_not_void_in_a_counterexample():
    kb, shot = tiny.knowledge_base(), red_shot()
    output = kb.forward(shot.image)
    made = pseudo_labels(kb, output, Shot.counterexample(shot.image, shot.positives, "not it"))
    assert (made[~shot.positives] == IGNORE).all()
    assert np.array_equal(made[shot.positives], kb.assess(output, SIZE).labels[shot.positives])


@pytest.mark.parametrize("classifier", ["prototype", "linear"])
def test_a_new_head_starts_as_the_old_one(classifier):
    """Trained for no step at all, its logits of the old classes are those of the network."""
    kb = tiny.knowledge_base(classifier=classifier)
    updated = learn(kb, "rock", [red_shot()], method=PLM(steps=0))
    head, output = updated.increments[0], kb.forward(tiny.image(5))
    logits = head.classifier(head.decoder(output.features))
    assert torch.allclose(logits[:, :3], output.logits, atol=1e-4)  # the new coordinate, or logit, is 0 everywhere
    assert logits.shape[1] == 4


@pytest.mark.parametrize("classifier", ["prototype", "linear"])
def test_plm_learns_from_its_shots(classifier):
    kb = tiny.knowledge_base(classifier=classifier)
    updated = learn(kb, "rock", [red_shot(i) for i in range(5)], method=PLM(steps=150, lr=3e-3))
    unseen = red_shot(7)
    after = updated.assess(updated.forward(unseen.image), SIZE)
    assert overlap(after.learned, unseen) > 0.5
    before = kb.assess(kb.forward(unseen.image), SIZE).labels
    assert np.array_equal(after.labels[~after.learned], before[~after.learned])


def test_everything_but_the_new_head_is_bit_identical():
    kb = learn(tiny.knowledge_base(), "rock", [red_shot()], method=PLM(steps=3, lr=1e-2))
    network = copy.deepcopy(kb.network.state_dict())
    old = {n: v.clone() for n, v in kb.increments[0].tensors().items()}
    updated = learn(kb, "cow", [red_shot(3)], method=PLM(steps=5, lr=1e-2))
    after = updated.network.state_dict()
    assert all(torch.equal(v, after[n]) for n, v in network.items())  # running statistics are part of the state
    assert all(torch.equal(v, old[n]) for n, v in updated.increments[0].tensors().items())
    assert updated.increments[1].classifier.num_classes == 5
    fresh, first = updated.increments[1].tensors(), updated.increments[0].tensors()
    assert any(not torch.equal(fresh[n], first[n]) for n in fresh if fresh[n].shape == first[n].shape)


def trained(**options):
    return learn(tiny.knowledge_base(), "rock", [red_shot()], method=PLM(**{"steps": 4, **options})).increments[0]


def same(one, two):
    a, b = one.tensors(), two.tensors()
    return a.keys() == b.keys() and all(torch.equal(v, b[n]) for n, v in a.items())


def test_the_same_seed_makes_the_same_head():
    assert same(trained(), trained())


@pytest.mark.parametrize(
    "option", [{"steps": 5}, {"lr": 2e-3}, {"variance_weight": 0.1}, {"balance": 0.0}, {"seed": 1}], ids=str
)
def test_every_option_reaches_the_training(option):
    assert not same(trained(), trained(**option))


def test_the_latest_head_labels_every_pixel():
    kb = tiny.knowledge_base()
    every = learn(kb, "rock", [red_shot()], method=PLM(steps=60, lr=3e-3))
    latest = learn(kb, "rock", [red_shot()], method=PLM("latest", steps=60, lr=3e-3))
    output = kb.forward(red_shot(4).image)
    head = latest.increments[0]
    own = torch.nn.functional.interpolate(
        head.classifier(head.decoder(output.features)), size=SIZE, mode="bilinear"
    ).argmax(1)[0]
    after = latest.assess(output, SIZE)
    assert np.array_equal(after.labels, own.numpy())
    assert np.array_equal(after.learned, every.assess(output, SIZE).learned)  # the same head, used for its class alone
    base = kb.assess(output, SIZE).labels
    assert (after.labels[~after.learned] != base[~after.learned]).any()


@pytest.mark.parametrize("heads", ["all", "latest"])
def test_heads_are_stored_and_rolled_back(tmp_path, heads):
    kb, image = tiny.knowledge_base(), red_shot(4).image
    kb.save(tmp_path / "kb")
    before = kb.assess(kb.forward(image), SIZE).labels
    updated = learn(kb, "rock", [red_shot()], method=PLM(heads, steps=40, lr=3e-3))
    updated = learn(updated, "cow", [red_shot(2)], method=NPM(2.0))  # kinds may follow each other
    updated.save(tmp_path / "kb")
    loaded = load(tmp_path / "kb")
    assert isinstance(loaded.increments[0], Head)
    output = loaded.forward(image)
    assert np.array_equal(loaded.assess(output, SIZE).labels, updated.assess(updated.forward(image), SIZE).labels)
    rollback_version(tmp_path / "kb")
    back = load(tmp_path / "kb")
    assert torch.equal(back.forward(image).logits, kb.forward(image).logits)
    assert np.array_equal(back.assess(back.forward(image), SIZE).labels, before)


def test_bad_settings_end_in_one_sentence():
    with pytest.raises(OwsegError, match="the heads that PLM uses are 'all' or 'latest', not 'first'"):
        learn(tiny.knowledge_base(), "rock", [red_shot()], method=PLM("first"))
    for wrong, message in (
        ({"lr": -1.0}, "lr must be above 0, not -1"),
        ({"lr": float("nan")}, "lr must be a number, not nan"),
        ({"steps": -1}, "steps must be 0 or more, not -1"),
        ({"variance_weight": -1.0}, "variance_weight must be 0 or more, not -1"),
    ):
        with pytest.raises(OwsegError, match=message):
            learn(tiny.knowledge_base(), "rock", [red_shot()], method=PLM(**wrong))
    with pytest.raises(OwsegError, match="lower the learning rate"):
        learn(tiny.knowledge_base(), "rock", [red_shot()], method=PLM(steps=50, lr=1e30))
