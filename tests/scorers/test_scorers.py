"""Every scorer of the registry against an oracle in float64, and what all of them have in common."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from owseg.models.classifiers import PrototypeClassifier
from owseg.scorers import SCORERS, fitted_names
from owseg.scorers.base import FittedScorer
from owseg.scorers.msp import msp
from owseg.types import Output
from tests.reference import scorers as oracle
from tests.support.outputs import K, cast, cropped, each, labelled, metric_output, near_prototypes_and_between, network
from tests.support.registries import assert_cards_are_what_their_text_says

TRAIN, HELD_OUT = range(3), range(10, 13)
OPTIONS = {"background": {"index": 1}, "knn": {"size": 1200}}  # a bank with room for every cell: nothing is drawn
PER_IMAGE = {"eds_paper", "eds_code", "mixture_paper", "mixture_code"}
NOT_FITTED = [name for name in SCORERS if name not in fitted_names()]


class Image:
    """What an oracle reads of one image, in float64: logits and embedding (K, h, w), pyramid (C, h, w)."""

    def __init__(self, output):
        self.logits, self.embedding = output.logits[0].double().numpy(), output.embedding[0].double().numpy()
        self.residual = output.residual[0].double().numpy()
        self.negative = output.negative[0].double().numpy() if output.negative is not None else None
        self.pyramid = torch.cat(output.features, 1)[0].double().numpy()


class Known:
    """The labelled cells of images, in the order of their pixels."""

    def __init__(self, seeds):
        self.x, self.y, self.images = [], [], []
        for output, target in (pair for s in seeds for pair in each(*labelled(s))):
            image = Image(output)
            self.images.append((image, target[0].numpy()))
            for at in np.ndindex(*target.shape[1:]):
                if target[0][at] < K:
                    self.x.append((image.pyramid[:, at[0], at[1]], image.logits[:, at[0], at[1]].tolist()))
                    self.y.append(int(target[0][at]))
        self.features, self.logits = np.array([x for x, _ in self.x]), [logits for _, logits in self.x]


def distances(image):
    known = Known(TRAIN)
    return oracle.mahalanobis(image.pyramid, known.features, known.y, K, 0.2)


def mahalanobis(image):
    nearest, overall = distances(image)
    return nearest - overall


def joint(image):
    def components(image):
        nearest, overall = distances(image)
        return np.log(nearest), -image.embedding.max(0), nearest - overall

    known = []
    for other, target in Known(HELD_OUT).images:
        maps = components(other)
        known += [[m[at] for m in maps] for at in np.ndindex(*target.shape) if target[at] < K]
    return oracle.joint(components(image), known)


ORACLES = {
    "msp": lambda i: oracle.msp(i.logits),
    "max_logit": lambda i: oracle.max_logit(i.logits),
    "energy": lambda i: oracle.energy(i.logits),
    "entropy": lambda i: oracle.entropy(i.logits),
    "background": lambda i: oracle.background(i.logits, 1),
    "mmsp": lambda i: oracle.mmsp(i.embedding),
    "eds": lambda i: -oracle.distance_sum(i.embedding),
    "eds_paper": lambda i: oracle.p_eds(i.embedding, "paper"),
    "eds_code": lambda i: oracle.p_eds(i.embedding, "code"),
    "mixture": lambda i: oracle.mixture(i.embedding, "absolute", 20, 0.8),
    "mixture_paper": lambda i: oracle.mixture(i.embedding, "paper", 20, 0.8),
    "mixture_code": lambda i: oracle.mixture(i.embedding, "code", 50, 0.8),
    "max_similarity": lambda i: -i.embedding.max(0),
    "rpl": lambda i: oracle.rpl(i.residual),
    "negative": lambda i: i.negative,
    "uno": lambda i: i.negative,
    "rba": lambda i: -np.tanh(i.logits).sum(0),
    "eam": lambda i: 1 - i.embedding[0],
    "mask_msp": lambda i: 1 - i.logits.max(0),
    "mahalanobis": mahalanobis,
    "mahalanobis_absolute": lambda i: distances(i)[0],
    "joint": joint,
    "knn": lambda i: oracle.knn(i.pyramid, Known(TRAIN).features, 3),
    "sml": lambda i: oracle.sml(i.logits, Known(TRAIN).logits, K),
}
TOLERANCE = {
    "knn": 2e-3,
    "mahalanobis": 1e-3,
    "mahalanobis_absolute": 1e-3,
    "joint": 1e-3,
}  # a bank of 16 bits; inverses in float32


def made(name, **options):
    """The scorer called ``name``, fitted where it is one of those."""
    scorer = SCORERS[name].make(network(), **{**OPTIONS.get(name, {}), **options})
    if isinstance(scorer, FittedScorer):
        scorer.fit([labelled(s) for s in TRAIN], [labelled(s) for s in HELD_OUT])
    return scorer


def test_cards_are_what_their_text_says():
    assert_cards_are_what_their_text_says(SCORERS)


def test_every_scorer_has_an_oracle():
    assert set(ORACLES) == set(SCORERS)


@pytest.mark.parametrize("name", SCORERS)
def test_a_scorer_is_its_equation(name):
    output = labelled(99)[0]
    score = made(name)(output)
    assert score.shape == (2, 6, 8) and score.dtype == torch.float32
    for found, one in zip(score, each(output), strict=True):
        expected, tolerance = ORACLES[name](Image(one)), TOLERANCE.get(name, 2e-4)
        np.testing.assert_allclose(found.numpy(), expected, rtol=tolerance, atol=max(tolerance, 2e-5))


@pytest.mark.parametrize("name", sorted(set(NOT_FITTED) - {"background", "rpl", "negative", "uno"}))
def test_a_scorer_is_its_equation_near_prototypes_and_far_from_all(name):
    embedding = near_prototypes_and_between()
    score = SCORERS[name].make(network(classes=7))(metric_output(embedding))
    for b in range(2):
        image = Image(metric_output(embedding[b : b + 1], features=(embedding,), residual=embedding[b : b + 1]))
        np.testing.assert_allclose(score[b].numpy(), ORACLES[name](image), rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("name", SCORERS)
def test_half_precision_outputs_give_float32_scores(name):
    scorer, output = made(name), labelled(99)[0]
    score = scorer(cast(output, torch.bfloat16))
    assert score.dtype == torch.float32 and torch.isfinite(score).all()
    assert np.corrcoef(score.flatten(), scorer(output).flatten())[0, 1] > 0.95


@pytest.mark.parametrize("name", sorted(set(SCORERS) - PER_IMAGE))
def test_the_score_of_a_pixel_depends_on_that_pixel_alone(name):
    scorer, output = made(name), labelled(99)[0]
    part = cropped(output, slice(2, 4), slice(0, 3))
    torch.testing.assert_close(scorer(part), scorer(output)[:, 2:4, :3], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", sorted(PER_IMAGE))
def test_the_paper_s_variants_depend_on_their_own_image_alone(name):
    output = metric_output(near_prototypes_and_between())
    scorer = SCORERS[name].make(network(classes=7))
    whole = scorer(output)
    torch.testing.assert_close(scorer(list(each(output))[1]), whole[1:])
    embedding = output.embedding[1:].clone()
    embedding[0, :, 0, 0], embedding[0, :, 0, 1] = -9, 3 / 7  # the extremes of S: very far, and at the centroid
    assert not torch.allclose(scorer(metric_output(embedding))[:, 1:], whole[1:, 1:], atol=1e-3)


def test_which_scorers_need_what():
    needs = {name: entry.facts.get("needs") for name, entry in SCORERS.entries.items()}
    assert {n for n, need in needs.items() if need is None} == {"msp", "max_logit", "energy", "entropy"}
    assert {n for n, need in needs.items() if need == "fit"} == set(fitted_names())
    assert set(fitted_names()) == {"mahalanobis", "mahalanobis_absolute", "joint", "knn", "sml"}
    assert (needs["background"], needs["rpl"], needs["uno"]) == ("background", "residual", "masks and negative")
    assert {n for n, need in needs.items() if need == "masks"} == {"rba", "eam", "mask_msp"}
    assert {n for n, need in needs.items() if need == "metric"} == {
        "mmsp", "max_similarity", *(a + b for a in ("eds", "mixture") for b in ("", "_paper", "_code"))
    }  # fmt: skip


@pytest.mark.parametrize("name", NOT_FITTED)
def test_scores_have_gradients(name):
    embedding = near_prototypes_and_between(4, 1).requires_grad_()
    scorer = SCORERS[name].make(network(), **OPTIONS.get(name, {}))
    scorer(metric_output(embedding, residual=2 * embedding, negative=embedding[:, 0])).sum().backward()
    assert torch.isfinite(embedding.grad).all() and embedding.grad.any()


# --- softmax scores ---


@given(st.floats(-50, 50), st.floats(1.1, 4))
@settings(max_examples=25, deadline=None)
def test_softmax_scores_under_shift_and_scale(shift, scale):
    logits = torch.randn(1, 5, 3, 3, generator=torch.Generator().manual_seed(0)).double() * 2
    before, shifted = Output((), logits, logits), Output((), logits, logits + shift)
    score = {name: SCORERS[name].make(network()) for name in ("msp", "entropy", "max_logit", "energy")}
    for name in ("msp", "entropy"):
        torch.testing.assert_close(score[name](shifted), score[name](before), rtol=1e-3, atol=1e-4)
        assert (score[name](Output((), logits, logits * scale)) < score[name](before)).all()
    for name in ("max_logit", "energy"):
        torch.testing.assert_close(score[name](shifted), score[name](before) - shift, rtol=1e-4, atol=1e-4)


def test_msp_ranks_pixels_that_are_all_but_certain():
    gap = torch.tensor([5.0, 20.0, 40.0, 80.0])  # 1 - p in float32 is 0 from a gap of 17 on
    logits = torch.stack([gap, torch.zeros(4)])[None, :, None]
    np.testing.assert_allclose(msp(Output((), logits, logits))[0, 0], 1 / (1 + np.exp(gap.double())), rtol=1e-5)


def test_bounds_are_reached_where_all_classes_are_alike():
    logits = torch.full((1, 5, 1, 1), 2.5)
    output = Output((), logits, logits)
    assert SCORERS["msp"].make(network())(output).item() == pytest.approx(0.8)
    assert SCORERS["entropy"].make(network())(output).item() == pytest.approx(np.log(5))


SOFTMAX = ["msp", "mmsp", "entropy", "background", "mixture", "mixture_paper", "mixture_code"]


def far_out(squared_length, classes=5, count=400):
    """An embedding (1, K, 1, n) of this squared length, mostly in directions that every class shares."""
    g = torch.Generator().manual_seed(0)
    common = torch.full((1, classes, 1, count), (squared_length / classes) ** 0.5)
    return common + torch.rand(1, classes, 1, count, generator=g)


def ranks(values):
    return np.argsort(np.argsort(values.ravel()))


@pytest.mark.parametrize("name", ["msp", "mmsp", "entropy", "background"])
@pytest.mark.parametrize("squared_length", [1.7e4, 1e5, 1.9e5])
def test_the_order_of_softmax_scores_is_that_of_float64_far_from_the_origin(name, squared_length):
    """``-|f|^2`` is common to all logits; in float32 it would take the digits that tell the classes apart."""
    embedding = far_out(squared_length)
    score = SCORERS[name].make(network(classes=5), **OPTIONS.get(name, {}))(metric_output(embedding))[0].numpy()
    exact = embedding.double()
    prototypes = 3 * torch.eye(5, dtype=torch.double)
    logits = -torch.stack([(exact - m.view(-1, 1, 1)).square().sum(1) for m in prototypes], 1)
    reads = {"entropy": oracle.entropy, "background": lambda x: oracle.background(x, 1)}
    expected = reads.get(name, oracle.msp)(logits[0].numpy())
    assert np.corrcoef(ranks(score), ranks(expected))[0, 1] > 0.99999
    np.testing.assert_allclose(score, expected, rtol=1e-2)


@pytest.mark.parametrize("name", SOFTMAX)
def test_softmax_scores_take_the_evidence_where_there_is_one(name):
    embedding = near_prototypes_and_between()
    output, without = metric_output(embedding), Output((), embedding, PrototypeClassifier(7)(embedding))
    scorer = SCORERS[name].make(network(classes=7), **OPTIONS.get(name, {}))
    torch.testing.assert_close(scorer(output), scorer(without), rtol=1e-3, atol=1e-5)
    other = Output((), embedding, output.logits, None, output.evidence.flip(1) * 2)
    assert (scorer(other) - scorer(output)).abs().max() > 1e-4  # the logits are the same


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", SOFTMAX)
def test_softmax_scores_of_a_half_precision_embedding_of_length_100_are_finite(name, dtype):
    embedding = torch.zeros(1, 4, 1, 3)
    embedding[0, 0], embedding[0, 1, 0, 1], embedding[0, 1, 0, 2] = 100.0, 50.0, 100.0
    score = SCORERS[name].make(network(), **OPTIONS.get(name, {}))(metric_output(embedding.to(dtype)))
    assert torch.isfinite(score).all() and score.dtype == torch.float32
    if name in ("msp", "mmsp", "entropy"):
        assert score[0, 0, 0] < 1e-9 and score[0, 0, 2] == pytest.approx(
            np.log(2) if name == "entropy" else 0.5, rel=1e-3
        )
