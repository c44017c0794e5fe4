import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from owseg.errors import OwsegError
from owseg.image_scorers.ensemble import Ensemble, ensemble, mc_dropout
from owseg.labels import LabelSpace
from owseg.models.ops import resize
from tests.support import tiny

SCORES = ("msp", "entropy", "mutual_information", "variance")


def members(seed=0, count=3):
    g = torch.Generator().manual_seed(seed)
    return [(2 * torch.randn(1, 4, 3, 5, generator=g)).softmax(1) for _ in range(count)]


def fixed(these):
    return lambda image: iter(these)


def blank(size=(3, 5)):
    return np.zeros((3, *size), np.uint8)


def by_loops(these, score):
    """Mean, entropies and their difference, pixel by pixel in float64."""
    _, classes, h, w = these[0].shape
    out = np.zeros((h, w))

    def entropy(p):
        return -math.fsum(v * math.log(v) for v in p)

    for i in range(h):
        for j in range(w):
            each = [[float(p[0, c, i, j]) for c in range(classes)] for p in these]
            mean = [math.fsum(p[c] for p in each) / len(each) for c in range(classes)]
            if score == "msp":
                out[i, j] = 1 - max(mean)
            elif score == "variance":
                squares = [(p[c] - mean[c]) ** 2 for p in each for c in range(classes)]
                out[i, j] = math.fsum(squares) / (len(each) - 1)
            else:
                own = math.fsum(entropy(p) for p in each) / len(each)
                out[i, j] = entropy(mean) - own * (score == "mutual_information")
    return out


@pytest.mark.parametrize("score", SCORES)
def test_an_ensemble_is_the_mean_of_its_members(score):
    found = Ensemble(fixed(members()), score)(blank())
    assert found.dtype == np.float32 and found.shape == (3, 5)
    np.testing.assert_allclose(found, by_loops(members(), score), atol=1e-6)


def test_where_all_agree_there_is_no_mutual_information_and_the_rest_is_that_of_one():
    one = members(count=1)
    for score in set(SCORES) - {"variance"}:
        np.testing.assert_allclose(
            Ensemble(fixed(one * 5), score)(blank()), Ensemble(fixed(one), score)(blank()), atol=1e-6
        )
    assert np.abs(Ensemble(fixed(one * 5), "mutual_information")(blank())).max() < 1e-6
    assert np.array_equal(Ensemble(fixed(one * 5), "variance")(blank()), np.zeros((3, 5)))
    with pytest.raises(OwsegError, match="two members or more, not of 1"):
        Ensemble(fixed(one), "variance")(blank())


def test_a_variance_far_below_the_probabilities_keeps_its_digits():
    off = torch.tensor([1.0, -1.0]).view(1, 2, 1, 1).double() * 1e-10
    found = Ensemble(fixed([0.5 + off, 0.5 - off]), "variance")(blank((1, 1))).item()
    assert found == pytest.approx(2 * 2 * 1e-20, rel=1e-4)  # two classes, each off by 1e-10 twice, over n - 1 = 1


def test_two_that_are_sure_of_different_classes_share_one_bit():
    sure = torch.zeros(1, 2, 1, 1), torch.zeros(1, 2, 1, 1)
    sure[0][0, 0], sure[1][0, 1] = 1, 1
    assert Ensemble(fixed(sure), "mutual_information")(blank((1, 1))).item() == pytest.approx(math.log(2))
    assert Ensemble(fixed(sure), "msp")(blank((1, 1))).item() == pytest.approx(0.5)
    assert Ensemble(fixed(sure), "variance")(blank((1, 1))).item() == pytest.approx(1.0)


def test_the_order_of_the_members_does_not_matter():
    these = members()
    for score in SCORES:
        a, b = (Ensemble(fixed(order), score)(blank()) for order in (these, these[::-1]))
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_labels_are_those_of_the_mean_and_the_score_is_one_channel_interpolated():
    found, mean = Ensemble(fixed(members()), "msp"), torch.stack(members()).mean(0)
    assert np.array_equal(found.labels(blank()), mean[0].argmax(0).numpy())
    expected = resize(1 - mean.amax(1, keepdim=True), (9, 15))[0, 0].numpy()
    np.testing.assert_allclose(found(blank((9, 15))), expected, atol=1e-6)
    assert found.labels(blank((9, 15))).shape == (9, 15)


def test_an_unknown_score_is_named():
    with pytest.raises(OwsegError, match="no score 'energy'; it is one of msp, entropy, mutual_information, variance"):
        Ensemble(fixed([]), "energy")


# --- far from the origin ---


@pytest.mark.parametrize("make", [lambda kb: ensemble([kb, kb]), lambda kb: mc_dropout(kb, 2, rate=1e-9)])
def test_members_read_the_evidence(make):
    """``-|f|^2`` is common to the logits of all classes; at |f|^2 = 3e5 it takes the digits that tell them apart."""
    kb, image = tiny.far_out(), tiny.image()
    evidence = 6 * kb.forward(image).embedding.double()
    assert evidence.square().sum(1).mean() > 36 * 2e5
    expected = evidence.softmax(1)
    for p in make(kb).members(image):
        np.testing.assert_allclose(p.detach().numpy(), expected.numpy(), atol=2e-3)


