"""From a data set to a knowledge base: what is trained, chosen and calibrated on what."""

import json
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from owseg.data.dataset import DataSet, divide
from owseg.data.datasets import open_dataset
from owseg.errors import NoSuchSplit, OwsegError
from owseg.knowledge.base import KnowledgeBase
from owseg.knowledge.calibration import data_card, find_threshold
from owseg.knowledge.load import load
from owseg.labels import IGNORE, UNKNOWN
from owseg.training import build as module
from owseg.training.build import build_knowledge_base, round_to_half, train_and_val
from owseg.training.config import MEMBERS, SCALES, WIDTH, NegativeConfig, TrainConfig
from owseg.training.epochs import enough_epochs
from tests.support import tiny
from tests.support.labelled_folder import write
from tests.support.outliers import objects

FAST = TrainConfig(epochs=1, batch=2, crop=(32, 32), validate_every=1)
build_small = partial(build_knowledge_base, members=1, scales=(1.0,))


@pytest.fixture
def spec(tmp_path):
    return write(tmp_path / "data", {"train": 6, "val": 11})


@pytest.fixture
def watched(monkeypatch):
    """What each step is given; nothing is trained."""
    seen = SimpleNamespace()

    def watch(name, real):
        def step(*arguments, **more):
            setattr(seen, name, (arguments, more))
            return real(*arguments, **more)

        monkeypatch.setattr(module, name, step)

    watch("train", lambda network, *_: network)
    for name in ("fit_scorers", "calibrate", "assemble", "round_to_half"):
        watch(name, getattr(module, name))
    return seen


def test_it_runs_to_the_end_and_what_it_makes_can_be_stored(spec, tmp_path):
    kb = build_knowledge_base(spec, tiny.backbone("resnet"), ["rock"], FAST, tmp_path / "run", fpr=0.2, half=True)
    assert kb.base_classes == ("road", "sky", "tree") and kb.scorer == "joint@segments"
    assert kb.threshold.target_fpr == 0.2 and (kb.threshold.images, len(kb.predict(tiny.image()).labels)) == (5, 48)
    assert [e.action for e in kb.history] == ["train", "fit", "calibrate"]
    assert kb.history[0].message == "trained on folder:train with 3 classes"
    kb.save(tmp_path / "kb")
    again = load(tmp_path / "kb").predict(tiny.image(1))
    assert np.array_equal(again.score, kb.predict(tiny.image(1)).score)
    assert all((tmp_path / "run" / f"member-{i + 1}" / "metrics.csv").exists() for i in range(MEMBERS))
    learned = {n: v for n, v in load(tmp_path / "kb").network.state_dict().items() if not n.startswith("backbone.")}
    assert all(torch.equal(v.half().float(), v) for v in learned.values() if v.is_floating_point())


def test_half_of_val_chooses_and_the_other_half_calibrates(spec, tmp_path, watched):
    kb = build_small(spec, tiny.backbone("resnet"), ["rock"], FAST, tmp_path / "run")
    (_, trained_on, chosen_on, config, run, resume), _ = watched.train
    assert trained_on.source.ids == tuple(f"f{i}" for i in range(6))
    assert chosen_on.source.ids == ("f10", "f12", "f14", "f16", "f7", "f9")  # every second in the order of the names
    assert (config, run, resume) == (FAST, tmp_path / "run", False)
    (_, fitted_on), more = watched.fit_scorers
    assert fitted_on.source.ids == trained_on.source.ids and more["held_out"].source.ids == chosen_on.source.ids
    (_, calibrated_on, fpr), more = watched.calibrate
    assert calibrated_on.source.ids == ("f11", "f13", "f15", "f6", "f8") and fpr == 0.05
    assert (trained_on.unknown_as, chosen_on.unknown_as, calibrated_on.unknown_as) == (IGNORE, UNKNOWN, UNKNOWN)
    assert kb.history[0].details["val"] == {"images": 6, "calibrated_apart": True}
    assert kb.threshold == find_threshold(kb, calibrated_on, false_alarms=0.3)


