"""Increments: learned classes, as data. One kind a file; how they are learned is in ``owseg.learners``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from owseg._registry import Registry

if TYPE_CHECKING:
    from owseg.increments.base import Increment

INCREMENTS: Registry[Increment] = Registry("kind of increment", "owseg.increments")
"""Kinds by the name under which they are stored; ``make(value, tensors, network)`` restores a stored one."""
