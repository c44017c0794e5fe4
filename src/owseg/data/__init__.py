"""Data: from files to samples, and what is done to samples before they reach a network. Loads no torch."""

from owseg.data.dataset import DataSet, Source, spread_over
from owseg.data.datasets import open_dataset, open_source
from owseg.errors import NoSuchSplit

__all__ = ["DataSet", "NoSuchSplit", "Source", "open_dataset", "open_source", "spread_over"]
