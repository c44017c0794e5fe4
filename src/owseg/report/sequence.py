"""How a knowledge base learned one class after another, told as a page (see ``owseg.report``)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from sklearn.manifold import TSNE

from owseg import __version__
from owseg.data.dataset import DataSet, spread_over
from owseg.evaluation.sequence import Stream
from owseg.knowledge.base import KnowledgeBase
from owseg.report.charts import HeatMap, Scatter
from owseg.report.page import Report, Strip, Table, save

_STRIPS, _POINTS = 4, 150


def write_sequence_report(stages: Sequence[KnowledgeBase], data: DataSet, measured: Stream, path: Path) -> Path:
    """Write the page to ``path``: a strip per street (DMLNet, Fig. 7), a heat map, the map of Fig. 6, the tables."""
    now, learned = stages[-1], measured.learned
    history = [event for event in now.history if event.action == "learn"]
    report = Report(
        title="What was learned, and what was kept",
        lead=(
            f"A network that was trained on {len(stages[0].labels)} classes learned {_and(learned)} one after another, "
            f"each from one to five annotated images. Measured on {measured.stages[-1].images} images."
        ),
        legend=now.labels,
        strips=strips(stages, data, measured),
        heat=HeatMap(
            now.labels.names,
            measured.steps,
            np.array([measured.iou()[name] for name in now.labels.names]),
        ),
        map=embedding_map(now, data, learned),
        tables=tuple(Table(title, header, tuple(rows)) for title, header, rows in measured.tables()[1:]),
        facts=(
            ("owseg", __version__),
            ("data", data.source.name),
            ("score", now.scorer),
            *((f"{event.details.get('class')}", event.message) for event in history),
        ),
    )
    return save(report, path)


def strips(stages: Sequence[KnowledgeBase], data: DataSet, measured: Stream) -> tuple[Strip, ...]:
    """Draw the frames that show most of what was learned: input, the open-set map at every stage, truth."""
    labels = stages[-1].labels
    truth, first = DataSet(data.source, labels), len(labels) - len(measured.learned)
    masks = [sample.target for sample in truth]
    shares = [
        0.0 if m is None else float(np.prod([(m == k).mean() + 1e-4 for k in range(first, len(labels))])) for m in masks
    ]
    picked = [max(part, key=lambda i: shares[i]) for part in np.array_split(range(len(truth)), _STRIPS) if len(part)]
    made = []
    for i in map(int, picked):
        sample = truth[i]
        assert sample.target is not None
        palette = labels.palette()
        maps = [(n, palette[kb.predict(sample.image).open_set]) for n, kb in zip(measured.steps, stages, strict=True)]
        picture = np.ascontiguousarray(sample.image.transpose(1, 2, 0))
        made.append(Strip(sample.id, (("input", picture), *maps, ("truth", palette[sample.target]))))
    return tuple(made)


def embedding_map(kb: KnowledgeBase, data: DataSet, learned: Sequence[str], seed: int = 0) -> Scatter | None:
    """Lay pixels of every class out in the plane by t-SNE of their embedding (DMLNet, Fig. 6); None for too few."""
    rng = np.random.default_rng(seed)
    frames = spread_over(DataSet(data.source, kb.labels), 24)
    found: dict[str, list[np.ndarray]] = {name: [] for name in kb.labels.names}
    for sample in frames:
        if sample.target is None:
            continue
        embedding = kb.forward(sample.image).embedding[0].float().cpu().numpy()
        rows = (np.arange(embedding.shape[1]) + 0.5) * sample.target.shape[0] / embedding.shape[1]
        columns = (np.arange(embedding.shape[2]) + 0.5) * sample.target.shape[1] / embedding.shape[2]
        small = sample.target[rows.astype(int)][:, columns.astype(int)]
        for k, name in enumerate(kb.labels.names):
            own = embedding[:, small == k].T
            found[name].append(own[rng.permutation(len(own))[: max(4, _POINTS // 8)]])
    cells = {name: np.concatenate(parts) for name, parts in found.items() if parts}
    cells = {n: x[rng.permutation(len(x))[:_POINTS]] for n, x in cells.items() if len(x) >= 3}
    if sum(map(len, cells.values())) < 8:
        return None
    points = np.concatenate(list(cells.values()))
    names = np.repeat(list(cells), [len(x) for x in cells.values()])
    plane = TSNE(perplexity=min(30, len(points) // 4), random_state=seed, init="pca").fit_transform(points)
    return Scatter(plane, names, tuple(n for n in learned if n in cells))


def _and(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
