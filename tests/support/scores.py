"""Made-up score maps with ground truth, and what a threshold decides on them, counted anew."""

from fractions import Fraction

import numpy as np

from owseg.labels import IGNORE, KNOWN, UNKNOWN

NAMES = ("auroc", "ap", "fpr95")


def score_maps(seed, count=4, levels=0, shape=(9, 11)):
    """Random scores and targets with void; ``levels`` > 0 makes heavy ties."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        target = rng.choice([0, KNOWN, UNKNOWN, IGNORE], shape, p=[0.5, 0.2, 0.2, 0.1]).astype(np.uint8)
        score = rng.normal(0, rng.choice([1e-3, 1.0, 300.0]), shape) + (target == UNKNOWN) * rng.normal(0.5, 1)
        if levels:
            score = np.round(score * levels) / levels
        made.append((score.astype(np.float32), target))
    return made


def filled(make, maps):
    state = make()
    for score, target in maps:
        state.update(score, target)
    return state


def decided(maps, threshold):
    """TP, FP, outliers and inliers of "unknown where score > threshold", counted anew."""
    score = np.concatenate([s[t != IGNORE] for s, t in maps])
    outlier = np.concatenate([(t == UNKNOWN)[t != IGNORE] for s, t in maps])
    predicted = score > np.float32(threshold)
    return (
        int((predicted & outlier).sum()),
        int((predicted & ~outlier).sum()),
        int(outlier.sum()),
        int((~outlier).sum()),
    )


def decided_at_once(maps, thresholds):
    score = np.concatenate([s[t != IGNORE] for s, t in maps])
    outlier = np.concatenate([(t == UNKNOWN)[t != IGNORE] for s, t in maps])
    predicted = score > np.array(thresholds, np.float32)[:, None]
    return [
        (int(tp), int(fp), int(outlier.sum()), int((~outlier).sum()))
        for tp, fp in zip((predicted & outlier).sum(1), (predicted & ~outlier).sum(1), strict=True)
    ]


def f1(maps, threshold):
    tp, fp, outliers, _ = decided(maps, threshold)
    return Fraction(2 * tp, tp + fp + outliers)
