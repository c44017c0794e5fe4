"""The small files that the commands of ``cases.toml`` are given, in one folder."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from tests.support import queues, tiny

CLASSES = ("road", "sky", "tree", "rock")


def write_scene(root: Path) -> Path:
    """Write the files into ``root`` and return it."""
    root.mkdir(exist_ok=True)
    root = root.resolve()
    _write_images(root)
    _write_knowledge_bases(root)
    _write_data_sets(root)
    _write_shots(root)
    _write_outliers(root)
    _write_texts(root)
    queues.make(root / "made", ("soil", "crop"))  # never served: no knowledge base here has these
    (root / "made" / "queue").rename(root / "queue")
    (root / "queue" / ".review.lock").touch()  # it was reviewed before
    shutil.rmtree(root / "made")
    return root


def _write_images(root: Path) -> None:
    tiny.write_photos(root / "photos", 3)
    shutil.copy(root / "photos" / "p0.png", root / "photo.png")
    tiny.write_photos(root / "trip" / "monday", 2)
    (root / "empty").mkdir()
    (root / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 this is no image")
    (root / "clip.mp4").write_bytes(b"\0\0\0\x18ftypmp42")
    (root / "phone").mkdir()
    (root / "phone" / "a.heic").write_bytes(b"heic")
    for folder in ("monday", "tuesday"):
        (root / "twice" / folder).mkdir(parents=True)
        shutil.copy(root / "photo.png", root / "twice" / folder / "a.png")


def _write_knowledge_bases(root: Path) -> None:
    base = tiny.calibrated()
    base.save(root / "mykb")
    replace(base, threshold=None).save(root / "nothreshold")
    tiny.knowledge_base().save(root / "plain")
    base.save(root / "damaged")
    network = root / "damaged" / "0001" / "network.safetensors"
    network.chmod(0o644)
    network.write_bytes(network.read_bytes()[:1000])


def _write_data_sets(root: Path) -> None:
    _write_labelled(root / "mydata")
    for split in ("train", "test"):
        _write_labelled(root / "splits" / split)
    for name in ("noclasses", "nomasks", "badclasses", "otherids", "rgbmasks", "smallmasks", "jpegmasks"):
        _write_labelled(root / name)
    _write_labelled(root / "fewimages", 3)
    (root / "noclasses" / "classes.json").unlink()
    shutil.rmtree(root / "nomasks" / "masks")
    (root / "badclasses" / "classes.json").write_text('{"road": 0}')
    mask = np.zeros((48, 64), np.uint8)
    Image.fromarray(mask + 7).save(root / "otherids" / "masks" / "f0.png")
    Image.fromarray(np.stack([mask] * 3, 2)).save(root / "rgbmasks" / "masks" / "f0.png")
    Image.fromarray(mask[:24]).save(root / "smallmasks" / "masks" / "f0.png")
    (root / "jpegmasks" / "masks" / "f0.png").unlink()
    Image.fromarray(mask).save(root / "jpegmasks" / "masks" / "f0.jpg")


def _write_labelled(folder: Path, count: int = 8) -> None:
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    for i, sample in enumerate(tiny.dataset(count, 4)):
        assert sample.target is not None
        Image.fromarray(sample.image.transpose(1, 2, 0)).save(folder / "images" / f"f{i}.png")
        Image.fromarray(sample.target).save(folder / "masks" / f"f{i}.png")
    (folder / "classes.json").write_text(json.dumps(CLASSES))


def _write_shots(root: Path) -> None:
    """Write shots of rock, and those in which something is wrong."""
    for name in ("shots", "rgbshots", "smallshots", "blankshots", "smoothshots", "lostshots", "maskless"):
        folder = root / name
        _write_labelled(folder, 2)
        (folder / "classes.json").unlink()
        for path in sorted((folder / "masks").iterdir()):
            Image.fromarray((np.asarray(Image.open(path)) == 3).astype(np.uint8)).save(path)
    mask = np.asarray(Image.open(root / "shots" / "masks" / "f0.png"))
    Image.fromarray(np.stack([mask * 255] * 3, 2)).save(root / "rgbshots" / "masks" / "f0.png")
    Image.fromarray(mask[:24]).save(root / "smallshots" / "masks" / "f0.png")
    Image.fromarray(mask * 0).save(root / "blankshots" / "masks" / "f0.png")
    Image.fromarray(mask * (100 + np.arange(64, dtype=np.uint8))).save(root / "smoothshots" / "masks" / "f0.png")
    (root / "lostshots" / "images" / "f0.png").unlink()
    (root / "maskless" / "masks" / "f0.png").unlink()


def _write_outliers(root: Path) -> None:
    for name, count in (("cutouts", 3), ("people", 1)):
        (root / name).mkdir()
        for i in range(count):
            rgba = np.full((24, 24, 4), 200, np.uint8)
            rgba[:4, :, 3] = 0
            Image.fromarray(rgba).save(root / name / f"{'cow' if name == 'cutouts' else 'tree'}_{i}.png")
    (root / "opaque").mkdir()
    shutil.copy(root / "photo.png", root / "opaque" / "cow_0.png")


def _write_texts(root: Path) -> None:
    (root / "notes.txt").write_text("buy milk\n")
    (root / "labels.json").write_text('{"images": [], "annotations": [], "categories": []}')
    (root / "other.json").write_text('{"a": 1}')
    (root / "predict.toml").write_text("sizes = 720\n")
    model, data = 'models.mine.kb = "mykb"\n', 'data.mine.spec = "folder:mydata"\n'
    recipes = {
        "recipe": model + data,
        "key": model + data + 'data.mine.size = "48x64"\n',
        "nodata": model,
        "score": model + data + 'scorers = ["entrpy"]\n',
        "variable": model + data.replace("mydata", "$MYDATA"),
        "nokb": model.replace("mykb", "mykbs") + data,
        "nofolder": model + data.replace("mydata", "mydat"),
    }
    for name, text in recipes.items():
        (root / f"{name}.toml").write_text(text)
