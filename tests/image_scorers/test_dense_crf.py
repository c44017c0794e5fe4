import sys
import types

import numpy as np
import pytest

from owseg.errors import OwsegError
from owseg.image_scorers.dense_crf import dense_crf
from owseg.models.ops import resize
from tests.support import tiny

OFF = {"smooth": (0.0, 3.0), "appearance": (0.0, 80.0, 13.0)}


def test_without_the_library_the_error_has_the_command_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydensecrf", None)
    with pytest.raises(OwsegError, match=r"pip install 'owseg\[crf\]'"):
        dense_crf(tiny.knowledge_base())


class FakeCRF:
    """A CRF without neighbours that writes down what it is asked for."""

    made: list = []  # noqa: RUF012

    def __init__(self, *size):
        self.size, self.asked = size, []
        FakeCRF.made.append(self)

    def setUnaryEnergy(self, unary):
        self.unary = unary

    def addPairwiseGaussian(self, **options):
        self.asked.append(options)

    def addPairwiseBilateral(self, rgbim, **options):
        self.colours = rgbim
        self.asked.append(options)

    def addPairwiseEnergy(self, features, **options):
        self.features = features
        self.asked.append(options)

    def inference(self, iterations):
        self.asked.append(iterations)
        return np.exp(-self.unary)


@pytest.fixture
def fake(monkeypatch):
    monkeypatch.setitem(
        sys.modules, "pydensecrf", types.SimpleNamespace(densecrf=types.SimpleNamespace(DenseCRF2D=FakeCRF))
    )
    FakeCRF.made.clear()
    return FakeCRF


@pytest.mark.parametrize("options", [{}, {"iterations": 2, "smooth": (1.0, 4.0), "appearance": (6.0, 7.0, 8.0)}])
def test_the_library_is_given_unaries_colours_and_options(fake, options):
    kb, image = tiny.knowledge_base(), tiny.image()
    score = dense_crf(kb, **options)(image)
    iterations, (w, s), (v, t, r) = (
        options.get("iterations", 5),
        options.get("smooth", (3, 3)),
        options.get("appearance", (10, 80, 13)),
    )
    (field,) = fake.made
    assert field.size == (64, 48, 3)
    assert field.asked == [{"sxy": s, "compat": w}, {"sxy": t, "srgb": r, "compat": v}, iterations]
    assert np.array_equal(field.colours, image.transpose(1, 2, 0))
    p = resize(kb.forward(image).softmax_logits, (48, 64)).softmax(1)[0].numpy()
    np.testing.assert_allclose(np.exp(-field.unary), p.reshape(3, -1), atol=1e-6)
    np.testing.assert_allclose(score, 1 - p.max(0), atol=1e-6)


def test_the_released_form_compares_probabilities_and_places_alone(fake):
    """One potential, of row, column and class probabilities; every pixel's by loops."""
    kb, image = tiny.knowledge_base(), tiny.image()
    score = dense_crf(kb, 100, (0.0, 3.0), (10.0, 5.0, 13.0), "probabilities")(image)
    (field,) = fake.made
    assert field.size == (64, 48, 3) and field.asked == [{"compat": 10.0}, 100] and not hasattr(field, "colours")
    p = resize(kb.forward(image).softmax_logits, (48, 64)).double().softmax(1)[0].numpy()
    expected = np.zeros((5, 48 * 64))
    for row in range(48):
        for column in range(64):
            expected[:, row * 64 + column] = [row / 5, column / 5, *(float(v) / 13 for v in p[:, row, column])]
    assert field.features.dtype == np.float32 and field.features.flags["C_CONTIGUOUS"]
    np.testing.assert_allclose(field.features, expected, atol=1e-5)
    np.testing.assert_allclose(score, 1 - p.max(0), atol=1e-6)


def test_a_weight_of_zero_leaves_a_potential_out_and_another_likeness_is_refused(fake):
    for compare in ("colours", "probabilities"):
        dense_crf(tiny.knowledge_base(), 3, **OFF, compare=compare)(tiny.image())
    assert [field.asked for field in fake.made] == [[3], [3]]
    with pytest.raises(OwsegError, match="compares colours or probabilities, not 'colors'"):
        dense_crf(tiny.knowledge_base(), compare="colors")


