"""A negative class beside a network: outliers are found, labels stay, and arguments reach where they act."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from owseg.data.dataset import joined
from owseg.errors import OwsegError
from owseg.knowledge.calibration import calibrate, fit_scorers
from owseg.knowledge.load import load
from owseg.labels import IGNORE, UNKNOWN
from owseg.learners.learn import learn
from owseg.learners.probe import Probe
from owseg.metrics.pixel import Exact
from owseg.models.engine import Engine
from owseg.models.ops import resize
from owseg.scorers.negative import negative
from owseg.training import build, checkpoint, pasting
from owseg.training import negative as module
from owseg.training.build import build_knowledge_base
from owseg.training.config import NegativeConfig, TrainConfig
from owseg.training.negative import NegativeObjective, train_negative, untrained_negative, with_negative
from owseg.training.pasting import inlier_sample, pasted, pasted_ap, set_aside
from owseg.types import Output, Shot
from tests.support import tiny
from tests.support.outliers import inlier_images, objects

FAST = NegativeConfig(epochs=3, batch=4, crop=(48, 64), scale=(1.0, 1.2), jitter=0.0, sizes=(0.3, 0.6), lr=1e-2,
                      validate_every=1, width=16, members=1)  # fmt: skip
ONE = replace(FAST, epochs=1)
TRAIN = TrainConfig(epochs=1, batch=2, crop=(32, 32), views=1)


def base(classifier="linear", **options):
    return tiny.knowledge_base(kind="resnet", classifier=classifier, **options)


def same(one, two):
    return one.keys() == two.keys() and all(torch.equal(v, two[n]) for n, v in one.items())


def ap(kb, data):
    state = Exact()
    for i in range(len(data)):
        sample = pasted(inlier_sample(data[i]), objects(), FAST, np.random.default_rng([3, i]))
        state.update(kb.assess(kb.forward(sample.image), (48, 64), ("negative",)).scores["negative"], sample.target)
    return state.compute().ap


@pytest.mark.parametrize(("classifier", "name"), [("linear", "max_logit"), ("prototype", "eds")])
def test_of_an_image_without_ground_truth_what_the_network_is_least_sure_of_is_no_inlier(classifier, name):
    kb = base(classifier)
    known, photos, void = tiny.dataset(3), inlier_images(4), np.kron([[0, 2], [IGNORE, 1]], np.ones((24, 32), np.uint8))
    known = replace(known, source=replace(known.source, read=lambda i: (tiny.image(i), void.astype(np.uint8))))
    found = pasting.sure_inliers(joined(known, photos), kb.network, 0.2)
    assert len(found) == 7 and found.source.ids == (*known.source.ids, *photos.source.ids)
    assert all(np.array_equal(found[i].target, np.where(void == IGNORE, IGNORE, 0)) for i in range(3))
    for sample, shown in zip(photos, [found[i] for i in range(3, 7)], strict=True):
        assert np.array_equal(shown.image, sample.image) and set(np.unique(shown.target)) == {0, IGNORE}
        score = kb.require_scorer(name)(kb.forward(sample.image))[0].numpy()
        y, x = (np.arange(n) * m // n for n, m in zip(shown.target.shape, score.shape, strict=True))
        assert np.array_equal(shown.target == IGNORE, (score > np.quantile(score, 0.8))[np.ix_(y, x)])


def test_what_is_unsure_in_photos_is_not_shown_as_an_inlier(tmp_path, monkeypatch):
    shown, usual = [], pasting.PastedViews

    def views(inliers, *rest):
        shown.append(inliers)
        return usual(inliers, *rest)

    monkeypatch.setattr(module, "PastedViews", views)
    for unsure in (0.4, 0.0):
        config = replace(ONE, unsure=unsure)
        with_negative(base().network, inlier_images(), inlier_images(2), objects(), config, tmp_path / str(unsure))
        expected = pasting.sure_inliers(inlier_images(), base().network, unsure)
        assert shown.pop().fingerprint() == expected.fingerprint()
    assert all((sample.target == 0).all() for sample in expected)


@pytest.mark.parametrize("classifier", ["linear", "prototype"])
def test_outliers_are_found_and_labels_do_not_change_by_a_bit(classifier, tmp_path):
    """Those of a class that was learned before, too."""
    kb = fit_scorers(base(classifier, scales=(1.0, 0.5)), tiny.dataset())
    kb = learn(kb, "rock", [tiny_shot()], method=Probe(scales=(1.0,)))
    kb = replace(kb, obstacles=tiny.calibrated().threshold)
    weights = {k: v.clone() for k, v in kb.network.state_dict().items()}
    long = replace(FAST, epochs=12, validate_every=6)
    new = train_negative(kb, inlier_images(), inlier_images(4), objects(), long, tmp_path / "run")
    assert same(kb.network.state_dict(), weights)
    for i in range(4):
        old, now = kb.forward(tiny.image(i)), new.forward(tiny.image(i))
        assert torch.equal(old.logits, now.logits) and torch.equal(old.embedding, now.embedding)
        assert all(torch.equal(a, b) for a, b in zip(old.features, now.features, strict=True))
        assert np.array_equal(kb.assess(old, (48, 64)).labels, new.assess(now, (48, 64)).labels)
    untrained = copy.deepcopy(kb.network)
    untrained.negative = untrained_negative(kb.network, 16)
    assert ap(new, inlier_images(6)) > ap(replace(kb, network=untrained), inlier_images(6)) + 0.1
    assert new.scorer == "joint@segments" and new.threshold is new.obstacles is None and "negative" not in kb.scorers
    new = calibrate(new, inlier_images(4))
    new.save(tmp_path / "kb")
    loaded = load(tmp_path / "kb")
    assert loaded.fingerprint() == new.fingerprint() and loaded.network.config == new.network.config
    assert np.array_equal(loaded.predict(tiny.image(2)).score, new.predict(tiny.image(2)).score)


def tiny_shot():
    sample = tiny.dataset(classes=4, unknown=True)[0]
    return Shot(sample.image, sample.target == UNKNOWN, sample.id)


def test_joint_has_one_component_more_with_the_scales_of_val(tmp_path):
    """Mean and deviation over the pixels of val, in the network's own labels, which are all known; the rest stays."""
    kb = fit_scorers(base(), tiny.dataset())
    new = train_negative(kb, inlier_images(), inlier_images(4), objects(), ONE, tmp_path)
    old, joint = kb.fitted["joint"], new.fitted["joint"]
    assert same(old.mahalanobis.state_dict(), joint.mahalanobis.state_dict()) and len(joint.weights) == 4
    assert (joint.compress, joint.rectify) == (old.compress, old.rectify) == (True, True)
    z = [joint.standard(new.forward(tiny.image(i)))[0].flatten(1) for i in range(4)]
    values = torch.cat(z, 1)
    torch.testing.assert_close(values.mean(1), torch.zeros(4), atol=1e-4, rtol=0)
    torch.testing.assert_close(values.std(1, correction=0), torch.ones(4), atol=1e-3, rtol=0)
    alone = train_negative(base(), inlier_images(), inlier_images(4), objects(), ONE, tmp_path / "alone")
    assert alone.scorer == "negative" and not alone.fitted


