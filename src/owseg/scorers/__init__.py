"""Scorers: callables ``Output -> (B, h, w)``, one anomaly score a pixel, higher = more anomalous. One a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from owseg._registry import Registry, read_options
from owseg.errors import OwsegError
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

ON_SEGMENTS = "@segments"
"""What follows the name of a score that is pooled over segments of the image."""

ON_ROAD = "@road"
"""What follows the name of a score for what lies on the road (see ``owseg.scorers.road``)."""

ROAD = "road"
"""The class that ``ON_ROAD`` needs."""

DEFAULT = "joint" + ON_SEGMENTS
"""The score of a knowledge base that has a fitted ``joint``."""


def fitted_names() -> tuple[str, ...]:
    """Return the names of the scorers that are fitted to labelled images."""
    return tuple(name for name, entry in SCORERS.entries.items() if entry.facts.get("needs") == "fit")


def configurable() -> dict[str, tuple[str, ...]]:
    """Return the names of the scorers whose options may follow the name (``mixture:beta=50``), with these."""
    entries = SCORERS.entries.items()
    return {name: tuple(e.options) for name, e in entries if e.options and e.facts.get("needs") != "fit"}


def plain_name(name: str) -> str:
    """Return the name of the scorer alone: "mixture" of "mixture:beta=50@segments@road"."""
    return name.split("@")[0].split(":")[0]


def whole_image(name: str) -> str:
    """Return the name of the score over the whole image: "joint@segments" of "joint@segments@road"."""
    return name.removesuffix(ON_ROAD)


class Available(Mapping[str, "Scorer"]):
    """Scorers by name, each made when it is first asked for; their names import no plug-in.

    Options of a scorer that is not fitted may follow its name: "mixture:beta=50:gamma=0.7" is a name, too, and so is
    any name followed by "@segments" or, where ``road`` is the id of a class, by "@road" (see ``owseg.scorers.segments``
    and ``owseg.scorers.road``). Such names are not among those that are iterated over. For an option that there is not
    it raises ``OwsegError``.
    """

    def __init__(self, makers: Mapping[str, Callable[..., Scorer]], road: int | None = None) -> None:
        self._makers, self._road, self._made = makers, road, dict[str, "Scorer"]()

    def __getitem__(self, name: str) -> Scorer:
        if name not in self._made:
            self._made[name] = self._make(name)
        return self._made[name]

    def _make(self, name: str) -> Scorer:
        if name.endswith(ON_SEGMENTS):
            from owseg.scorers.segments import Segments

            return Segments(self[name.removesuffix(ON_SEGMENTS)])
        if name.endswith(ON_ROAD) and self._road is not None:
            from owseg.scorers.road import OnRoad

            return OnRoad(self[name.removesuffix(ON_ROAD)], self._road)
        base, *settings = name.split(":")
        return self._makers[base](**_options(base, settings))

    def __contains__(self, name: object) -> bool:
        # Mapping's own would make it.
        if not isinstance(name, str) or plain_name(name) not in self._makers:
            return False
        suffixes = name[len(name.split("@")[0]) :]
        return suffixes in ("", ON_SEGMENTS) or (
            self._road is not None and suffixes in (ON_ROAD, ON_SEGMENTS + ON_ROAD)
        )

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)


def _options(name: str, settings: Sequence[str]) -> dict[str, Any]:
    """Return the options of a scorer, each given as NAME=VALUE, as the types of their defaults."""
    if not settings:
        return {}
    pairs = [text.partition("=") for text in settings]
    if wrong := [text for text, (key, equals, value) in zip(settings, pairs, strict=True) if not (key and value)]:
        raise OwsegError(f"{wrong[0]!r} sets nothing; write an option of a score as {name}:NAME=VALUE.")
    if name not in configurable():
        raise OwsegError(f"the score {name} has no options; those that have are {', '.join(configurable())}.")
    return read_options(SCORERS[name], {key: value for key, _, value in pairs}, f"the score {name}")


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
    makers: dict[str, Callable[..., Scorer]] = {}
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
    return Available(makers, base.index(ROAD) if ROAD in base else None)