def test_unaries_are_of_the_evidence(fake):
    """``-|f|^2`` is common to the logits of all classes; at |f|^2 = 3e5 it takes the digits that tell them apart."""
    kb, image = tiny.far_out(), tiny.image()
    dense_crf(kb)(image)
    evidence = resize(6 * kb.forward(image).embedding.double(), (48, 64))
    np.testing.assert_allclose(np.exp(-fake.made[0].unary), evidence.softmax(1)[0].flatten(1).numpy(), atol=2e-3)


@pytest.fixture
def kb():
    pytest.importorskip("pydensecrf", reason="the extra 'crf' is not installed")
    return tiny.knowledge_base()


def test_without_weights_it_is_msp(kb):
    image = tiny.image()
    p = resize(kb.forward(image).softmax_logits, (48, 64)).softmax(1)[0].numpy()
    np.testing.assert_allclose(dense_crf(kb, **OFF)(image), 1 - p.max(0), atol=1e-5)


def test_mean_field_of_two_steps_is_the_sum_over_all_pairs(kb):
    """Every pixel is joined to every other, in float64, with kernels normalised on both sides as the library does."""
    image = np.ascontiguousarray(tiny.image()[:, :16, :20])
    weight, s = 2.0, 2.0
    u = resize(kb.forward(image).softmax_logits, (16, 20)).log_softmax(1)[0].double().numpy().reshape(3, -1)
    y, x = (v.ravel() for v in np.mgrid[:16, :20])
    kernel = np.exp(-((x[:, None] - x) ** 2 + (y[:, None] - y) ** 2) / (2 * s**2))
    norm = 1 / np.sqrt(kernel.sum(1))
    kernel = norm[:, None] * kernel * norm
    q = np.exp(u)
    for _ in range(2):
        z = u + weight * q @ kernel
        q = np.exp(z - z.max(0))
        q /= q.sum(0)
    found = dense_crf(kb, 2, smooth=(weight, s), appearance=(0.0, 80.0, 13.0))(image)
    # The library's kernels are approximate (a permutohedral lattice).
    assert np.corrcoef(found.ravel(), 1 - q.max(0))[0, 1] > 0.99
    np.testing.assert_allclose(found, (1 - q.max(0)).reshape(16, 20), atol=0.1)


def test_mean_field_over_probabilities_is_the_sum_over_all_pairs(kb):
    """As above, with a kernel that also falls off with the distance of the class probabilities."""
    image = np.ascontiguousarray(tiny.image()[:, :16, :20])
    weight, s, r = 2.0, 2.0, 0.1
    u = resize(kb.forward(image).softmax_logits, (16, 20)).log_softmax(1)[0].double().numpy().reshape(3, -1)
    p = np.exp(u)
    y, x = (v.ravel() for v in np.mgrid[:16, :20])
    apart = ((p[:, :, None] - p[:, None]) ** 2).sum(0) / (2 * r**2)
    kernel = np.exp(-((x[:, None] - x) ** 2 + (y[:, None] - y) ** 2) / (2 * s**2) - apart)
    norm = 1 / np.sqrt(kernel.sum(1))
    kernel = norm[:, None] * kernel * norm
    q = p
    for _ in range(2):
        z = u + weight * q @ kernel
        q = np.exp(z - z.max(0))
        q /= q.sum(0)
    found = dense_crf(kb, 2, (0.0, 3.0), (weight, s, r), "probabilities")(image)
    assert np.corrcoef(found.ravel(), 1 - q.max(0))[0, 1] > 0.99
    np.testing.assert_allclose(found, (1 - q.max(0)).reshape(16, 20), atol=0.1)


def test_neighbours_lower_the_score(kb):
    image = tiny.image()
    score = dense_crf(kb)(image)
    assert score.shape == (48, 64) and score.dtype == np.float32 and np.isfinite(score).all()
    assert score.mean() < dense_crf(kb, **OFF)(image).mean()
