"""Thresholds by trying every candidate, and Eq. 1 pixel by pixel."""

import math

import numpy as np


def shares_above(images, t):
    """Per image (a list of lists of known scores) the share of scores > t."""
    return [sum(s > t for s in p) / len(p) for p in images]


def quantile(images, fpr):
    pooled = [s for p in images for s in p]
    fits = [t for t in pooled if math.isfinite(t) and sum(s > t for s in pooled) / len(pooled) <= fpr]
    return min(fits)


def conformal(images, fpr):
    n = len(images)
    candidates = [s for p in images for s in p if math.isfinite(s)]
    fits = [t for t in candidates if n / (n + 1) * np.mean(shares_above(images, t)) + 1 / (n + 1) <= fpr]
    return min(fits)


def open_set_map(labels, score, threshold):  # Eq. 1
    out = labels.copy()
    for at in np.ndindex(*labels.shape):
        if score[at] > threshold:
            out[at] = 254
    return out
