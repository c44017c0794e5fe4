"""Losses on logits (B, K, H, W) and targets (B, H, W) of class ids; KNOWN, UNKNOWN and IGNORE do not count.

With a prototype classifier the logits are ``-||f - m_t||^2``, from which DMLNet's losses (Cen et al., ICCV 2021) are
computed. The paper sums over pixels; here every loss is a mean over labelled pixels, and 0 (with a gradient of 0) where
there is none. All raise ``OwsegError`` if the target's shape or ids do not fit the logits.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from owseg.errors import OwsegError
from owseg.labels import IGNORE, KNOWN
from owseg.models.classifiers import Classifier, PrototypeClassifier
from owseg.models.ops import resize, size_of


def cross_entropy(logits: Tensor, target: Tensor, class_weights: Tensor | None = None) -> Tensor:
    """Return ``-log softmax(logits)_y``, averaged over labelled pixels.

    With ``class_weights`` w (K,) it is the weighted mean ``sum_p w_y(p) CE(p) / sum_p w_y(p)``.
    """
    labels, labelled = _labels(logits, target)
    # Not reduction="mean", which is 0 / 0 = NaN where no pixel is labelled.
    total = F.cross_entropy(logits, labels, weight=class_weights, ignore_index=IGNORE, reduction="sum")
    if class_weights is None:
        return total / labelled.sum().clamp(min=1)
    weight = class_weights[labels[labelled]].sum()
    # The weights of all labelled classes may be 0 (see class_weights); total is 0 then, too.
    return total / torch.where(weight > 0, weight, 1)


def dce(logits: Tensor, target: Tensor, class_weights: Tensor | None = None) -> Tensor:
    """Return the discriminative cross entropy: the cross entropy of ``-||f - m_t||^2`` (DMLNet, Eq. 3)."""
    return cross_entropy(logits, target, class_weights)


def variance(logits: Tensor, target: Tensor) -> Tensor:
    """Return ``||f - m_y||^2 = -logits_y``, averaged over labelled pixels (DMLNet, Eq. 4)."""
    labels, labelled = _labels(logits, target)
    # gather needs an index in range even where nothing is labelled: it reads class 0 there, and is masked below.
    own = logits.gather(1, labels.masked_fill(~labelled, 0)[:, None])[:, 0]
    return -own.masked_fill(~labelled, 0).sum() / labelled.sum().clamp(min=1)


def hybrid(
    logits: Tensor,
    target: Tensor,
    weight: float = 0.01,
    class_weights: Tensor | None = None,
    dce_weight: float = 1.0,
) -> Tensor:
    """Return ``dce_weight * DCE + weight * VL`` (DMLNet, Sec. 4.1; either alone is a row of Table 3).

    ``weight`` is lambda_VL; class weights act on the DCE alone.
    """
    # The released code divides the DCE by the batch size once more, so that its lambda is 0.08 for batches of 8.
    return dce_weight * dce(logits, target, class_weights) + weight * variance(logits, target)


def objective(
    classifier: Classifier,
    embedding: Tensor,
    targets: Tensor,
    variance_weight: float = 0.01,
    class_weights: Tensor | None = None,
    dce_weight: float = 1.0,
) -> Tensor:
    """Return the loss of an embedding (B, D, h, w) for ``targets`` (B, H, W) long, at the resolution of the targets.

    It is ``dce_weight`` DCE + ``variance_weight`` VL with a prototype classifier (DMLNet, Sec. 4.1), cross-entropy with
    a linear one.
    """
    # Squared distances lose too many digits in 16 bits.
    embedding, size = embedding.float(), size_of(targets)
    if isinstance(classifier, PrototypeClassifier):
        # Distances are quadratic in f, so f is interpolated before they are taken, not after: as in DMLNet's code for
        # Cityscapes. Its code for StreetHazards reduces the labels to stride 8 instead.
        return hybrid(classifier(resize(embedding, size)), targets, variance_weight, class_weights, dce_weight)
    # A linear classifier commutes with interpolation; K channels are cheaper to interpolate than D.
    return cross_entropy(resize(classifier(embedding), size), targets, class_weights)


def class_weights(targets: Iterable[np.ndarray], num_classes: int, power: float) -> Tensor:
    """Return a weight for each class, (K,), proportional to its frequency to the power of ``-power``.

    The mean weight over labelled pixels is 1; a class without a pixel has weight 0. Raises ``OwsegError`` where no
    pixel is labelled with a class.
    """
    # Of every uint8 id, void included, and cut to the classes below: no mask to allocate per image.
    counts = np.zeros(256, np.int64)
    for target in targets:
        counts += np.bincount(target.ravel(), minlength=256)
    if not counts[:num_classes].any():
        raise OwsegError("no pixel is labelled with a known class; check the masks and the names of the classes.")
    share = counts[:num_classes] / counts[:num_classes].sum()
    # np.where computes both branches: without the floor a class without a pixel would divide by zero.
    weight = np.where(share > 0, np.maximum(share, 1e-12) ** -power, 0.0)
    return torch.tensor(weight / (weight * share).sum(), dtype=torch.float32)


def _labels(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return the target as long, IGNORE where no class is labelled, and the mask (B, H, W) of where one is."""
    shape = (logits.shape[0], *logits.shape[2:])
    if tuple(target.shape) != shape:
        raise OwsegError(f"the target is {tuple(target.shape)} and the logits need {shape}; resize one of them.")
    labelled = target < KNOWN
    labels = torch.where(labelled, target.long(), IGNORE)
    classes = logits.shape[1]
    # Checked here because on a GPU an id out of range is an assertion of the device that names neither id nor file.
    if bool((labelled & ((labels >= classes) | (labels < 0))).any()):
        raise OwsegError(f"the target has ids beyond the {classes} classes; use 0 to {classes - 1}, or 253 to 255.")
    return labels, labelled
