"""The score of the autoencoder of patches ("RBM") by loops in float64."""

import math


def centred(image, row, column, patch):
    """One patch of (3, H, W) uint8 as a list in the order channel, row, column, over 255, minus its own mean."""
    values = [float(image[c, row + i, column + j]) / 255 for c in range(3) for i in range(patch) for j in range(patch)]
    mean = math.fsum(values) / len(values)
    return [v - mean for v in values]


def reconstruction(values, weight, hidden_bias, visible_bias):
    """sigmoid(W x + b) W + c with the same W both ways."""
    code = []
    for row, bias in zip(weight, hidden_bias, strict=True):
        code.append(1 / (1 + math.exp(-(math.fsum(w * v for w, v in zip(row, values, strict=True)) + bias))))
    return [
        math.fsum(h * row[k] for h, row in zip(code, weight, strict=True)) + visible_bias[k] for k in range(len(values))
    ]


def errors(image, weight, hidden_bias, visible_bias, patch, stride):
    """The mean absolute error of each patch, by its upper left corner."""
    found = {}
    for row in range(0, image.shape[1] - patch + 1, stride):
        for column in range(0, image.shape[2] - patch + 1, stride):
            values = centred(image, row, column, patch)
            made = reconstruction(values, weight, hidden_bias, visible_bias)
            found[row, column] = math.fsum(abs(a - b) for a, b in zip(made, values, strict=True)) / len(values)
    return found


def score(found, mean, size, patch):
    """The mean over the patches at each pixel of 1 - min(1, mean / error); 0 where there is none."""
    out = []
    for i in range(size[0]):
        out.append([])
        for j in range(size[1]):
            here = [d for (r, c), d in found.items() if r <= i < r + patch and c <= j < c + patch]
            each = [0.0 if d == 0 else 1 - min(1.0, mean / d) for d in here]
            out[-1].append(math.fsum(each) / len(each) if each else 0.0)
    return out
