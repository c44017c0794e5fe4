"""What is called of owseg: all of it is here, so that the other files stay the same when its API changes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
import torch.nn.functional as F

LATER = frozenset({"mahalanobis_absolute", "rba", "eam", "mask_msp", "uno"})
"""Scorers that came after the golden file."""


@dataclass(frozen=True, eq=False)
class Maps:
    """What a knowledge base predicts for an image: maps of ids (H, W) uint8, and scores (H, W) float32 by name."""

    labels: np.ndarray
    open_set: np.ndarray
    scores: Mapping[str, np.ndarray]


def load(place: str | Path, number: int | None = None) -> Any:
    """Return the knowledge base at ``place``, or the shipped one of that name."""
    import owseg

    return owseg.load(place, number)


def versions_of(place: Path) -> list[tuple[int, int | None, str, bool]]:
    """Return number, parent and message of every stored version, and whether it is the current one."""
    from owseg.knowledge.versions import version_history

    return [(v.number, v.parent, v.message, v.current) for v in version_history(place)]


def open_images(spec: str, split: str, numbers: Sequence[int], kb: Any) -> Any:
    """Return some images of a data set, opened against the classes of ``kb``."""
    import owseg

    return owseg.open_dataset(spec, split, kb.labels).pick(numbers)


def dataset_of(name: str, classes: Sequence[str], pairs: Sequence[tuple[np.ndarray, np.ndarray]], kb: Any) -> Any:
    """Return images (3, H, W) with their targets (H, W) as a data set, opened against the classes of ``kb``."""
    from owseg.data import DataSet, Source
    from owseg.labels import LabelSpace

    source = Source(name, LabelSpace.of(classes), tuple(f"{name}-{i}" for i in range(len(pairs))), lambda i: pairs[i])
    return DataSet(source, kb.labels)


def scorers_of(kb: Any) -> list[str]:
    """Return the names of its scorers, sorted, without those that came after the golden file."""
    return sorted(set(kb.scorers) - LATER)


def describe(kb: Any) -> dict[str, Any]:
    """Return classes, scorers, threshold, history and fingerprints of a knowledge base as plain JSON."""
    named = zip(kb.labels.names, kb.labels.colors, strict=True)
    return {
        "classes": [f"{name} {bytes(color).hex()}" for name, color in named],
        "trained": kb.network.num_classes,
        "increments": [increment.name for increment in kb.increments],
        "scorer": kb.scorer,
        "scorers": " ".join(scorers_of(kb)),
        "threshold": None if kb.threshold is None else kb.threshold.to_json(),
        "history": [f"{event.action}: {event.message}" for event in kb.history],
        "fingerprints": [kb.fingerprint(), kb.fingerprint(decides=True)],
    }


def has_prototypes(kb: Any) -> tuple[bool, bool]:
    """Return whether the network has a prototype classifier, and whether a class was learned as a prototype."""
    return kb.network.is_metric, any(i.to_json()["kind"] == "novel_prototype" for i in kb.increments)


def outputs_of(kb: Any, images: Sequence[np.ndarray]) -> list[Any]:
    """Return the outputs of a knowledge base's network for images."""
    return [kb.forward(image) for image in images]


def predict(kb: Any, image: np.ndarray, output: Any = None) -> Maps:
    """Return labels, open-set map and all scores of an image; ``output``, where given, is that of the network."""
    given, size = kb.forward(image) if output is None else output, (image.shape[1], image.shape[2])
    assessed = kb.assess(given, size, tuple(scorers_of(kb)))
    scores = dict(assessed.scores)
    if kb.threshold is None:
        return Maps(assessed.labels, assessed.labels, scores)
    prediction = kb.predict(image, None if output is None else lambda _: output)
    return Maps(prediction.labels, prediction.open_set, {**scores, kb.scorer: prediction.score})


