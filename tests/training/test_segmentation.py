"""Training a segmentation network: it learns, resumes exactly, and leaves the caller's network as it was."""

import csv
from dataclasses import replace

import numpy as np
import pytest
import torch

from owseg.data.augment import augment
from owseg.data.dataset import DataSet
from owseg.errors import OwsegError
from owseg.labels import IGNORE, LabelSpace
from owseg.losses import segmentation as losses
from owseg.models.ops import resize
from owseg.training import segmentation as module
from owseg.training.config import TrainConfig
from owseg.training.segmentation import SegmentationObjective, train, validation_miou
from owseg.training.views import AugmentedViews
from tests.support import tiny

FAST = TrainConfig(
    mode="tuned",
    epochs=4,
    batch=4,
    crop=(48, 64),
    scale=(0.9, 1.2),
    small=0.25,
    validate_every=1,
    lr=5e-3,
    backbone_lr=5e-3,
    ema=0.8,
)
ONE = replace(FAST, epochs=1)


def small(classes=3, **options):
    """A network of few layers: what is copied and stored most here."""
    return tiny.network(classes, "resnet", **options)


def weights(network):
    return {k: v.clone() for k, v in network.state_dict().items()}


def same(one, two):
    return one.keys() == two.keys() and all(torch.equal(v, two[n]) for n, v in one.items())


def rows(run):
    return list(csv.DictReader((run / "metrics.csv").open()))


def test_a_stopped_run_ends_like_one_that_was_never_stopped(tmp_path):
    data = tiny.dataset()
    whole = train(small(), data, data, FAST, tmp_path / "whole")

    class Stop(Exception):
        pass

    class Stopping(DataSet):
        """Validation data that stops the run in its third validation."""

        count = 0

        def __getitem__(self, i):
            Stopping.count += i == 0
            if Stopping.count == 3:
                raise Stop
            return super().__getitem__(i)

    with pytest.raises(Stop):
        train(small(), data, Stopping(data.source, data.labels), FAST, tmp_path / "parts")
    torch.rand(17)  # whatever the random state is by then must not matter
    resumed = train(small(), data, data, FAST, tmp_path / "parts", resume=True)
    assert same(whole.state_dict(), resumed.state_dict())
    for a, b in zip(rows(tmp_path / "whole"), rows(tmp_path / "parts"), strict=True):
        assert (a["epoch"], a["loss"], a["val_miou"]) == (b["epoch"], b["loss"], b["val_miou"])


def test_vl_alone_and_no_average(tmp_path):
    """Table 3's first rows; with a decay of 0 the weights that are kept are those of the last step."""
    data = tiny.dataset()
    kept = {}
    for name, ema in (("none", 0.0), ("some", 0.8)):
        config = replace(ONE, dce_weight=0.0, variance_weight=1.0, ema=ema, balance=0.0, optimizer="sgd", lr=1e-3)
        kept[name] = weights(train(small(), data, data, config, tmp_path / name))
    found = torch.load(tmp_path / "none" / "last.ckpt", weights_only=True)["objective"]
    last = {name.removeprefix("network."): v for name, v in found.items() if name.startswith("network.")}
    assert same(kept["none"], {name: last[name] for name in kept["none"]}) and not same(kept["none"], kept["some"])
    images, targets = torch.rand(1, 3, 48, 64), torch.zeros(1, 48, 64, dtype=torch.long)
    net, ones = small().eval(), torch.ones(3)
    loss = SegmentationObjective(net, 0.25, ones, dce_weight=0.0)(images, targets)
    logits = net.classify(resize(net.decode(net.encode(images)), (48, 64)))
    assert loss.item() == pytest.approx(0.25 * losses.variance(logits, targets).item(), rel=1e-4)
    with pytest.raises(OwsegError, match="VL alone needs prototypes"):
        train(small(classifier="linear"), data, data, replace(ONE, dce_weight=0.0), tmp_path / "linear")


def test_training_learns_and_logs(tmp_path):
    data = tiny.dataset(16)
    config = replace(FAST, epochs=12, validate_every=4)
    untrained = validation_miou(small(), data)
    network = train(small(), data, data, config, tmp_path)
    found = rows(tmp_path)
    assert [int(r["epoch"]) for r in found] == list(range(1, 13))
    assert float(found[-1]["loss"]) < 0.5 * float(found[0]["loss"])
    best = max(float(r["val_miou"]) for r in found if r["val_miou"])
    assert validation_miou(network, data) == pytest.approx(best, abs=1e-5)
    assert best > untrained + 0.2


