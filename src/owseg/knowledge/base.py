"""The knowledge base: an immutable value that labels images."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, overload

import numpy as np
import torch
from safetensors.torch import save

from owseg.data.given import Given
from owseg.data.images import ImageLike
from owseg.errors import OwsegError, meant
from owseg.increments.base import Increment
from owseg.knowledge.commit import add_version, writing
from owseg.knowledge.decision import label_maps, score_map
from owseg.knowledge.event import Event
from owseg.knowledge.lineage import KNOWLEDGE_FILE, Origin, find_parent
from owseg.knowledge.model import prediction_of, regions_of
from owseg.knowledge.pieces import SPLIT_COSINE
from owseg.knowledge.prediction import Assessment, Prediction
from owseg.knowledge.regions import RegionProposals, class_means, min_area_of, region_features
from owseg.knowledge.stored import BACKBONE_PREFIX, FORMAT, NETWORK_FILE, storable, weights_of
from owseg.labels import LabelSpace
from owseg.models.backbones.reference import reference_to
from owseg.models.engine import Engine, prepared
from owseg.models.network import Network
from owseg.models.over_images import over_images
from owseg.models.residual_pattern import ResidualPattern
from owseg.openset import Threshold
from owseg.scorers import available, fitted_names
from owseg.scorers.base import FittedScorer
from owseg.scorers.joint import Joint
from owseg.scorers.mahalanobis import RelativeMahalanobis
from owseg.types import Forward, Output, Sample, Scorer


@dataclass(frozen=True, eq=False, repr=False)
class KnowledgeBase:
    """A network for the base classes, the classes learned since, and the threshold of the unknown; an immutable value.

    ``labels`` names the base classes and then those that were learned; each increment writes the class of its name, and
    several may write one. ``scorer`` is the name of the score that ``predict`` uses, ``fitted`` the fitted scorers by
    name (see ``owseg.scorers``), ``threshold`` the score above which a pixel is unknown, ``residual`` what was learned
    from outliers, ``obstacles`` the threshold of the task "obstacles", if one was found (see ``for_task``), ``origin``
    the version that it was loaded from, if it was, and ``how`` the options of ``Engine`` that it is run with (see
    ``to``), which are not stored.

    Learning and calibrating return a new value. The network is copied where it is not ready for inference, so that the
    caller's stays as it is. Two knowledge bases are equal only if they are the same object; ``fingerprint`` compares
    what they hold.
    """

    network: Network
    labels: LabelSpace
    increments: tuple[Increment, ...] = ()
    scorer: str = "max_logit"
    fitted: Mapping[str, FittedScorer] = field(default_factory=dict)
    threshold: Threshold | None = None
    history: tuple[Event, ...] = ()
    residual: ResidualPattern | None = None
    obstacles: Threshold | None = None
    origin: Origin | None = None
    how: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names, made, base = self.labels.names, {i.name for i in self.increments}, self.network.num_classes
        if len(names) < base or not {*names[base:]} <= made <= {*names}:
            learned = f" and {', '.join(sorted(made))}, which were learned" if made else ""
            raise OwsegError(f"the classes {', '.join(names)} do not fit a network of {base} classes{learned}.")
        object.__setattr__(self, "network", prepared(self.network))
        if self.residual is not None:
            object.__setattr__(self, "residual", prepared(self.residual))
        self.require_scorer(self.scorer)

    def __getstate__(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__}  # without what is cached

    @property
    def scorers(self) -> Mapping[str, Scorer]:
        """The scorers that this knowledge base has, by name (see ``owseg.scorers.available``)."""
        return self._scorers

    @cached_property
    def _scorers(self) -> Mapping[str, Scorer]:
        return available(self.network, self.labels, self.fitted, self.residual is not None)

    def require_scorer(self, name: str) -> Scorer:
        """Return the scorer called ``name``; raise ``OwsegError`` with the names that there are for one that is not."""
        if name not in self.scorers:
            fit = f"owseg fit KB --data SET --scorers {name} adds it."
            others = fit if name in fitted_names() else f"it has {', '.join(self.scorers)}."
            raise OwsegError(f"this knowledge base has no scorer {name!r}; {meant(name, self.scorers, others)}")
        return self.scorers[name]

    @property
    def base_classes(self) -> tuple[str, ...]:
        """The names of the classes that the network was trained for."""
        return self.labels.names[: self.network.num_classes]

    @property
    def learned_classes(self) -> tuple[str, ...]:
        """The names of the classes that were learned since, in their order."""
        return self.labels.names[self.network.num_classes :]

    @property
    def working_size(self) -> int | None:
        """The shorter side, in pixels, to which images are resized; None where they keep their size."""
        return self.network.size

    @property
    def feature_space(self) -> RelativeMahalanobis | None:
        """The pyramid whitened by the known classes' covariance, which probes and regions use; None if not fitted."""
        joint, single = self.fitted.get("joint"), self.fitted.get("mahalanobis")
        if isinstance(joint, Joint):
            return joint.mahalanobis
        return single if isinstance(single, RelativeMahalanobis) else None

    def engine(self, **options: Any) -> Engine:
        """Return the engine that runs the network, and its residual pattern: ``how``, with other ``options``."""
        return Engine(self.network, self.residual, **{**self.how, **options})

    def forward(self, image: np.ndarray, scale: float = 1.0, **options: Any) -> Output:
        """Return the network's output for an image (3, H, W) uint8, by an ``Engine`` of ``options``."""
        return self.engine(**options)(image, scale)

    def to(self, device: str | torch.device, **how: Any) -> KnowledgeBase:
        """Return it with everything it holds on ``device``, and to be run with the options ``how`` of ``Engine``."""
        if self.engine(**how).device == torch.device(device):
            return replace(self, how={**self.how, **how})
        network, residual, fitted = copy.deepcopy((self.network, self.residual, dict(self.fitted)))
        return replace(
            self,
            network=network.to(device),
            residual=None if residual is None else residual.to(device),
            fitted={name: scorer.to(device) for name, scorer in fitted.items()},
            increments=tuple(increment.to(torch.device(device)) for increment in self.increments),
            how={**self.how, **how},
        )

    @torch.no_grad()
    def assess(self, output: Output, size: tuple[int, int], scorers: tuple[str, ...] = (),
               scores: Mapping[str, np.ndarray] = MappingProxyType({})) -> Assessment:  # fmt: skip
        """Return closed map, learned classes and ``scorers`` (by default its own) of one image, at ``size`` (H, W).

        See ``label_maps``. Scores are computed at the output's resolution, and one channel is interpolated; those among
        ``scores`` are taken from there. Raises ``OwsegError`` for a scorer that it does not have.
        """
        labels, learned = label_maps(self, output, size)
        names = scorers or (self.scorer,)
        found = {name: scores[name] if name in scores else self._score(output, size, name) for name in names}
        return Assessment(labels[0].cpu().numpy(), learned[0].cpu().numpy(), found)

    def _score(self, output: Output, size: tuple[int, int], name: str) -> np.ndarray:
        score: np.ndarray = score_map(self.require_scorer(name)(output), size)[0].cpu().numpy()
        return score

    @overload
    def predict(self, image: ImageLike, forward: Forward | None = None) -> Prediction: ...
    @overload
    def predict(self, image: list[Any] | tuple[Any, ...], forward: Forward | None = None) -> list[Prediction]: ...

    def predict(self, image: Any, forward: Forward | None = None) -> Prediction | list[Prediction]:
        """Label an image: a path, a PIL image, an array or tensor (3, H, W) or (H, W, 3) of uint8.

        Of a list of these, and of an array or tensor (B, 3, H, W), each is labelled, several at a time (see
        ``over_images``). A pixel is UNKNOWN where its score is above the threshold (DMLNet, Eq. 1) and no learned class
        is predicted. ``forward`` is by default ``engine()``. Raises ``OwsegError`` without a threshold, for what is not
        an image, and where the score is not finite.
        """
        if isinstance(image, list | tuple) or getattr(image, "ndim", 3) == 4:
            return list(over_images(forward or self.engine(), Given(image), self.decide))
        return self.decide(sample := Given([image])[0], (forward or self.engine())(sample.image))

    def decide(self, sample: Sample, output: Output) -> Prediction:
        """Return the prediction for an image whose output is there; ``predict`` calls this, and raises as this."""
        return prediction_of(self, sample, output, partial(self._regions, output))

    def _regions(
        self, output: Output, prediction: Prediction, min_area: float | None = None, split_at: float = SPLIT_COSINE
    ) -> RegionProposals:
        space = self.feature_space
        least = min_area_of(self.scorer) if min_area is None else min_area
        return regions_of(prediction, region_features(output, space), class_means(space), least, split_at)

    def regions(
        self,
        image: ImageLike,
        min_area: float | None = None,
        split_at: float = SPLIT_COSINE,
        forward: Forward | None = None,
        image_id: str | None = None,
    ) -> RegionProposals:
        """Return the unknown regions of an image, the largest first, as ``predict(image).regions``; raises as that.

        ``min_area`` is by default that of the score in use (see ``min_area_of``).
        """
        sample = Given([image])[0]
        sample = sample if image_id is None else replace(sample, id=image_id)
        return self.find_regions(sample, (forward or self.engine())(sample.image), min_area, split_at)

    def find_regions(
        self, sample: Sample, output: Output, min_area: float | None = None, split_at: float = SPLIT_COSINE
    ) -> RegionProposals:
        """Return the unknown regions of an image whose output is there (see ``regions``)."""
        return self._regions(output, self.decide(sample, output), min_area, split_at)

    def after(self, event: Event, **changes: Any) -> KnowledgeBase:
        """Return this knowledge base with ``changes`` made and ``event`` added to its history."""
        return replace(self, history=(*self.history, event), **changes)

    def fingerprint(self, decides: bool = False) -> str:
        """Return a short SHA-256 over all that labels and scores depend on: the same digits, the same maps.

        It covers the classes, the increments and every weight, not the history; the score in use and the threshold only
        if it ``decides`` what is unknown.
        """
        value = _describe(self)
        for name in ("history",) if decides else ("scorer", "threshold", "obstacles", "history"):
            value.pop(name, None)
        digest = hashlib.sha256(json.dumps(value, sort_keys=True).encode())
        for name, state in weights_of(self.network, self.residual, self.fitted, self.increments).items():
            digest.update(name.encode())
            digest.update(save(storable(state)))
        return digest.hexdigest()[:16]

    def save(self, directory: str | Path, slim: bool = False) -> int:
        """Store it as a new version of ``directory``, make that the current one, and return its number.

        With ``slim`` the backbone is not stored, but named by its package and its SHA-256: whoever loads it needs that
        package. Raises ``NotCurrent`` if it was made from a version of ``directory`` that is no longer the current one,
        and ``OwsegError`` for a backbone that is of no package, and for weights that are not finite.
        """
        weights = weights_of(self.network, self.residual, self.fitted, self.increments)
        named = reference_to(self.network.backbone) if slim else None
        if named is not None:
            network = weights[NETWORK_FILE]
            weights[NETWORK_FILE] = {k: v for k, v in network.items() if not k.startswith(BACKBONE_PREFIX)}
        for name, state in weights.items():
            if bad := [n for n, v in state.items() if v.is_floating_point() and not torch.isfinite(v).all()]:
                raise OwsegError(f"{bad[0]} of {name} holds NaN or infinite values; nothing was stored.")
        files = {name: save(storable(state)) for name, state in weights.items()}
        value = {**_describe(self), **({} if named is None else {"backbone": named})}
        files[KNOWLEDGE_FILE] = (json.dumps(value, indent=1) + "\n").encode()
        with writing(directory) as place:
            parent, events = find_parent(place, value["history"], self.origin)
            done = self.history[events:] or self.history[-1:]  # saved once more, it says the same once more
            return add_version(place, files, "; ".join(event.message for event in done), parent)

    def __repr__(self) -> str:
        network, threshold = self.network, self.threshold
        parameters = sum(p.numel() for p in network.parameters()) / 1e6
        kinds = f"{network.backbone.kind}, {network.decoder.title}, {network.classifier.config['kind']}"
        decision = f"{self.scorer}, not calibrated" if threshold is None else (
            f"unknown where {self.scorer} > {threshold}; {threshold.target_fpr:.1%} false positives asked"
        )  # fmt: skip
        return "\n".join((
            f"KnowledgeBase of {len(self.labels)} classes: {', '.join(self.base_classes)}",
            f"  learned:  {', '.join(self.learned_classes) or 'none'}",
            f"  network:  {kinds}; {parameters:.1f} M parameters{'' if self.residual is None else ', with a residual'}",
            f"  decision: {decision}; fitted: {', '.join(self.fitted) or 'none'}",
            f"  history:  {self.history[-1].message if self.history else 'none'}",
        ))  # fmt: skip


def _describe(kb: KnowledgeBase) -> dict[str, Any]:
    """Return ``knowledge.json``. Format 2 keeps joint under "fitted" and other fitted scorers under "extra"."""
    prototypes = getattr(kb.network.classifier, "prototypes", None) if kb.network.is_metric else None
    return {
        "format": FORMAT,
        "classes": kb.labels.to_json(),
        "increments": [i.to_json() for i in kb.increments],
        "prototypes": None if prototypes is None else prototypes.tolist(),
        "scorer": kb.scorer,
        "threshold": kb.threshold.to_json() if kb.threshold else None,
        **({"obstacles": kb.obstacles.to_json()} if kb.obstacles else {}),
        "fitted": kb.fitted["joint"].config if "joint" in kb.fitted else None,
        "residual": None if kb.residual is None else kb.residual.config,
        "extra": {name: scorer.config for name, scorer in kb.fitted.items() if name != "joint"},
        "network": kb.network.config,
        "history": [
            {"action": e.action, "message": e.message, "details": dict(e.details), "when": e.when} for e in kb.history
        ],
    }
