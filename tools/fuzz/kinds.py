"""What is made wrong, and how it is read: a function by kind, which makes and reads one case in an empty folder."""

from __future__ import annotations

import io
import json
import sqlite3
import zipfile
from collections.abc import Callable
from contextlib import closing, suppress
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from PIL import Image

from tools.fuzz.mutations import ODD, as_json, changed_bytes, changed_json, changed_text

ROOT = Path(__file__).parents[2]
MADE = ROOT / "tests" / "exchange" / "made"
GOLDEN = ROOT / "tests" / "golden"


@cache
def _versions() -> list[Path]:
    shipped = ROOT / "src" / "owseg" / "knowledge" / "pretrained"
    return [*sorted((GOLDEN / "kb").glob("*/0*")), shipped / "synthetic" / "0001"]


@cache
def _image() -> np.ndarray:
    with Image.open(GOLDEN / "images" / "test-003.png") as image:
        pixels: np.ndarray = np.asarray(image.convert("RGB"))[:48, :64].transpose(2, 0, 1).copy()
    return pixels


def knowledge(folder: Path, random: Random) -> None:
    """A knowledge base: its description, a file of weights, or its record of the version."""
    from owseg.knowledge.commit import commit_version
    from owseg.knowledge.load import load

    source = random.choice(_versions())
    names = [p for p in source.iterdir() if p.suffix == ".safetensors" or p.name == "knowledge.json"]
    files = {path.name: path.read_bytes() for path in names}
    what = random.random()
    if what < 0.8:
        files["knowledge.json"] = as_json(changed_json(json.loads(files["knowledge.json"]), random))
    elif what < 0.9:
        name = random.choice(sorted(files))
        files[name] = changed_bytes(files[name][:4096], random) + files[name][4096:]
    commit_version(folder / "kb", files)
    if what >= 0.9:
        record = folder / "kb" / "0001" / random.choice(("version.json", "SHA256SUMS"))
        record.chmod(0o644)
        record.write_bytes(changed_text(record.read_bytes(), random))
    kb = load(folder / "kb")
    kb.forward(_image())
    if kb.threshold is not None:
        list(kb.predict(_image()).regions)


def queue(folder: Path, random: Random) -> None:
    """A review queue: a byte or a value of its database, or any file of the layout that queues had before."""
    from tools.golden.storage import copy_queue

    found = copy_queue(folder)
    if random.random() < 0.5:
        _old_files(folder / "queue", random)
    else:
        with found.storage.writing():  # which makes a database of it
            pass
        _database(found.storage.path, random)
    _read_queue(folder / "queue")


def _old_files(place: Path, random: Random) -> None:
    path = random.choice(sorted(p for p in place.rglob("*") if p.is_file() and p.suffix != ".jpg"))
    data = path.read_bytes()
    if path.suffix == ".json" and random.random() < 0.8:
        path.write_bytes(as_json(changed_json(json.loads(data), random)))
    else:
        path.write_bytes((changed_text if path.suffix == ".jsonl" else changed_bytes)(data, random))


def _database(path: Path, random: Random) -> None:
    if random.random() < 0.4:
        data, at = path.read_bytes(), 4096 * random.randrange(path.stat().st_size // 4096)
        path.write_bytes(data[:at] + changed_bytes(data[at : at + 4096], random) + data[at + 4096 :])
        return
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        names = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for _ in range(random.choice((1, 1, 2, 3))):
            table = random.choice(names)
            column = random.choice(db.execute(f"PRAGMA table_info({table})").fetchall())[1]
            rows = db.execute(f"SELECT rowid, {column} FROM {table} ORDER BY rowid").fetchall()
            row, value = random.choice(rows or [(0, None)])
            if random.random() < 0.1:
                db.execute(f"DELETE FROM {table} WHERE rowid = ?", (row,))
            else:
                with suppress(OverflowError, UnicodeError, sqlite3.IntegrityError):  # no value of SQLite's
                    db.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (_odd(value, random), row))


def _odd(value: Any, random: Random) -> Any:
    data = value if isinstance(value, bytes) else str(value).encode()
    plain = [v for v in ODD if not isinstance(v, list | dict)]
    new = random.choice((*plain, data, changed_bytes(data, random)))
    return new.encode(errors="surrogatepass") if isinstance(new, str) and random.random() < 0.5 else new


def _read_queue(place: Path) -> None:
    from owseg.discovery.queue import Queue

    found = Queue.open(place)
    found.groups()
    for image_id in found.image_ids():
        found.summary(image_id)
        found.entry(image_id)
    found.actions()
    for name in found.accepted():
        found.shots(name)


def recipe(folder: Path, random: Random) -> None:
    """A recipe of a benchmark."""
    from owseg.benchmark.recipe import read_recipe

    path = folder / "recipe.toml"
    source = random.choice(sorted((ROOT / "recipes").rglob("*.toml")))
    path.write_bytes(changed_text(source.read_bytes(), random))
    found = read_recipe(path)
    _ = found.models, found.data, found.published


def _annotations(name: str, folder: Path, random: Random, format: str | None = None) -> None:
    from owseg.exchange.formats import read

    source = MADE / name
    path, data = folder / source.name, source.read_bytes()
    if path.suffix == ".json" and random.random() < 0.8:
        path.write_bytes(as_json(changed_json(json.loads(data), random)))
    else:
        path.write_bytes((changed_text if path.suffix == ".xml" else changed_bytes)(data, random))
    for annotation in read(path, format):
        assert annotation.mask.dtype == bool


def coco(folder: Path, random: Random) -> None:
    """Annotations of COCO."""
    _annotations("coco.json", folder, random, random.choice((None, "coco")))


