"""The negative class of a mask classifier: one row more, whose loss and matching are those of loops."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from owseg.errors import OwsegError
from owseg.knowledge.base import KnowledgeBase
from owseg.knowledge.calibration import calibrate, fit_scorers
from owseg.knowledge.load import load
from owseg.labels import IGNORE, UNKNOWN, LabelSpace
from owseg.models.published.mask_classifiers import to_network
from owseg.training.config import NegativeConfig
from owseg.training.negative import train_negative
from owseg.training.negative_row import NegativeRowObjective, in_place, matched, mean_row, objects_in, row_of
from owseg.training.residual import train_residual
from tests.support import tiny
from tests.support.mask_models import MODELS, NAMES
from tests.support.outliers import FAST as RESIDUAL
from tests.support.outliers import inlier_images, objects

FAST = NegativeConfig(epochs=2, batch=4, crop=(64, 64), scale=(1.0, 1.2), jitter=0.0, sizes=(0.3, 0.6), lr=1e-1,
                      validate_every=1, members=1)  # fmt: skip


def knowledge_base(name="mask2former"):
    return KnowledgeBase(to_network(MODELS[name]()).eval(), LabelSpace.of(NAMES.values()))


def same(one, two):
    return one.keys() == two.keys() and all(torch.equal(v, two[n]) for n, v in one.items())


@pytest.mark.parametrize("name", MODELS)
def test_a_row_is_trained_and_nothing_else_changes_by_a_bit(name, tmp_path):
    kb = fit_scorers(knowledge_base(name), tiny.dataset(4, 3))
    weights = {k: v.clone() for k, v in kb.network.state_dict().items()}
    new = train_negative(kb, inlier_images(4), inlier_images(2), objects(), FAST, tmp_path / "run")
    assert same(kb.network.state_dict(), weights) and not kb.network.has_negative
    added = {k: v for k, v in new.network.state_dict().items() if k not in weights}
    assert set(added) == {"decoder.negative.weight", "decoder.negative.bias"} and added["decoder.negative.weight"].any()
    for i in range(3):
        old, now = kb.forward(tiny.image(i)), new.forward(tiny.image(i))
        assert torch.equal(old.logits, now.logits) and torch.equal(old.embedding, now.embedding[:, :5])
        assert np.array_equal(kb.assess(old, (48, 64)).labels, new.assess(now, (48, 64)).labels)
        assert torch.equal(now.negative, now.embedding[:, 5])
    assert new.scorer == "joint@segments" and {"negative", "uno"} <= set(new.scorers) and "uno" not in kb.scorers
    new = calibrate(new, inlier_images(4))
    new.save(tmp_path / "kb")
    again = load(tmp_path / "kb")
    assert again.fingerprint() == new.fingerprint()
    assert np.array_equal(again.predict(tiny.image(2)).score, new.predict(tiny.image(2)).score)
    other = train_negative(again, inlier_images(4), inlier_images(2), objects(), replace(FAST, seed=1), tmp_path / "2")
    assert "another negative class" in other.history[-1].message
    assert not torch.equal(other.network.decoder.negative.weight, new.network.decoder.negative.weight)


def test_an_untrained_row_is_zero():
    row = row_of(knowledge_base().network)
    assert not row.weight.any() and not row.bias.any() and row.weight.shape == (1, 32)


def test_of_several_members_the_logit_is_the_mean(tmp_path):
    kb = knowledge_base()
    rows = [row_of(kb.network) for _ in range(3)]
    for i, row in enumerate(rows):
        torch.nn.init.constant_(row.weight, float(i))
        torch.nn.init.constant_(row.bias, i / 2)
    mean = mean_row(row_of(kb.network), rows)
    assert (mean.weight == 1).all() and mean.bias.item() == 0.5
    new = train_negative(kb, inlier_images(4), inlier_images(2), objects(), replace(FAST, members=2), tmp_path)
    assert new.network.has_negative and len(list(tmp_path.glob("member-*"))) == 2 and new.scorer == "negative"


def queries(seed=0, count=6, size=(5, 7)):
    g = torch.Generator().manual_seed(seed)
    masks = 3 * torch.randn(count, *size, generator=g)
    return torch.rand(count, generator=g), masks, torch.rand(2, *size, generator=g) > 0.6


def cost(p, mask, thing, valid):
    """That of one query and one object, pixel by pixel in float64."""
    entropy, both, sums, n = 0.0, 0.0, 0.0, 0
    for at in np.ndindex(*mask.shape):
        if valid[at]:
            m, y = 1 / (1 + np.exp(-float(mask[at]))), float(thing[at])
            entropy -= y * np.log(m) + (1 - y) * np.log(1 - m)
            both, sums, n = both + m * y, sums + m + y, n + 1
    return -2 * float(p) + 5 * entropy / n + 5 * (1 - (2 * both + 1) / (sums + 1))


@pytest.mark.parametrize("seed", range(4))
def test_objects_are_matched_at_the_least_cost_of_all_pairs(seed):
    p, masks, things = queries(seed)
    valid = torch.ones(5, 7, dtype=torch.bool)
    valid[0] = False
    table = np.array([[cost(p[q], masks[q], thing, valid) for thing in things] for q in range(6)])
    best = min(itertools.permutations(range(6), 2), key=lambda pair: table[pair[0], 0] + table[pair[1], 1])
    assert sorted(matched(p, masks, things, valid)) == sorted(best)
    assert matched(p, masks, things[:0], valid) == []
    shown = things.clone()
    shown[:, 0] = ~shown[:, 0]  # where it does not count
    assert matched(p, masks, shown, valid) == matched(p, masks, things, valid)


def test_each_connected_part_is_an_object():
    outlier = torch.zeros(4, 6, dtype=torch.bool)
    outlier[0, :2] = outlier[2:, 4:] = True
    found = objects_in(outlier)
    assert found.shape == (2, 4, 6) and torch.equal(found.any(0), outlier) and found.sum((1, 2)).tolist() == [2, 4]
    assert objects_in(torch.zeros(4, 6, dtype=torch.bool)).shape == (0, 4, 6)


def test_the_loss_is_the_cross_entropy_over_all_classes():
    """Of matched queries with the negative class, of others with the frozen distribution, less its own entropy."""
    network = knowledge_base().network
    row = row_of(network)
    torch.nn.init.normal_(row.weight, generator=torch.Generator().manual_seed(3))
    images = torch.stack([torch.from_numpy(tiny.image(i, (64, 64))).float() / 255 for i in range(2)])
    with torch.no_grad():
        classes = network.decoder.queries(network.encode(images))[1]
        # Half of the queries show nothing.
        network.decoder.head.class_layer.bias[4] += (classes[..., :4].amax(-1) - classes[..., 4]).median()
    targets = torch.zeros(2, 64, 64, dtype=torch.long)
    targets[0, 8:24, 8:40], targets[0, 40:56, 40:60], targets[:, :4] = UNKNOWN, UNKNOWN, IGNORE
    loss = NegativeRowObjective(network, row)(images, targets)
    with torch.no_grad():
        found = [t.double() for t in network.decoder.queries(network.encode(images))]
        n = row.double()(found[0])[..., 0]
    small = torch.nn.functional.interpolate(targets[:, None].float(), size=(16, 16), mode="nearest-exact")[:, 0]
    total = weight = 0.0
    kinds = set()
    for b in range(2):
        classes = found[1][b]
        p = torch.cat([classes, n[b][:, None]], 1).softmax(1)
        things = objects_in(small[b] == UNKNOWN)
        chosen = matched(p[:, -1], found[2][b], things.double(), small[b] != IGNORE)
        assert len(chosen) == (2 if b == 0 else 0)
        for q in range(5):
            own = classes[q].softmax(0)
            if q in chosen:
                w, ce = 1.0, -p[q, -1].log()
            else:
                w = 0.1 if own.argmax() == 4 else 1.0
                kinds.add(w)
                ce = -(own * p[q, :-1].log()).sum() + (own * own.log()).sum()
            total, weight = total + w * ce.item(), weight + w
    assert kinds == {0.1, 1.0}
    assert loss.item() == pytest.approx(total / weight, rel=1e-4)
    loss.backward()
    assert row.weight.grad.any() and all(p.grad is None for p in network.parameters())


def test_the_loss_falls_and_queries_of_objects_become_negative():
    network = knowledge_base().network
    row = row_of(network)
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    targets = torch.zeros(1, 64, 64, dtype=torch.long)
    targets[0, 8:40, 8:40] = UNKNOWN
    objective, optimizer = NegativeRowObjective(network, row), torch.optim.Adam(row.parameters(), 0.1)
    losses = []
    for _ in range(60):
        losses.append(objective(images, targets))
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    with torch.no_grad():
        states, classes, _ = network.decoder.queries(network.encode(images))
        p = (row(states)[..., 0] - classes.logsumexp(-1)).sigmoid()[0]
    assert losses[-1] < 0.5 * losses[0]
    assert (p > 0.5).sum() == 1  # there is one object
    negative = in_place(network, row)(images).negative
    assert negative.shape == (1, 16, 16)


def test_a_residual_pattern_is_trained_over_evidence_and_refused_by_an_eomt(tmp_path):
    kb = knowledge_base()
    new = train_residual(
        kb, inlier_images(4), inlier_images(2), objects(), None, replace(RESIDUAL, epochs=1), tmp_path / "a"
    )
    old, now = kb.forward(tiny.image()), new.forward(tiny.image())
    assert torch.equal(old.logits, now.logits) and now.residual.shape == now.logits.shape
    assert not torch.equal(now.residual, now.logits) and "rpl" in new.scorers
    with pytest.raises(OwsegError, match="the queries of an EoMT need the tokens of its own backbone"):
        train_residual(
            knowledge_base("eomt"), inlier_images(4), inlier_images(2), objects(), None, RESIDUAL, tmp_path / "b"
        )
