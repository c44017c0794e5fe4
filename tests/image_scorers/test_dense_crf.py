import sys

import numpy as np
import pytest

from owseg.errors import OwsegError
from owseg.image_scorers.dense_crf import dense_crf
from owseg.models.ops import resize
from tests.support import tiny

OFF = {"smooth": (0.0, 3.0), "appearance": (0.0, 80.0, 13.0)}


def test_without_the_library_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydensecrf", None)
    with pytest.raises(OwsegError, match=r"pip install pydensecrf2"):
        dense_crf(tiny.knowledge_base())


@pytest.fixture
def kb():
    pytest.importorskip("pydensecrf", reason="the extra 'crf' is not installed")
    return tiny.knowledge_base()


def test_without_weights_it_is_msp(kb):
    image = tiny.image()
    p = resize(kb.forward(image).logits, (48, 64)).softmax(1)[0].numpy()
    np.testing.assert_allclose(dense_crf(kb, **OFF)(image), 1 - p.max(0), atol=1e-5)


def test_mean_field_of_two_steps_is_what_all_pairs_say(kb):
    """Every pixel hears every other, in float64, with kernels normalised on both sides as the library does."""
    image = np.ascontiguousarray(tiny.image()[:, :16, :20])
    weight, s = 2.0, 2.0
    u = resize(kb.forward(image).logits, (16, 20)).log_softmax(1)[0].double().numpy().reshape(3, -1)
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


def test_neighbours_make_sure(kb):
    image = tiny.image()
    score = dense_crf(kb)(image)
    assert score.shape == (48, 64) and score.dtype == np.float32 and np.isfinite(score).all()
    assert score.mean() < dense_crf(kb, **OFF)(image).mean()