def test_the_loss_is_that_of_a_logistic_regression():
    """On outliers and on inliers each a mean, void left out; float64. The known classes have no part in it."""
    network = tiny.network(negative=True)
    images = torch.stack([torch.from_numpy(tiny.image(i)).float() / 255 for i in range(2)])
    targets = torch.tensor([UNKNOWN, 0, IGNORE, 1]).repeat_interleave(16).expand(2, 48, 64)
    loss = NegativeObjective(network, network.negative, smoothing=0.1)(images, targets).detach()
    p = network(images).negative.double().sigmoid().detach()
    small = torch.nn.functional.interpolate(targets[:, None].float(), size=p.shape[-2:], mode="nearest-exact")[:, 0]
    found, kept = p[small == UNKNOWN], p[small < UNKNOWN]
    expected = -(0.9 * found.log() + 0.1 * (1 - found).log()).mean()
    expected -= (0.1 * kept.log() + 0.9 * (1 - kept).log()).mean()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4)
    nothing = torch.full_like(targets, IGNORE)
    assert NegativeObjective(network, network.negative)(images, nothing).item() == 0


class Stop(Exception):
    pass


def test_a_stopped_run_ends_like_one_that_was_never_stopped(tmp_path, monkeypatch):
    arguments = (inlier_images(), inlier_images(4), objects(), FAST)
    whole = train_negative(base(), *arguments, tmp_path / "whole")
    real = module.Checkpoint.save

    def stop(self, state):
        real(self, state)
        if state["epoch"] == 2:
            raise Stop

    with monkeypatch.context() as patch:
        patch.setattr(module.Checkpoint, "save", stop)
        with pytest.raises(Stop):
            train_negative(base(), *arguments, tmp_path / "cut")
    resumed = train_negative(base(), *arguments, tmp_path / "cut", resume=True)
    assert same(whole.network.state_dict(), resumed.network.state_dict())
    with pytest.raises(OwsegError, match="other settings"):
        train_negative(base(), inlier_images(13), *arguments[1:], tmp_path / "cut", resume=True)


