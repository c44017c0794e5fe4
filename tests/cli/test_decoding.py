"""No command decodes an image or a mask twice, whatever else it has to say about its data."""

from collections import Counter

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


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A labelled folder of three splits, which commands only read."""
    place, frames = tmp_path_factory.mktemp("decoding") / "data", tiny.dataset(8, 4)
    for split in ("train", "val", "test"):
        for kind in ("images", "masks"):
            (place / split / kind).mkdir(parents=True)
        for i, sample in enumerate(frames):
            Image.fromarray(sample.image.transpose(1, 2, 0)).save(place / split / "images" / f"f{i}.png")
            Image.fromarray(sample.target).save(place / split / "masks" / f"f{i}.png")
    (place / "classes.json").write_text('["road", "sky", "tree", "cow"]')
    return place


LINES = (
    "fit KB --data SPEC --scorers joint,knn --out P/new", "fit KB DATA/test/images --scorers knn --out P/new",
    "calibrate KB --data SPEC --out P/new", "evaluate KB --data SPEC", "evaluate KB --data SPEC --scorers all",
    "predict DATA/test/images --kb KB -o P/maps", "predict DATA/test/images --kb KB -o P/maps --adapt",
    "predict DATA --recursive --kb KB -o P/maps --adapt --write none --workers 2",
    "annotate KB DATA/test/images --format coco -o P/coco",
    "adapt KB DATA/test/images --out P/new", "discover KB DATA/test/images -o P/queue",
    "learn KB cow --data SPEC --split train --known SPEC --out P/new", "benchmark P/r.toml -o P/benchmark",
)  # fmt: skip


@pytest.mark.parametrize("line", LINES)
def test_every_file_is_decoded_once(run_cli, decoded, data, stored_kb, tmp_path, line):
    (tmp_path / "r.toml").write_text(
        f'[models.a]\nkb = "{stored_kb}"\nscorers = ["msp"]\ncalibrate_on = "folder:{data}"\n'
        f'[data.d]\nspec = "folder:{data}"\nsplit = "test"\n'
    )
    places = {"SPEC": f"folder:{data}", "DATA": data, "KB": stored_kb, "P": tmp_path}
    words = [word.partition("/") for word in line.split()]
    code, _, err = run_cli(*(f"{places.get(first, first)}{slash}{rest}" for first, slash, rest in words))
    assert code == 0, err
    assert decoded and {path: n for path, n in decoded.items() if n > 1} == {}