@pytest.mark.parametrize(("scorer", "fitted"), [("msp", ()), ("mahalanobis", ("mahalanobis",)), ("joint", ("joint",))])
def test_the_score_that_is_asked_for_is_fitted_and_calibrated(spec, tmp_path, watched, scorer, fitted):
    kb = build_small(spec, tiny.backbone("resnet"), ["rock"], FAST, tmp_path / "run", scorer=scorer)
    assert kb.scorer == scorer and tuple(kb.fitted) == fitted and kb.threshold is not None
    assert kb.threshold == find_threshold(kb, watched.calibrate[0][1], scorer=scorer, false_alarms=0.3)


def test_outliers_are_shown_with_the_same_images_and_settings(spec, tmp_path, watched, monkeypatch):
    """By the trained network, before it is rounded; where nothing of it was stored, nothing of it is resumed.

    Of six images a step of two processes takes all, in place of eight a process.
    """
    calls = []
    monkeypatch.setattr(module, "with_negative", lambda network, *given: calls.append(given) or (network, 0.5))
    config = replace(FAST, seed=3, devices=2, workers=1)
    kb = build_small(spec, tiny.backbone("resnet"), ["rock"], config, tmp_path / "run", outliers=objects(), resume=True)
    ((inliers, val, outliers, shown, run, resume),) = calls
    assert inliers is watched.fit_scorers[0][1] and val is watched.train[0][2] and len(outliers) == 16
    assert shown == NegativeConfig(seed=3, batch=3, devices=2, workers=1) and (run, resume) == (
        tmp_path / "run" / "negative",
        False,
    )
    assert kb.history[0].details["val_ap"] == 0.5
    assert kb.history[0].message == "trained on folder:train with 3 classes and 16 outliers"


def test_photos_are_inliers_and_what_the_score_is_fitted_to(spec, photos, tmp_path, watched, monkeypatch):
    calls, paths = [], sorted(photos.iterdir())
    monkeypatch.setattr(module, "with_negative", lambda network, *given: calls.append(given) or (network, 0.5))
    kb = build_small(
        spec, tiny.backbone("resnet"), ["rock"], FAST, tmp_path / "run", outliers=objects(), unlabeled=paths
    )
    _, trained_on, chosen_on, *_ = watched.train[0]
    inliers, val, *_ = calls[0]
    assert inliers.source.ids == (*trained_on.source.ids, *map(str, paths)) and val is chosen_on
    assert inliers[0].target is not None and inliers[len(trained_on)].target is None
    given = watched.fit_scorers[1]["unlabeled"]
    assert given.source.ids == tuple(map(str, paths)) and given.labels.names == kb.base_classes
    assert len(trained_on) == 6  # the network itself learns from labelled images alone
    assert kb.history[0].details["unlabeled"] == data_card(given)
    assert kb.history[1].message == f"fitted joint on folder:train and {len(paths)} images without labels"
    longer = replace(FAST, epochs=TrainConfig.epochs)
    build_small(spec, tiny.backbone("resnet"), ["rock"], longer, tmp_path / "again", outliers=objects())
    assert calls[1][0].source.ids == trained_on.source.ids and watched.fit_scorers[1]["unlabeled"] is None
    # Few images are seen more often, unless the training was asked to be short.
    assert calls[1][3] == enough_epochs(NegativeConfig(batch=6), 6) and calls[0][3] == NegativeConfig()