def test_the_weights_kept_are_the_best_on_val(tmp_path):
    """Which are others than the best on train where val is labelled otherwise."""
    data = tiny.dataset()
    swapped = DataSet(
        replace(data.source, read=lambda i: (data.source.read(i)[0], 2 - data.source.read(i)[1])), data.labels
    )
    network = train(small(), data, swapped, FAST, tmp_path)
    scores = [float(r["val_miou"]) for r in rows(tmp_path)]
    assert validation_miou(network, swapped) == pytest.approx(max(scores), abs=1e-5)


@pytest.mark.parametrize("training", [True, False])
def test_the_caller_s_network_stays_as_it_was(tmp_path, training):
    network = tiny.network().train(training)
    network.decoder.requires_grad_(False)
    before, modes = weights(network), [m.training for m in network.modules()]
    grads, strides = ([p.requires_grad for p in network.parameters()], [p.stride() for p in network.parameters()])
    trained = train(network, tiny.dataset(), tiny.dataset(2), ONE, tmp_path)
    assert same(before, network.state_dict()) and modes == [m.training for m in network.modules()]
    assert grads == [p.requires_grad for p in network.parameters()] and not network.backbone.stem_is_frozen
    assert strides == [p.stride() for p in network.parameters()]
    assert trained is not network and not same(before, trained.state_dict()) and not trained.training


@pytest.mark.parametrize("freeze", [True, False])
def test_a_frozen_stem_does_not_learn(tmp_path, freeze):
    network = tiny.network()
    trained = train(network, tiny.dataset(), tiny.dataset(2), replace(ONE, freeze_stem=freeze, ema=0.1), tmp_path)
    stem = [m.state_dict() for m in network.backbone.family.stem(network.backbone.model)]
    after = [m.state_dict() for m in trained.backbone.family.stem(trained.backbone.model)]
    assert len(stem) > 0 and all(same(a, b) for a, b in zip(stem, after, strict=True)) == freeze
    assert not same(network.decoder.state_dict(), trained.decoder.state_dict())


@pytest.mark.parametrize(
    ("small", "epoch", "halved"), [(0.5, 1, True), (0.5, 2, False), (0.0, 0, False), (1.0, 3, True)]
)
def test_the_first_epochs_see_half_the_size(small, epoch, halved):
    config, sample = replace(FAST, small=small, jitter=0.2), tiny.dataset(1)[0]
    image, target = AugmentedViews([sample], config)(epoch, 0, np.random.default_rng(3))
    size, scale = ((24, 32), (0.45, 0.6)) if halved else ((48, 64), (0.9, 1.2))
    expected = augment(sample, size, scale, 0.2, np.random.default_rng(3))
    assert image.shape == (3, *size) and torch.equal(image, expected[0]) and torch.equal(target, expected[1])


def trained(run, **settings):
    data = tiny.with_void()
    data = DataSet(replace(data, ids=data.ids[:4]), data.classes)
    base = replace(FAST, epochs=2, validate_every=2, small=0.0, seed=0)  # two steps: the first average is a copy
    return train(small(), data, data, replace(base, **settings), run).state_dict()


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """What ``trained`` returns if nothing else is asked for."""
    return trained(tmp_path_factory.mktemp("plain"))


@pytest.mark.parametrize(
    "setting",
    [
        {"small": 1.0}, {"jitter": 0.0}, {"scale": (0.5, 0.6)}, {"crop": (32, 32)}, {"lr": 1e-3}, {"backbone_lr": 1e-3},
        {"weight_decay": 1.0}, {"variance_weight": 1.0}, {"balance": 1.0}, {"ema": 0.5}, {"seed": 1}, {"batch": 2},
        {"freeze_stem": False}, {"label_stride": 1}, {"mode": "frozen"},
        {"mode": "frozen", "views": 1}, {"mode": "frozen", "seed": 1},
    ],
    ids=str,
)  # fmt: skip
def test_every_setting_reaches_the_training(plain, tmp_path, setting):
    assert not same(plain, trained(tmp_path, **setting))


def test_the_same_settings_make_the_same_weights(plain, tmp_path):
    assert same(plain, trained(tmp_path))


