"""open-IoU and the open-set map by loops over pixels (Grcic et al., arXiv:2301.03407)."""

from fractions import Fraction


def confusion(images, classes, threshold):
    """(K + 1, K + 1) counts [true][predicted]; images are flat lists of (score, label, true)."""
    counts = [[0] * (classes + 1) for _ in range(classes + 1)]
    for score, label, true in images:
        if true != 255:
            counts[classes if true == 254 else true][classes if score > threshold else label] += 1
    return counts


def open_iou(counts, k):
    """IoU of one of the K + 1, or None where no ground truth shows it."""
    false_negatives = sum(counts[k][j] for j in range(len(counts)) if j != k)
    false_positives = sum(counts[i][k] for i in range(len(counts)) if i != k)
    if counts[k][k] + false_negatives == 0:
        return None
    return Fraction(counts[k][k], counts[k][k] + false_negatives + false_positives)
