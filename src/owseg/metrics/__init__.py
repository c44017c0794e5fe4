"""Figures of scores and of maps, each streamed image by image and mergeable; one file an idea."""

from __future__ import annotations