@pytest.mark.parametrize("val", [1, 9])
def test_a_val_that_is_too_small_does_both_and_the_history_says_so(tmp_path, watched, val):
    spec = write(tmp_path / "data", {"train": 4, "val": val})
    kb = build_small(spec, tiny.backbone("resnet"), ["rock"], FAST, tmp_path / "run")
    chosen_on, calibrated_on = watched.train[0][2], watched.calibrate[0][1]
    assert chosen_on.source.ids == calibrated_on.source.ids and len(chosen_on) == val
    note = f"; val is too small to divide ({val}), so it chose the weights and calibrates as well"
    assert kb.history[0].message == "trained on folder:train with 3 classes" + note
    assert kb.history[0].details["val"] == {"images": val, "calibrated_apart": False}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"classifier": "linear"}, {"classifier": "linear", "scale": None}),
        ({}, {}),
        ({"scale": 1.5, "decoder": "psp"}, {"scale": 1.5, "decoder": "psp"}),
        ({"size": 64, "scales": (1.0, 0.5)}, {"size": 64, "scales": (1.0, 0.5)}),
        ({"scales": (1.0,), "members": 3, "width": 16}, {"scales": (1.0,), "members": 3, "width": 16}),
    ],
    ids=str,
)
def test_the_network_is_the_one_that_is_asked_for(spec, tmp_path, watched, options, expected):
    network = build_knowledge_base(spec, tiny.backbone("resnet"), ["rock"], FAST, tmp_path / "run", **options).network
    config, decoder = network.config, network.config["decoder"]
    found = {
        "decoder": decoder["of"]["kind"], "members": decoder["count"], "classifier": config["classifier"]["kind"],
        "width": decoder["of"]["width"],
        "scale": config["classifier"].get("scale"), "size": network.size, "scales": network.scales,
    }  # fmt: skip
    # By default the size is that of the images.
    usual = {
        "decoder": "pyramid",
        "width": WIDTH,
        "members": MEMBERS,
        "classifier": "prototype",
        "scale": 3.0,
        "size": 48,
    }
    assert found == {**usual, "scales": SCALES, **expected} and network.num_classes == 3


@pytest.mark.parametrize("fpr", [0.05, 0.3])
@pytest.mark.parametrize("resume", [False, True])
def test_rate_and_resume_reach_where_they_act(spec, tmp_path, watched, fpr, resume):
    kb = build_small(spec, tiny.backbone("resnet"), [], FAST, tmp_path / "run", fpr=fpr, resume=resume)
    assert kb.threshold.target_fpr == fpr and watched.train[0][5] is resume
    assert len(kb.labels) == 4 and not hasattr(watched, "round_to_half")


def test_the_seed_decides_the_weights_before_training(spec, tmp_path, watched):
    marks = []
    for number, seed in enumerate((0, 0, 1)):
        torch.rand(number)
        config = replace(FAST, seed=seed)
        network = build_knowledge_base(spec, tiny.backbone("resnet"), [], config, tmp_path / "run").network
        marks.append(float(network.decoder.decoders[0].head.weight.detach().double().sum()))
    assert marks[0] == marks[1] != marks[2]


def test_the_history_says_what_it_was_trained_with(spec, tmp_path, watched, monkeypatch):
    names = []
    monkeypatch.setattr(module, "from_pretrained", lambda name: names.append(name) or tiny.backbone("resnet"))
    kb = build_small(spec, "hub/name", ["rock", "tree"], FAST, tmp_path / "run")
    details = kb.history[0].details
    assert names == ["hub/name"] and details["backbone"] == "name" and details["unknown"] == ["rock", "tree"]
    assert details["config"]["crop"] == (32, 32) and details.items() >= data_card(watched.train[0][1]).items()


@pytest.mark.parametrize("mode", ["frozen", "tuned"])
def test_a_network_is_rounded_before_anything_is_fitted_to_it(spec, tmp_path, watched, mode):
    """But for a frozen backbone, which stays that of its package."""
    body = tiny.backbone("resnet")
    build_small(spec, body, ["rock"], replace(FAST, mode=mode), tmp_path / "run", half=True)
    kb = watched.fit_scorers[0][0]
    assert isinstance(kb, KnowledgeBase)
    rounded = {n: torch.equal(v.half().float(), v) for n, v in kb.network.state_dict().items() if v.is_floating_point()}
    assert all(rounded[name] for name in rounded if mode == "tuned" or not name.startswith("backbone."))
    assert all(rounded.values()) == (mode == "tuned")


def test_rounding_leaves_what_16_bits_cannot_hold():
    network = tiny.network()
    with torch.no_grad():
        network.decoder.head.bias[0] = 1e9
    before = network.decoder.head.bias.clone()
    round_to_half(network)
    assert torch.equal(network.decoder.head.bias, before)
    assert torch.equal(network.decoder.head.weight, network.decoder.head.weight.half().float())


