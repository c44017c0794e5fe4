"""Generator, discrepancy network and the scores of DUIR and SynthCP from their equations, in float64."""

import math

import numpy as np
import torch
import torch.nn.functional as F


def _conv(x, state, name, stride=1, reflect=0, zeros=0):
    x = F.pad(x, (reflect,) * 4, mode="reflect") if reflect else x
    return F.conv2d(x, state[f"{name}.weight"].double(), state[f"{name}.bias"].double(), stride, zeros)


def _normal(x):
    """Each channel of each image, minus its mean, over its deviation."""
    mean = x.mean((2, 3), keepdim=True)
    return (x - mean) / ((x - mean).square().mean((2, 3), keepdim=True) + 1e-5).sqrt()


def generator(state, planes, depth, blocks):
    """The encoder-decoder of Wang et al., CVPR 2018, layer by layer; ``state`` has the weights of ``layers``."""
    x = _normal(_conv(planes.double(), state, "layers.0", reflect=3)).clamp(min=0)
    at = 3
    for _ in range(depth):
        x = _normal(_conv(x, state, f"layers.{at}", stride=2, zeros=1)).clamp(min=0)
        at += 3
    for _ in range(blocks):
        y = _normal(_conv(x, state, f"layers.{at}.layers.0", reflect=1)).clamp(min=0)
        x = x + _normal(_conv(y, state, f"layers.{at}.layers.3", reflect=1))
        at += 1
    for _ in range(depth):
        weight, bias = (state[f"layers.{at}.{part}"].double() for part in ("weight", "bias"))
        x = _normal(F.conv_transpose2d(x, weight, bias, 2, 1, 1)).clamp(min=0)
        at += 3
    return (_conv(x, state, f"layers.{at}", reflect=3).tanh() + 1) / 2


def one_hot(labels, classes):
    out = np.zeros((len(labels), classes, *labels.shape[1:]))
    for b, i, j in np.ndindex(*labels.shape):
        if labels[b, i, j] < classes:
            out[b, int(labels[b, i, j]), i, j] = 1
    return torch.from_numpy(out)


def _selu(x):
    alpha, scale = 1.6732632423543772, 1.0507009873554805
    return scale * torch.where(x > 0, x, alpha * (x.exp() - 1))


def discrepancy(state, image, drawing, planes):
    """Lis et al., ICCV 2019, Sec. 3.2, for stages each half as large as the one before; planes on the finest grid."""
    image = [x.double() for x in image]
    maps, x = [], planes.double()
    for i in range(len(image)):
        x = _conv(x, state, f"labels.{i}", stride=2 if i else 1, zeros=1 if i else 3).clamp(min=0)
        maps.append(x)
    above = None
    for i in range(len(image) - 1, -1, -1):
        b, channels, h, w = image[i].shape
        if drawing is None:
            parts = [_conv(torch.cat([image[i], maps[i]], 1), state, f"join.{i}")]
        else:
            other = drawing[i].double()
            parts = [_conv(torch.cat([image[i], other, maps[i]], 1), state, f"join.{i}")]
            product = torch.zeros(b, 1, h, w, dtype=torch.float64)
            for n, row, column in np.ndindex(b, h, w):
                product[n, 0, row, column] = (
                    math.fsum(float(image[i][n, c, row, column] * other[n, c, row, column]) for c in range(channels))
                    / channels
                )
            parts.append(product)
        if above is not None:
            weight, bias = (state[f"up.{i}.{part}"].double() for part in ("weight", "bias"))
            parts.append(F.conv_transpose2d(above, weight, bias, 2))
        x = torch.cat(parts, 1)
        for layer in (0, 2):
            x = _selu(_conv(x, state, f"mix.{i}.{layer}", zeros=1))
        above = x
    return _conv(above, state, "classify")


def synthcp(unsure, first, second, threshold):
    """1 - MSP (H, W) where below the threshold, else 1 - the cosine of two embeddings (D, H, W)."""
    out = np.zeros(unsure.shape)
    for i, j in np.ndindex(*unsure.shape):
        f, g = ([float(v) for v in maps[:, i, j]] for maps in (first, second))
        dot = math.fsum(a * b for a, b in zip(f, g, strict=True))
        length = math.sqrt(math.fsum(a * a for a in f)) * math.sqrt(math.fsum(b * b for b in g))
        out[i, j] = float(unsure[i, j]) if unsure[i, j] < threshold else 1 - dot / length
    return out


def drawing_loss(drawing, image, target, classes):
    """The mean absolute difference over the pixels of a class, and the drawing with the image's pixels elsewhere."""
    composed, differences = drawing.copy().astype(np.float64), []
    for b, i, j in np.ndindex(*target.shape):
        if target[b, i, j] < classes:
            differences += [abs(float(drawing[b, c, i, j]) - float(image[b, c, i, j])) for c in range(3)]
        else:
            composed[b, :, i, j] = image[b, :, i, j]
    return math.fsum(differences) / len(differences), composed


def feature_loss(wanted, found):
    """The mean over stages of |f - g|_1 / |f|_1."""
    each = [np.abs(f - g).sum() / np.abs(f).sum() for f, g in zip(wanted, found, strict=True)]
    return math.fsum(each) / len(each)


def weighted_cross_entropy(logits, changed, weights):
    """The weighted mean of -log softmax over the pixels that are 0 or 1."""
    total = scale = 0.0
    for b, i, j in np.ndindex(*changed.shape):
        y = int(changed[b, i, j])
        if y < 2:
            x = [float(v) for v in logits[b, :, i, j]]
            top = max(x)
            total += weights[y] * (top + math.log(math.fsum(math.exp(v - top) for v in x)) - x[y])
            scale += weights[y]
    return total / scale