def cvat(folder: Path, random: Random) -> None:
    """Annotations of CVAT as XML."""
    _annotations("cvat.xml", folder, random, random.choice((None, "cvat")))


def cvat_masks(folder: Path, random: Random) -> None:
    """An export of CVAT as a zip of masks: one of its members, or the zip."""
    from owseg.exchange.formats import read

    data = (MADE / "cvat-masks.zip").read_bytes()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = random.choice(sorted(members))
    members[name] = (changed_text if name.endswith(".txt") else changed_bytes)(members[name], random)
    with zipfile.ZipFile(folder / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for member, content in members.items():
            archive.writestr(member, content)
    if random.random() < 0.2:
        (folder / "a.zip").write_bytes(changed_bytes((folder / "a.zip").read_bytes(), random))
    for annotation in read(folder / "a.zip", random.choice((None, "cvat-masks"))):
        assert annotation.mask.dtype == bool


def labelstudio(folder: Path, random: Random) -> None:
    """Annotations of Label Studio."""
    _annotations("labelstudio.json", folder, random, random.choice((None, "labelstudio")))


def labelme(folder: Path, random: Random) -> None:
    """Annotations of LabelMe."""
    name = random.choice(("labelme.json", "labelme-drawn.json"))
    _annotations(name, folder, random, random.choice((None, "labelme")))


def _encoded(array: np.ndarray, format: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, format)
    return buffer.getvalue()


def image(folder: Path, random: Random) -> None:
    """An image file."""
    from owseg.data.images import read_image

    kinds = {"png": "PNG", "jpg": "JPEG", "tif": "TIFF", "bmp": "BMP", "webp": "WEBP"}
    suffix = random.choice(sorted(kinds))
    path = folder / f"a.{suffix}"
    path.write_bytes(changed_bytes(_encoded(_image().transpose(1, 2, 0), kinds[suffix]), random))
    assert read_image(path).dtype == np.uint8


def mask(folder: Path, random: Random) -> None:
    """A mask file."""
    from owseg.data.images import read_class_mask, read_mask

    path = folder / "a.png"
    path.write_bytes(changed_bytes(_encoded((_image()[0] > np.median(_image()[0])).astype(np.uint8), "PNG"), random))
    assert read_mask(path).ndim == 2
    read_class_mask(path)


def maps(folder: Path, random: Random) -> None:
    """A folder of stored maps: its manifest, or the maps of an image."""
    from owseg.evaluation.maps import Manifest, MapFolder, Maps

    labels, score = _image()[0] // 64, _image()[1].astype(np.float32)
    about = Manifest("0" * 16, "1" * 16, "data", ("road", "sky", "tree"), ("msp",), ("a", "b"))
    made = MapFolder.begin(folder / "maps", about)
    for name in about.images:
        made.write(name, Maps(labels, labels, {"msp": score}))
    path = random.choice(sorted(p for p in (folder / "maps").iterdir()))
    data = path.read_bytes()
    is_json = path.suffix == ".json" and random.random() < 0.8
    path.write_bytes(as_json(changed_json(json.loads(data), random)) if is_json else changed_bytes(data, random))
    found = MapFolder.open(folder / "maps")
    list(found.missing())
    for name in found.manifest.images:
        found.read(name)


def http(folder: Path, random: Random) -> None:
    """Requests to the pages of the review, in this process."""
    from fastapi import FastAPI
    from starlette.testclient import TestClient

    from owseg.review.files import serve_files
    from owseg.review.state import ReviewState
    from owseg.serve.guard import Guard
    from tools.golden.storage import copy_queue

    app, found = FastAPI(), copy_queue(folder)
    serve_files(app, ReviewState(found), None)  # type: ignore[arg-type]
    web = TestClient(Guard(app, "token"), base_url="http://127.0.0.1")
    web.get("/?token=token")  # from then on in a cookie
    ids = [region for group in found.groups() for region in group.regions]
    for _ in range(8):
        _request(web, ids, random)


def _request(web: Any, ids: list[str], random: Random) -> None:
    region = random.choice(ids)
    paths = (
        f"/thumbnails/{region}.jpg",
        f"/images/{region[:16]}.jpg",
        f"/masks/{region}",
        f"/maps/1/{region[:16]}.jpg",
    )
    path = random.choice(paths[:3]).encode()
    if random.random() < 0.6:
        path = b"/" + changed_bytes(path[1:], random)
    text = "".join(chr(c) if 32 < c < 127 and chr(c) not in "?#%" else f"%{c:02x}" for c in path.replace(b"//", b"/"))
    body: Any = {"name": "dog", "counts": [0, 24 * 32]}
    data = as_json(changed_json(body, random)) if random.random() < 0.7 else changed_bytes(as_json(body), random)
    header = changed_bytes(random.choice((b"127.0.0.1", b"localhost:80", b"http://127.0.0.1")), random)
    headers = {random.choice(("Host", "Origin", "Cookie", "Content-Type", "Range")): header}
    if any(c < 33 or c > 126 for c in header):
        headers = {}
    method = random.choice(("GET", "POST", "POST", "PUT", "HEAD", "DELETE", "OPTIONS"))
    answer = web.request(method, text, content=data, headers=headers)
    assert answer.status_code < 500, f"{method} {text}: {answer.status_code}"


KINDS: dict[str, Callable[[Path, Random], None]] = {
    f.__name__.replace("_", "-"): f
    for f in (knowledge, queue, recipe, coco, cvat, cvat_masks, labelstudio, labelme, image, mask, maps, http)
}
