"""What the decisions in a queue say of a class: shots of it, and counterexamples, which are of something else.

Those of an image that shows the class, too, are negatives of its shot (see ``shot_masks``).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from owseg.data.lazy import Lazy, joined
from owseg.discovery.contents import image_of
from owseg.discovery.queue import Queue
from owseg.errors import OwsegError
from owseg.knowledge.base import KnowledgeBase
from owseg.knowledge.pieces import directions
from owseg.types import DEFAULT_SHOTS, Forward, Shot

MOST_COUNTEREXAMPLES = 10
"""The images that counterexamples are taken from, at most: those with the regions that are most like the class."""


def images_to_learn(accepted: Sequence[str], chosen: Collection[str]) -> list[str]:
    """Return the images to learn a class from: the ``chosen`` of those ``accepted`` for it, or else the first five."""
    picked = frozenset(chosen)  # there may be thousands
    return [image for image in accepted if image in picked] or list(accepted[:DEFAULT_SHOTS])


def shots_to_learn(queue: Queue | str | Path, name: str, images: Sequence[str] | None = None) -> Sequence[Shot]:
    """Return the shots of the new class ``name`` in the images of these ids, and then counterexamples.

    Counterexamples are regions of other images that were rejected, or marked as a known class. Each shot is read when
    it is asked for. ``queue`` may be given by its folder, too; ``images`` are by default those of ``images_to_learn``.
    Raises ``OwsegError`` for no image.
    """
    queue = queue if isinstance(queue, Queue) else Queue.open(queue)
    decisions = queue.decisions()
    if images is None:
        images = images_to_learn(queue.images_of(name), queue.chosen(name))
    if not images:
        classes = ", ".join(queue.accepted()) or "nothing yet"
        raise OwsegError(f"no region of {queue.folder} was accepted as {name!r}; accepted: {classes}.")
    shows = [region for region, decision in decisions.items() if decision.name == name]
    other = [region for region, decision in decisions.items() if decision.name is None]

    def shot(image_id: str) -> Shot:
        return queue.shot(image_id, name, decisions)

    return _with_counterexamples(queue, images, shot, shows, other)


def shots_to_correct(queue: Queue | str | Path, name: str, kb: KnowledgeBase, forward: Forward) -> Sequence[Shot]:
    """Return the shots of the known class ``name`` in all images with regions of it, and then counterexamples.

    Counterexamples are regions of other images that were marked as another known class. Rejected ones are void, as they
    may be of any known class, and so is what ``kb`` predicts as the class, where nobody decided. ``queue`` may be given
    by its folder, too. Raises ``OwsegError`` where no region is of the class.
    """
    queue = queue if isinstance(queue, Queue) else Queue.open(queue)
    found = queue.decisions()
    # As if what was marked as known had been accepted as it.
    named = {r: replace(d, name=d.known or d.name, known=None) for r, d in found.items()}
    decisions = {region: decision for region, decision in named.items() if decision.name is not None}
    shows = [region for region, decision in decisions.items() if decision.name == name]
    other = [region for region, decision in found.items() if decision.known not in (None, name)]
    if not shows:
        raise OwsegError(f"no region of {queue.folder} is of {name!r}; mark some as known in `owseg review` (K).")

    def shot(image_id: str) -> Shot:
        made = queue.shot(image_id, name, decisions)
        predicted = kb.predict(made.image, forward).open_set == kb.labels.index(name)
        unasked = predicted & ~_mask_of(queue, image_id, decisions) & ~made.positives
        return replace(made, void=unasked if made.void is None else made.void | unasked)

    return _with_counterexamples(queue, list(dict.fromkeys(map(image_of, shows))), shot, shows, other)


def _with_counterexamples(
    queue: Queue, images: Sequence[str], shot: Callable[[str], Shot], shows: Sequence[str], other: Sequence[str]
) -> Sequence[Shot]:
    there, of_other = frozenset(images), frozenset(other)
    further = _most_similar(queue, shows, [region for region in other if image_of(region) not in there])

    def counterexample(image_id: str) -> Shot:
        mask = _mask_of(queue, image_id, of_other)
        return Shot.counterexample(queue.image(image_id), mask, queue.entry(image_id).name)

    return joined(Lazy(images, shot), Lazy(further, counterexample))


def _mask_of(queue: Queue, image_id: str, regions: Collection[str]) -> np.ndarray:
    """Return where those ``regions`` are that lie in an image, (H, W) bool."""
    entry = queue.entry(image_id)
    mask = np.zeros(entry.size, bool)
    for region_id, region in zip(entry.ids, entry.regions, strict=True):
        if region_id in regions:
            mask |= region.mask.mask()
    return mask


def _most_similar(queue: Queue, shows: Sequence[str], others: Sequence[str]) -> list[str]:
    """Return the images of those among ``others`` that are most like what shows the class, the likest first."""
    if not shows or not others:
        return []
    centre = np.mean(list(_embeddings(queue, shows).values()), 0)
    nearest: dict[str, float] = {}
    for region, embedding in _embeddings(queue, others).items():
        nearest[image_of(region)] = max(nearest.get(image_of(region), -np.inf), float(embedding @ centre))
    return sorted(nearest, key=lambda image_id: (-nearest[image_id], image_id))[:MOST_COUNTEREXAMPLES]


def _embeddings(queue: Queue, regions: Sequence[str]) -> dict[str, np.ndarray]:
    """Return the embedding (C,) of each region, of length 1; each image is read once."""
    found: dict[str, np.ndarray] = {}
    wanted = frozenset(regions)
    for image_id in dict.fromkeys(map(image_of, regions)):
        entry = queue.entry(image_id)
        for region_id, region in zip(entry.ids, entry.regions, strict=True):
            if region_id in wanted:
                found[region_id] = directions(region.embedding[None])[0]
    return found