# --- MC dropout ---


def test_dropout_is_the_mean_of_passes_with_its_masks():
    """The same masks again by hand: the decoder in training mode but for its normalisation, one seed a pass."""
    kb, image = tiny.knowledge_base(), tiny.image()
    features, decoder = kb.forward(image).features, tiny.network().decoder.eval()
    drops = [m for m in decoder.modules() if isinstance(m, torch.nn.Dropout2d)]
    assert len(drops) == 1
    drops[0].train()
    expected = []
    for seed in np.random.SeedSequence(7).generate_state(3):
        torch.manual_seed(int(seed))
        with torch.no_grad():
            expected.append(kb.network.classify(decoder(features)).softmax(1))
    assert not torch.equal(expected[0], expected[1])
    mean = torch.stack(expected).double().mean(0)
    entropy = resize(torch.special.entr(mean).sum(1, keepdim=True).float(), (48, 64))[0, 0]
    np.testing.assert_allclose(mc_dropout(kb, 3, seed=7)(image), entropy.numpy(), atol=1e-5)


@pytest.mark.parametrize("classifier", ["prototype", "linear"])
@pytest.mark.parametrize("decoder", ["aspp", "psp"])
def test_dropout_repeats_itself_and_leaves_the_knowledge_base_and_the_generator_alone(decoder, classifier):
    kb, image = tiny.knowledge_base(decoder=decoder, classifier=classifier), tiny.image()
    before = kb.forward(image)
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    first, second = (mc_dropout(kb, 3, 0.5, 1, "mutual_information")(image) for _ in range(2))
    assert torch.equal(torch.rand(3), expected)
    assert np.array_equal(first, second) and first.max() > 1e-4 and np.isfinite(first).all()
    assert not np.array_equal(first, mc_dropout(kb, 3, 0.5, 2, "mutual_information")(image))
    assert torch.equal(kb.forward(image).logits, before.logits)
    assert not any(m.training for m in kb.network.modules())


def test_more_is_dropped_at_a_higher_rate():
    kb, image = tiny.knowledge_base(), tiny.image()
    low, high = (mc_dropout(kb, 16, rate, score="mutual_information")(image).mean() for rate in (0.05, 0.6))
    assert high > 2 * low


def test_a_decoder_without_dropout_drops_values_of_its_embedding():
    kb, image = tiny.knowledge_base(classifier="linear"), tiny.image()
    for module in kb.network.modules():
        if isinstance(module, torch.nn.Dropout2d):
            module.p = 0.0
    found = mc_dropout(kb, 2)
    embedding = kb.forward(image).embedding
    expected = []
    for seed in np.random.SeedSequence(0).generate_state(2):
        torch.manual_seed(int(seed))
        with torch.no_grad():
            expected.append(kb.network.classify(torch.nn.functional.dropout(embedding, 0.5)).softmax(1))
    np.testing.assert_allclose(
        torch.stack(list(found.members(image))).detach().numpy(), torch.stack(expected).numpy(), atol=1e-5
    )


def test_bad_options_of_dropout_are_named():
    with pytest.raises(OwsegError, match="at least one pass"):
        mc_dropout(tiny.knowledge_base(), 0)
    with pytest.raises(OwsegError, match="two passes or more, not of 1"):
        mc_dropout(tiny.knowledge_base(), 1, score="variance")
    with pytest.raises(OwsegError, match="between 0 and 1"):
        mc_dropout(tiny.knowledge_base(), 2, 1.0)


# --- ensembles ---


def other():
    kb = tiny.knowledge_base()
    with torch.no_grad():
        kb.network.decoder.head.weight.mul_(-0.7)
    return kb


def test_an_ensemble_is_the_mean_of_its_members_softmax():
    members, image = (tiny.knowledge_base(), other(), tiny.knowledge_base(classifier="linear")), tiny.image()
    mean = torch.stack([kb.forward(image).logits.double().softmax(1) for kb in members]).mean(0)
    score = ensemble(members, "msp")
    expected = resize(1 - mean.amax(1, keepdim=True).float(), (48, 64))[0, 0].numpy()
    np.testing.assert_allclose(score(image), expected, atol=1e-6)
    closed = resize(mean.float(), (48, 64))[0].argmax(0).numpy()
    assert np.array_equal(score.labels(image), closed)


def test_members_of_other_grids_meet_on_the_first_one_s():
    members = (tiny.knowledge_base(), tiny.knowledge_base(kind="segformer"))
    image = tiny.image(size=(64, 96))
    first, second = (kb.forward(image).logits.softmax(1) for kb in members)
    mean = (first + resize(second, (first.shape[2], first.shape[3]))) / 2
    expected = resize(1 - mean.amax(1, keepdim=True), (64, 96))[0, 0].numpy()
    np.testing.assert_allclose(ensemble(members, "msp")(image), expected, atol=1e-5)


def test_members_have_the_same_classes():
    kb = tiny.knowledge_base()
    with pytest.raises(OwsegError, match="at least two members"):
        ensemble([kb])
    with pytest.raises(OwsegError, match="have different classes"):
        ensemble([kb, replace(kb, labels=LabelSpace.of(["sky", "road", "tree"]))])
