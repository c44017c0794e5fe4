"""What a class may be learned from, and shots in other sizes."""

import numpy as np
import pytest

from owseg.errors import OwsegError
from owseg.learners.learn import learn
from owseg.learners.probe import scaled
from owseg.types import Shot
from tests.support import tiny

SIZE = (96, 128)


def red_shot(seed=0):
    """A grey image with a red square, the new class, and void at the left edge."""
    rng = np.random.default_rng(seed)
    grey = np.kron(rng.integers(60, 190, (6, 8)), np.ones((16, 16))).astype(np.uint8)
    image, positives, void = np.stack([grey] * 3), np.zeros(SIZE, bool), np.zeros(SIZE, bool)
    top, left = rng.integers(0, 40), rng.integers(10, 70)
    positives[top : top + 48, left : left + 56] = True
    image[:, positives] = np.array((255, 0, 0))[:, None]
    void[:, :8] = True
    return Shot(image, positives, f"s{seed}", void)


@pytest.mark.parametrize("factor", [0.5, 0.7, 1.4, 2.0])
def test_a_scaled_shot_shows_the_same_share(factor):
    shot = red_shot(3)
    other = scaled(shot, factor)
    assert other.size == (round(96 * factor), round(128 * factor)) == other.image.shape[1:]
    assert other.positives.mean() == pytest.approx(shot.positives.mean(), rel=0.06)
    assert other.void.mean() == pytest.approx(shot.void.mean(), rel=0.15)
    inside = other.image[:, other.positives].mean(1)
    assert np.allclose(inside, [255, 0, 0], atol=12)
    assert scaled(shot, 1) is shot


def test_a_class_is_learned_once():
    updated = learn(tiny.knowledge_base(), "rock", [red_shot()])
    with pytest.raises(OwsegError, match="known already"):
        learn(updated, "rock", [red_shot(1)])
    with pytest.raises(OwsegError, match="1 to 5 shots, not 6"):
        learn(updated, "cow", [red_shot(i) for i in range(6)])
    for name in ("unknown", "void", " Void"):
        with pytest.raises(OwsegError, match=f"no class can have the name '{name}', which is reserved"):
            learn(updated, name, [red_shot(1)])


@pytest.mark.parametrize(("void", "message"), [(False, r"marks no pixel of rock;"), (True, "it is all void")])
def test_a_shot_has_to_show_the_class(void, message):
    shot = red_shot()
    empty = Shot(shot.image, np.zeros(SIZE, bool), "a", np.full(SIZE, void))
    with pytest.raises(OwsegError, match=message):
        learn(tiny.knowledge_base(), "rock", [empty])
