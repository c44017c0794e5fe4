"""Scorers: callables ``Output -> (B, h, w)``, one anomaly score a pixel, higher = more anomalous. One a file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from owseg._registry import Registry
from owseg.labels import BACKGROUND

if TYPE_CHECKING:
    from owseg.labels import LabelSpace
    from owseg.models.network import Network
    from owseg.scorers.base import FittedScorer
    from owseg.types import Scorer

SCORERS: Registry[Scorer] = Registry("scorer", "owseg.scorers")
"""Scorers by name; ``make(network)`` returns one. A ``FittedScorer`` is returned unfitted.

``facts["needs"]`` is what a knowledge base must have for it: "metric", a prototype classifier; "fit", a fit to labelled
images; "residual", a residual pattern; "background", a class of that name. Without ``needs`` every network will do.
"""


def fitted_names() -> tuple[str, ...]:
    """Return the names of the scorers that are fitted to labelled images."""
    return tuple(name for name, entry in SCORERS.entries.items() if entry.facts.get("needs") == "fit")


def available(
    network: Network, labels: LabelSpace, fitted: Mapping[str, FittedScorer], residual: bool
) -> dict[str, Scorer]:
    """Return the scorers, by name, that a knowledge base of these parts has.

    These are the ``fitted`` ones with the scorers they are made of (``FittedScorer.parts``), and of the others each
    whose needs are met. ``residual`` says whether there is a residual pattern.
    """
    base = labels.names[: network.num_classes]
    has = {"": True, "metric": network.is_metric, "residual": residual, "background": BACKGROUND in base, "fit": False}
    found: dict[str, Scorer] = {}
    for name, entry in SCORERS.entries.items():
        needs = entry.facts.get("needs", "")
        if name in fitted:
            found[name] = fitted[name]
        elif has.get(needs, False):
            options = {"index": base.index(BACKGROUND)} if needs == "background" else {}
            found[name] = SCORERS[name].make(network, **options)
    for scorer in fitted.values():
        found |= {name: part for name, part in scorer.parts().items() if name not in found}
    return found
