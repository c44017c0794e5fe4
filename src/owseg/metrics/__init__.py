"""Metrics of scores and of label maps, each updated image by image and mergeable: ``update``, ``+``, ``compute``."""

from __future__ import annotations
