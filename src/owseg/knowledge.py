"""The knowledge base: an immutable value that labels pictures, and a versioned directory that keeps it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from owseg import store
from owseg.errors import OwsegError
from owseg.labels import BACKGROUND, LabelSpace
from owseg.learners.increment import Increment
from owseg.learners.kinds import restore
from owseg.learners.shots import Look
from owseg.models.classifiers import PrototypeClassifier
from owseg.models.network import Network, build_network, to_tensor
from owseg.models.published import published
from owseg.models.residual import ResidualPattern, residual_of
from owseg.openset import Threshold, closed_map, open_set_map
from owseg.scorers import FITTED, METRIC, SCORERS, class_probability, mixture, rpl
from owseg.scorers.joint import Joint
from owseg.scorers.mahalanobis import RelativeMahalanobis
from owseg.shipped import resolve
from owseg.types import Output, Prediction, Scorer, resize

FORMAT = 2


@dataclass(frozen=True)
class Event:
    """One line of a knowledge base's own history: what was done, when (UTC), with which data and figures."""

    action: str
    message: str
    details: Mapping[str, Any] = field(default_factory=dict)
    when: str = field(default_factory=lambda: datetime.now(timezone.utc).isoformat(timespec="seconds"))


@dataclass(frozen=True)
class KnowledgeBase:
    """What is known: a network for the base classes, the classes learned since, and what counts as unknown.

    ``labels`` names the base classes and then, in order, one class per increment. ``scorer`` is the name of the score
    that ``predict`` uses, ``fitted`` what the scorers mahalanobis and joint took from training data, ``threshold``
    what separates known from unknown, ``residual`` what was learned from outliers, ``extra`` further fitted scorers by
    their names in ``owseg.scorers.FITTED``. Nothing changes in place: learning and calibrating return a new value.
    """

    network: Network
    labels: LabelSpace
    increments: tuple[Increment, ...] = ()
    scorer: str = "max_logit"
    fitted: Joint | None = None
    threshold: Threshold | None = None
    history: tuple[Event, ...] = ()
    residual: ResidualPattern | None = None
    extra: Mapping[str, torch.nn.Module] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.labels) != self.network.num_classes + len(self.increments):
            raise OwsegError(
                f"{len(self.labels)} class names do not fit a network of {self.network.num_classes} classes "
                f"and {len(self.increments)} learned ones."
            )
        self.scorers(self.scorer)
        # One memory layout for all: it decides the last bits of a convolution.
        for module in (self.network, self.residual):
            if module is not None:
                module.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def scorers(self, name: str | None = None) -> dict[str, Scorer]:
        """Return the scorers that can be asked of this knowledge base by name, or only the one called ``name``."""
        found: dict[str, Scorer] = {n: s for n, s in SCORERS.items() if self.network.is_metric or n not in METRIC}
        if isinstance(self.network.classifier, PrototypeClassifier):
            found["mixture"] = partial(mixture, scale=self.network.classifier.scale)
        if self.fitted is not None:
            found |= {"mahalanobis": self.fitted.mahalanobis, "joint": self.fitted}
        found |= self.extra
        if self.residual is not None:
            found["rpl"] = rpl
        if BACKGROUND in (base := self.labels.names[: self.network.num_classes]):
            found[BACKGROUND] = partial(class_probability, index=base.index(BACKGROUND))
        if name is None:
            return found
        if name not in found:
            raise OwsegError(f"this knowledge base has no scorer {name!r}; it has {', '.join(found)}.")
        return {name: found[name]}

    @torch.no_grad()
    def forward(self, image: np.ndarray, full_resolution: bool = False, multi_scale: bool = False) -> Output:
        """Return the network's output for a picture (3, H, W) uint8.

        With ``full_resolution`` the embedding is interpolated to (H, W) before anything is computed from it; with
        ``multi_scale`` it is averaged over views of the picture (see ``Network.multi_scale``). Raises ``OwsegError``
        for any other array.
        """
        picture = to_tensor(image).to(next(self.network.parameters()).device, memory_format=torch.channels_last)
        output = self.network.multi_scale(picture) if multi_scale else self.network(picture)
        if self.residual is not None:
            output = replace(output, residual=self.residual.added(self.network, output))
        return self.network.full_resolution(output, image.shape[1:]) if full_resolution else output

    @torch.no_grad()
    def closed(self, output: Output, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """Return the closed map (H, W) uint8 and where a learned class claims the pixel, (H, W) bool, of one picture.

        The closed map is the base network's argmax (DMLNet, Eq. 5); then each increment in order writes its class where
        it claims (the inference of Algorithm 1, Eq. 12).
        """
        labels = closed_map(resize(output.logits, size))
        for label, increment in enumerate(self.increments, self.network.num_classes):
            labels = increment.relabel(labels, output, label)
        ids = labels[0].to(torch.uint8).cpu().numpy()
        return ids, ids >= self.network.num_classes

    @torch.no_grad()
    def score(self, output: Output, size: tuple[int, int], scorer: str | None = None) -> np.ndarray:
        """Return the anomaly score (H, W) float32 of one picture, higher being stranger.

        It is computed at the output's resolution and one channel is interpolated. Raises ``OwsegError`` for a name that
        ``scorers`` does not have.
        """
        name = scorer or self.scorer
        return resize(self.scorers(name)[name](output)[:, None].float(), size)[0, 0].cpu().numpy()

    def predict(self, image: np.ndarray | str | Path, look: Look | None = None) -> Prediction:
        """Label a picture, given as (3, H, W) uint8 RGB or as a file.

        A pixel is UNKNOWN where its score is above the threshold (DMLNet, Eq. 1) and no learned class claims it.
        ``look`` is by default ``forward``. Raises ``OwsegError`` without a threshold, for what is no picture, and
        where the score is not finite.
        """
        if self.threshold is None:
            raise OwsegError("this knowledge base has no threshold yet; run `owseg calibrate` first.")
        if not isinstance(image, np.ndarray):
            from owseg.data.images import read_image

            image = read_image(Path(image))
        output = (look or self.forward)(image)
        size = (image.shape[1], image.shape[2])
        labels, claimed = self.closed(output, size)
        score = self.score(output, size)
        if not np.isfinite(score).all():
            raise OwsegError("the score is not finite; the weights or the picture hold NaN or infinite values.")
        open_set = np.where(claimed, labels, open_set_map(labels, score, self.threshold.value))
        return Prediction(labels, score, open_set.astype(np.uint8))

    def after(self, event: Event, **changes: Any) -> KnowledgeBase:
        """Return this knowledge base with ``changes`` made and ``event`` added to its history."""
        return replace(self, history=(*self.history, event), **changes)

    def fingerprint(self, decides: bool = False) -> str:
        """Return a short SHA-256 over all that makes labels and scores: the same digits, the same maps.

        It covers the classes, the increments and every weight, not the history; the score in use and the threshold only
        if it ``decides`` what is unknown.
        """
        described = _describe(self)
        for name in ("history",) if decides else ("scorer", "threshold", "history"):
            del described[name]
        digest = hashlib.sha256(json.dumps(described, sort_keys=True).encode())
        for name, state in self._weights().items():
            digest.update(name.encode())
            digest.update(save(_plain(state)))
        return digest.hexdigest()[:16]

    def save(self, directory: str | Path) -> int:
        """Store it as a new version of ``directory``, make that the current one, and return its number."""
        weights = self._weights()
        for name, state in weights.items():
            if bad := [n for n, v in state.items() if v.is_floating_point() and not torch.isfinite(v).all()]:
                raise OwsegError(f"{bad[0]} of {name} holds NaN or infinite values; nothing was stored.")
        files = {name: save(_plain(state)) for name, state in weights.items()}
        files["knowledge.json"] = (json.dumps(_describe(self), indent=1) + "\n").encode()
        return store.commit(directory, files, self.history[-1].message if self.history else "")

    def _weights(self) -> dict[str, Mapping[str, Tensor]]:
        """Return every tensor that is stored, by file and name."""
        weights: dict[str, Mapping[str, Tensor]] = {"network.safetensors": self.network.state_dict()}
        if self.fitted is not None:
            weights["scorer.safetensors"] = self.fitted.state_dict()
        if self.residual is not None:
            weights["residual.safetensors"] = self.residual.state_dict()
        for name, scorer in self.extra.items():
            weights[_scorer_file(name)] = scorer.state_dict()
        for number, increment in enumerate(self.increments, 1):
            if tensors := increment.tensors():
                weights[_weights_of(number)] = tensors
        return weights


def load(directory: str | Path, version: int | None = None, weights: str | Path | None = None) -> KnowledgeBase:
    """Load a knowledge base, by default its current version; raise ``OwsegError`` for anything missing or damaged.

    ``directory`` may also be the name of a shipped one (see ``owseg.shipped``) or of a published network, which then
    is all that the knowledge base holds (see ``owseg.models.published``): ``espnetv2-cityscapes`` with its
    ``weights``, or ``hf:NAME``.
    """
    if found := published(str(directory), weights):
        network, labels = found
        event = Event("load", f"loaded {directory}", {"classes": len(labels)})
        return KnowledgeBase(network, labels, history=(event,))
    _, folder = store.read(resolve(directory), version)
    path = folder / "knowledge.json"
    try:
        value = json.loads(path.read_text())
        if value["format"] != FORMAT:
            raise OwsegError(f"{path} is of format {value['format']}; this owseg reads format {FORMAT}.")
        network = build_network(value["network"])
        _fill(network, folder / "network.safetensors")
        fitted = None
        if value["fitted"] is not None:
            distance = RelativeMahalanobis(**value["fitted"])
            fitted = Joint(distance, network.is_metric)
            _fill(fitted, folder / "scorer.safetensors")
        residual = None
        if value.get("residual") is not None:
            residual = residual_of(network, **value["residual"])
            _fill(residual, folder / "residual.safetensors")
        extra = {name: FITTED[name](**config) for name, config in value.get("extra", {}).items()}
        for name, scorer in extra.items():
            _fill(scorer, folder / _scorer_file(name))
        threshold = value["threshold"]
        return KnowledgeBase(
            network,
            LabelSpace.from_json(value["classes"]),
            tuple(
                restore(increment, _tensors(folder / _weights_of(number)), network, fitted)
                for number, increment in enumerate(value["increments"], 1)
            ),
            value["scorer"],
            fitted,
            Threshold.from_json(threshold) if threshold else None,
            tuple(Event(**e) for e in value["history"]),
            residual,
            extra,
        )
    except (json.JSONDecodeError, KeyError, TypeError, UnicodeDecodeError) as error:
        raise OwsegError(f"{path} does not describe a knowledge base ({error!r}).") from None


def load_stages(directory: str | Path) -> list[KnowledgeBase]:
    """Load how a knowledge base grew: as it is now and, before that, as it last was with one learned class less, ...

    From the first to the present; only versions that the present one descends from count, as far back as they are of
    the same network and know classes that it knows now.
    """
    place = resolve(directory)
    parents = {line.number: line.parent for line in store.history(place)}
    stages = [load(place)]
    weights = stages[0].network.state_dict()
    number = parents[store.current(place)]
    while number is not None and stages[0].increments:
        kb = load(place, number)
        ours, theirs = stages[0].labels.names, kb.labels.names
        state = kb.network.state_dict()
        same = state.keys() == weights.keys() and all(torch.equal(v, weights[k]) for k, v in state.items())
        if not same or ours[: len(theirs)] != theirs:
            break
        if len(theirs) < len(ours):
            stages.insert(0, kb)
        number = parents[number]
    return stages


def _describe(kb: KnowledgeBase) -> dict[str, Any]:
    prototypes = getattr(kb.network.classifier, "prototypes", None) if kb.network.is_metric else None
    fitted = kb.fitted
    return {
        "format": FORMAT,
        "classes": kb.labels.to_json(),
        "increments": [i.to_json() for i in kb.increments],
        "prototypes": None if prototypes is None else prototypes.tolist(),
        "scorer": kb.scorer,
        "threshold": kb.threshold.to_json() if kb.threshold else None,
        "fitted": None if fitted is None else fitted.mahalanobis.config,
        "residual": None if kb.residual is None else kb.residual.config,
        "extra": {name: scorer.config for name, scorer in kb.extra.items()},
        "network": kb.network.config,
        "history": [
            {"action": e.action, "message": e.message, "details": dict(e.details), "when": e.when} for e in kb.history
        ],
    }


def _plain(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors ready to be stored, in 16 bits where that loses nothing."""
    plain = {name: value.detach().cpu().contiguous() for name, value in state.items()}
    return {
        n: v.half() if v.dtype == torch.float32 and torch.equal(v.half().float(), v) else v for n, v in plain.items()
    }


def _fill(module: torch.nn.Module, path: Path) -> None:
    """Load ``module``'s weights; raise ``OwsegError`` if they are damaged, do not fit, or are not finite."""
    try:
        module.load_state_dict(_read(path))
    except RuntimeError as error:
        raise OwsegError(f"{path} does not hold this network's weights ({str(error).splitlines()[0]}).") from None


def _scorer_file(name: str) -> str:
    return f"scorer-{name}.safetensors"


def _weights_of(number: int) -> str:
    return f"increment-{number}.safetensors"


def _tensors(path: Path) -> dict[str, Tensor]:
    """Return an increment's weights; most have none, and no file."""
    return {n: v.float() if v.is_floating_point() else v for n, v in _read(path).items()} if path.exists() else {}


def _read(path: Path) -> dict[str, Tensor]:
    """Read tensors; raise ``OwsegError`` if they are damaged or not finite."""
    try:
        state = load_file(path)
    except (SafetensorError, RuntimeError, OSError) as error:
        raise OwsegError(f"{path} does not hold this network's weights ({str(error).splitlines()[0]}).") from None
    bad = [name for name, value in state.items() if value.is_floating_point() and not torch.isfinite(value).all()]
    if bad:
        raise OwsegError(f"{path} holds NaN or infinite values in {bad[0]}; roll back or train again.")
    return state
