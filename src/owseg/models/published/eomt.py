"""EoMT (Kerssies et al., CVPR 2025): a plain vision transformer whose last blocks take queries beside the patches."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from owseg.errors import OwsegError


class TokenPyramid(tuple[Tensor, ...]):
    """A pyramid with the ``tokens`` (B, n, C) that it was made of: those before the first patch tell of no place."""

    tokens: Tensor

    @classmethod
    def of(cls, maps: tuple[Tensor, ...], tokens: Tensor) -> TokenPyramid:
        """Return the pyramid of these maps with its tokens."""
        made = cls(maps)
        made.tokens = tokens
        return made


class EomtEncoder(nn.Module):
    """The blocks before the queries come in: normalised square image (B, 3, S, S) -> the tokens after each block."""

    kind = "eomt"

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.config = model.config
        self.embeddings = model.embeddings
        self.layers = model.layers[: len(model.layers) - model.config.num_blocks]

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return the tokens (B, prefix + patches, C) after each block."""
        tokens, found = self.embeddings(image), []
        for layer in self.layers:
            tokens = layer(tokens)
            found.append(tokens)
        return found

    def to_map(self, tokens: Tensor) -> Tensor:
        """Return the patches of ``tokens`` as a map (B, C, g, g)."""
        return patches(tokens, self.embeddings.num_prefix_tokens, self.config)


class EomtHead(nn.Module):
    """The last blocks, in which queries and tokens attend to each other, and the heads of masks."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.config, self.prefix = model.config, model.embeddings.num_prefix_tokens
        self.query, self.layers = model.query, model.layers[len(model.layers) - model.config.num_blocks :]
        self.layernorm, self.mask_head, self.upscale = model.layernorm, model.mask_head, model.upscale_block
        self.register_buffer("masked", model.attn_mask_probs)
        self.class_layer = model.class_predictor

    def forward(self, features: Any) -> tuple[Tensor, Tensor]:
        """Return queries (B, Q, C) and mask logits (B, Q, 4g, 4g) of a ``TokenPyramid``."""
        if not isinstance(features, TokenPyramid):
            raise OwsegError(
                "the queries of an EoMT need the tokens of its own backbone; averaged or stored maps will not do."
            )
        count, tokens = len(self.query.weight), features.tokens
        tokens = torch.cat([self.query.weight.expand(len(tokens), -1, -1), tokens], 1)
        masked: Tensor = self.masked  # type: ignore[assignment]
        for layer, probability in zip(self.layers, masked.tolist(), strict=True):
            # Between 0 and 1, while it learns to do without, transformers draws which queries are masked.
            added = self._attention(tokens, count) if probability > 0.5 else None
            tokens = layer(tokens, added)
        return self._predicted(tokens, count)

    def _predicted(self, tokens: Tensor, count: int) -> tuple[Tensor, Tensor]:
        normed = self.layernorm(tokens)
        maps = self.upscale(patches(normed[:, count:], self.prefix, self.config))
        queries = normed[:, :count]
        return queries, torch.einsum("bqc,bchw->bqhw", self.mask_head(queries), maps)

    def _attention(self, tokens: Tensor, count: int) -> Tensor:
        """Return what is added to the attention (B, heads, n, n): queries see only the patches in their own mask."""
        grid, first = grid_of(self.config), count + self.prefix
        inside = F.interpolate(self._predicted(tokens, count)[1], size=(grid, grid), mode="bilinear").flatten(2) > 0
        added = tokens.new_zeros(len(tokens), tokens.shape[1], tokens.shape[1])
        added[:, :count, first:].masked_fill_(~inside, -1e9)
        return added[:, None].expand(-1, self.config.num_attention_heads, -1, -1)


def grid_of(config: Any) -> int:
    """Return g, the number of patches along a side of the image."""
    return int(config.image_size) // int(config.patch_size)


def patches(tokens: Tensor, prefix: int, config: Any) -> Tensor:
    """Return the tokens (B, prefix + g * g, C) after the first ``prefix`` as a map (B, C, g, g)."""
    grid = grid_of(config)
    return tokens[:, prefix:].transpose(1, 2).reshape(len(tokens), -1, grid, grid)
