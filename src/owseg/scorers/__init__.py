"""Scorers: callables ``Output -> (B, h, w)``, one anomaly score a pixel, higher = more anomalous. One a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
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
images; "residual", a residual pattern; "negative", a class of outliers; "masks", a mask classifier, and "masks and
negative", one with a class of outliers; "background", a class of that name. Without ``needs`` every network will do.
"""


def fitted_names() -> tuple[str, ...]:
    """Return the names of the scorers that are fitted to labelled images."""
    return tuple(name for name, entry in SCORERS.entries.items() if entry.facts.get("needs") == "fit")


class Available(Mapping[str, "Scorer"]):
    """Scorers by name, each made when it is first asked for; their names import no plug-in."""

    def __init__(self, makers: Mapping[str, Callable[[], Scorer]]) -> None:
        self._makers, self._made = makers, dict[str, "Scorer"]()

    def __getitem__(self, name: str) -> Scorer:
        if name not in self._made:
            self._made[name] = self._makers[name]()
        return self._made[name]

    def __contains__(self, name: object) -> bool:
        return name in self._makers  # Mapping's own would make it

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)


def available(
    network: Network, labels: LabelSpace, fitted: Mapping[str, FittedScorer], residual: bool
) -> Mapping[str, Scorer]:
    """Return the scorers, by name, that a knowledge base of these parts has; each is made when it is asked for.

    These are the ``fitted`` ones with the scorers they are made of (``FittedScorer.parts``), and of the others each
    whose needs are met. ``residual`` says whether there is a residual pattern.
    """
    base = labels.names[: network.num_classes]
    has = {
        "": True,
        "metric": network.is_metric,
        "residual": residual,
        "negative": network.has_negative,
        "masks": network.has_masks,
        "masks and negative": network.has_masks and network.has_negative,
        "background": BACKGROUND in base,
        "fit": False,
    }
    makers: dict[str, Callable[[], Scorer]] = {}
    for name, entry in SCORERS.entries.items():
        needs = str(entry.facts.get("needs", ""))
        if name in fitted:
            makers[name] = partial(fitted.__getitem__, name)
        elif has.get(needs, False):
            options = {"index": base.index(BACKGROUND)} if needs == "background" else {}
            makers[name] = partial(SCORERS.make, name, network, **options)
    for scorer in fitted.values():
        for name in scorer.parts():
            makers.setdefault(name, partial(scorer.parts().__getitem__, name))
    return Available(makers)
