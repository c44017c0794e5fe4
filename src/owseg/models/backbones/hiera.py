"""Hiera (Ryali et al., ICML 2023), a hierarchical transformer, on images of any size."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from owseg._registry import Card
from owseg.models.backbones.auto import Auto
from owseg.models.backbones.family import to_strides
from owseg.models.ops import resize_to_multiple, size_of


class Hiera(Auto):
    """The family ``hiera``: four stages at strides 4 to 32, each through a layer norm.

    The layers are those of transformers' ``HieraBackbone``, but not its pass: that takes images of one size only, and
    does not bring the tokens into the order that its windows and its pooling need (transformers 5.23), so that its maps
    are scrambled. Here the image is resized to the nearest multiple of the largest stride, position embeddings are
    interpolated to its grid, and the maps resized to ceil(H / stride) x ceil(W / stride).

    The last two stages attend over all tokens: memory grows with the square of the number of pixels.
    """

    def features(self, model: Any, image: Tensor) -> tuple[Tensor, ...]:
        """Return the map of each stage."""
        config, halvings = model.config, len(model.config.depths) - 1
        strides = [_stride(config, min(level, config.num_query_pool)) for level in range(halvings + 1)]
        # A window is as long as if every stage but the first pooled.
        fitted = resize_to_multiple(image, _stride(config, halvings))
        grids = [(fitted.shape[-2] // rows, fitted.shape[-1] // columns) for rows, columns in strides]
        tokens = model.embeddings(fitted, interpolate_pos_encoding=True)[0]
        x, maps = tokens[:, window_order(grids[0], config.query_stride, halvings).to(tokens.device)], []
        for level, (stage, grid) in enumerate(zip(model.encoder.stages, grids, strict=True)):
            x = stage(x)[0]
            order = window_order(grid, config.query_stride, halvings - min(level, config.num_query_pool))
            maps.append(_to_map(model.hidden_states_norms[f"stage{level + 1}"](x), order.to(x.device), grid))
        return to_strides(maps, [rows for rows, _ in strides], size_of(image))


def window_order(grid: tuple[int, int], pool: tuple[int, int], halvings: int) -> Tensor:
    """Return the order in which Hiera holds the cells of a ``grid`` (h, w): their row-major indices, (h * w,) int64.

    Cells that will be pooled into one are h * w / (pool[0] * pool[1]) apart, again within each part ``halvings`` times;
    so pooling is a maximum over the first axis of a view, and a window is every n-th cell.
    """
    index = torch.arange(grid[0] * grid[1]).view(1, *grid)
    for _ in range(halvings):
        parts, height, width = index.shape
        cells = index.view(parts, height // pool[0], pool[0], width // pool[1], pool[1])
        index = cells.permute(0, 2, 4, 1, 3).reshape(-1, height // pool[0], width // pool[1])
    return index.flatten()


def _stride(config: Any, halvings: int) -> tuple[int, int]:
    """Return the stride of rows and columns after so many poolings."""
    (rows, columns), (down, across) = config.patch_stride, config.query_stride
    return rows * down**halvings, columns * across**halvings


def _to_map(tokens: Tensor, order: Tensor, grid: tuple[int, int]) -> Tensor:
    """Return tokens (B, h * w, C) that are held in ``order`` as a map (B, C, h, w)."""
    return tokens[:, order.argsort()].transpose(1, 2).reshape(len(tokens), -1, *grid)


CARDS = (
    Card(
        "hiera",
        "Hiera, a hierarchical transformer trained as a masked autoencoder",
        make=Hiera,
        source="Ryali et al., ICML 2023",
        facts={
            "example": "facebook/hiera-tiny-224-hf",
            "preprocessing": "mean and deviation of ImageNet",
            "licence": "CC-BY-NC-4.0 (weights), Apache-2.0 (code)",
            "sizes": (224,),
        },
    ),
)
