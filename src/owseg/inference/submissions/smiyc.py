"""SegmentMeIfYouCan (Chan et al., NeurIPS 2021): ``anomaly_p/METHOD/DATASET/FRAME.hdf5``, scores of 16 bits.

Each file has one data set, ``value``: the score (H, W) float16, compressed by gzip 9, as the benchmark's own tool
writes it.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from owseg._registry import Card
from owseg.errors import OwsegError
from owseg.inference.submissions.base import Submission
from owseg.knowledge.base import KnowledgeBase
from owseg.openset import NO_THRESHOLD, Threshold

DATASETS = ("AnomalyTrack-all", "ObstacleTrack-all", "LostAndFound-test", "LostAndFound-train")
"""The benchmark's folders; a part of a data set, such as LostAndFound-testNoKnown, has none of its own."""

LARGEST = float(np.finfo(np.float16).max)


def smiyc(kb: KnowledgeBase, dataset: str = "", method: str = "owseg") -> Submission:
    """Return the format for ``kb``; ``dataset`` is one of ``DATASETS``, ``method`` the name that the results will have.

    Raises ``OwsegError`` for another data set, a method that is no name of a folder, no threshold, and without h5py.
    """
    if dataset not in DATASETS:
        there = f"there is no data set {dataset!r}" if dataset else "the data set is not given"
        raise OwsegError(f"{there}; give --set dataset=NAME, one of {', '.join(DATASETS)}.")
    if not method or not all(c.isalnum() or c in "-_." for c in method) or method.startswith("."):
        raise OwsegError(f"{method!r} cannot name a method; use letters, digits, - and _ alone.")
    if kb.threshold is None:
        raise OwsegError(NO_THRESHOLD)
    h5py, threshold = _library(), kb.threshold

    def encode(score: np.ndarray, labels: np.ndarray) -> tuple[bytes, ...]:
        buffer = io.BytesIO()
        with h5py.File(buffer, "w") as file:
            file.create_dataset("value", data=in_16_bits(score, threshold), compression="gzip", compression_opts=9)
        return (buffer.getvalue(),)

    return Submission(lambda frame: (f"anomaly_p/{method}/{dataset}/{frame}.hdf5",), encode)


def in_16_bits(score: np.ndarray, threshold: Threshold) -> np.ndarray:
    """Return ``(score - threshold) / unit`` as float16, for all images by the same rule, so that they can be pooled.

    The order stays. A float16 has 11 bits and ends at 65504: around 0 it is finest, so this tells scores apart best
    near the threshold, which is at 0, as the median of known pixels is at -1 (``Threshold.unit``). What is beyond, and
    -inf, is at that end.
    """
    scaled = (score.astype(np.float64) - threshold.value) / threshold.unit
    small: np.ndarray = np.clip(scaled, -LARGEST, LARGEST).astype(np.float16)
    return small


def _library() -> Any:
    try:
        import h5py
    except ImportError:
        raise OwsegError("these files need h5py; install it with `pip install 'owseg[submit]'`.") from None
    return h5py


CARDS = (
    Card(
        "smiyc",
        "SegmentMeIfYouCan: HDF5 files of scores (extra: submit)",
        make=smiyc,
        source="segmentmeifyoucan.com",
        options={
            "dataset": "AnomalyTrack-all, ObstacleTrack-all, LostAndFound-test or LostAndFound-train",
            "method": "the name that the results will have",
        },
    ),
)
