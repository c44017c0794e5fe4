"""Scores that are not a function of one ``Output``: each is an ``ImageScorer``, image -> score. One a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from owseg._registry import Registry

if TYPE_CHECKING:
    from owseg.types import ImageScorer

IMAGE_SCORERS: Registry[ImageScorer] = Registry("image scorer", "owseg.image_scorers")
"""Image scorers by name; ``make(kb, seed, ...)`` returns one for a knowledge base.

``facts["required"]`` names the options without which it cannot be made.
"""
