"""Shots: what they mark, mirrored or not."""

import numpy as np

from owseg.types import Shot


def a_shot():
    rng = np.random.default_rng(0)
    positives, void = rng.random((6, 9)) < 0.4, np.zeros((6, 9), bool)
    void[:, :2] = True
    return Shot(rng.integers(0, 256, (3, 6, 9), np.uint8), positives & ~void, "s", void)


def test_a_mirror_twice_is_the_shot():
    shot = a_shot()
    again = shot.mirrored().mirrored()
    assert again.fingerprint() == shot.fingerprint() != shot.mirrored().fingerprint()
    for name in ("image", "positives", "void"):
        assert np.array_equal(getattr(shot.mirrored(), name)[..., ::-1], getattr(shot, name))
    assert shot.mirrored().size == shot.size == (6, 9)


def test_the_fingerprint_sees_every_part():
    shot = a_shot()
    parts = [(shot.image, shot.positives, shot.void), (shot.image ^ 1, shot.positives, shot.void)]
    parts += [(shot.image, shot.void, shot.void), (shot.image, shot.positives, ~shot.positives)]
    parts += [(shot.image, shot.positives, None)]
    digests = [Shot(image, positives, "s", void).fingerprint() for image, positives, void in parts]
    assert len(set(digests)) == 5
    nothing = np.zeros((6, 9), bool)  # is as none
    assert Shot(shot.image, shot.positives, "other", nothing).fingerprint() == digests[-1]


def test_void_is_neither_positive_nor_negative():
    shot = a_shot()
    assert not (shot.negatives & shot.void).any() and not (shot.negatives & shot.positives).any()
    assert (shot.negatives | shot.void | shot.positives).all()
    assert np.array_equal(Shot(shot.image, shot.positives, "s").negatives, ~shot.positives)
