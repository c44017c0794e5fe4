"""Decoders: a pyramid of feature maps goes in, the last embedding before the classifier comes out. One a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from owseg._registry import Registry

if TYPE_CHECKING:
    from owseg.models.decoders.base import Decoder

DECODERS: Registry[Decoder] = Registry("decoder", "owseg.models.decoders")
"""Decoders by name; ``make(channels, strides, out, ...)`` is given those of the pyramid and the width of the embedding."""
