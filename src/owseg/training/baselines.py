"""Training a baseline of the papers' tables by its name, at a size for a CPU or at the paper's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from owseg._registry import read_options
from owseg.data.dataset import DataSet
from owseg.data.datasets import open_dataset
from owseg.data.unlabeled import hold_out
from owseg.errors import NoSuchSplit, OwsegError
from owseg.knowledge.base import KnowledgeBase
from owseg.training import BASELINES

PRESETS = ("light", "paper")
"""What the options of a baseline are unless they are given: sizes for a CPU, or sizes and schedule of the paper."""


def open_known(spec: str, kb: KnowledgeBase) -> tuple[DataSet, DataSet]:
    """Return the splits train and val of a data set, with the classes that the network of ``kb`` was trained for.

    Other classes are void. Where there is no val of its own, it is an eighth of train.
    """
    labels = kb.labels.without(kb.learned_classes)
    data = open_dataset(spec, "train", labels, train=True)
    try:
        val = open_dataset(spec, "val", labels, train=True)
    except NoSuchSplit:
        return hold_out(data)
    return hold_out(data) if val.source.name == data.source.name else (data, val)


def fit_baseline(
    name: str,
    kb: KnowledgeBase,
    data: DataSet,
    val: DataSet,
    out: Path | str,
    preset: str = "light",
    settings: Mapping[str, str] | None = None,
    seed: int = 0,
    resume: bool = False,
) -> Path:
    """Train the baseline ``name`` on ``data``, store it in the file ``out`` and return that.

    ``data`` and ``val`` are opened against the classes that the network of ``kb`` was trained for; ``kb`` stays as it
    is. ``settings`` are options of the baseline as text. The run is kept in the folder ``out`` + ".run". Raises
    ``OwsegError`` for an unknown baseline, preset or option, and for what the training itself refuses.
    """
    if preset not in PRESETS:
        raise OwsegError(f"there is no preset {preset!r}; it is one of {', '.join(PRESETS)}.")
    card, out = BASELINES[name], Path(out)
    paper = card.facts.get("paper", {}) if preset == "paper" else {}
    options = read_options(card, {**paper, **(settings or {})})
    if out.is_dir():  # before a training, not after
        raise OwsegError(f"{out} is a folder; name a file to store {name} in.")
    run = Path(f"{out.resolve()}.run")
    return BASELINES.make(name, kb, data, val, out, run, resume, seed, **options)
