"""Published networks by a name such as ``espnetv2-cityscapes:FILE`` or ``hf:NAME`` (see ``NETWORKS``)."""

from __future__ import annotations

from pathlib import Path

from owseg.labels import LabelSpace
from owseg.models.network import Network
from owseg.models.published import NETWORKS


def published(name: str, weights: str | Path | None = None) -> tuple[Network, LabelSpace] | None:
    """Return the network ``name`` and its classes; None if ``name`` is not that of a published one.

    ``name`` is ``KIND:PLACE``; the place may instead be given as ``weights``. Raises ``OwsegError`` for weights that
    are missing or do not fit.
    """
    kind, _, place = name.partition(":")
    return NETWORKS[kind].make(place, weights) if kind in NETWORKS else None
