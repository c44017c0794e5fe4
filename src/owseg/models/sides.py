"""An image at several sizes, whose logits are averaged at its own: the test of DMLNet's code on StreetHazards."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from owseg.models.ops import resize, resize_image, size_of, working_size
from owseg.types import Output

LONGEST = 1000
"""The longer side of an image in pixels, at most: where it would be longer, the shorter one is shortened, too."""


def averaged_over_sides(
    run: Callable[[Tensor], Output], image: Tensor, sides: Sequence[int], scale: float = 1.0, multiple: int = 1
) -> Output:
    """Return the mean output of ``run`` for ``image`` (1, 3, H, W) resized to each of the shorter ``sides``.

    Logits, and all maps but the pyramid, are interpolated to (H, W) before they are averaged, so that scores are those
    of interpolated logits: their mean is ``-mean_s |f_s - m_t|^2``, of which no embedding has to be the cause. The
    pyramid is that of the last side. Cen et al. (ICCV 2021) have the sides 300, 375, 450, 525 and 600.
    """
    size = size_of(image)
    sums: dict[str, Tensor] = {}
    features: tuple[Tensor, ...] = ()
    for side in sides:
        shorter = min(side, round(LONGEST * min(size) / max(size)))
        view = resize_image(image, working_size(size, shorter, scale, multiple))
        output = run(view.contiguous(memory_format=torch.channels_last))
        features = output.features
        for name, maps in _maps(output).items():
            full = resize(maps.float(), size) / len(sides)
            sums[name] = sums[name] + full if name in sums else full
    negative = sums.pop("negative", None)
    return Output(features, **sums, negative=None if negative is None else negative[:, 0])


def _maps(output: Output) -> dict[str, Tensor]:
    """Return every map of ``output`` but its pyramid, (1, C, h, w) each, by name."""
    negative = None if output.negative is None else output.negative[:, None]
    maps = {"embedding": output.embedding, "logits": output.logits, "residual": output.residual,
            "evidence": output.evidence, "negative": negative}  # fmt: skip
    return {name: value for name, value in maps.items() if value is not None}
