"""Backbones: image -> pyramid of feature maps. One family of models a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from owseg._registry import Registry

if TYPE_CHECKING:
    from owseg.models.backbones.family import Family

FAMILIES: Registry[Family] = Registry("family of backbones", "owseg.models.backbones")
"""Families by the ``model_type`` of a model's configuration; "auto" is for every other type.

``facts["prefix"]`` is what names of models begin with in a family that is not of transformers. The others are for the
user (docs/backbones.md shows them): ``example``, a name to give; ``preprocessing``, what becomes of RGB x in [0, 1] if
nothing else is stored beside the weights; ``licence``, that of the published weights; ``sizes``, the shorter sides in
pixels of the images that these were trained on.
"""


def example_names() -> tuple[str, ...]:
    """Return a name of each family, as ``owseg train --backbone`` takes it."""
    return tuple(entry.facts["example"] for entry in FAMILIES.entries.values() if "example" in entry.facts)
