"""DMLNet's losses (Eq. 3 and 4) by loops in float64, from the embedding and explicit prototypes."""

import math

import numpy as np

from tests.reference.scorers import softmax, squared_distances


def labelled(target):
    return [at for at in np.ndindex(*target.shape) if target[at] < 253]


def cross_entropy(logits, target, weights=None):
    """(B, K, H, W) and (B, H, W): the (weighted) mean of -log softmax_y over labelled pixels."""
    total = scale = 0.0
    for b, i, j in labelled(target):
        y = int(target[b, i, j])
        w = 1.0 if weights is None else float(weights[y])
        total += w * -math.log(softmax([float(v) for v in logits[b, :, i, j]])[y])
        scale += w
    return total / scale


def dce(embedding, target, scale=3.0, weights=None):
    return cross_entropy(np.stack([-squared_distances(e, scale) for e in embedding]), target, weights)


def variance(embedding, target, scale=3.0):
    distances = [squared_distances(e, scale) for e in embedding]
    own = [distances[b][int(target[b, i, j]), i, j] for b, i, j in labelled(target)]
    return math.fsum(own) / len(own)
