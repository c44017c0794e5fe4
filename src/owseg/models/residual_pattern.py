"""The residual pattern of RPL (Liu et al., ICCV 2023): it makes a frozen segmenter give outliers low evidence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from owseg.errors import OwsegError
from owseg.models.aspp import ASPP
from owseg.models.decoders.base import Decoder
from owseg.models.network import Network
from owseg.models.ops import conv_bn, depthwise, resize, size_of

PLACES = ("penultimate", "embedding")
"""Where the residual is added: before the decoder's last block, as in the paper, or after it (owseg 0.1.0)."""

FORMS = ("light", "dense")
"""How the pattern is made: by depth-wise filters and a finer stage, or by dense ones, as in the paper."""

STARTS = ("zero", "kaiming")
"""How the last convolution of a pattern begins: so that nothing is added, or He-normal, as in RPL's code."""

DENSE: dict[str, Any] = {"form": "dense", "width": 256, "rates": (12, 24, 36), "contrast": 304}
"""The paper's pattern."""


class ResidualPattern(nn.Module):
    """Pyramid -> residual (B, out, h, w), which is added to what a frozen decoder finds.

    At the ``place`` "penultimate" that is what the decoder's last block reads, f = embed(p + r) (Liu et al., Fig. 2);
    at "embedding" the embedding itself, f + r, from which a linear map alone leads to the logits. Atrous spatial
    pyramid pooling of the coarsest map makes the ``pattern``; in the ``form`` "light" its filters are depth-wise and it
    is joined with a projection of the map at ``skip`` (an index into the pyramid), in the form "dense" they are as in
    DeepLab and it is interpolated to that map's grid. A 1x1 convolution takes it to ``out`` channels. With the
    ``start`` "zero" an untrained residual changes nothing; "kaiming" is that of RPL's code. ``align_corners`` is how
    the dense form is interpolated, as the frozen decoder is in RPL's code. ``project`` is CoroCL's, for training only.
    Raises ``OwsegError`` for another place, form or start, and a stage that there is not.
    """

    def __init__(
        self,
        channels: Sequence[int],
        out: int,
        skip: int = 1,
        width: int = 64,
        rates: Sequence[int] = (3, 6, 12),
        contrast: int = 64,
        place: str = "penultimate",
        form: str = "light",
        start: str = "zero",
        align_corners: bool = False,
    ) -> None:
        super().__init__()
        for what, value, values in (("place", place, PLACES), ("form", form, FORMS), ("start", start, STARTS)):
            if value not in values:
                raise OwsegError(f"the {what} of a residual is {' or '.join(values)}, not {value!r}.")
        if not 0 <= skip < len(channels):
            raise OwsegError(f"skip is a stage of the pyramid, 0 to {len(channels) - 1}, not {skip}.")
        # What 0.1.0 did not have is named only where it is another, so that fingerprints stay.
        self.config: dict[str, Any] = {
            "skip": skip, "width": width, "rates": list(rates), "contrast": contrast,
            **({} if place == "embedding" else {"place": place}), **({} if form == "light" else {"form": form}),
            **({"align_corners": True} if align_corners else {}),
        }  # fmt: skip
        self.skip, self.place, self.form, self.align_corners, deep = skip, place, form, align_corners, channels[-1]
        pooled = width * (len(rates) + 2)
        if form == "dense":
            self.aspp = ASPP(deep, width, rates)
            self.bottleneck: nn.Module = nn.Conv2d(pooled, width, 1, bias=False)
        else:
            self.branches = nn.ModuleList(
                [conv_bn(deep, width)] + [nn.Sequential(conv_bn(deep, width), depthwise(width, rate)) for rate in rates]
            )
            # Without batch norm: a pooled map has one value per image, too few for batch statistics.
            self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(deep, width, 1), nn.ReLU())
            self.lateral = conv_bn(channels[skip], width // 2)
            self.join = nn.Sequential(depthwise(width + width // 2, 1), conv_bn(width + width // 2, width))
            self.bottleneck = conv_bn(pooled, width)
        self.final = nn.Conv2d(width, out, 1)
        # From zero, the frozen logits are where training begins.
        (nn.init.zeros_ if start == "zero" else nn.init.kaiming_normal_)(self.final.weight)
        nn.init.zeros_(self.final.bias)  # type: ignore[arg-type]
        self.project = nn.Conv2d(width, contrast, 1)

    def pattern(self, features: Sequence[Tensor]) -> Tensor:
        """Return the features of which the residual is a linear map, (B, width, h, w), on the grid at ``skip``."""
        deep, fine = features[-1], features[self.skip]
        if self.form == "dense":
            reduced: Tensor = self.bottleneck(self.aspp(deep))
            return F.interpolate(reduced, size=size_of(fine), mode="bilinear", align_corners=self.align_corners)
        maps = [branch(deep) for branch in self.branches]
        maps.append(self.pool(deep).expand(-1, -1, *deep.shape[-2:]))
        coarse = resize(self.bottleneck(torch.cat(maps, 1)), size_of(fine))
        joined: Tensor = self.join(torch.cat([coarse, self.lateral(fine)], 1))
        return joined

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Return the residual (B, out, h, w)."""
        residual: Tensor = self.final(self.pattern(features))
        return residual

    def added(self, decoder: Decoder, features: Sequence[Tensor], penultimate: Tensor, embedding: Tensor) -> Tensor:
        """Return the embedding (B, D, h, w) with the residual added at its place."""
        return self.added_to(decoder, self(features), penultimate, embedding)

    def added_to(self, decoder: Decoder, residual: Tensor, penultimate: Tensor, embedding: Tensor) -> Tensor:
        """Return the embedding (B, D, h, w) with a ``residual`` of ``forward`` added at its place."""
        # The pattern's grid is that of a stage, the others' that of the decoder.
        if self.place == "embedding":
            return embedding + resize(residual, size_of(embedding))
        return decoder.embed(penultimate + resize(residual, size_of(penultimate)))

    def contrast(self, pattern: Tensor) -> Tensor:
        """Return the pattern projected to the space of CoroCL, of length 1 at every pixel, (B, contrast, h, w)."""
        return F.normalize(self.project(pattern).float(), dim=1)  # squares of 16-bit floats lose too many digits


def residual_of(network: Network, **config: Any) -> ResidualPattern:
    """Return an untrained residual pattern for ``network``; ``config`` has the options of ``ResidualPattern``.

    A dense one begins as a copy of the decoder's ``aspp``, where that has one of the same size.
    """
    place = config.get("place", PLACES[0])
    out = network.classifier.embedding_channels if place == "embedding" else _penultimate_channels(network)
    pattern = ResidualPattern(network.backbone.channels, out, **config)
    frozen = getattr(network.decoder, "aspp", None)
    planned = pattern.final.weight.is_meta  # it has no values
    if pattern.form == "dense" and not planned and isinstance(frozen, ASPP) and frozen.size == pattern.aspp.size:
        pattern.aspp.load_state_dict(frozen.state_dict())
    return pattern


@torch.no_grad()
def _penultimate_channels(network: Network) -> int:
    """Return the number of channels that the decoder's last block reads: that of a pass of a small empty pyramid."""
    backbone, decoder = network.backbone, network.decoder
    device, was_training = next(network.parameters()).device, decoder.training
    maps = [
        torch.zeros(1, c, -(-64 // s), -(-64 // s), device=device)
        for c, s in zip(backbone.channels, backbone.strides, strict=True)
    ]
    # In evaluation mode, or the zeros would enter the running batch statistics.
    channels = int(decoder.eval().penultimate(maps).shape[1])
    decoder.train(was_training)
    return channels
