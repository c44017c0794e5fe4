"""A report of the classes that a knowledge base learned one after another (see ``owseg.report.page``)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from sklearn.manifold import TSNE

from owseg import __version__
from owseg.data.dataset import DataSet, spread_over
from owseg.evaluation.sequence import SequenceEvaluation
from owseg.knowledge.base import KnowledgeBase
from owseg.report.charts import HeatMap, Scatter
from owseg.report.page import Report, Strip, Table, save

STRIPS = 4
"""How many images are shown."""

POINTS = 150
"""How many pixels of a class the projection of the embedding shows, at most."""


def write_sequence_report(
    stages: Sequence[KnowledgeBase], data: DataSet, evaluation: SequenceEvaluation, path: Path
) -> Path:
    """Write the page to ``path`` and return it: strips (DMLNet, Fig. 7), IoU by stage, the embedding (Fig. 6), tables.

    ``stages`` and ``data`` are what ``evaluate_sequence`` was called with, ``evaluation`` what it returned.
    """
    last, learned = stages[-1], evaluation.learned
    history = [event for event in last.history if event.action == "learn"]
    report = Report(
        title=f"Learning {_and(learned)}",
        lead=(
            f"A network that was trained on {len(stages[0].labels)} classes learned {_and(learned)} one after another, "
            f"each from a few annotated images. Evaluated on {evaluation.stages[-1].images} images."
        ),
        legend=last.labels,
        strips=strips(stages, data, evaluation),
        heat_map=HeatMap(
            last.labels.names,
            evaluation.steps,
            np.array([evaluation.iou()[name] for name in last.labels.names]),
        ),
        scatter=embedding_map(last, data, learned),
        # The first table, IoU by class, is the heat map.
        tables=tuple(Table(title, header, tuple(rows)) for title, header, rows in evaluation.tables()[1:]),
        facts=(
            ("owseg", __version__),
            ("data", data.source.name),
            ("score", last.scorer),
            *((f"{event.details.get('class')}", event.message) for event in history),
        ),
    )
    return save(report, path)


def strips(stages: Sequence[KnowledgeBase], data: DataSet, evaluation: SequenceEvaluation) -> tuple[Strip, ...]:
    """Return strips of the images that show most of the learned classes, spread over ``data``.

    Each has the image, its open-set map at every stage, and the ground truth.
    """
    labels = stages[-1].labels
    in_new_labels, learned = DataSet(data.source, labels), range(len(labels) - len(evaluation.learned), len(labels))
    # The product favours images that show every learned class over those that show one of them well.
    shares = [
        0.0 if target is None else float(np.prod([(target == k).mean() + 1e-4 for k in learned]))
        for target in (sample.target for sample in in_new_labels)
    ]
    parts = np.array_split(range(len(in_new_labels)), STRIPS)
    picked = [max(part, key=lambda i: shares[i]) for part in parts if len(part)]
    made = []
    for i in map(int, picked):
        sample = in_new_labels[i]
        assert sample.target is not None
        palette = labels.palette()
        maps = [(n, palette[kb.predict(sample.image).open_set]) for n, kb in zip(evaluation.steps, stages, strict=True)]
        image = np.ascontiguousarray(sample.image.transpose(1, 2, 0))
        made.append(Strip(sample.id, (("input", image), *maps, ("ground truth", palette[sample.target]))))
    return tuple(made)


def embedding_map(kb: KnowledgeBase, data: DataSet, learned: Sequence[str], seed: int = 0) -> Scatter | None:
    """Return pixels of every class, projected by t-SNE of their embedding (DMLNet, Fig. 6); None for fewer than 8."""
    rng = np.random.default_rng(seed)
    few = spread_over(DataSet(data.source, kb.labels), 24)
    found: dict[str, list[np.ndarray]] = {name: [] for name in kb.labels.names}
    for sample in few:
        if sample.target is None:
            continue
        embedding = kb.forward(sample.image).embedding[0].float().cpu().numpy()
        # The pixel in the middle of each cell gives the cell its class.
        rows = (np.arange(embedding.shape[1]) + 0.5) * sample.target.shape[0] / embedding.shape[1]
        columns = (np.arange(embedding.shape[2]) + 0.5) * sample.target.shape[1] / embedding.shape[2]
        small = sample.target[rows.astype(int)][:, columns.astype(int)]
        for k, name in enumerate(kb.labels.names):
            own = embedding[:, small == k].T
            # A few pixels of each image, so that a class is not shown by one image alone.
            found[name].append(own[rng.permutation(len(own))[: max(4, POINTS // 8)]])
    pixels = {name: np.concatenate(parts) for name, parts in found.items() if parts}
    pixels = {n: x[rng.permutation(len(x))[:POINTS]] for n, x in pixels.items() if len(x) >= 3}
    if sum(map(len, pixels.values())) < 8:
        return None
    points = np.concatenate(list(pixels.values()))
    names = np.repeat(list(pixels), [len(x) for x in pixels.values()])
    # t-SNE refuses a perplexity that is not below the number of points.
    plane = TSNE(perplexity=min(30, len(points) // 4), random_state=seed, init="pca").fit_transform(points)
    return Scatter(plane, names, tuple(n for n in learned if n in pixels))


def _and(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