def predict_scaled(kb: Any, image: np.ndarray) -> dict[str, np.ndarray]:
    """Return labels and score of an image predicted at several scales, and at full resolution."""
    found: dict[str, np.ndarray] = {}
    for name in ("full_resolution", "multi_scale"):
        output, size = kb.forward(image, **{name: True}), (image.shape[1], image.shape[2])
        assessed = kb.assess(output, size)
        found |= {f"{name}/labels": assessed.labels, f"{name}/score": assessed.scores[kb.scorer]}
    return found


def metrics_of(kb: Any, data: Any, outputs: Sequence[Any]) -> dict[str, Any]:
    """Return the metrics of labels and scores on a data set for whose images the network has these outputs."""
    import owseg

    left = iter(outputs)
    value = owseg.evaluate(kb, data, scorers_of(kb), forward=lambda image, scale=1.0: next(left)).to_json()
    scores = {name: [v[key] for key in ("auroc", "ap", "fpr95")] for name, v in value["scores"].items()}
    return {"summary": value["summary"], "iou": value["iou"], "scores": scores}


def discover(kb: Any, paths: Sequence[Path], folder: Path, name: str) -> Any:
    """Return the review queue of the unknown regions of some images, made in ``folder``."""
    from owseg.discovery.discover import discover

    return discover(kb, paths, folder, name)[0]


def open_queue(folder: Path) -> Any:
    """Return the review queue in ``folder``."""
    import owseg

    return owseg.Queue.open(folder)


def read_queue(queue: Any) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return the content of a review queue: its facts, and its maps and embeddings by name."""
    facts: dict[str, Any] = {
        "about": {k: v for k, v in vars(queue.info).items() if k not in ("root", "classes")},
        "classes": list(queue.info.classes),
        "images": {},
        "groups": [[g.number, list(g.regions), {k: list(v) for k, v in g.copies.items()}] for g in queue.groups()],
        "decisions": {r: [d.action, d.name, d.mask is not None] for r, d in queue.decisions().items()},
        "accepted": queue.accepted(),
    }
    arrays: dict[str, np.ndarray] = {}
    for image_id in queue.image_ids():
        found = queue.entry(image_id)
        facts["images"][image_id] = [found.name, found.sha256, list(found.size), list(found.ids)]
        arrays[f"{image_id}/unknown"] = found.unknown.mask()
        for name, region in zip(found.ids, found.regions, strict=True):
            facts["images"][image_id].append([list(region.box), region.area, region.nearest])
            arrays |= {f"{name}/mask": region.mask.mask(), f"{name}/core": region.core.mask()}
            arrays[f"{name}/embedding"] = region.embedding
            arrays[f"{name}/numbers"] = np.array([region.mean, region.peak, region.distance or -1.0])
    for name in queue.accepted():
        for shot in queue.shots(name):
            arrays |= {f"{name}/{shot.id}/mask": shot.positives, f"{name}/{shot.id}/void": shot.void}
    return facts, arrays


@contextmanager
def unmended() -> Iterator[None]:
    """Compute what ``compare.MENDED`` names as it was computed when the golden file was written."""
    from owseg.increments.prototype import NovelPrototype
    from owseg.types import Output

    def predict_mask(self: Any, output: Any, size: tuple[int, int]) -> torch.Tensor:
        own, *others = (
            (output.embedding - torch.tensor(prototype).view(1, -1, 1, 1)).square().sum(1)
            for prototype in (self.prototype, *self.competitors)
        )
        nearest = (-output.logits).amin(1)
        for other in others:
            nearest = torch.minimum(nearest, other)
        margin = torch.minimum(nearest, torch.full_like(nearest, self.radius)) - own
        return F.interpolate(margin[:, None], size, mode="bilinear", align_corners=False)[:, 0] > 0

    logits = property(lambda output: output.logits)
    with (
        mock.patch.object(Output, "softmax_logits", logits),
        mock.patch.object(NovelPrototype, "predict_mask", predict_mask),
    ):
        yield
