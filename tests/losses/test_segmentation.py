import numpy as np
import pytest
import torch
import torch.nn.functional as F

from owseg.errors import OwsegError
from owseg.labels import IGNORE, KNOWN, UNKNOWN
from owseg.losses.segmentation import class_weights, cross_entropy, dce, hybrid, objective, variance
from owseg.models.classifiers import LinearClassifier, PrototypeClassifier
from tests.reference import losses as oracle

K = 4
WEIGHTS = torch.tensor([1.0, 0.5, 2.0, 3.0])
LOSSES = {"cross_entropy": cross_entropy, "dce": dce, "variance": variance, "hybrid": hybrid}


@pytest.fixture
def batch():
    torch.manual_seed(0)
    embedding = torch.randn(2, K, 3, 5) * 2
    target = torch.randint(0, K, (2, 3, 5))
    target[0, 0, :2], target[1, 2, 1:4], target[1, 0, 0] = IGNORE, UNKNOWN, KNOWN
    return embedding, PrototypeClassifier(K)(embedding), target


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_dce_is_equation_3(batch, weights):
    embedding, logits, target = batch
    expected = oracle.dce(embedding.numpy(), target.numpy(), weights=weights)
    assert dce(logits, target, weights).item() == pytest.approx(expected, rel=1e-5)


def test_variance_is_equation_4(batch):
    embedding, logits, target = batch
    assert variance(logits, target).item() == pytest.approx(
        oracle.variance(embedding.numpy(), target.numpy()), rel=1e-5
    )


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_hybrid_adds_them(batch, weights):
    embedding, logits, target = batch
    e, t = embedding.numpy(), target.numpy()
    expected = oracle.dce(e, t, weights=weights) + 0.25 * oracle.variance(e, t)
    assert hybrid(logits, target, 0.25, weights).item() == pytest.approx(expected, rel=1e-5)
    assert hybrid(logits, target).item() == pytest.approx(oracle.dce(e, t) + 0.01 * oracle.variance(e, t), rel=1e-5)
    alone = hybrid(logits, target, 0.25, weights, 0.0).item()
    assert alone == pytest.approx(0.25 * oracle.variance(e, t), rel=1e-5)  # VL without DCE, as in Table 3
    both = objective(PrototypeClassifier(K), embedding, target, 0.25, weights, 0.5).item()
    assert both == pytest.approx(0.5 * oracle.dce(e, t, weights=weights) + 0.25 * oracle.variance(e, t), rel=1e-5)


def test_cross_entropy_agrees_with_torch_and_the_loop():
    torch.manual_seed(1)
    logits, target = torch.randn(2, K, 3, 3), torch.randint(0, K, (2, 3, 3))
    for weights in (None, WEIGHTS):
        ours = cross_entropy(logits, target, weights)
        torch.testing.assert_close(ours, F.cross_entropy(logits, target, weights))
        assert ours.item() == pytest.approx(oracle.cross_entropy(logits.numpy(), target.numpy(), weights))


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
def test_gradients_are_right_and_zero_where_nothing_counts(loss, batch):
    embedding, _, target = batch
    embedding = embedding.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda e: loss(PrototypeClassifier(K)(e), target), (embedding,))
    loss(PrototypeClassifier(K)(embedding), target).backward()
    norm = embedding.grad.square().sum(1)
    assert (norm[target >= KNOWN] == 0).all() and (norm[target < KNOWN] > 0).all()


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
@pytest.mark.parametrize("void", [IGNORE, UNKNOWN, KNOWN])
def test_nothing_labelled_is_zero_with_a_gradient_of_zero(loss, void):
    logits = torch.randn(1, K, 2, 2, requires_grad=True)
    value = loss(logits, torch.full((1, 2, 2), void))
    value.backward()
    assert value.item() == 0 and torch.equal(logits.grad, torch.zeros_like(logits))


def test_nothing_labelled_is_zero_with_class_weights_too():
    logits = torch.randn(1, K, 2, 2)
    assert cross_entropy(logits, torch.full((1, 2, 2), IGNORE), WEIGHTS).item() == 0
    # A class of weight 0 alone is as good as nothing labelled.
    assert cross_entropy(logits, torch.zeros(1, 2, 2).long(), torch.tensor([0.0, 1, 1, 1])).item() == 0