def test_backbone_and_the_rest_have_rates_of_their_own_and_no_decay_on_biases(tmp_path, monkeypatch):
    tasks = []

    def record(fabric, task, config, checkpoint):
        tasks.append(task)
        return task.kept.state_dict(), 0.0

    monkeypatch.setattr(module, "loop", record)
    train(
        small(),
        tiny.dataset(),
        tiny.dataset(2),
        replace(FAST, lr=0.3, backbone_lr=0.2, weight_decay=0.1),
        tmp_path,
    )
    (task,) = tasks
    trained = task.objective.network
    backbone = {id(p) for p in trained.backbone.parameters()}
    groups = task.optimizer.param_groups
    assert {id(p) for g in groups for p in g["params"]} == {id(p) for p in trained.parameters() if p.requires_grad}
    for group in groups:
        for p in group["params"]:
            assert group["lr"] == (0.2 if id(p) in backbone else 0.3)
            assert group["weight_decay"] == (0.1 if p.ndim > 1 else 0.0)
    assert task.metric == "mIoU" and task.kept is not trained


def test_resume_refuses_other_settings(tmp_path):
    data = tiny.dataset()
    train(small(), data, data, ONE, tmp_path)
    others = [
        (small(), data, replace(FAST, epochs=2)),
        (small(scale=2.0), data, ONE),  # T is in no weight, and would go unnoticed
        (small(4), data, ONE),
        (small(), tiny.dataset(9), ONE),
    ]
    for network, other, config in others:
        with pytest.raises(OwsegError, match="other settings"):
            train(network, other, data, config, tmp_path, resume=True)
    with pytest.raises(OwsegError, match="no run to resume"):
        train(small(), data, data, FAST, tmp_path / "new", resume=True)


def test_training_refuses_what_it_cannot_use(tmp_path):
    data = tiny.dataset(3)
    with pytest.raises(OwsegError, match="3 images do not fill a batch of 4"):
        train(small(), data, data, FAST, tmp_path)
    named_otherwise = DataSet(tiny.dataset().source, LabelSpace.of(("Road", "Sky", "Tree")), IGNORE)
    with pytest.raises(OwsegError, match="no pixel is labelled with a known class"):
        train(small(), named_otherwise, data, FAST, tmp_path)
    with pytest.raises(OwsegError, match=r"no pixel of .* is labelled with a known class; validate on other images"):
        train(small(), tiny.dataset(), named_otherwise, FAST, tmp_path / "not begun")
    assert not (tmp_path / "not begun").exists()
    with pytest.raises(OwsegError, match="lower the learning rate"):
        train(small(), tiny.dataset(), data, replace(FAST, lr=1e9, backbone_lr=1e9), tmp_path)
    bare = replace(data, source=replace(data.source, read=lambda i: (data.source.read(i)[0], None)))
    with pytest.raises(OwsegError, match="f0 has no mask; validation needs one"):
        train(small(), tiny.dataset(), bare, ONE, tmp_path)
    with pytest.raises(OwsegError, match="f0 has no mask; training needs one"):
        train(small(), bare, data, replace(ONE, batch=3), tmp_path)


@pytest.mark.parametrize("classifier", ["prototype", "linear"])
def test_the_objective_is_the_loss_of_the_interpolated_maps(classifier):
    network = small(classifier=classifier)
    images, targets = torch.rand(2, 3, 48, 64), torch.randint(0, 3, (2, 48, 64))
    class_weights = torch.tensor([0.5, 1.0, 2.0])
    loss = SegmentationObjective(network, 0.2, class_weights)(images, targets)
    logits = network.classify(resize(network(images).embedding, (48, 64)))
    expected = (
        losses.hybrid(logits, targets, 0.2, class_weights)
        if classifier == "prototype"
        else losses.cross_entropy(logits, targets, class_weights)
    )
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4)


def test_the_loss_takes_another_label_of_each_cell_in_each_step():
    network = small()
    images, targets = torch.rand(2, 3, 48, 64), torch.randint(0, 3, (2, 48, 64))
    found = {
        SegmentationObjective(network, 0.2, torch.ones(3), label_stride=2)(images, targets).item() for _ in range(64)
    }
    embedding = resize(network(images).embedding, (24, 32))
    expected = {
        losses.objective(network.classifier, embedding, targets[:, top::2, left::2], 0.2, torch.ones(3)).item()
        for top in range(2)
        for left in range(2)
    }
    assert len(expected) == 4 and sorted(found) == pytest.approx(sorted(expected), rel=1e-5)
