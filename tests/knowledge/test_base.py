"""A knowledge base is an immutable value: how its parts make labels and scores, and what it says of itself."""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch

import owseg
from owseg.errors import OwsegError
from owseg.increments.probe import LinearProbe
from owseg.knowledge.base import KnowledgeBase
from owseg.knowledge.calibration import calibrate, fit_scorers
from owseg.knowledge.event import Event
from owseg.labels import UNKNOWN, LabelSpace
from owseg.learners.learn import learn
from owseg.learners.npm import NPM
from owseg.models.engine import Engine
from owseg.models.ops import resize
from owseg.models.residual_pattern import residual_of
from owseg.openset import Threshold
from tests.reference import scorers as oracle
from tests.support import tiny
from tests.support.shots import corner_shot

SIZE = (48, 64)


class Fixed:
    """An increment that predicts given rows of any image, and writes ``label`` there."""

    alone = False

    def __init__(self, name, rows):
        self.name, self.rows = name, rows

    def predict_mask(self, output, size):
        mask = torch.zeros(1, *size, dtype=torch.bool)
        mask[:, self.rows] = True
        return mask

    def update_labels(self, labels, output, label):
        return labels.masked_fill(self.predict_mask(output, labels.shape[1:]), label)


def with_increments(kb, *increments):
    labels = kb.labels
    for increment in increments:
        labels = labels.extend(increment.name)
    return replace(kb, labels=labels, increments=increments)


def test_increments_write_their_classes_in_the_order_of_learning(kb):
    """The inference of Algorithm 1: where two predict, the later one has the pixel."""
    learned = with_increments(kb, Fixed("rock", slice(10, 30)), Fixed("cow", slice(20, 40)))
    base, found = (k.assess(k.forward(tiny.image()), SIZE) for k in (kb, learned))
    assert (found.labels[10:20] == 3).all() and (found.labels[20:40] == 4).all()
    rest = np.r_[0:10, 40:48]
    assert np.array_equal(found.labels[rest], base.labels[rest]) and not base.learned.any()
    assert np.array_equal(found.learned, found.labels >= 3)
    assert learned.labels.names[3:] == learned.learned_classes == ("rock", "cow")
    assert learned.base_classes == kb.labels.names


def test_a_pixel_of_a_learned_class_is_never_unknown(kb):
    learned = with_increments(kb, Fixed("rock", slice(10, 30)))
    strict = replace(learned, threshold=replace(kb.threshold, value=-1e9))
    prediction = strict.predict(tiny.image())
    assert (prediction.open_set[10:30] == 3).all()
    assert (prediction.open_set[:10] == UNKNOWN).all() and (prediction.open_set[30:] == UNKNOWN).all()
    assert np.isneginf(strict.assess(strict.forward(tiny.image()), SIZE).decided("joint")[10:30]).all()


def test_the_closed_map_is_the_argmax_of_interpolated_logits(kb):
    output = kb.forward(tiny.image())
    expected = resize(output.logits, (90, 70)).argmax(1)[0].numpy()
    assert np.array_equal(kb.assess(output, (90, 70)).labels, expected)


def test_a_score_is_one_channel_interpolated(kb):
    output = kb.forward(tiny.image())
    assessed = kb.assess(output, SIZE, tuple(kb.scorers))
    for name, scorer in kb.scorers.items():
        expected = resize(scorer(output)[:, None], SIZE)[0, 0].numpy()
        assert np.array_equal(assessed.scores[name], expected), name
    assert set(kb.assess(output, SIZE).scores) == {"joint"} and set(assessed.scores) == set(kb.scorers)


def test_the_mixture_reads_the_scale_of_the_prototypes():
    kb = KnowledgeBase(tiny.network(scale=1.5), tiny.knowledge_base().labels)
    output = kb.forward(tiny.image(0))
    expected = oracle.mixture(output.embedding[0].double().numpy(), "absolute", 20, 0.8, scale=1.5)
    assert np.allclose(kb.scorers["mixture"](output)[0].numpy(), expected, atol=1e-4)


@pytest.mark.parametrize("options", [{"full_resolution": True}, {"multi_scale": True}, {"size": 33}])
def test_the_options_of_forward_reach_the_engine(kb, options):
    output, plain = kb.forward(tiny.image(), **options), kb.forward(tiny.image())
    assert torch.equal(output.logits, Engine(kb.network, None, **options)(tiny.image()).logits)
    assert output.logits.shape != plain.logits.shape or not torch.equal(output.logits, plain.logits)


def test_tiles_reach_the_engine():
    kb, image = KnowledgeBase(tiny.network(size=64), tiny.knowledge_base().labels), tiny.image(size=(96, 128))
    assert kb.forward(image).logits.shape[-2:] == (16, 24) and kb.forward(image, tile=True).logits.shape[-2:] == (
        24,
        32,
    )


def test_windows_reach_the_engine():
    kb, image = tiny.knowledge_base(size=64), tiny.image(size=(160, 96))
    found = kb.forward(image, window=64).logits
    assert found.shape[-2:] == (40, 24)
    assert torch.equal(found, Engine(kb.network, window=64)(image).logits)


def test_a_linear_network_has_no_metric_scores():
    kb = tiny.knowledge_base(classifier="linear")
    assert "eds" not in kb.scorers and "msp" in kb.scorers
    with pytest.raises(OwsegError, match=r"has no scorer 'eds'; it has .*msp"):
        calibrate(kb, tiny.dataset(), scorer="eds")
    with pytest.raises(OwsegError, match="has no scorer 'eds'"):
        replace(kb, scorer="eds")


