import numpy as np
import pytest
import torch

from owseg.errors import OwsegError
from owseg.models.assemble import make_classifier
from owseg.models.classifiers import LinearClassifier, PrototypeClassifier
from tests.reference import scorers as oracle


@pytest.mark.parametrize("scale", [1.0, 3.0, 7.5])
@pytest.mark.parametrize("classes", [2, 5, 19])
def test_logits_are_negative_squared_distances(classes, scale):
    torch.manual_seed(classes)
    embedding = torch.randn(2, classes, 3, 4) * scale
    logits = PrototypeClassifier(classes, scale)(embedding)
    expected = np.stack([-oracle.squared_distances(e.numpy(), scale) for e in embedding])
    np.testing.assert_allclose(logits.numpy(), expected, rtol=1e-5, atol=1e-5 * scale**2)


def test_prototypes_are_at_distance_zero_from_their_own_class():
    classifier = PrototypeClassifier(4, 2.5)
    np.testing.assert_array_equal(classifier.prototypes.numpy(), oracle.prototypes(4, 2.5))
    logits = classifier(classifier.prototypes.T[None, :, :, None])[0, :, :, 0]
    np.testing.assert_allclose(logits.diagonal(), 0, atol=1e-6)
    off = ~torch.eye(4, dtype=torch.bool)
    np.testing.assert_allclose(logits[off], -2 * 2.5**2, rtol=1e-6)


def test_a_prototype_classifier_learns_and_stores_nothing():
    classifier = PrototypeClassifier(4)
    assert not list(classifier.parameters()) and not classifier.state_dict()


def test_gradients_reach_the_embedding():
    embedding = torch.randn(1, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(PrototypeClassifier(3), (embedding,))


def test_argmax_and_softmax_need_only_the_embedding():
    embedding = torch.randn(1, 6, 8, 8)
    logits = PrototypeClassifier(6)(embedding)
    assert torch.equal(logits.argmax(1), embedding.argmax(1))
    torch.testing.assert_close(logits.softmax(1), (6 * embedding).softmax(1), rtol=1e-4, atol=1e-6)


def test_linear_classifier_is_one_matrix_for_every_pixel():
    classifier = LinearClassifier(5, 3)
    embedding = torch.randn(2, 5, 3, 4)
    weight, bias = classifier.conv.weight[:, :, 0, 0], classifier.conv.bias
    expected = torch.stack([(weight @ e.reshape(5, -1) + bias[:, None]).reshape(3, 3, 4) for e in embedding])
    torch.testing.assert_close(classifier(embedding), expected)
    assert (classifier.embedding_channels, classifier.num_classes) == (5, 3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_half_precision_embedding_does_not_overflow(dtype):
    """At f = 100 and 19 classes |f|^2 is 190,000, more than float16 holds; called directly, without a network."""
    embedding = torch.full((1, 19, 1, 2), 100.0, dtype=dtype)
    embedding[0, 3, 0, 1] = 101
    classifier = PrototypeClassifier(19)
    logits, evidence = classifier(embedding), classifier.evidence(embedding)
    assert logits.dtype == evidence.dtype == torch.float32
    expected = -oracle.squared_distances(embedding[0].double().numpy())
    np.testing.assert_allclose(logits[0].numpy(), expected, rtol=1e-6)
    assert evidence[0, :, 0, 1].argmax() == 3
    np.testing.assert_allclose(evidence[0].numpy(), 6 * embedding[0].double().numpy() - 9, rtol=1e-6)


def test_a_float64_embedding_keeps_its_precision():
    embedding = torch.randn(1, 4, 2, 2, dtype=torch.float64)
    classifier = PrototypeClassifier(4)
    assert classifier(embedding).dtype == classifier.evidence(embedding).dtype == torch.float64
    np.testing.assert_allclose(
        classifier(embedding)[0].numpy(), -oracle.squared_distances(embedding[0].numpy()), rtol=1e-13
    )


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_evidence_is_the_logits_without_the_common_term(scale):
    classifier, embedding = PrototypeClassifier(5, scale), torch.randn(2, 5, 3, 4)
    evidence = classifier.evidence(embedding)
    common = embedding.square().sum(1, keepdim=True)
    torch.testing.assert_close(evidence - common, classifier(embedding), rtol=1e-4, atol=1e-4)
    at_prototypes = classifier.evidence(classifier.prototypes.T[None, :, :, None])[0, :, :, 0]
    assert at_prototypes.diagonal().tolist() == pytest.approx([scale**2] * 5)
    linear = LinearClassifier(5, 3)
    assert torch.equal(linear.evidence(embedding), linear(embedding))


@pytest.mark.parametrize("made", [PrototypeClassifier(3, 2.5), LinearClassifier(7, 3)])
def test_a_classifier_is_its_configuration(made):
    again = make_classifier(num_classes=3, **made.config)
    assert type(again) is type(made) and again.config == made.config
    assert again.embedding_channels == made.embedding_channels


def test_a_linear_classifier_reads_128_channels_by_default():
    assert make_classifier("linear", 3).embedding_channels == 128
    assert make_classifier("prototype", 3).scale == 3
    with pytest.raises(OwsegError, match="no classifier 'cosine'; it is prototype or linear"):
        make_classifier("cosine", 3)


def test_bad_input_is_named():
    with pytest.raises(OwsegError, match="at least two classes, not 1"):
        PrototypeClassifier(1)
    with pytest.raises(OwsegError, match="positive number, not 0"):
        PrototypeClassifier(3, 0)
    with pytest.raises(OwsegError, match="4 channels"):
        PrototypeClassifier(3)(torch.zeros(1, 4, 2, 2))
