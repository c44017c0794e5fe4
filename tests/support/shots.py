"""Shots of made-up classes: bright squares on grey."""

from __future__ import annotations

import numpy as np

from owseg.types import Shot
from tests.support import tiny

SIZE = (96, 128)


def red_shot(seed: int = 0, color: tuple[int, int, int] = (255, 0, 0)) -> Shot:
    """A grey image with a bright square, the new class, and void at the left edge."""
    rng = np.random.default_rng(seed)
    grey = np.kron(rng.integers(60, 190, (6, 8)), np.ones((16, 16))).astype(np.uint8)
    image, mask, void = np.stack([grey] * 3), np.zeros(SIZE, bool), np.zeros(SIZE, bool)
    top, left = rng.integers(0, 40), rng.integers(10, 70)
    mask[top : top + 48, left : left + 56] = True
    image[:, mask] = np.array(color)[:, None]
    void[:, :8] = True
    return Shot(image, mask, f"s{seed}", void)


def blue_shot(seed: int = 0) -> Shot:
    return red_shot(seed + 50, (0, 0, 255))


def grey_image(seed: int) -> np.ndarray:
    grey = np.kron(np.random.default_rng(seed).integers(60, 190, (6, 8)), np.ones((16, 16)))
    return np.stack([grey] * 3).astype(np.uint8)


def corner_shot(seed: int = 5) -> Shot:
    """A tiny image whose upper left corner is the class."""
    mask = np.zeros((48, 64), bool)
    mask[:20, :30] = True
    return Shot(tiny.image(seed), mask, "shot")


def overlap(predicted: np.ndarray, shot: Shot) -> float:
    """The IoU of a predicted mask with the shot's."""
    return float((predicted & shot.positives).sum() / (predicted | shot.positives).sum())