def test_the_feature_space_is_that_of_a_fitted_scorer():
    data, bare = tiny.dataset(4), tiny.knowledge_base()
    assert bare.feature_space is None
    assert fit_scorers(bare, data, ["knn"]).feature_space is None
    joint, single = fit_scorers(bare, data), fit_scorers(bare, data, ["mahalanobis"])
    assert joint.feature_space is joint.fitted["joint"].mahalanobis
    assert single.feature_space is single.fitted["mahalanobis"]


def test_names_must_fit_the_network():
    with pytest.raises(OwsegError, match="the classes a, b do not fit a network of 3 classes"):
        replace(tiny.knowledge_base(), labels=LabelSpace.of(["a", "b"]))


# ---- a value


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_nothing_of_the_caller_s_is_changed(training, layout):
    network = tiny.network().train(training).to(memory_format=layout)
    network.backbone.model.requires_grad_(False)
    residual = residual_of(network).train(training).to(memory_format=layout)
    modes = [m.training for module in (network, residual) for m in module.modules()]
    grads = [p.requires_grad for p in network.parameters()]
    strides = [p.stride() for module in (network, residual) for p in module.parameters()]
    weights = {n: v.clone() for n, v in network.state_dict().items()}
    kb = KnowledgeBase(network, LabelSpace.of(["a", "b", "c"]), residual=residual)
    kb.assess(kb.forward(tiny.image()), SIZE)
    data = tiny.dataset(4)
    learn(calibrate(fit_scorers(kb, data), data), "rock", [corner_shot()], method=NPM(1.0))
    assert modes == [m.training for module in (network, residual) for m in module.modules()]
    assert grads == [p.requires_grad for p in network.parameters()]
    assert strides == [p.stride() for module in (network, residual) for p in module.parameters()]
    assert all(torch.equal(v, weights[n]) for n, v in network.state_dict().items())
    assert not kb.network.training and not kb.residual.training
    assert kb.network.num_classes == 3 and next(kb.network.parameters()).device == next(network.parameters()).device


def test_it_can_be_compared_and_hashed(kb):
    assert kb == kb and kb != copy.deepcopy(kb) and len({kb, kb}) == 1
    assert Event("a", "b", {"x": [1]}, "now") == Event("a", "b", {"x": [1]}, "now")
    assert hash(Event("a", "b", {"x": [1]}, "now")) == hash(Event("a", "b", {}, "now"))


def test_its_parts_cannot_be_replaced(kb):
    with pytest.raises(AttributeError):
        kb.threshold = None


@pytest.mark.parametrize(
    "again", [copy.deepcopy, lambda kb: pickle.loads(pickle.dumps(kb))], ids=["deepcopy", "pickle"]
)
def test_a_copy_predicts_the_same_bits(kb, again):
    learned = learn(kb, "rock", [corner_shot()])
    assert isinstance(learned.increments[0], LinearProbe) and learned.scorers  # what is cached is not copied
    other = again(learned)
    one, two = learned.predict(tiny.image(1)), other.predict(tiny.image(1))
    assert np.array_equal(one.score, two.score) and np.array_equal(one.open_set, two.open_set)
    assert other.fingerprint(decides=True) == learned.fingerprint(decides=True) and other.history == learned.history


def test_six_threads_predict_the_same_bits(kb):
    fresh = pickle.loads(pickle.dumps(kb))
    images = [tiny.image(i) for i in range(6)]
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(fresh.predict, images * 2))
    for prediction, image in zip(found, images * 2, strict=True):
        expected = kb.predict(image)
        assert np.array_equal(prediction.score, expected.score)
        assert np.array_equal(prediction.open_set, expected.open_set)


def test_its_repr_is_at_most_five_lines(kb):
    lines = repr(learn(kb, "rock", [corner_shot()], method=NPM(1.0))).splitlines()
    assert len(lines) == 5 and max(map(len, lines)) < 120
    assert lines[0] == "KnowledgeBase of 4 classes: road, sky, tree" and lines[1] == "  learned:  rock"
    assert "resnet, aspp, prototype" in lines[2] and "unknown where joint > " in lines[3]
    assert "5.0% false positives" in lines[3] and lines[4].endswith("learned rock from 1 shot by npm")
    bare = repr(tiny.knowledge_base())
    assert "max_logit, not calibrated; fitted: none" in bare and "learned:  none" in bare


def test_after_adds_to_the_history(kb):
    event = Event("note", "something")
    after = kb.after(event, scorer="msp", threshold=None)
    assert (after.scorer, after.threshold, after.history) == ("msp", None, (*kb.history, event))
    assert kb.scorer == "joint" and event not in kb.history


def test_the_fingerprint_is_of_all_that_labels_and_scores_depend_on():
    kb = tiny.knowledge_base()
    mark = kb.fingerprint()
    threshold = Threshold(1.0, "quantile", 0.1, 0.1, 1.0, 1, 1)
    other_decision = replace(kb, threshold=threshold, scorer="msp", history=())
    assert other_decision.fingerprint() == mark and len(mark) == 16
    assert other_decision.fingerprint(decides=True) != kb.fingerprint(decides=True)
    other = tiny.knowledge_base()
    with torch.no_grad():
        next(other.network.parameters()).mul_(1.001)
    changed = [
        other,
        tiny.knowledge_base(("road", "sky", "bush")),
        fit_scorers(kb, tiny.dataset(4)),
        learn(kb, "rock", [corner_shot()], method=NPM(1.0)),
        replace(kb, residual=residual_of(kb.network)),
    ]
    assert len({mark, *(k.fingerprint() for k in changed)}) == 6


def test_every_public_name_is_there():
    for name in owseg.__all__:
        assert getattr(owseg, name) is not None
