"""The knowledge bases and images of the golden file, and what is kept of the predictions for them."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from tools.golden import queries

T = TypeVar("T")
GOLDEN = Path(__file__).parents[2] / "tests" / "golden"
SHIPPED = ("street", "street8", "synthetic")
"""The knowledge bases that owseg 0.1.0 came with, now ``street@1`` and so on."""
SYNTHETIC = {"train": (0, 123, 399), "val": (7, 31, 59), "test": (3, 42, 99), "shots": (0, 25, 50)}
"""The synthetic images that the shipped knowledge bases label, by split."""
CAMVID = (0, 40, 80, 120, 160, 200)
"""The frames of CamVid's test split that they label."""
TINY = ("road", "sky", "tree", "rock", "cow", "lamp")
"""The classes of the tiny images that the small knowledge bases in tests/golden/kb label."""


@dataclass(frozen=True)
class Case:
    """One knowledge base and some images: ``spec`` and ``split`` name the data set, ``numbers`` the images in it.

    Scores are kept at every ``step``-th pixel in each direction, those not in use at every fifth of these; the maps of
    labels only if they are ``open``. Where ``scaled``, the description of the knowledge base counts, and the first
    image at several scales and at full resolution.
    """

    name: str
    place: str
    number: int | None
    spec: str
    split: str
    numbers: tuple[int, ...]
    step: int = 7
    open: bool = True
    scaled: bool = True

    def images(self, kb: Any) -> Any:
        """Return the images as a data set, opened against the classes of ``kb``."""
        if self.spec == "tiny":
            return queries.dataset_of("tiny", TINY, [draw(number) for number in self.numbers], kb)
        return queries.open_images(self.spec, self.split, self.numbers, kb)


@dataclass
class Result:
    """What was computed in a case.

    ``facts`` are plain JSON with the hashes of all arrays, ``kept`` the arrays that are stored, ``mended`` the keys of
    ``compare.MENDED`` that touch the case.
    """

    facts: dict[str, Any]
    kept: dict[str, np.ndarray] = field(default_factory=dict)
    mended: frozenset[str] = frozenset()


def draw(number: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a tiny image (3, 48, 64) with one colour a class, and its labels (48, 64); one of its blocks is void.

    Only integers are computed with, so that it is the same on every machine.
    """
    colors = [(220, 30, 30), (30, 220, 30), (30, 30, 220), (220, 220, 30), (220, 30, 220), (30, 220, 220)]
    rng = np.random.default_rng([11, number])
    blocks = rng.permutation([*range(len(TINY)), 255, *rng.integers(0, len(TINY), 5)]).reshape(3, 4)
    labels = np.kron(blocks, np.ones((16, 16), np.int64)).astype(np.uint8)
    table = np.full((256, 3), 128)
    table[: len(TINY)] = colors
    image = table[labels].transpose(2, 0, 1) + rng.integers(-25, 26, (3, *labels.shape))
    return np.clip(image, 0, 255).astype(np.uint8), labels


def find_camvid(place: str | Path | None = None) -> Path | None:
    """Return where CamVid lies: ``place``, $OWSEG_CAMVID or camvid below $OWSEG_DATA; None if it is not there."""
    data = os.environ.get("OWSEG_DATA", Path(__file__).parents[3] / "shared" / "data")
    folder = Path(place or os.environ.get("OWSEG_CAMVID") or Path(data, "camvid"))
    return folder if (folder / "test").is_dir() else None


def cases(name: str, camvid: Path | None = None) -> list[Case]:
    """Return the cases of a shipped knowledge base, or of all versions of the small one of that name."""
    if name in SHIPPED:
        found = [
            Case(f"{name}/{split}", f"{name}@1", None, "synthetic", split, few, 10, scaled=split == "test")
            for split, few in SYNTHETIC.items()
        ]
        if camvid is not None:
            found.append(
                Case(f"{name}/camvid", f"{name}@1", None, f"camvid:{camvid}", "test", CAMVID, 28, False, False)
            )
        return found
    place = GOLDEN / "kb" / name
    return [Case(f"{name}/{n}", str(place), n, "tiny", "", (100, 101)) for n, *_ in queries.versions_of(place)]


def small() -> tuple[str, ...]:
    """Return the names of the small knowledge bases."""
    return tuple(sorted(path.name for path in (GOLDEN / "kb").iterdir()))


def run(case: Case) -> Result:
    """Predict the images of a case, and return what the golden file has of that."""
    kb = _loaded(case.place, case.number)
    data = case.images(kb)
    samples = list(data)
    outputs = queries.outputs_of(kb, [sample.image for sample in samples])
    maps = [queries.predict(kb, s.image, output) for s, output in zip(samples, outputs, strict=True)]
    maps[0] = queries.predict(kb, samples[0].image)  # the usual call, without an output that is given
    described, names = queries.describe(kb), sorted(maps[0].scores)
    scores = {name: np.stack([m.scores[name] for m in maps]) for name in names}
    facts = {
        "images": [sha256(s.image, s.target) for s in samples],
        "labels": [sha256(m.labels) for m in maps],
        "open_set": [sha256(m.open_set) for m in maps],
        "scores": {name: sha256(scores[name]) for name in names},
        "metrics": _rounded(queries.metrics_of(kb, data, outputs)),
    }
    if case.scaled:
        facts["described"] = described
        facts["scaled"] = {name: sha256(value) for name, value in queries.predict_scaled(kb, samples[0].image).items()}
    step, wide = case.step, 5 * case.step
    kept = {
        f"{case.name}/score": scores[described["scorer"]][:, ::step, ::step],
        f"{case.name}/scores": np.stack([scores[name][:, ::wide, ::wide] for name in names], 1),
    }
    labels, open_set = (np.stack([getattr(m, name) for m in maps]) for name in ("labels", "open_set"))
    if case.open:
        kept[f"{case.name}/labels"] = labels
        # Where the open-set map is not that of the labels it has one id, that of the unknown.
        kept[f"{case.name}/unknown"] = np.packbits(open_set != labels)
    else:
        facts["counts"] = [[_counts(ids) for ids in both] for both in (labels, open_set)]
    softmax, npm = queries.has_prototypes(kb)
    return Result(plain(facts), kept, frozenset(["softmax"] * softmax + ["npm"] * npm))


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute in one thread, as the number of threads decides the last bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def sha256(*arrays: np.ndarray | None) -> str:
    """Return the first 16 hexadecimal digits of the SHA-256 of arrays, their shapes and types included."""
    digest = hashlib.sha256()
    for array in arrays:
        if array is not None:
            digest.update(f"{array.shape} {array.dtype}".encode() + np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]


def plain(value: T) -> T:
    """Return a value as it comes back from a file of JSON."""
    as_read: T = json.loads(json.dumps(value))
    return as_read


def all_names(chosen: Sequence[str] | None = None) -> tuple[str, ...]:
    """Return ``chosen``, or the names of all knowledge bases."""
    return tuple(chosen or (*SHIPPED, *small()))


@cache
def _loaded(place: str, number: int | None) -> Any:
    return queries.load(place, number)


def _counts(ids: np.ndarray) -> dict[str, int]:
    return {str(k): int(n) for k, n in enumerate(np.bincount(ids.ravel(), minlength=256)) if n}


def _rounded(value: Any) -> Any:
    """Return plain JSON with 9 digits of every number."""
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return float(f"{value:.9g}") if isinstance(value, float) else value
