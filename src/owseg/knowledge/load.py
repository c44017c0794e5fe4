"""Loading a stored knowledge base, or a published network as one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from owseg._files import read_json
from owseg.errors import OwsegError
from owseg.increments import INCREMENTS
from owseg.increments.base import Increment
from owseg.knowledge.base import KnowledgeBase
from owseg.knowledge.event import Event
from owseg.knowledge.lineage import KNOWLEDGE_FILE, read_origin
from owseg.knowledge.pretrained import resolve
from owseg.knowledge.schema import check_knowledge
from owseg.knowledge.stored import (
    BACKBONE_PREFIX,
    FORMAT,
    JOINT_FILE,
    NETWORK_FILE,
    increment_file,
    scorer_file,
)
from owseg.knowledge.versions import current_version, version_history
from owseg.labels import LabelSpace
from owseg.models.assemble import build_network
from owseg.models.backbones.base import build
from owseg.models.backbones.reference import referenced
from owseg.models.engine import prepare
from owseg.models.hub import published
from owseg.models.network import Network
from owseg.models.ops import filled, on_meta
from owseg.models.residual_pattern import ResidualPattern, residual_of
from owseg.openset import Threshold
from owseg.scorers import SCORERS
from owseg.scorers.base import FittedScorer
from owseg.scorers.joint import WEIGHTS_0_1

M = TypeVar("M", bound=torch.nn.Module)


def load(directory: str | Path, version: int | None = None, weights: str | Path | None = None) -> KnowledgeBase:
    """Load a knowledge base, by default its current version; raise ``OwsegError`` for anything missing or damaged.

    ``directory`` may also be the name of a shipped one (see ``owseg.knowledge.pretrained``) or of a published network,
    which is then all that the knowledge base holds (see ``owseg.models.published``): ``espnetv2-cityscapes`` with its
    ``weights``, or ``hf:NAME``. ``hub:OWNER/NAME`` is a knowledge base on the hub (see ``owseg.knowledge.repository``).
    """
    if found := published(str(directory), weights):
        network, labels = found
        return KnowledgeBase(network, labels, history=(Event("load", f"loaded {directory}", {"classes": len(labels)}),))
    origin, folder = read_origin(resolve(directory), version)
    path = folder / KNOWLEDGE_FILE
    value = read_json(path)
    if isinstance(value, dict) and value.get("format", FORMAT) != FORMAT:
        raise OwsegError(f"{path} is of format {value['format']!s:.40}; this owseg reads format {FORMAT}.")
    check_knowledge(value, str(path))
    try:
        make = partial(_network, value["network"])
        here = partial(build, value["network"]["backbone"])
        named = referenced(value["backbone"], on_meta(here)) if "backbone" in value else {}
        network = _filled(make, folder / NETWORK_FILE, {BACKBONE_PREFIX + n: tensor for n, tensor in named.items()})
        threshold, obstacles = value["threshold"], value.get("obstacles")
        return KnowledgeBase(
            network,
            LabelSpace.from_json(value["classes"]),
            _increments(value, folder, network),
            scorer=value["scorer"],
            fitted=_fitted(value, folder, network),
            threshold=Threshold.from_json(threshold) if threshold else None,
            history=tuple(Event(**e) for e in value["history"]),
            residual=_residual(value, folder, network),
            obstacles=Threshold.from_json(obstacles) if obstacles else None,
            origin=origin,
        )
    except OwsegError:
        raise
    except Exception as error:  # whatever transformers and PyTorch raise for values that make no network
        reason = f"{type(error).__name__}: {str(error).strip()}".splitlines()[0]
        raise OwsegError(f"{path} does not describe a knowledge base ({reason:.200}).") from error


def load_stages(directory: str | Path) -> list[KnowledgeBase]:
    """Load a knowledge base before and after each class that it learned, the earliest stage first.

    The last stage is the current version; each one before it is the latest version with fewer classes. Only ancestors
    of the current version count, as far back as they have its network and no class that it lacks.
    """
    place = resolve(directory)
    parents = {line.number: line.parent for line in version_history(place)}
    stages = [load(place)]
    weights = stages[0].network.state_dict()
    number = parents[current_version(place)]
    while number is not None and stages[0].increments:
        kb = load(place, number)
        ours, theirs = stages[0].labels.names, kb.labels.names
        state = kb.network.state_dict()
        # Another network has other features, on which increments of this one mean nothing.
        same = state.keys() == weights.keys() and all(torch.equal(v, weights[k]) for k, v in state.items())
        if not same or ours[: len(theirs)] != theirs:
            break
        # Of several versions with the same classes, such as one that was calibrated after learning, the latest is kept.
        if len(theirs) < len(ours):
            stages.insert(0, kb)
        number = parents[number]
    return stages


def _fitted(value: dict[str, Any], folder: Path, network: Network) -> dict[str, FittedScorer]:
    """Return the fitted scorers; a plug-in that is not installed ends in a sentence that names it."""
    # Those of 0.1.0 name neither their form nor their weights.
    first = {"compress": False, "rectify": False, "weights": WEIGHTS_0_1}
    configs = {} if value["fitted"] is None else {"joint": {**first, **value["fitted"]}}
    fitted: dict[str, FittedScorer] = {}
    levels = range(len(network.backbone.channels))
    for name, config in {**configs, **value.get("extra", {})}.items():
        if config.get("level", 0) not in levels:
            raise OwsegError(f"the level of the scorer {name!r} is a stage of the pyramid, not {config['level']!r}.")
        make = partial(_fitted_scorer, name, network, config)
        fitted[name] = _filled(make, folder / (JOINT_FILE if name == "joint" else scorer_file(name)))
    return fitted


def _fitted_scorer(name: str, network: Network, config: Mapping[str, Any]) -> FittedScorer:
    scorer = SCORERS.make(name, network, **config)
    if not isinstance(scorer, FittedScorer):
        raise OwsegError(f"{name!r} is none of the scorers that are fitted.")
    return scorer


def _network(config: dict[str, Any]) -> Network:
    return prepare(build_network(config))  # here, or the knowledge base would copy it


def _residual(value: dict[str, Any], folder: Path, network: Network) -> ResidualPattern | None:
    if value.get("residual") is None:
        return None
    # Those of 0.1.0, which do not name their place, are added to the embedding.
    make = partial(residual_of, network, **{"place": "embedding", **value["residual"]})
    return _filled(make, folder / "residual.safetensors")


def _increments(value: dict[str, Any], folder: Path, network: Network) -> tuple[Increment, ...]:
    return tuple(
        INCREMENTS[increment["kind"]].make(increment, _tensors(folder / increment_file(number)), network)
        for number, increment in enumerate(value["increments"], 1)
    )


def _filled(make: Callable[[], M], path: Path, others: Mapping[str, Tensor] | None = None) -> M:
    """Return the module that ``make`` makes, with the weights of a file, and ``others`` beside them.

    Raises ``OwsegError`` if they are damaged, do not fit, or are not finite.
    """
    return filled(make, lambda: {**_read(path), **(others or {})}, f"{path} does not hold this network's weights")


def _tensors(path: Path) -> dict[str, Tensor]:
    """Return an increment's weights; most have none, and no file."""
    # Stored in 16 bits where that is exact; a module converts when it loads a state, a plain tensor does not.
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
