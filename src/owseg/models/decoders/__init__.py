"""Decoders: pyramid of feature maps -> embedding in front of the classifier. One a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from owseg._registry import Registry

if TYPE_CHECKING:
    from owseg.models.decoders.base import Decoder

DECODERS: Registry[Decoder] = Registry("decoder", "owseg.models.decoders")
"""Decoders by name; ``make(channels, strides, out, ...)`` takes those of the pyramid and the width of the embedding."""
