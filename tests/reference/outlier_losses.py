"""RPL's losses and CoroCL pixel by pixel, in double precision, from the paper's formulas."""

import math

import numpy as np


def softmax(x):
    e = [math.exp(v - max(x)) for v in x]
    return [v / sum(e) for v in e]


def entropy(x):
    return -sum(p * math.log(p) for p in softmax(x))


def inlier(residual, frozen, where, entropy_weight=1.0):
    terms = []
    for b, i, j in zip(*np.nonzero(where), strict=True):
        r, v = [float(x) for x in residual[b, :, i, j]], [float(x) for x in frozen[b, :, i, j]]
        terms.append(-math.log(softmax(r)[v.index(max(v))]) + entropy_weight * (entropy(r) - entropy(v)) ** 2)
    return sum(terms) / len(terms)


def positive_energy(residual, where):
    terms = []
    for b, i, j in zip(*np.nonzero(where), strict=True):
        terms.append(max(0.0, math.log(sum(math.exp(float(x)) for x in residual[b, :, i, j]))))
    return sum(terms) / len(terms)


def corocl(outliers, inliers, context_outliers, context_inliers, t):
    contrasts = [(z, 1) for z in outliers] + [(z, 0) for z in inliers]
    anchors = len(contrasts)
    contrasts += [(z, 1) for z in context_outliers] + [(z, 0) for z in context_inliers]
    losses = []
    for i in range(anchors):
        a, kind = contrasts[i]
        s = [math.exp(float(np.dot(a.astype(float), c.astype(float))) / t) for c, _ in contrasts]
        negative = sum(s[n] for n, (_, k) in enumerate(contrasts) if k != kind)
        positive = [p for p, (_, k) in enumerate(contrasts) if k == kind and p != i]
        losses.append(sum(-math.log(s[p] / (s[p] + negative)) for p in positive) / len(positive))
    return sum(losses) / len(losses)
