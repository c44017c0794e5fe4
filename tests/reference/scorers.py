"""Scores by loops in float64, from the equations of DMLNet (Cen et al., ICCV 2021) and of the baselines."""

import math

import numpy as np


def prototypes(classes, scale=3.0):
    m = np.zeros((classes, classes))
    for t in range(classes):
        m[t, t] = scale
    return m


def squared_distances(embedding, scale=3.0):
    """(K, h, w) embedding -> (K, h, w) of ||f - m_t||^2."""
    classes, h, w = embedding.shape
    m = prototypes(classes, scale)
    d = np.zeros((classes, h, w))
    for t in range(classes):
        for i in range(h):
            for j in range(w):
                d[t, i, j] = sum((float(embedding[c, i, j]) - m[t, c]) ** 2 for c in range(classes))
    return d


def over_pixels(function, maps):
    """Apply ``function`` (list of K floats -> float) at every pixel of (K, h, w)."""
    _, h, w = maps.shape
    return np.array([[function([float(v) for v in maps[:, i, j]]) for j in range(w)] for i in range(h)])


def softmax(x):
    e = [math.exp(v - max(x)) for v in x]
    return [v / math.fsum(e) for v in e]


def msp(logits):
    return over_pixels(lambda x: 1 - max(softmax(x)), logits)


def max_logit(logits):
    return over_pixels(lambda x: -max(x), logits)


def energy(logits):
    return over_pixels(lambda x: -(max(x) + math.log(math.fsum(math.exp(v - max(x)) for v in x))), logits)


def entropy(logits):
    return over_pixels(lambda x: -math.fsum(p * math.log(p) for p in softmax(x) if p > 0), logits)


def mmsp(embedding, scale=3.0):  # Eq. 2 and 6
    return msp(-squared_distances(embedding, scale))


def closed(embedding, scale=3.0):  # Eq. 5
    return over_pixels(lambda x: x.index(max(x)), -squared_distances(embedding, scale)).astype(int)


def distance_sum(embedding, scale=3.0):  # Eq. 7
    return over_pixels(math.fsum, squared_distances(embedding, scale))


def p_eds(embedding, normalisation, scale=3.0):
    s = distance_sum(embedding, scale)
    classes = len(embedding)
    if normalisation == "paper":  # Eq. 8
        return 1 - s / s.max()
    if normalisation == "code":
        s = np.minimum(s, 400)
        return 1 - (s - s.min()) / (s.max() - s.min())
    centre = [scale / classes] * classes
    to_prototype = sum((a - b) ** 2 for a, b in zip(prototypes(classes, scale)[0], centre, strict=True))

    def nearness(f):
        return 1 - sum((a - b) ** 2 for a, b in zip(f, centre, strict=True)) / to_prototype

    return over_pixels(lambda f: min(1.0, max(0.0, nearness(f))), embedding)


def mixture(embedding, normalisation, beta, gamma, scale=3.0):  # Eq. 9 and 10
    eds, mm = p_eds(embedding, normalisation, scale), mmsp(embedding, scale)
    if normalisation == "code":
        p = 1 - mm
        mm = 1 - (p - p.min()) / (p.max() - p.min())
    out = np.zeros_like(eds)
    for at in np.ndindex(*eds.shape):
        alpha = 1 / (1 + math.exp(-beta * (eds[at] - gamma)))
        out[at] = alpha * eds[at] + (1 - alpha) * mm[at]
    return out


def covariances(features, labels, classes):
    """Class means {k: (C,)}, within-class covariance, overall mean and covariance of (n, C) and (n,)."""
    known = [i for i in range(len(labels)) if 0 <= labels[i] < classes]
    x = features.astype(np.float64)
    centre = sum(x[i] for i in known) / len(known)
    means = {}
    for k in range(classes):
        rows = [x[i] for i in known if labels[i] == k]
        if rows:
            means[k] = sum(rows) / len(rows)
    within = sum(np.outer(x[i] - means[labels[i]], x[i] - means[labels[i]]) for i in known) / len(known)
    total = sum(np.outer(x[i] - centre, x[i] - centre) for i in known) / len(known)
    return means, within, centre, total


def rpl(residual):
    return energy(residual)


def background(logits, index):
    return over_pixels(lambda x: softmax(x)[index], logits)


def mahalanobis(pyramid, features, labels, classes, shrinkage):
    """(min_k M_k, M_0) at every cell of (C, h, w), fitted to (n, C) and (n,): Lee et al. (2018), Ren et al. (2021)."""
    means, within, centre, total = covariances(features, labels, classes)
    # Shrinking the standardised covariance towards I is shrinking the covariance towards the variances.
    inverse, inverse_total = (
        np.linalg.inv((1 - shrinkage) * s + shrinkage * np.diag(np.diag(total))) for s in (within, total)
    )

    def squared(x, mean, matrix):
        return float((x - mean) @ matrix @ (x - mean))

    nearest = over_pixels(lambda x: min(squared(np.array(x), m, inverse) for m in means.values()), pyramid)
    return nearest, over_pixels(lambda x: squared(np.array(x), centre, inverse_total), pyramid)


def joint(components, known, compress=True, rectify=True):
    """``z(log M) + 3/4 z(u) + asinh(max(0, z(M - M_0))) / 2 [+ 2 asinh(z(n))]``, z by mean and deviation.

    They are those of the columns of ``known``. Neither compressed nor rectified, as in 0.1.0, it is
    ``z(log M) + z(u) + z(M - M_0) / 2 [+ 2 asinh(z(n))]``.
    """
    score = np.zeros(components[0].shape)
    weights = (1.0, 0.75 if compress else 1.0, 0.5, 2.0)[: len(components)]
    for which, (weight, component, values) in enumerate(
        zip(weights, components, zip(*known, strict=True), strict=True)
    ):
        mean = math.fsum(values) / len(values)
        deviation = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / len(values))
        for at in np.ndindex(*score.shape):
            z = (component[at] - mean) / deviation
            z = max(z, 0) if which == 2 and rectify else z
            score[at] += weight * (math.asinh(z) if which == 3 or (which == 2 and compress) else z)
    return score


def knn(pyramid, features, k):
    """The distance from each cell of (C, h, w) to the k-th nearest of (n, C), all standardised and of length 1."""
    shift, scale = features.mean(0), features.std(0)

    def normal(v):
        v = (np.asarray(v, float) - shift) / scale
        return v / math.sqrt(math.fsum(v * v))

    bank = [normal(row) for row in features]
    return over_pixels(lambda x: sorted(math.dist(normal(x), other) for other in bank)[k - 1], pyramid)


def sml(logits, known, classes):
    """The standardised max logit of (K, h, w), with the statistics of the logits ``known``, lists of K numbers."""
    tops = {c: [] for c in range(classes)}
    for x in known:
        tops[x.index(max(x))].append(max(x))
    every = [v for values in tops.values() for v in values]
    usual = {c: values if len(values) > 1 else every for c, values in tops.items()}
    return over_pixels(lambda x: -(max(x) - np.mean(usual[x.index(max(x))])) / np.std(usual[x.index(max(x))]), logits)
