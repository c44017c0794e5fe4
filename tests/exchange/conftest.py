"""The tiny images, and annotations of them."""

from pathlib import Path

import pytest

from owseg.exchange.annotation import Annotation
from tests.support import annotated


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder of two images, f0.png and f1.png, that show a rock and a cow."""
    return annotated.write_images(tmp_path / "images")


@pytest.fixture
def made() -> list[Annotation]:
    """Rocks and cows in these images, void in the first, and a cow in another image that is not at hand."""
    return annotated.annotations()