@pytest.mark.parametrize(
    ("unknown", "message"),
    [
        (["road", "sky", "tree"], "two known classes are the least; leave out fewer of road, sky, tree, rock"),
        (["cow"], "no class 'cow'; the classes are road, sky, tree, rock"),
    ],
)
def test_classes_that_cannot_be_left_out(spec, tmp_path, watched, unknown, message):
    with pytest.raises(OwsegError, match=message):
        build_small(spec, tiny.backbone("resnet"), unknown, FAST, tmp_path / "run")


def test_data_of_one_class_are_refused(spec, tmp_path, watched):
    (tmp_path / "data" / "classes.json").write_text(json.dumps(["road"]))
    with pytest.raises(OwsegError, match="has one class, road; name a second one, such as other, in it"):
        build_small(spec, tiny.backbone("resnet"), [], FAST, tmp_path / "run")


def test_a_class_called_void_is_left_out_or_renamed(tmp_path):
    (tmp_path / "images").mkdir()
    Image.fromarray(tiny.image().transpose(1, 2, 0)).save(tmp_path / "images" / "a.png")
    (tmp_path / "classes.json").write_text(json.dumps(["road", "void", "sky"]))
    config, run = replace(FAST, batch=1), tmp_path / "run"
    with pytest.raises(OwsegError, match=r"no class can have the name 'void', which is reserved; .* leave it out"):
        build_small(f"folder:{tmp_path}", tiny.backbone("resnet"), (), config, run)
    with pytest.raises(OwsegError, match="a has no mask"):  # without it, it comes as far as training
        build_small(f"folder:{tmp_path}", tiny.backbone("resnet"), ("void",), config, run)
    (tmp_path / "classes.json").write_text(json.dumps(["road", "car ", "sky"]))
    with pytest.raises(OwsegError, match="the class name 'car ' begins or ends with a blank; write 'car'"):
        build_small(f"folder:{tmp_path}", tiny.backbone("resnet"), (), config, run)


def test_validation_is_not_on_the_training_images(spec, tmp_path, monkeypatch):
    """The weights that are kept are the best on val: the images that are read to validate are never trained on."""
    real, read = module.train, []

    def train(network, data, val, *rest):
        source = replace(val.source, read=lambda i: read.append(val.source.ids[i]) or val.source.read(i))
        return real(network, data, DataSet(source, val.labels), *rest)

    monkeypatch.setattr(module, "train", train)
    build_small(spec, tiny.backbone("resnet"), ["rock"], FAST, tmp_path / "run")
    assert sorted(set(read)) == ["f10", "f12", "f14", "f16", "f7", "f9"]


def test_a_share_of_train_is_val_where_there_is_none(tmp_path, watched):
    spec = write(tmp_path / "data", {"train": 10})
    with pytest.raises(NoSuchSplit):
        build_small(spec, tiny.backbone("resnet"), ["rock"], FAST, tmp_path / "run")
    config = replace(FAST, seed=5)
    kb = build_small(spec, tiny.backbone("resnet"), ["rock"], config, tmp_path / "run", val_share=0.3)
    trained_on, chosen_on = watched.train[0][1:3]
    everything = open_dataset(spec, "train", kb.labels)
    assert chosen_on.source.ids == divide(everything, 0.3, 5)[1].source.ids and len(chosen_on) == 3
    assert set(trained_on.source.ids) == set(everything.source.ids) - set(chosen_on.source.ids)
    assert (trained_on.unknown_as, chosen_on.unknown_as) == (IGNORE, UNKNOWN)
    assert kb.history[0].details["val_share"] == 0.3


def test_a_share_of_a_data_set_that_has_a_val_is_refused(spec):
    with pytest.raises(OwsegError, match="has a split val of its own; leave --val out"):
        train_and_val(spec, tiny.dataset().labels, 0.2)


def test_a_folder_without_splits_is_divided(own_data):
    labels = tiny.dataset().labels
    train, val = train_and_val(f"folder:{own_data}", labels, 0.25)
    assert len(train) == 6 and len(val) == 2 and not set(train.source.ids) & set(val.source.ids)
    train, val = train_and_val(f"folder:{own_data}", labels)
    assert train.source.ids == val.source.ids
