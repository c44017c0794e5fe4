"""Backbones: an image goes in, a pyramid of feature maps comes out. One family of models a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from owseg._registry import Registry

if TYPE_CHECKING:
    from owseg.models.backbones.base import Family

FAMILIES: Registry[Family] = Registry("family of backbones", "owseg.models.backbones")
"""Families by the name that a model's configuration has (``model_type``); "auto" stands for every other."""
