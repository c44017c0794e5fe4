"""One network of what was learned one after the other: which weights it begins with, and which labels it is shown."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from owseg.data.dataset import DataSet
from owseg.errors import OwsegError
from owseg.labels import IGNORE, KNOWN, UNKNOWN, LabelSpace
from owseg.training import consolidate as module
from owseg.training.config import TrainConfig
from owseg.training.consolidate import completed, consolidate, widened, without_masks_of
from tests.support import tiny
from tests.support.exported import learned
from tests.support.labelled_folder import write

FAST = TrainConfig(epochs=1, batch=2, crop=(32, 32), validate_every=1)


@pytest.fixture(scope="module")
def knows(kb):
    """A knowledge base that has learned a class, which it predicts somewhere, and finds some pixels unknown."""
    some = learned(kb, probes=1)
    score = np.concatenate([some.predict(tiny.image(i)).score.ravel() for i in range(4)])
    return replace(some, threshold=replace(some.threshold, value=float(np.median(score))))


def of(network, *names):
    """What ``widened`` reads of a knowledge base."""
    return SimpleNamespace(network=network, labels=LabelSpace.of(names))


@pytest.mark.parametrize("classifier", ["prototype", "linear"])
def test_it_begins_with_what_the_network_predicted(classifier):
    base = tiny.network(classifier=classifier).eval()
    network = widened(of(base, "road", "sky", "tree", "cow")).eval()
    assert (network.num_classes, network.size, network.scales) == (4, base.size, base.scales)
    assert all(p.requires_grad for p in network.parameters()) and network.negative is None
    image = torch.from_numpy(tiny.image())[None] / 255
    before, after = base(image).logits, network(image).logits
    # The new prototype has a distance of its own; a new linear class is as unlikely as the least likely.
    torch.testing.assert_close(after[:, :3], before, rtol=1e-4, atol=1e-4)
    if classifier == "linear":
        assert torch.allclose(after[:, 3], base.classifier.conv.bias.min().expand_as(after[:, 3]))


def test_it_is_on_the_device_of_the_network():
    network = widened(of(tiny.network(classifier="linear").to("meta"), "road", "sky", "tree", "cow"))
    assert {p.device.type for p in network.parameters()} == {"meta"}


def test_masks_count_and_what_they_leave_open_is_predicted(knows):
    data = tiny.dataset(3)
    labels = knows.labels

    def read(i):
        image, mask = data.source.read(i)
        mask = mask.copy()
        mask[:8], mask[8:16], mask[16:24] = IGNORE, KNOWN, 3  # 3: a class that it does not know
        return image, None if i == 2 else mask

    source = replace(data.source, classes=data.source.classes.extend("rock"), read=read)
    found = completed(DataSet(source, labels, IGNORE), knows)
    assert found.labels == labels and [s.id for s in found] == list(data.source.ids)
    kinds = set()
    for i, sample in enumerate(found):
        predicted = knows.predict(sample.image).open_set
        expected = np.where(predicted == UNKNOWN, IGNORE, predicted)
        kinds |= set(np.unique(expected))
        if i < 2:
            expected = np.concatenate([expected[:24], data.source.read(i)[1][24:]])
        assert np.array_equal(sample.target, expected)
    assert {IGNORE, labels.index("probe0")} < kinds


def test_masks_of_a_class_may_be_left_out():
    data = tiny.dataset(2)
    hidden = without_masks_of(data, ["sky"])
    before, after = data[0].target, hidden[0].target
    assert (
        (before == 1).any()
        and (after[before == 1] == IGNORE).all()
        and (after[before != 1] == before[before != 1]).all()
    )
    assert without_masks_of(data, []) is data
    with pytest.raises(OwsegError, match="has no class 'cow'; it has road, sky, tree"):
        without_masks_of(data, ["cow"])


def test_from_a_data_set_to_one_network(knows, tmp_path, monkeypatch):
    spec, given = write(tmp_path / "data", {"train": 6, "val": 11}), {}
    for name in ("train", "fitted_and_calibrated"):
        real = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *a, name=name, real=real: given.setdefault(name, a) and real(*a))
    done = consolidate(knows, spec, FAST, tmp_path / "run", unknown=["tree"], fpr=0.2)
    network, shown, val, config, run, _ = given["train"]
    assert network.num_classes == 4 == done.network.num_classes and config == FAST and run == tmp_path / "run"
    assert done.labels == knows.labels and done.increments == () and done.base_classes == knows.labels.names
    # The masks of tree, and of the fourth class of the data, are left to what it predicts.
    sample = shown[0]
    assert shown.labels == val.labels == knows.labels and len(shown) == 6 and len(val) == 6
    assert (sample.target == knows.predict(sample.image).open_set)[np.isin(sample.target, [2, 3])].all()
    _, fitted_on, _, choose, calibration, fpr, scorer = given["fitted_and_calibrated"]
    assert fitted_on is shown and fpr == 0.2 and scorer == "joint@segments"
    # The threshold is found on masks alone: no pixel of them is of a class that they do not name.
    assert len(choose) == 6 and len(calibration) == 5
    assert not np.isin(np.concatenate([s.target.ravel() for s in calibration]), [2, 3]).any()
    event = done.history[0]
    assert event.details["from"] == knows.fingerprint() and event.details["unknown"] == ["tree"]
    assert (
        event.message.startswith("trained on folder:train with 4 classes, by a knowledge base that had learned probe0")
        and done.threshold.target_fpr == 0.2
    )
    done.save(tmp_path / "kb")


def test_a_mask_classifier_cannot_be_widened():
    network = tiny.network()
    network.classifier = torch.nn.Identity()
    with pytest.raises(OwsegError, match="cannot be given others"):
        widened(of(network, "road", "sky", "tree", "cow"))
