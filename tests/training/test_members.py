"""Several decoders on one backbone, each trained for itself."""

import copy
from dataclasses import replace

import pytest

from owseg.training import loop
from owseg.training import segmentation as module
from owseg.training.config import TrainConfig
from owseg.training.segmentation import train
from tests.support import tiny

ONE = TrainConfig(
    mode="tuned", epochs=1, batch=4, crop=(48, 64), scale=(0.9, 1.2), small=0.25, lr=5e-3, backbone_lr=5e-3, ema=0.8
)


def small(**options):
    return tiny.network(3, "resnet", decoder="pyramid", **options)


def same(one, two):
    return one.keys() == two.keys() and all(v.equal(two[n]) for n, v in one.items())


@pytest.mark.parametrize("mode", ["frozen", "tuned"])
@pytest.mark.parametrize("classifier", ["prototype", "linear"])
def test_of_several_decoders_each_is_a_training_of_its_own(tmp_path, mode, classifier):
    """The first with backbone and classifier, the others to fit them, with a seed that no member of another has."""
    data, config = tiny.dataset(), replace(ONE, mode=mode, seed=1, views=1)
    network = small(classifier=classifier, members=2)
    both = train(network, data, data, config, tmp_path / "both")

    single = copy.deepcopy(network)
    single.decoder = network.decoder.decoders[0]
    first = train(single, data, data, replace(config, seed=2), tmp_path / "first")
    assert same(first.decoder.state_dict(), both.decoder.decoders[0].state_dict())
    assert same(first.backbone.state_dict(), both.backbone.state_dict())
    assert same(first.classifier.state_dict(), both.classifier.state_dict())

    second = copy.deepcopy(first)
    second.decoder = network.decoder.decoders[1]
    second.classifier.requires_grad_(False)
    second = train(second, data, data, replace(config, mode="frozen", seed=3), tmp_path / "second")
    assert same(second.decoder.state_dict(), both.decoder.decoders[1].state_dict())
    assert same(second.classifier.state_dict(), both.classifier.state_dict())
    assert not both.training and all(p.requires_grad for p in both.parameters())


def test_of_several_decoders_those_that_had_begun_go_on(tmp_path, monkeypatch):
    data, network = tiny.dataset(), small(members=3)
    whole = train(network, data, data, ONE, tmp_path / "whole")
    real, trained = module.validation_miou, []

    def stop_in_the_third(network, val, process):
        if len(trained) == 2:
            raise KeyboardInterrupt
        trained.append(network)
        return real(network, val, process)

    monkeypatch.setattr(module, "validation_miou", stop_in_the_third)
    with pytest.raises(KeyboardInterrupt):
        train(network, data, data, ONE, tmp_path / "parts")
    monkeypatch.setattr(module, "validation_miou", real)
    before = [(tmp_path / "parts" / f"member-{i}" / "metrics.csv").read_text() for i in (1, 2)]
    resumed = train(network, data, data, ONE, tmp_path / "parts", resume=True)
    assert same(whole.state_dict(), resumed.state_dict())
    assert before == [(tmp_path / "parts" / f"member-{i}" / "metrics.csv").read_text() for i in (1, 2)]


@pytest.mark.parametrize(("members", "titles"), [(1, ["training"]), (2, ["training 1 of 2", "training 2 of 2"])])
def test_the_progress_says_which_one_is_trained(tmp_path, monkeypatch, members, titles):
    real, shown = loop.progress, []
    monkeypatch.setattr(
        loop, "progress", lambda title, *more, **named: shown.append(title) or real(title, *more, **named)
    )
    train(small(members=members), tiny.dataset(), tiny.dataset(2), ONE, tmp_path)
    assert shown == titles
