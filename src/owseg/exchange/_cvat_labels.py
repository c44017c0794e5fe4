"""The classes of an export for CVAT, which both of its formats write beside the annotations."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from owseg._files import write_whole
from owseg.exchange.annotation import hex_color
from owseg.labels import Color


def write_labels(colors: Mapping[str, Color | None], path: Path) -> Path:
    """Write the classes as CVAT's raw label constructor takes them: ``NAME.labels.json`` beside ``path``."""
    labels = [
        {"name": n, **({"color": hex_color(c)} if c else {}), "type": "mask", "attributes": []}
        for n, c in colors.items()
    ]
    return write_whole(path.with_suffix(".labels.json"), json.dumps(labels, ensure_ascii=False, indent=1).encode())
