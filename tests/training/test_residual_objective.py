"""The loss of a residual pattern, and the images and targets that it is of."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from owseg.data.augment import augment
from owseg.data.copy_paste import paste
from owseg.data.dataset import DataSet
from owseg.data.outliers import Outlier
from owseg.data.unlabeled import open_inliers
from owseg.labels import IGNORE, KNOWN, UNKNOWN, LabelSpace
from owseg.losses import outlier as losses
from owseg.models.ops import resize
from owseg.models.residual_pattern import residual_of
from owseg.training.pasting import PastedViews, context_sample, inlier_sample, pasted, set_aside
from owseg.training.residual import ResidualObjective
from owseg.types import Sample
from tests.support import tiny, trees
from tests.support.outliers import FAST, inlier_images, objects

# ---- the loss


def batch(seed=0, count=2):
    """Images with an outlier each at another place, and contexts with one."""
    g = torch.Generator().manual_seed(seed)
    images, contexts = torch.rand(2, count, 3, 48, 64, generator=g)
    targets, context_targets = torch.zeros(2, count, 48, 64, dtype=torch.long)
    targets[:, 8:24, 8:40], targets[:, 40:] = UNKNOWN, IGNORE
    context_targets[:, 16:40, 16:48] = UNKNOWN
    return images, targets, contexts, context_targets


def made_objective(network=None, **setting):
    network = network or tiny.network(classifier="linear").requires_grad_(False)
    torch.manual_seed(1)
    pattern = residual_of(network)
    with torch.no_grad():
        pattern.final.weight.normal_(std=0.3)
    config = replace(FAST, samples=10_000, inlier_weight=0.7, entropy_weight=0.3, outlier_weight=0.2,
                     contrast_weight=0.4, **setting)  # fmt: skip
    return ResidualObjective(network, pattern, config)


def test_images_and_contexts_pass_batch_normalisation_together():
    """As in one batch of both, written out: otherwise an outlier could be told by the statistics of its pass."""
    objective = made_objective().train()
    alone, (images, targets, contexts, context_targets) = copy.deepcopy(objective), batch()
    torch.manual_seed(5)
    loss = objective(images, targets, contexts, context_targets)
    network, pattern, config = alone.frozen[0], alone.pattern, alone.config
    output = network(torch.cat([images, contexts]))
    every = pattern.pattern(output.features)
    penultimate = network.decoder.penultimate(output.features)
    residual = resize(pattern.final(every), penultimate.shape[-2:])
    evidence = network.classifier.evidence(network.decoder.embed(penultimate + residual))
    grid = nn.functional.interpolate(targets[:, None].float(), evidence.shape[-2:], mode="nearest-exact")[:, 0]
    kept = losses.inlier(evidence[:2], output.logits[:2], grid == 0, config.entropy_weight)
    found = losses.positive_energy(evidence[:2], grid == UNKNOWN)
    pixels = pattern.contrast(every).movedim(1, -1)
    masks = torch.cat([targets, context_targets])[:, None].float()
    masks = nn.functional.interpolate(masks, pixels.shape[1:3], mode="nearest-exact")[:, 0]
    sets = [pixels[part][masks[part] == kind] for part in (slice(2), slice(2, None)) for kind in (UNKNOWN, 0)]
    least = min(map(len, sets))
    assert len({len(s) for s in sets}) > 1 and least > 10
    torch.manual_seed(5)
    sets = [s if len(s) == least else s[torch.randperm(len(s))[:least]] for s in sets]
    expected = 0.7 * kept + 0.2 * found + 0.4 * losses.corocl(*sets, config.temperature)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4)
    for name, value in objective.pattern.named_buffers():
        torch.testing.assert_close(value, alone.pattern.get_buffer(name), atol=1e-5, rtol=1e-4)


def test_the_losses_may_be_taken_on_logits_interpolated_to_the_view(monkeypatch):
    """As written out: CoroCL stays on the grid of the pattern."""
    found = {}
    monkeypatch.setattr(
        losses, "corocl", lambda *sets: found.update(sets=[len(s) for s in sets[:4]]) or sets[0].sum() * 0
    )
    objective, (images, targets, *_) = made_objective(losses_at="image").eval(), batch()
    loss = objective(images, targets)
    network, pattern, config = objective.frozen[0], objective.pattern, objective.config
    output = network(images, residual=pattern)
    evidence, frozen = resize(output.residual, (48, 64)), resize(output.logits, (48, 64))
    kept = losses.inlier(evidence, frozen, targets == 0, config.entropy_weight)
    energy = losses.positive_energy(evidence, targets == UNKNOWN)
    assert loss.item() == pytest.approx((0.7 * kept + 0.2 * energy).item(), rel=1e-4)
    on_grid = dict(found)
    coarse = made_objective().eval()(images, targets)
    assert found == on_grid and abs(coarse.item() - loss.item()) > 1e-4 * loss.item()


@pytest.mark.parametrize(("samples", "most"), [(10_000, None), (7, 7)])
def test_the_sets_that_are_contrasted_are_of_one_size(monkeypatch, samples, most):
    sizes = []
    monkeypatch.setattr(losses, "corocl", lambda *sets: sizes.append([len(s) for s in sets[:4]]) or sets[0].sum() * 0)
    objective = made_objective()
    objective.config = replace(objective.config, samples=samples)
    images, targets, contexts, context_targets = batch()
    objective(images, targets, contexts, context_targets)
    objective(images, targets)
    objective(images, torch.zeros_like(targets), contexts, context_targets)
    all_four, no_context, no_outlier = sizes
    assert len(set(all_four)) == 1 and all_four[0] > 0 and (most is None or all_four[0] == most)
    assert no_context[0] == no_context[1] > 0 and no_context[2:] == [0, 0]
    assert no_outlier[0] == 0 and len(set(no_outlier[1:])) == 1 and no_outlier[1] > 0


def test_the_frozen_network_is_not_part_of_what_is_trained():
    objective = made_objective()
    network = objective.frozen[0]
    objective.train()
    objective(*batch()).backward()
    assert not network.training and all(p.grad is None for p in network.parameters())
    assert {id(p) for p in objective.parameters()} == {id(p) for p in objective.pattern.parameters()}
    assert all(p.grad is not None for p in objective.pattern.parameters())


# ---- images and targets


def test_every_outlier_trains_or_validates_and_none_does_both():
    train_on, val_on = set_aside(objects(17))
    assert not set(train_on.ids) & set(val_on.ids) and len(train_on) + len(val_on) == 17 and len(val_on) == 2
    few = set_aside(objects(3))
    assert few[0].ids == ("o0", "o1") and few[1].ids == ("o2",)
    assert set_aside(objects(1))[0].ids == set_aside(objects(1))[1].ids == ("o0",)


def test_void_is_no_inlier():
    """Where the ground truth is void or unknown, nothing is learned."""
    sample = tiny.dataset(1)[0]
    target = np.where(np.arange(64) < 20, UNKNOWN, 1).astype(np.uint8) * np.ones((48, 1), np.uint8)
    made = inlier_sample(replace(sample, target=target)).target
    assert (made[:, :20] == IGNORE).all() and (made[:, 20:] == 0).all()
    assert (inlier_sample(replace(sample, target=None)).target == 0).all()
    shown = context_sample(replace(objects().read(0), void=np.arange(40)[:, None] * np.ones(40) < 10)).target
    assert (shown[:10] == IGNORE).all() and (shown[10:36, 6:34] == UNKNOWN).all() and (shown[36:] == 0).all()


def test_what_is_known_and_has_no_name_is_an_inlier(tmp_path):
    """In an anomaly set, what is not anomalous is an inlier: its ground truth says KNOWN, not which class."""
    trees.roadanomaly21(tmp_path)
    sample = open_inliers(f"roadanomaly21:{tmp_path}", "val", LabelSpace.of(["road", "car"]))[0]
    target = inlier_sample(sample).target
    assert (target == 0).any() and np.array_equal(target == 0, np.asarray(sample.target) == KNOWN)


def test_what_is_pasted_is_augmented_with_its_image():
    """A cut-out that stayed as it was could be told by its brightness."""
    white = replace(objects(), read=lambda i: Outlier(np.full((3, 40, 40), 255, np.uint8), np.ones((40, 40), bool), ""))
    views = PastedViews(inlier_images(), white, None, replace(FAST, jitter=0.5))
    shown = []
    for i in range(12):
        image, target = views(0, i, np.random.default_rng(i))
        if (target == UNKNOWN).any():
            shown.append(float(image[:, target == UNKNOWN].mean()))
    assert len(shown) == 12 and min(shown) < 0.8 and max(shown) > 0.95


def test_a_context_is_augmented_like_an_image():
    config = replace(FAST, jitter=0.3)
    image, target, context, context_target = PastedViews(inlier_images(), objects(), objects(), config)(
        0, 3, np.random.default_rng(4)
    )
    rng = np.random.default_rng(4)
    sample = pasted(inlier_sample(inlier_images()[3]), objects(), config, rng)
    expected = augment(sample, config.crop, config.scale, 0.3, rng)
    shown = context_sample(objects().read(int(rng.integers(16))))
    expected = (*expected, *augment(shown, config.crop, (0.75, 1.5), 0.3, rng))
    for one, two in zip((image, target, context, context_target), expected, strict=True):
        assert torch.equal(one, two)
    assert (context_target == UNKNOWN).any() and context.shape == image.shape


def test_outliers_in_the_view_are_pasted_after_it_is_taken():
    """As in RPL's code: each view of a quarter of an image has one, at its own brightness."""
    config = replace(FAST, pasted=1, pasted_into="view", factors=(0.4,), crop=(32, 32), scale=(2.0, 2.1), jitter=0.5)
    for i in range(8):
        image, target = PastedViews(inlier_images(), objects(), None, config)(0, i, np.random.default_rng(i))
        rng = np.random.default_rng(i)
        plain, void = augment(inlier_sample(inlier_images()[i]), (32, 32), (2.0, 2.1), 0.5, rng)
        outlier = objects().read(int(rng.integers(16)))
        sample = Sample((255 * plain).round().to(torch.uint8).numpy(), void.to(torch.uint8).numpy(), "")
        expected = paste(sample, outlier, rng, config.sizes, 0.0, (0.4,))
        assert np.array_equal((255 * image).round().to(torch.uint8).numpy(), expected.image)
        assert np.array_equal(target.numpy(), expected.target) and (target == UNKNOWN).sum() > 60
        assert image.dtype == torch.float32 and target.dtype == torch.long


def test_a_context_is_cropped_at_its_centre_if_asked_for():
    config = replace(FAST, context_centred=True, context_scale=(1.0, 1.0), crop=(32, 32))
    seen = []
    for seed in range(6):
        *_, context, target = PastedViews(inlier_images(), objects(), objects(1), config)(
            0, 0, np.random.default_rng(seed)
        )
        seen.append(target)
        middle = context_sample(objects().read(0))
        cut = torch.from_numpy(middle.image[:, 4:36, 4:36]).float() / 255
        assert torch.equal(context, cut) or torch.equal(context, cut.flip(-1))
    assert all((target == UNKNOWN).any() for target in seen)


def test_the_same_outliers_are_pasted_whenever_they_are_asked_for():
    data = DataSet(inlier_images().source, LabelSpace.of(["road", "sky", "tree"]))
    one, two = (pasted(data[0], objects(), FAST, np.random.default_rng([7, 0])) for _ in range(2))
    assert np.array_equal(one.image, two.image) and np.array_equal(one.target, two.target)
