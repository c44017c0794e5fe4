import shutil

import numpy as np
import pytest
from PIL import Image

from owseg.data.images import read_mask
from tests.support import annotated


@pytest.fixture
def shots(own_data, tmp_path):
    """Two images of ``own_data`` and the masks of rock in them, as a folder that ``owseg learn --shots`` takes."""
    folder = tmp_path / "shots"
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    for i in range(2):
        shutil.copy(own_data / "images" / f"f{i}.png", folder / "images")
        mask = (read_mask(own_data / "masks" / f"f{i}.png") == 3) * 127
        Image.fromarray(mask.astype(np.uint8)).save(folder / "masks" / f"f{i}.png")
    return folder


@pytest.fixture
def fails(run_cli):
    """Run a command that must fail: exit code 1, one sentence on standard error and nothing on standard output."""

    def run(*args: object) -> str:
        code, out, err = run_cli(*args)
        assert code == 1 and out == "" and err.startswith("error: ") and err.count("\n") == 1, (code, out, err)
        return err

    return run


@pytest.fixture
def images(tmp_path):
    """A folder of two images, f0.png and f1.png, that show a rock and a cow."""
    return annotated.write_images(tmp_path / "images")


@pytest.fixture
def made():
    """Rocks and cows in these images, void in the first, and a cow in another image that is not at hand."""
    return annotated.annotations()
