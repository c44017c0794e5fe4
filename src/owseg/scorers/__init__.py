"""Scorers: any callable ``Output -> (B, h, w)`` that says how anomalous each pixel is; higher is more."""

from functools import partial

from owseg.scorers.knn import KNearest
from owseg.scorers.mahalanobis import RelativeMahalanobis
from owseg.scorers.metric import distance_sum, eds, max_similarity, mixture, mmsp
from owseg.scorers.residual import rpl
from owseg.scorers.sml import StandardisedMaxLogit
from owseg.scorers.softmax import class_probability, energy, entropy, max_logit, msp
from owseg.types import Scorer

__all__ = [
    "FITTED",
    "METRIC",
    "SCORERS",
    "KNearest",
    "RelativeMahalanobis",
    "StandardisedMaxLogit",
    "class_probability",
    "distance_sum",
    "eds",
    "energy",
    "entropy",
    "max_logit",
    "max_similarity",
    "mixture",
    "mmsp",
    "msp",
    "rpl",
]

_OF_DISTANCES: dict[str, Scorer] = {
    "mmsp": mmsp,
    "eds": eds,
    "eds_paper": partial(eds, normalisation="paper"),
    "eds_code": partial(eds, normalisation="code"),
    "mixture": mixture,
    "mixture_paper": partial(mixture, normalisation="paper"),
    "mixture_code": partial(mixture, normalisation="code"),
    "max_similarity": max_similarity,
}

SCORERS: dict[str, Scorer] = {
    "msp": msp,
    "max_logit": max_logit,
    "energy": energy,
    "entropy": entropy,
    **_OF_DISTANCES,
}
"""The scorers that need no fitting, by the names they have on the command line."""

FITTED: dict[str, type[KNearest] | type[StandardisedMaxLogit]] = {"knn": KNearest, "sml": StandardisedMaxLogit}
"""Scorers fitted on known pixels that a knowledge base may hold besides mahalanobis and joint, by name."""

METRIC: frozenset[str] = frozenset(_OF_DISTANCES)
"""Names of the scorers that mean something only with a prototype classifier."""
