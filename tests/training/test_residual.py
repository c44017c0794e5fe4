"""Training a residual pattern: outliers are found, the closed map stays, and every argument reaches where it acts."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import SegformerConfig, SegformerForSemanticSegmentation

from owseg.errors import OwsegError
from owseg.knowledge.base import KnowledgeBase
from owseg.knowledge.calibration import calibrate
from owseg.knowledge.commit import rollback_version
from owseg.knowledge.load import load
from owseg.labels import LabelSpace
from owseg.metrics.pixel import Exact
from owseg.models.assemble import assemble
from owseg.models.backbones.base import build
from owseg.models.ops import resize
from owseg.models.published.transformers import to_network
from owseg.models.residual_pattern import residual_of
from owseg.scorers.energy import energy
from owseg.scorers.rpl import rpl
from owseg.training import pasting
from owseg.training import residual as module
from owseg.training.pasting import inlier_sample, pasted, set_aside
from owseg.training.residual import train_residual
from tests.support import tiny
from tests.support.outliers import FAST, inlier_images, objects

ONE = replace(FAST, epochs=1)


def segformer():
    torch.manual_seed(0)
    config = SegformerConfig(**tiny.CONFIGS["segformer"], decoder_hidden_size=24, num_labels=3)
    return to_network(SegformerForSemanticSegmentation(config))


NETWORKS = {
    "linear": lambda: tiny.network(kind="resnet", classifier="linear"),
    "prototype": tiny.network,
    "segformer": segformer,
}


def base(kind="linear"):
    return KnowledgeBase(NETWORKS[kind](), LabelSpace.of(["road", "sky", "tree"]))


def same(one, two):
    return one.keys() == two.keys() and all(torch.equal(v, two[n]) for n, v in one.items())


def ap(kb, data, name):
    state = Exact()
    for i in range(len(data)):
        sample = pasted(data[i], objects(), FAST, np.random.default_rng([3, i]))
        state.update(kb.assess(kb.forward(sample.image), sample.target.shape, (name,)).scores[name], sample.target)
    return state.compute().ap


@pytest.mark.parametrize("kind", NETWORKS)
def test_outliers_are_found_and_the_closed_map_does_not_change_by_a_bit(kind, tmp_path):
    kb = replace(base(kind), obstacles=tiny.calibrated().threshold)
    before = [kb.forward(tiny.image(i)) for i in range(4)]
    weights = {k: v.clone() for k, v in kb.network.state_dict().items()}
    long = replace(FAST, epochs=15, outlier_weight=1.0, validate_every=5)
    updated = train_residual(kb, inlier_images(), inlier_images(4), objects(), objects(), long, tmp_path / "run")
    assert same(updated.network.state_dict(), weights)
    for i, old in enumerate(before):
        new = updated.forward(tiny.image(i))
        assert torch.equal(new.logits, old.logits) and torch.equal(new.embedding, old.embedding)
        assert np.array_equal(updated.assess(new, (48, 64)).labels, kb.assess(old, (48, 64)).labels)
    assert updated.scorer == "rpl" and updated.threshold is updated.obstacles is None and "rpl" not in kb.scorers
    untrained = replace(kb, residual=residual_of(kb.network))
    # Over seeds the gain was 0.06 to 0.41; that of one seed differs between processors.
    assert ap(updated, inlier_images(6), "rpl") > ap(untrained, inlier_images(6), "rpl") + 0.04
    updated = calibrate(updated, inlier_images(4))
    kb.save(tmp_path / "kb")
    updated.save(tmp_path / "kb")
    loaded = load(tmp_path / "kb")
    for i in range(3):
        one, two = updated.predict(tiny.image(i)), loaded.predict(tiny.image(i))
        assert np.array_equal(one.score, two.score) and np.array_equal(one.open_set, two.open_set)
    rollback_version(tmp_path / "kb")
    assert load(tmp_path / "kb").residual is None


def test_the_caller_s_network_stays_as_it_was(tmp_path):
    kb = base()
    grads = [p.requires_grad for p in kb.network.parameters()]
    assert any(grads)
    updated = train_residual(kb, inlier_images(4), inlier_images(2), objects(), None, ONE, tmp_path)
    assert grads == [p.requires_grad for p in kb.network.parameters()] and updated.network is kb.network
    assert not any(p.requires_grad for p in updated.residual.parameters()) and not updated.residual.training
    assert kb.residual is None and kb.history == base().history


def test_an_untrained_residual_is_the_energy():
    kb = base()
    kb = replace(kb, residual=residual_of(kb.network))
    output = kb.forward(tiny.image())
    assert torch.allclose(rpl(output), energy(output), atol=1e-5)
    metric = base("prototype")
    output = replace(metric, residual=residual_of(metric.network)).forward(tiny.image())
    expected = -(output.logits + output.embedding.square().sum(1, keepdim=True)).logsumexp(1)
    assert torch.allclose(rpl(output), expected, atol=1e-4)


class Stop(Exception):
    pass


def test_a_stopped_run_ends_like_one_that_was_never_stopped(tmp_path, monkeypatch):
    arguments = (inlier_images(), inlier_images(4), objects(), objects(), FAST)
    whole = train_residual(base(), *arguments, tmp_path / "whole")
    real = module.Checkpoint.save

    def stop(self, state):
        real(self, state)
        if state["epoch"] == 2:
            raise Stop

    with monkeypatch.context() as patch:
        patch.setattr(module.Checkpoint, "save", stop)
        with pytest.raises(Stop):
            train_residual(base(), *arguments, tmp_path / "cut")
    resumed = train_residual(base(), *arguments, tmp_path / "cut", resume=True)
    assert same(whole.residual.state_dict(), resumed.residual.state_dict())
    others = [
        (inlier_images(), inlier_images(4), objects(), objects(), replace(FAST, epochs=9)),
        (inlier_images(), inlier_images(4), objects(), None, FAST),
        (inlier_images(), inlier_images(4), objects(15), objects(), FAST),
        (inlier_images(13), inlier_images(4), objects(), objects(), FAST),
    ]
    for other in others:
        with pytest.raises(OwsegError, match="other settings"):
            train_residual(base(), *other, tmp_path / "cut", resume=True)


# ---- every argument reaches where it acts


def trained(run, config=ONE, outliers=None, context=None):
    data = (inlier_images(8), inlier_images(2), outliers or objects(), context)
    return train_residual(base(), *data, config, run).residual.state_dict()


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """What ``trained`` returns if nothing else is asked for."""
    return trained(tmp_path_factory.mktemp("plain"))


@pytest.mark.parametrize(
    "setting",
    [
        {"jitter": 0.5}, {"scale": (0.5, 0.6)}, {"crop": (32, 32)}, {"pasted": 1}, {"sizes": (0.1, 0.2)},
        {"feather": 3.0}, {"lr": 1e-3}, {"final_lr": 1e-1}, {"weight_decay": 1.0}, {"inlier_weight": 0.1},
        {"entropy_weight": 0.0}, {"outlier_weight": 0.1}, {"contrast_weight": 0.0}, {"samples": 4},
        {"temperature": 1.0}, {"seed": 1}, {"batch": 2}, {"factors": (0.5,)}, {"pasted_into": "view"}, {"skip": 0},
    ],
    ids=str,
)  # fmt: skip
def test_every_setting_reaches_the_training(plain, tmp_path, setting):
    assert not same(plain, trained(tmp_path, replace(ONE, **setting)))


def test_the_same_settings_make_the_same_residual(plain, tmp_path):
    assert same(plain, trained(tmp_path))


def test_the_context_is_trained_on(plain, tmp_path):
    def read(i):
        calls.append(i)
        return objects().read(i)

    calls = []
    context = replace(objects(), read=read)
    assert not same(plain, trained(tmp_path, context=context))
    assert len(calls) == 8  # one beside each image


def test_validation_has_outliers_of_its_own(tmp_path, monkeypatch):
    """Every eighth: those that are trained on are never pasted into val, and the other way round."""
    real, pastes = pasting.paste, []
    monkeypatch.setattr(pasting, "paste", lambda sample, outlier, *more: pastes.append((sample.id, outlier.id))
                        or real(sample, outlier, *more))  # fmt: skip
    val = replace(inlier_images(2), source=replace(inlier_images(2).source, ids=("v0", "v1")))
    train_residual(base(), inlier_images(4), val, objects(), None, ONE, tmp_path)
    on_val = {outlier for image, outlier in pastes if image.startswith("v")}
    on_train = {outlier for image, outlier in pastes if image.startswith("f")}
    assert on_val <= {"o7", "o15"} and on_val and on_train and not on_train & {"o7", "o15"}


def test_the_history_says_what_it_was_trained_on(tmp_path):
    updated = train_residual(base(), inlier_images(4), inlier_images(2), objects(), objects(3), ONE, tmp_path)
    event = updated.history[-1]
    assert event.action == "train-residual" and event.message.startswith("trained on 16 outliers (AP on val")
    assert event.details["categories"] == {"thing": 16} and event.details["context"] == "objects"
    assert event.details["config"]["samples"] == 32 and event.details["fingerprint"] == inlier_images(4).fingerprint()
    output = base().forward  # before training the score is the energy of the frozen network
    state = Exact()
    for i in range(2):
        sample = pasted(inlier_sample(inlier_images(2)[i]), set_aside(objects())[1], ONE, np.random.default_rng([7, i]))
        score = resize(energy(output(sample.image))[:, None], (48, 64))[0, 0].numpy()
        state.update(score, sample.target)
    assert event.details["val_ap_before"] == pytest.approx(state.compute().ap, abs=1e-6)


def test_what_cannot_be_trained_on_ends_in_one_sentence(tmp_path):
    with pytest.raises(OwsegError, match="3 images do not fill a batch of 4"):
        train_residual(base(), inlier_images(3), inlier_images(4), objects(), None, FAST, tmp_path)
    void = replace(inlier_images().source, read=lambda i: (tiny.image(i), np.full((48, 64), 255, np.uint8)))
    void_images = replace(inlier_images(), source=void)
    with pytest.raises(OwsegError, match="neither void nor unknown; give other images"):
        train_residual(base(), void_images, inlier_images(4), objects(), None, FAST, tmp_path)
    with pytest.raises(OwsegError, match="no pixels to compute AP from"):
        train_residual(base(), inlier_images(), void_images, objects(), None, FAST, tmp_path)
    fast = replace(FAST, lr=1e30, final_lr=1e30)
    with pytest.raises(OwsegError, match="lower the learning rate"):
        train_residual(base(), inlier_images(), inlier_images(4), objects(), None, fast, tmp_path)
    with pytest.raises(OwsegError, match="no residual"):
        rpl(base().forward(tiny.image()))


def test_a_dense_pattern_is_interpolated_as_its_decoder_is(tmp_path):
    """With aligned corners in RPL's network, to the grid of the first stage; the light form has no such choice."""
    torch.manual_seed(0)
    config = {"model_type": "wide_resnet", "blocks": [1] * 6, "width": 2}
    wide = build({"config": config, "mean": [0.5] * 3, "std": [0.5] * 3})
    network = assemble(wide, 3, "deeplabv3plus_wide", 8, "linear")
    kb = KnowledgeBase(network, LabelSpace.of(["road", "sky", "tree"]))
    dense = replace(ONE, form="dense", skip=0, width=8, rates=(1, 2), contrast=5, pasted_into="view", batch=2)
    data = (inlier_images(2), inlier_images(2), objects(), None)
    made = train_residual(kb, *data, dense, tmp_path / "a").residual
    assert (made.align_corners, made.skip, made.config["skip"]) == (True, 0, 0)
    assert made.pattern(network.encode(torch.zeros(1, 3, 32, 48))).shape[-2:] == (16, 24)
    assert not train_residual(kb, *data, replace(dense, form="light"), tmp_path / "b").residual.align_corners
    assert not train_residual(base(), *data, dense, tmp_path / "c").residual.align_corners
    with pytest.raises(OwsegError, match="skip is a stage of the pyramid, 0 to 3, not 4"):
        train_residual(kb, *data, replace(dense, skip=4), tmp_path / "d")