def test_every_setting_reaches_the_training(tmp_path):
    given = base(), inlier_images(4), inlier_images(1), objects()

    def trained(run, **settings):
        return train_negative(*given, replace(ONE, **settings), tmp_path / run).network.state_dict()

    plain = trained("plain")
    assert same(plain, trained("again"))  # else a difference would mean nothing
    others = {"jitter": 0.5, "crop": (32, 32), "pasted": 1, "lr": 1e-3, "weight_decay": 1.0, "width": 8,
              "smoothing": 0.2, "sizes": (0.1, 0.2), "seed": 1, "batch": 2, "members": 2}  # fmt: skip
    for name, value in others.items():
        assert not same(plain, trained(name, **{name: value})), name


def test_each_member_is_a_training_of_its_own(tmp_path):
    """With a seed that no member of another seed has; the logit is their mean, and the AP is that of the mean."""
    arguments = (base().network, inlier_images(8), inlier_images(4), objects())
    network, found = with_negative(*arguments, replace(ONE, seed=1, members=2), tmp_path / "mean", False)
    singles = [with_negative(*arguments, replace(ONE, seed=s), tmp_path / str(s), False)[0].negative for s in (2, 3)]
    for member, single in zip(network.negative.decoders, singles, strict=True):
        assert same(member.state_dict(), single.state_dict())
    output = Engine(network)(tiny.image(1))
    with torch.no_grad():
        expected = sum(single(output.features) for single in singles)[:, 0] / 2
        assert not torch.allclose(*(single(output.features) for single in singles), atol=1e-3)
    torch.testing.assert_close(output.negative, expected)
    assert found == pasted_ap(Engine(network), negative, inlier_images(4), set_aside(objects())[1], ONE)
    with pytest.raises(OwsegError, match="members must be 1 or more"):
        replace(ONE, members=0)
    with pytest.raises(OwsegError, match="unsure is a share from 0 to below 1"):
        replace(ONE, unsure=1.0)


def test_validation_is_of_the_score_and_has_outliers_of_its_own(tmp_path, monkeypatch):
    real, pastes = pasting.paste, []
    monkeypatch.setattr(pasting, "paste", lambda sample, outlier, *more: pastes.append((sample.id, outlier.id))
                        or real(sample, outlier, *more))  # fmt: skip
    val = replace(inlier_images(2), source=replace(inlier_images(2).source, ids=("v0", "v1")))
    new = train_negative(base(), inlier_images(4), val, objects(), ONE, tmp_path)
    on_val = {outlier for image, outlier in pastes if image.startswith("v")}
    on_train = {outlier for image, outlier in pastes if image.startswith("f")}
    assert on_val <= {"o7", "o15"} and on_val and on_train and not on_train & {"o7", "o15"}
    event, state = new.history[-1], Exact()
    for i in range(2):
        sample = pasted(inlier_sample(val[i]), set_aside(objects())[1], ONE, np.random.default_rng([7, i]))
        score = resize(negative(new.forward(sample.image))[:, None], (48, 64))[0, 0].numpy()
        state.update(score, sample.target)
    assert event.action == "train-negative" and event.details["val_ap"] == pytest.approx(state.compute().ap)
    assert event.details["categories"] == {"thing": 16} and event.details["fingerprint"]


