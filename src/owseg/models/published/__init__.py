"""Networks that others published, one architecture a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from owseg._registry import Registry

if TYPE_CHECKING:
    from owseg.labels import LabelSpace
    from owseg.models.network import Network

NETWORKS: Registry[tuple[Network, LabelSpace]] = Registry("published network", "owseg.models.published")
"""Published networks by name; ``make(place, weights)`` returns the network and its classes.

``facts["form"]`` is the form in which a user gives the name, such as ``hf:NAME``.
"""
