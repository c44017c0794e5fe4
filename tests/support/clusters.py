"""A cluster in this process: the work is pickled and done a few images at a time, as on a real one."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Sequence
from typing import Any

import torch


class HereCluster:
    """Stands in for ``Cluster``; notes how many images were handed out at a time, and what was sent: work, parts."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.sent: list[bytes] = []

    def over(self, work: Any, parts: Sequence[Any]) -> Iterator[Any]:
        from ray import cloudpickle

        self.sent.append(cloudpickle.dumps(work.to(torch.device("cpu"))))
        there = pickle.loads(self.sent[0]).to(torch.device("cpu"))
        for part in parts:
            self.sizes.append(len(part))
            self.sent.append(cloudpickle.dumps(part))
            yield pickle.loads(pickle.dumps(there(pickle.loads(self.sent[-1]))))
