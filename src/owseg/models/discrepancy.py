"""The discrepancy network: where does an image differ from a label map, or from what was drawn of it?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from owseg.models.generator import label_planes
from owseg.models.ops import resize, size_of


class DiscrepancyNetwork(nn.Module):
    """Frozen features of an image and of its drawing, and labels -> logits (B, 2, h, w) of "same" and "discrepancy".

    ``channels`` are those of a pyramid's stages, finest first, ``widths`` and ``label_widths`` those at each stage
    here. The labels, averaged to the grid of the finest, have a branch of strided convolutions. From coarse to fine, a
    1x1 convolution joins both images' features and the labels; to it come the product of the features, averaged over
    channels, and what is from the stage before, through two 3x3 convolutions with SELU. Lis et al., ICCV 2019, Sec.
    3.2, where the stages are those of VGG16 and the product is a sum. Without ``drawn`` there is no drawing: the
    paper's variant on labels alone.
    """

    def __init__(
        self,
        channels: Sequence[int],
        classes: int,
        widths: Sequence[int] = (32, 64, 64),
        label_widths: Sequence[int] = (16, 32, 64),
        drawn: bool = True,
    ) -> None:
        super().__init__()
        self.config: dict[str, Any] = {
            "channels": list(channels), "classes": classes, "widths": list(widths),
            "label_widths": list(label_widths), "drawn": drawn,
        }  # fmt: skip
        images = 2 if drawn else 1
        before = [classes, *label_widths]
        self.labels = nn.ModuleList(
            nn.Conv2d(before[i], n, 3 if i else 7, 2 if i else 1, padding=1 if i else 3)
            for i, n in enumerate(label_widths)
        )
        stages = list(zip(channels, label_widths, widths, (*widths[1:], 0), strict=True))
        self.join = nn.ModuleList(nn.Conv2d(images * c + n, c, 1) for c, n, _, _ in stages)
        self.mix = nn.ModuleList(_two(c + (images - 1) + coarser, width) for c, _, width, coarser in stages)
        self.up = nn.ModuleList(nn.ConvTranspose2d(width, width, 2, 2) for width in widths[1:])
        self.classify = nn.Conv2d(widths[0], 2, 1)

    def forward(self, image: Sequence[Tensor], drawing: Sequence[Tensor] | None, labels: Tensor) -> Tensor:
        """Return the logits (B, 2, h, w), on the grid of the finest stage, for labels (B, H, W) at any size."""
        maps, planes = [], F.adaptive_avg_pool2d(label_planes(labels, self.config["classes"]), size_of(image[0]))
        for conv, stage in zip(self.labels, image, strict=True):
            planes = resize(conv(planes).relu(), size_of(stage))
            maps.append(planes)
        x: Tensor | None = None
        for i in reversed(range(len(image))):
            both = [image[i]] if drawing is None else [image[i], drawing[i]]
            parts = [self.join[i](torch.cat([*both, maps[i]], 1))]
            if drawing is not None:
                parts.append((image[i] * drawing[i]).mean(1, keepdim=True))
            if x is not None:
                parts.append(resize(self.up[i](x), size_of(image[i])))
            x = self.mix[i](torch.cat(parts, 1))
        logits: Tensor = self.classify(x)
        return logits


def stages_of(strides: Sequence[int], count: int) -> tuple[int, ...]:
    """Return the numbers of the last stage of each of the ``count`` smallest strides of a pyramid, finest first.

    Where there are fewer strides, as in a dilated network, the latest of the other stages are among them.
    """
    last = {stride: i for i, stride in enumerate(strides)}
    chosen = [last[stride] for stride in sorted(last)[:count]]
    others = [i for i in reversed(range(len(strides))) if i not in chosen]
    return tuple(sorted(chosen + others[: count - len(chosen)]))


def _two(inside: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inside, out, 3, padding=1), nn.SELU(), nn.Conv2d(out, out, 3, padding=1), nn.SELU())
