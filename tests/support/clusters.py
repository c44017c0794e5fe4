"""A cluster in this process: the work is pickled and done a few images at a time, as on a real one."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from typing import Any

import torch

from owseg.models.cluster import shards_of


class HereCluster:
    """Stands in for ``Cluster``; ``shards`` notes the numbers of the images that were handed out."""

    def __init__(self) -> None:
        self.shards: list[range] = []

    def over(self, work: Any, count: int) -> Iterator[tuple[range, Any]]:
        from ray import cloudpickle

        sent = pickle.loads(cloudpickle.dumps(work.to(torch.device("cpu")))).to(torch.device("cpu"))
        for numbers in shards_of(count):
            self.shards.append(numbers)
            yield numbers, pickle.loads(pickle.dumps(sent(numbers)))
