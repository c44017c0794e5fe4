import csv
from dataclasses import replace

import numpy as np
import pytest
import torch

from owseg.data.dataset import DataSet
from owseg.errors import OwsegError
from owseg.labels import IGNORE, LabelSpace
from owseg.losses.segmentation import class_weights
from owseg.training.config import TrainConfig
from owseg.training.segmentation import Objective, closed_iou, train
from tests.support import tiny

FAST = TrainConfig(
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


def weights(network):
    return {k: v.clone() for k, v in network.state_dict().items()}


def test_a_stopped_run_ends_like_one_that_was_never_stopped(tmp_path):
    data = tiny.dataset()
    whole = train(tiny.network(), data, data, FAST, tmp_path / "whole")

    class Stop(Exception):
        pass

    class Stopping(DataSet):
        """Validation data that stops the run in its third validation."""

        seen = 0

        def __iter__(self):
            Stopping.seen += 1
            if Stopping.seen == 3:
                raise Stop
            return super().__iter__()

    with pytest.raises(Stop):
        train(tiny.network(), data, Stopping(data.source, data.labels), FAST, tmp_path / "parts")
    torch.rand(17)  # whatever the random state is by then must not matter
    resumed = train(tiny.network(), data, data, FAST, tmp_path / "parts", resume=True)
    for name, value in weights(whole).items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    rows = [list(csv.DictReader((tmp_path / n / "metrics.csv").open())) for n in ("whole", "parts")]
    for a, b in zip(*rows, strict=True):
        assert (a["epoch"], a["loss"], a["val_miou"]) == (b["epoch"], b["loss"], b["val_miou"])


def test_training_learns_and_logs(tmp_path):
    data = tiny.dataset(16)
    config = replace(FAST, epochs=12, validate_every=4)
    untrained = closed_iou(tiny.network(), data).mean()
    network = train(tiny.network(), data, data, config, tmp_path)
    rows = list(csv.DictReader((tmp_path / "metrics.csv").open()))
    assert [int(r["epoch"]) for r in rows] == list(range(1, 13))
    assert float(rows[-1]["loss"]) < 0.5 * float(rows[0]["loss"])
    best = max(float(r["val_miou"]) for r in rows if r["val_miou"])
    assert closed_iou(network, data).mean() == pytest.approx(best, abs=1e-5)
    assert best > untrained + 0.2


def test_resume_refuses_other_settings(tmp_path):
    data = tiny.dataset()
    train(tiny.network(), data, data, replace(FAST, epochs=1), tmp_path)
    with pytest.raises(OwsegError, match="other settings"):
        train(tiny.network(), data, data, replace(FAST, epochs=2), tmp_path, resume=True)
    with pytest.raises(OwsegError, match="other settings"):  # T is in no weight, and would go unnoticed
        train(tiny.network(scale=2.0), data, data, replace(FAST, epochs=1), tmp_path, resume=True)
    with pytest.raises(OwsegError, match="other settings"):
        train(tiny.network(4), data, data, replace(FAST, epochs=1), tmp_path, resume=True)
    with pytest.raises(OwsegError, match="other settings"):
        train(tiny.network(), tiny.dataset(9), data, replace(FAST, epochs=1), tmp_path, resume=True)
    with pytest.raises(OwsegError, match="no run to resume"):
        train(tiny.network(), data, data, FAST, tmp_path / "new", resume=True)
    (tmp_path / "last.ckpt").write_bytes(b"nothing")
    with pytest.raises(OwsegError, match="no checkpoint"):
        train(tiny.network(), data, data, replace(FAST, epochs=1), tmp_path, resume=True)


def test_training_refuses_what_it_cannot_use(tmp_path):
    data = tiny.dataset(3)
    with pytest.raises(OwsegError, match="do not fill"):
        train(tiny.network(), data, data, FAST, tmp_path)
    named_otherwise = DataSet(tiny.dataset().source, LabelSpace.of(("Road", "Sky", "Tree")), IGNORE)
    with pytest.raises(OwsegError, match="no pixel is labelled with a known class"):
        train(tiny.network(), named_otherwise, data, FAST, tmp_path)
    with pytest.raises(OwsegError, match="lower the learning rate"):
        train(tiny.network(), tiny.dataset(), data, replace(FAST, lr=1e9, backbone_lr=1e9), tmp_path)


def test_class_weights_are_the_frequencies_to_a_power_with_mean_one():
    target = np.array([[0, 0, 0, 0, 1, IGNORE]], np.uint8)
    weight = class_weights([target], 3, 0.5)
    assert weight[2] == 0
    assert weight[1] / weight[0] == pytest.approx(2.0)
    assert 0.8 * weight[0] + 0.2 * weight[1] == pytest.approx(1.0)


@pytest.mark.parametrize("classifier", ["prototype", "linear"])
def test_the_objective_is_the_loss_of_the_interpolated_maps(classifier):
    from owseg.losses import segmentation as losses
    from owseg.models.ops import resize

    network = tiny.network(classifier=classifier)
    images, targets = torch.rand(2, 3, 48, 64), torch.randint(0, 3, (2, 48, 64))
    loss = Objective(network, 0.01, torch.ones(3))(images, targets)
    logits = network.classify(resize(network(images).embedding, (48, 64)))
    expected = (
        losses.hybrid(logits, targets, 0.01) if classifier == "prototype" else losses.cross_entropy(logits, targets)
    )
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4)