def test_a_score_that_was_smoothed_stays_smoothed(tmp_path):
    """As that of an imported network, whose residual is trained anew; a score of another kind gives way."""
    data = (inlier_images(4), inlier_images(2), objects(), None, ONE)
    kb = base()
    smoothed = replace(kb, residual=residual_of(kb.network), scorer="rpl:smooth=3")
    assert train_residual(smoothed, *data, tmp_path / "a").scorer == "rpl:smooth=3"
    assert train_residual(kb, *data, tmp_path / "b").scorer == "rpl"


def test_the_pattern_is_that_of_the_settings(tmp_path, monkeypatch):
    """As in the paper, in small; what it was before is the frozen network, whatever the start."""
    paper = replace(ONE, form="dense", width=8, rates=(1, 2), contrast=5, start="kaiming", losses_at="image")
    starts = []
    made = module.residual_of
    monkeypatch.setattr(module, "residual_of", lambda network, **c: starts.append(c) or made(network, **c))
    kb = base()
    new = train_residual(kb, inlier_images(4), inlier_images(2), objects(), objects(), paper, tmp_path / "a")
    assert new.residual.config == {"skip": 1, "width": 8, "rates": [1, 2], "contrast": 5, "place": "penultimate",
                                   "form": "dense"}  # fmt: skip
    assert [c["start"] for c in starts if "start" in c] == ["kaiming", "kaiming"]
    old = train_residual(kb, inlier_images(4), inlier_images(2), objects(), objects(), ONE, tmp_path / "b")
    before = [made.history[-1].details["val_ap_before"] for made in (new, old)]
    assert before[0] == before[1]
    at_embedding = replace(ONE, place="embedding")
    other = train_residual(kb, inlier_images(4), inlier_images(2), objects(), objects(), at_embedding, tmp_path / "c")
    assert other.residual.place == "embedding"