def test_a_second_negative_class_replaces_the_first(tmp_path):
    """And is what it would be without it, in joint, too."""
    arguments = (inlier_images(4), inlier_images(2), objects())
    plain = fit_scorers(base(), tiny.dataset())
    first = train_negative(plain, *arguments, replace(ONE, seed=1), tmp_path / "first")
    again = train_negative(first, *arguments, ONE, tmp_path / "again")
    expected = train_negative(plain, *arguments, ONE, tmp_path / "alone")
    assert same(again.network.state_dict(), expected.network.state_dict())
    assert not same(again.network.negative.state_dict(), first.network.negative.state_dict())
    one, other = again.fitted["joint"], expected.fitted["joint"]
    assert same(one.state_dict(), other.state_dict()) and one.weights == other.weights and len(one.weights) == 4
    assert again.history[-1].message.startswith("trained another negative class on 16 outliers")
    assert expected.history[-1].message.startswith("trained a negative class on 16 outliers")


@pytest.fixture
def small_members(monkeypatch):
    """A negative class of two small members, where a whole training has the usual settings."""

    def config(**settings):
        return replace(ONE, members=2, **settings)

    config.batch = ONE.batch
    monkeypatch.setattr(build, "NegativeConfig", config)


def test_a_network_that_is_trained_with_outliers_gets_one(tmp_path, own_data, small_members):
    """Its labels are those of one trained without; with half, all that is stored of it is in 16 bits, scaled after."""
    spec, body = f"folder:{own_data}", tiny.backbone("resnet")
    trained = [
        build_knowledge_base(spec, body, ["rock"], TRAIN, tmp_path / name, outliers=shown, half=True, members=2)
        for name, shown in (("run", objects()), ("plain", None))
    ]
    shown, plain = trained
    assert "negative" in shown.scorers and shown.fitted["joint"].negative and shown.scorer == "joint@segments"
    assert plain.network.negative is None and "negative" not in plain.scorers and not plain.fitted["joint"].negative
    assert torch.equal(shown.forward(tiny.image(0)).logits, plain.forward(tiny.image(0)).logits)
    weights = shown.network.negative.state_dict().values()
    assert all(torch.equal(w, w.half().to(w.dtype)) for w in weights)
    details = shown.history[0].details
    assert (details["outliers"], details["objects"], details["categories"]) == ("objects", 16, {"thing": 16})
    assert 0 < details["val_ap"] <= 1 and "val_ap" not in plain.history[0].details


def test_a_training_with_outliers_goes_on_where_it_stopped(tmp_path, own_data, monkeypatch, small_members):
    """In the first part, which has no state of the second, and in the second, which has none of its last member."""
    body = tiny.backbone("resnet")

    def built(run, resume=False):
        return build_knowledge_base(
            f"folder:{own_data}", body, ["rock"], TRAIN, run, outliers=objects(), resume=resume, members=2
        ).network.state_dict()

    whole = built(tmp_path / "whole")
    real, saves = checkpoint.Checkpoint.save, []

    def stop(self, state):
        real(self, state)
        saves.append(self.run.relative_to(tmp_path / "cut").as_posix())
        if saves[-1] in ("member-1", "negative/member-1"):
            raise Stop

    monkeypatch.setattr(checkpoint.Checkpoint, "save", stop)
    with pytest.raises(Stop):
        built(tmp_path / "cut")
    with pytest.raises(Stop):
        built(tmp_path / "cut", resume=True)
    assert same(whole, built(tmp_path / "cut", resume=True))
    assert saves == ["member-1", "member-2", "negative/member-1", "negative/member-2"]  # nothing twice


def test_outliers_of_a_known_class_are_left_out(tmp_path, own_data):
    trees = replace(objects(), categories=(frozenset({"tree"}),) * 16)
    with pytest.raises(OwsegError, match="tree"):
        build_knowledge_base(f"folder:{own_data}", tiny.backbone("resnet"), [], TRAIN, tmp_path, outliers=trees)


def test_an_output_without_it_has_no_such_score():
    with pytest.raises(OwsegError, match="add one with `owseg train-negative`"):
        negative(Output((), torch.zeros(1, 2, 3, 4), torch.zeros(1, 2, 3, 4)))
