"""Scores of mask classifiers, query by query and pixel by pixel in float64."""

import math

import numpy as np

from tests.reference.scorers import softmax


def class_scores(classes, masks):
    """(Q, K + 1) and (Q, h, w) logits -> (K, h, w)."""
    queries, k = len(classes), len(classes[0]) - 1
    _, h, w = masks.shape
    p = [softmax([float(v) for v in row]) for row in classes]
    out = np.zeros((k, h, w))
    for c in range(k):
        for i in range(h):
            for j in range(w):
                out[c, i, j] = math.fsum(p[q][c] / (1 + math.exp(-float(masks[q, i, j]))) for q in range(queries))
    return out


def rba(classes, masks):  # Nayal et al., ICCV 2023
    s = class_scores(classes, masks)
    return np.array(
        [
            [-math.fsum(math.tanh(s[c, i, j]) for c in range(len(s))) for j in range(s.shape[2])]
            for i in range(s.shape[1])
        ]
    )


def eam(classes, masks):  # Grcic et al., CVPRW 2023
    _, h, w = masks.shape
    sure = [max(softmax([float(v) for v in row])[:-1]) for row in classes]
    return np.array(
        [
            [1 - math.fsum(s / (1 + math.exp(-float(masks[q, i, j]))) for q, s in enumerate(sure)) for j in range(w)]
            for i in range(h)
        ]
    )


def mask_msp(classes, masks):
    return 1 - class_scores(classes, masks).max(0)


def uno(classes, masks, negative):  # Delić et al., BMVC 2024
    """(Q, K + 1), (Q, h, w) and (Q,) logits -> (h, w); the softmax is over all K + 2 classes."""
    _, h, w = masks.shape
    p = [softmax([*map(float, row), float(n)]) for row, n in zip(classes, negative, strict=True)]
    sure = [row[-1] - max(row[:-2]) for row in p]
    return np.array(
        [[math.fsum(s / (1 + math.exp(-float(masks[q, i, j]))) for q, s in enumerate(sure)) for j in range(w)]
         for i in range(h)]
    )  # fmt: skip
