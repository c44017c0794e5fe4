"""The tiny images, and annotations of them."""

from pathlib import Path

import pytest
from PIL import Image

from owseg.exchange.annotation import Annotation
from tests.support import annotated, tiny


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder of two images, f0.png and f1.png, that show a rock and a cow."""
    folder = tmp_path / "images"
    folder.mkdir()
    for i, sample in enumerate(tiny.dataset(2, 5)):
        Image.fromarray(sample.image.transpose(1, 2, 0)).save(folder / f"f{i}.png")
    return folder


@pytest.fixture
def made() -> list[Annotation]:
    """Rocks and cows in these images, void in the first, and a cow in another image that is not at hand."""
    return annotated.annotations()
