"""Training: a segmentation network, a residual pattern, and the baselines that are trained on known images."""

from __future__ import annotations

from pathlib import Path

from owseg._registry import Registry

BASELINES: Registry[Path] = Registry("baseline", "owseg.training")
"""Image scorers to train by name; ``make(kb, data, val, out, run, resume, seed, ...)`` stores one in the file ``out``.

The image scorer of the same name reads it (``weights``). ``facts["paper"]`` has the options of the paper, as text.
"""
