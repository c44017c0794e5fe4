"""The feature pyramid on one grid of cells, and the class of each cell: the training data of fitted scorers."""

from __future__ import annotations

import torch
from torch import Tensor

from owseg.errors import OwsegError
from owseg.models.ops import resize, resize_labels, size_of
from owseg.types import Output


def cells(output: Output, level: int, channels: int) -> Tensor:
    """Return the pyramid on the grid of stage ``level``, every stage interpolated and concatenated: (B, h, w, C).

    Raises ``OwsegError`` for a stage that does not exist, and where C is not ``channels``.
    """
    if not -len(output.features) <= level < len(output.features):
        raise OwsegError(f"there is no stage {level}; the pyramid has {len(output.features)} stages.")
    total = sum(stage.shape[1] for stage in output.features)
    if total != channels:
        raise OwsegError(
            f"this scorer is made for {channels} channels and the pyramid has {total}; fit one for this backbone."
        )
    grid = size_of(output.features[level])
    return torch.cat([resize(stage, grid) for stage in output.features], 1).movedim(1, -1)


def labelled_cells(
    output: Output, target: Tensor, level: int, channels: int, num_classes: int
) -> tuple[Tensor, Tensor]:
    """Return the features (n, C) and labels (n,) of the cells that show a known class.

    A cell has the label of the pixel at its centre; ids beyond the ``num_classes`` classes (void, unknown, classes
    learned later) are left out. Raises ``OwsegError`` for a target that is not (B, H, W) and features that are not
    finite.
    """
    maps = cells(output, level, channels)
    labels = labels_on(target, maps.shape[:3], num_classes).to(maps.device)
    known = labels >= 0
    # A single NaN would spread over the whole covariance.
    if not maps[known].isfinite().all():
        raise OwsegError("the features hold NaN or infinite values; check the weights and the images.")
    return maps[known], labels[known]


def labels_on(target: Tensor, shape: torch.Size, num_classes: int) -> Tensor:
    """Return the class ids (long) of a target (B, H, W) at the centres of a grid (B, h, w); -1 is no known class."""
    if target.ndim != 3 or target.shape[0] != shape[0]:
        raise OwsegError(f"the target is {tuple(target.shape)}; it must be (B, H, W) with B = {shape[0]}.")
    small = resize_labels(target, (shape[1], shape[2]))
    return small.where((small >= 0) & (small < num_classes), -1)