@pytest.mark.parametrize("void", [IGNORE, UNKNOWN, KNOWN, K])
def test_there_are_no_class_weights_where_nothing_is_labelled(void):
    with pytest.raises(OwsegError, match="no pixel is labelled with a known class"):
        class_weights([np.full((2, 3), void, np.uint8)] * 2, K, 0.5)
    with pytest.raises(OwsegError, match="no pixel is labelled with a known class"):
        class_weights([], K, 0.5)


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_class_weights_are_inverse_powers_of_frequency_with_a_mean_of_1(power):
    targets = [np.array([[0, 0, 0, 0, 1, IGNORE]], np.uint8), np.array([[0, 0, 1, 3, UNKNOWN, KNOWN]], np.uint8)]
    weights = class_weights(iter(targets), K, power)
    shares = {0: 6 / 9, 1: 2 / 9, 3: 1 / 9}
    scale = sum(share * share**-power for share in shares.values())
    expected = [shares[k] ** -power / scale if k in shares else 0.0 for k in range(K)]
    assert weights.dtype == torch.float32 and weights.tolist() == pytest.approx(expected, rel=1e-5)
    pixels = [int(t) for target in targets for t in target.ravel() if t < K]
    assert np.mean([weights[t].item() for t in pixels]) == pytest.approx(1, rel=1e-5)


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_the_objective_of_a_prototype_classifier_is_hybrid_at_the_resolution_of_the_target(weights):
    torch.manual_seed(2)
    embedding, targets = torch.randn(2, K, 3, 4), torch.randint(0, K, (2, 6, 8))
    full = F.interpolate(embedding, size=(6, 8), mode="bilinear")
    for variance_weight in (0.01, 0.5):
        expected = hybrid(PrototypeClassifier(K)(full), targets, variance_weight, weights)
        found = objective(PrototypeClassifier(K), embedding, targets, variance_weight, weights)
        torch.testing.assert_close(found, expected)
    plain = objective(PrototypeClassifier(K), embedding, targets)
    assert plain == objective(PrototypeClassifier(K), embedding, targets, 0.01)
    half = objective(PrototypeClassifier(K), embedding.bfloat16(), targets)
    assert half.dtype == torch.float32 and half.item() == pytest.approx(plain.item(), rel=0.02)


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_the_objective_of_a_linear_classifier_is_the_cross_entropy_of_the_interpolated_embedding(weights):
    torch.manual_seed(2)
    classifier, embedding, targets = LinearClassifier(5, K), torch.randn(2, 5, 3, 4), torch.randint(0, K, (2, 6, 8))
    full = F.interpolate(embedding, size=(6, 8), mode="bilinear")
    expected = cross_entropy(classifier(full), targets, weights)
    for variance_weight in (0.01, 5.0):
        torch.testing.assert_close(objective(classifier, embedding, targets, variance_weight, weights), expected)


def test_uint8_targets_and_huge_distances_are_fine(batch):
    embedding, logits, target = batch
    assert torch.equal(hybrid(logits, target.to(torch.uint8)), hybrid(logits, target))
    far = PrototypeClassifier(K)(embedding * 1e4)
    assert torch.isfinite(hybrid(far, target))


def test_both_losses_are_least_at_the_prototypes():
    classifier = PrototypeClassifier(K, 3.0)
    target = torch.arange(K)[None, None]
    at = classifier(classifier.prototypes.double().T[None, :, None])
    assert variance(at, target).item() == pytest.approx(0, abs=1e-6)
    assert dce(at, target).item() == pytest.approx(np.log1p((K - 1) * np.exp(-18)), rel=0.1)


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
def test_bad_targets_are_named(loss):
    logits = torch.zeros(1, K, 2, 2)
    with pytest.raises(OwsegError, match=r"the logits need \(1, 2, 2\)"):
        loss(logits, torch.zeros(1, 2, 3).long())
    with pytest.raises(OwsegError, match="beyond the 4 classes; use 0 to 3"):
        loss(logits, torch.full((1, 2, 2), K))
    with pytest.raises(OwsegError, match="beyond the 4 classes"):
        loss(logits, torch.full((1, 2, 2), -1))
