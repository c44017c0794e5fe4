"""Small exports of labelling tools, whole ones and broken ones, of one image a.jpg of 9x7."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from owseg.errors import OwsegError
from owseg.exchange.formats import read
from tests.support.shapes import masks

MASK = masks((7, 9))["holes"]
OBJECT = {"id": 1, "image_id": 1, "category_id": 1, "segmentation": {"size": [7, 9], "counts": [63]}}
COCO: dict[str, Any] = {
    "images": [{"id": 1, "file_name": "a.jpg", "height": 7, "width": 9}],
    "annotations": [OBJECT],
    "categories": [{"id": 1, "name": "car"}],
}


def zipped(path: Path, members: dict[str, str | bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def refused(path: Path, format: str | None, message: str) -> None:
    """Assert that a file is refused in one sentence that names it and says ``message``."""
    with pytest.raises(OwsegError, match=message) as caught:
        list(read(path, format))
    assert path.name in str(caught.value) and "\n" not in str(caught.value)
