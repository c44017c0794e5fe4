"""Thresholds by trying every candidate, and Eq. 1 pixel by pixel."""

import math

import numpy as np


def shares_above(pictures, t):
    """Per picture (a list of lists of known scores) the share of scores > t."""
    return [sum(s > t for s in p) / len(p) for p in pictures]


def quantile(pictures, fpr):
    pooled = [s for p in pictures for s in p]
    fits = [t for t in pooled if math.isfinite(t) and sum(s > t for s in pooled) / len(pooled) <= fpr]
    return min(fits)


def conformal(pictures, fpr):
    n = len(pictures)
    candidates = [s for p in pictures for s in p if math.isfinite(s)]
    fits = [t for t in candidates if n / (n + 1) * np.mean(shares_above(pictures, t)) + 1 / (n + 1) <= fpr]
    return min(fits)


def open_set_map(labels, score, threshold):  # Eq. 1
    out = labels.copy()
    for at in np.ndindex(*labels.shape):
        if score[at] > threshold:
            out[at] = 254
    return out
