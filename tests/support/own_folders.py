"""The folders that the pages name, with drawn scenes in them, and a quick ``street``."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from transformers import SegformerConfig, SegformerForSemanticSegmentation

from owseg.data.synthetic.canvas import CLASSES
from owseg.data.synthetic.scene import scene
from owseg.exchange.annotation import Annotation
from owseg.exchange.formats import write


def write_own_folders(place: Path, kb: Path) -> Path:
    """Write photo.jpg, photos/, annotated/, mydata/ (val and test) into ``place``, where ``street`` leads to ``kb``."""
    for name in ("street", "synthetic"):
        (place / name).symlink_to(kb)
    (place / "photos").mkdir()
    write_marked(place / "annotated", "animal", "shots", range(2))
    write_split(place / "mydata", "val")
    write_split(place / "mydata", "test")
    (place / "mydata" / "classes.json").write_text(json.dumps(list(CLASSES.names)))
    Image.fromarray(scene("test", 7)[0]).save(place / "photo.jpg")
    shutil.copy(place / "photo.jpg", place / "photos")
    return place


def write_more_folders(place: Path) -> None:
    """Write what the pages of docs/howto name besides: others/, people/, scooters.zip, images.csv, mynetwork/."""
    write_marked(place / "others", "vehicle", "val", range(1))
    write_marked(place / "people", "person", "val", range(3))
    write_split(place / "mydata", "train")
    Image.fromarray(scene("shots", 1)[0]).save(place / "photos" / "second.png")
    Image.fromarray(scene("shots", 0)[0]).save(place / "photos" / "photo.jpg", quality=95)
    animal = CLASSES.index("animal")
    marked = [
        Annotation("scooter", scene("shots", i)[1] == animal, name)
        for i, name in enumerate(("photo.jpg", "second.png"))
    ]
    write(marked, place / "scooters", "cvat-masks")
    shutil.move(next((place / "scooters").glob("*.zip")), place / "scooters.zip")
    (place / "images.csv").write_text("path\nphotos/photo.jpg\nphotos/second.png\n")
    write_network(place / "mynetwork")


def write_marked(folder: Path, name: str, split: str, numbers: range) -> None:
    """Write the scenes that show a class, with its masks, as a folder of shots."""
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    for i in numbers:
        image, labels = scene(split, i)
        mask = labels == CLASSES.index(name)
        if mask.any():
            Image.fromarray(image).save(folder / "images" / f"{i}.png")
            Image.fromarray(mask.astype(np.uint8)).save(folder / "masks" / f"{i}.png")


def write_split(folder: Path, split: str) -> None:
    """Write three labelled scenes as a split of a folder."""
    for kind, number in (("images", 0), ("masks", 1)):
        (folder / split / kind).mkdir(parents=True)
        for i in range(3):
            Image.fromarray(scene(split, i)[number]).save(folder / split / kind / f"{i}.png")


def write_network(folder: Path) -> None:
    """Write a small untrained SegFormer as transformers stores one, with the classes of the scenes."""
    torch.manual_seed(0)
    config = SegformerConfig(
        hidden_sizes=[8, 8, 16, 16],
        depths=[1, 1, 1, 1],
        num_attention_heads=[1, 1, 2, 2],
        decoder_hidden_size=16,
        id2label=dict(enumerate(CLASSES.names[:8])),
        label2id={name: i for i, name in enumerate(CLASSES.names[:8])},
    )
    SegformerForSemanticSegmentation(config).eval().save_pretrained(folder)
