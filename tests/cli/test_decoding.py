"""No command decodes an image or a mask twice, whatever else it has to say about its data."""

from collections import Counter

import numpy as np
import pytest
from PIL import Image

from owseg.data import images
from tests.support import tiny


@pytest.fixture
def decoded(monkeypatch):
    """How often each file was decoded."""
    counts, real = Counter(), images.load_image

    def counting(path, *args, **options):
        counts[str(path)] += 1
        return real(path, *args, **options)

    monkeypatch.setattr(images, "load_image", counting)
    return counts


@pytest.fixture
def spec(tmp_path):
    frames = tiny.dataset(8, 4)
    for split in ("train", "val", "test"):
        for kind in ("images", "masks"):
            (tmp_path / "data" / split / kind).mkdir(parents=True)
        for i in range(8):
            place, sample = tmp_path / "data" / split, frames[i]
            Image.fromarray(np.ascontiguousarray(sample.image.transpose(1, 2, 0))).save(place / "images" / f"f{i}.png")
            Image.fromarray(sample.target).save(place / "masks" / f"f{i}.png")
    (tmp_path / "data" / "classes.json").write_text('["road", "sky", "tree", "cow"]')
    (tmp_path / "r.toml").write_text(
        f'[models.a]\nkb = "{tmp_path / "kb"}"\nscorers = ["msp"]\ncalibrate_on = "folder:{tmp_path / "data"}"\n'
        f'[data.d]\nspec = "folder:{tmp_path / "data"}"\nsplit = "test"\n'
    )
    tiny.calibrated().save(tmp_path / "kb")
    return f"folder:{tmp_path / 'data'}"


LINES = (
    "fit KB --data SPEC --scorers joint,knn --out P/new", "fit KB P/data/test/images --scorers knn --out P/new",
    "calibrate KB --data SPEC --out P/new", "evaluate KB --data SPEC", "evaluate KB --data SPEC --scorers all",
    "predict P/data/test/images --kb KB -o P/maps", "predict P/data/test/images --kb KB -o P/maps --adapt",
    "predict P/data --recursive --kb KB -o P/maps --adapt --write none --workers 2",
    "annotate KB P/data/test/images --format coco -o P/coco",
    "adapt KB P/data/test/images --out P/new", "discover KB P/data/test/images -o P/queue",
    "learn KB cow --data SPEC --split train --known SPEC --out P/new", "benchmark P/r.toml -o P/benchmark",
)  # fmt: skip


@pytest.mark.parametrize("line", LINES)
def test_every_file_is_decoded_once(run_cli, decoded, spec, tmp_path, line):
    words = [word.replace("SPEC", spec).replace("KB", str(tmp_path / "kb")) for word in line.split()]
    code, _, err = run_cli(*(word.replace("P/", f"{tmp_path}/") if word[:2] == "P/" else word for word in words))
    assert code == 0, err
    assert decoded and {path: n for path, n in decoded.items() if n > 1} == {}
