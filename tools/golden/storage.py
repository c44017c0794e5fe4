"""The files in tests/golden: golden.json, golden.npz, small knowledge bases and a review queue with its images."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from tools.golden import queries
from tools.golden.cases import GOLDEN, Result, plain, sha256, small
from tools.golden.compare import machine


@cache
def golden(folder: Path = GOLDEN) -> tuple[dict[str, str], dict[str, Result], dict[str, Any]]:
    """Return the stored machine, the results by case, and what was in the stored versions and the queue."""
    value = json.loads((folder / "golden.json").read_text())
    results = {name: Result(facts) for name, facts in value["cases"].items()}
    with np.load(folder / "golden.npz") as arrays:
        for key in arrays.files:
            results["/".join(key.split("/")[:2])].kept[key] = arrays[key]
    return value["machine"], results, value["stored"]


def read_stored(place: Path) -> dict[str, Any]:
    """Return what is in the stored versions and in the review queue, which is copied to ``place``: facts and hashes."""
    facts, arrays = queries.read_queue(copy_queue(place))
    return plain({
        "versions": {name: queries.versions_of(GOLDEN / "kb" / name) for name in small()},
        "queue": {"facts": facts, "arrays": {key: sha256(value) for key, value in arrays.items()}},
    })  # fmt: skip


def copy_queue(place: Path) -> Any:
    """Return the stored review queue once it is copied to ``place``, where it names its images by their place."""
    for path in (p for p in (GOLDEN / "queue").rglob("*") if p.is_file()):
        copy = place / "queue" / path.relative_to(GOLDEN / "queue")
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    about = place / "queue" / "queue.json"
    value = json.loads(about.read_text())
    about.write_text(json.dumps({**value, "root": str(GOLDEN / "images")}))
    return queries.open_queue(place / "queue")


def write(folder: Path, results: Mapping[str, Result], stored: Mapping[str, Any]) -> None:
    """Write the golden file: golden.json and golden.npz."""
    folder.mkdir(parents=True, exist_ok=True)
    value = {"machine": machine(), "stored": stored, "cases": {name: r.facts for name, r in results.items()}}
    (folder / "golden.json").write_text(as_lines(value) + "\n")
    with zipfile.ZipFile(folder / "golden.npz", "w", zipfile.ZIP_LZMA) as file:
        for key, array in ((k, a) for r in results.values() for k, a in r.kept.items()):
            data = io.BytesIO()
            np.save(data, _short(array) if array.dtype == np.float32 else array)
            file.writestr(zipfile.ZipInfo(f"{key}.npy", (2020, 1, 1, 0, 0, 0)), data.getvalue(), zipfile.ZIP_LZMA)


def as_lines(value: Any, depth: int = 0) -> str:
    """Return plain JSON with a line for every small value, so that a change is easy to see."""
    text = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, dict) or len(text) < 100 or depth > 3:
        return text
    pad = " " * (depth + 1)
    inner = ",\n".join(f"{pad}{json.dumps(key)}: {as_lines(item, depth + 1)}" for key, item in value.items())
    return f"{{\n{inner}\n{pad[1:]}}}"


def _short(scores: np.ndarray) -> np.ndarray:
    """Return scores rounded to 14 bits behind the point, of which little is left when they are compressed."""
    rounded: np.ndarray = (scores.view(np.uint32) + 256) & np.uint32(0xFFFFFE00)
    return rounded.view(np.float32)
