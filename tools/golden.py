"""Golden predictions: what stored knowledge bases said of fixed images, and whether they still say it.

    python -m tools.golden                        # compare with tests/golden; the exit status is 1 where it differs
    python -m tools.golden --out tests/golden     # write it anew, only where other results are wanted
    python -m tools.golden --camvid DIR           # with CamVid, of which no image and no map of labels is stored

On the machine that wrote the golden file every bit is the same; on another one (see ``machine``) maps, scores and
figures are within ``LABELS``, ``SCORES`` and ``FIGURES``. What describes a knowledge base, its threshold included, is
the same everywhere.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import sys
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

GOLDEN = Path(__file__).parents[1] / "tests" / "golden"
SHIPPED = ("street", "street8", "synthetic")
SYNTHETIC = {"train": (0, 123, 399), "val": (7, 31, 59), "test": (3, 42, 99), "shots": (0, 25, 50)}
"""The synthetic images that the shipped knowledge bases label, by split."""
CAMVID = (0, 40, 80, 120, 160, 200)
"""The frames of CamVid's test split that they label."""
TINY = ("road", "sky", "tree", "rock", "cow", "lamp")
"""The classes of the tiny images that the small knowledge bases in tests/golden/kb label."""

LABELS = 0.999
"""On another machine at least this share of the pixels has the same label."""
SCORES = 1e-3
"""On another machine scores differ by no more than this, absolute plus relative."""
FIGURES = 0.03
"""On another machine figures differ by no more than this: a few pixels of a tiny image weigh much."""

# What is asked of owseg: all of it is here.


def load(place: str | Path, number: int | None = None) -> Any:
    """Return the knowledge base at ``place``, or the shipped one of that name."""
    import owseg

    return owseg.load(place, number)


def stored_versions(place: Path) -> list[tuple[int, int | None, str, bool]]:
    """Return number, parent and message of every stored version, and whether it is the current one."""
    from owseg.knowledge.versions import version_history

    return [(v.number, v.parent, v.message, v.current) for v in version_history(place)]


def opened(spec: str, split: str, numbers: Sequence[int], kb: Any) -> Any:
    """Return some images of a data set, opened against the classes of ``kb``."""
    import owseg

    return owseg.open_dataset(spec, split, kb.labels).pick(numbers)


def tiny(numbers: Sequence[int], kb: Any = None) -> Any:
    """Return tiny images as a data set, opened against the classes of ``kb`` or their own."""
    from owseg.data import DataSet, Source
    from owseg.labels import LabelSpace

    source = Source("tiny", LabelSpace.of(TINY), tuple(f"tiny-{i}" for i in numbers), lambda i: draw(numbers[i]))
    return DataSet(source, source.classes if kb is None else kb.labels)


def described(kb: Any) -> dict[str, Any]:
    """Return what a knowledge base says of itself, as plain JSON."""
    named = zip(kb.labels.names, kb.labels.colors, strict=True)
    return {
        "classes": [f"{name} {bytes(color).hex()}" for name, color in named],
        "trained": kb.network.num_classes,
        "increments": [increment.name for increment in kb.increments],
        "scorer": kb.scorer,
        "scorers": " ".join(sorted(kb.scorers)),
        "threshold": None if kb.threshold is None else kb.threshold.to_json(),
        "history": [f"{event.action}: {event.message}" for event in kb.history],
        "fingerprints": [kb.fingerprint(), kb.fingerprint(decides=True)],
    }


def said(kb: Any, image: np.ndarray, output: Any = None) -> Said:
    """Return everything that a knowledge base says of an image, given what its network made of it."""
    given, size = kb.forward(image) if output is None else output, (image.shape[1], image.shape[2])
    assessed = kb.assess(given, size, tuple(sorted(kb.scorers)))
    scores = dict(assessed.scores)
    if kb.threshold is None:
        return Said(assessed.labels, assessed.labels, scores)
    prediction = kb.predict(image, None if output is None else lambda _: output)
    return Said(prediction.labels, prediction.open_set, {**scores, kb.scorer: prediction.score})


def outputs(kb: Any, images: Sequence[np.ndarray]) -> list[Any]:
    """Return what the network of a knowledge base makes of images."""
    return [kb.forward(image) for image in images]


def seen_otherwise(kb: Any, image: np.ndarray) -> dict[str, np.ndarray]:
    """Return labels and score of an image seen at several scales, and seen at full resolution."""
    found: dict[str, np.ndarray] = {}
    for name in ("full_resolution", "multi_scale"):
        output, size = kb.forward(image, **{name: True}), (image.shape[1], image.shape[2])
        assessed = kb.assess(output, size)
        found |= {f"{name}/labels": assessed.labels, f"{name}/score": assessed.scores[kb.scorer]}
    return found


def measured(kb: Any, data: Any, given: Sequence[Any]) -> dict[str, Any]:
    """Return how good maps and scores are on a data set of whose images the network's outputs are ``given``."""
    import owseg

    left = iter(given)
    value = owseg.evaluate(kb, data, sorted(kb.scorers), forward=lambda _: next(left)).to_json()
    scores = {name: [v[key] for key in ("auroc", "ap", "fpr95")] for name, v in value["scores"].items()}
    return {"summary": value["summary"], "iou": value["iou"], "scores": scores}


def opened_queue(folder: Path) -> Any:
    """Return the review queue in ``folder``."""
    import owseg

    return owseg.Queue.open(folder)


def of_queue(queue: Any) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return what a review queue holds: what it says, and its maps and embeddings by name."""
    says: dict[str, Any] = {
        "about": {k: v for k, v in vars(queue.info).items() if k not in ("root", "classes")},
        "classes": list(queue.info.classes),
        "images": {},
        "groups": [[g.number, list(g.regions), {k: list(v) for k, v in g.copies.items()}] for g in queue.groups()],
        "decisions": {r: [d.action, d.name, d.mask is not None] for r, d in queue.decisions().items()},
        "accepted": queue.accepted(),
    }
    arrays: dict[str, np.ndarray] = {}
    for one in queue.image_ids():
        found = queue.entry(one)
        says["images"][one] = [found.name, found.sha256, list(found.size), list(found.ids)]
        arrays[f"{one}/unknown"] = found.unknown.mask()
        for name, region in zip(found.ids, found.regions, strict=True):
            says["images"][one].append([list(region.box), region.area, region.nearest])
            arrays |= {f"{name}/mask": region.mask.mask(), f"{name}/core": region.core.mask()}
            arrays[f"{name}/embedding"] = region.embedding
            arrays[f"{name}/figures"] = np.array([region.mean, region.peak, region.distance or -1.0])
    for name in queue.accepted():
        for shot in queue.shots(name):
            arrays |= {f"{name}/{shot.id}/mask": shot.positives, f"{name}/{shot.id}/void": shot.void}
    return says, arrays


def discovered(kb: Any, paths: Sequence[Path], folder: Path, name: str) -> Any:
    """Return the review queue of what is unknown in some images, made in ``folder``."""
    from owseg.discovery.discover import discover

    return discover(kb, paths, folder, name)[0]


def of_maps(folder: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return what a folder of stored maps holds: what it says, and its maps by name."""
    from owseg.evaluation.maps import Folder
    from owseg.evaluation.measure import measure

    opened = Folder.open(folder)
    arrays: dict[str, np.ndarray] = {}
    manifest = plain(opened.manifest.to_json())
    for name in opened.manifest.images:
        maps = opened.read(name)
        arrays |= {f"{name}/labels": maps.labels, f"{name}/target": maps.target}
        arrays |= {f"{name}/{score}": value for score, value in maps.scores.items()}
    return {"manifest": manifest, "figures": measure(folder).to_json()}, arrays


def mapped(kb: Any, data: Any, folder: Path, scorers: Sequence[str]) -> None:
    """Store the maps of a knowledge base for a data set in ``folder``."""
    from owseg.evaluation.store_maps import store_maps

    store_maps(kb, data, folder, scorers)


# From here on nothing of owseg is known but the functions above.


@dataclass(frozen=True)
class Said:
    """What a knowledge base said of an image: two maps of ids (H, W) uint8, and scores (H, W) float32 by name."""

    labels: np.ndarray
    open_set: np.ndarray
    scores: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Case:
    """One knowledge base and some images: ``spec`` and ``split`` name the data set, ``numbers`` the images in it.

    Scores are kept at every ``step``-th pixel in each direction, those not in use at every fifth of these; the maps of
    labels only if they are ``open``. Where
    ``otherwise``, what the knowledge base says of itself counts, and of the first image at several scales and at full
    resolution.
    """

    name: str
    place: str
    number: int | None
    spec: str
    split: str
    numbers: tuple[int, ...]
    step: int = 7
    open: bool = True
    otherwise: bool = True

    def images(self, kb: Any) -> Any:
        """Return the images as a data set, opened against the classes of ``kb``."""
        return tiny(self.numbers, kb) if self.spec == "tiny" else opened(self.spec, self.split, self.numbers, kb)


@dataclass
class Result:
    """What was found in a case: ``facts`` are plain JSON with the hashes of all arrays, ``kept`` what is stored."""

    facts: dict[str, Any]
    kept: dict[str, np.ndarray] = field(default_factory=dict)


def draw(number: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a tiny image (3, 48, 64) whose colours tell the classes of its blocks, and its labels; one block is void.

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


def camvid_at(place: str | Path | None = None) -> Path | None:
    """Return where CamVid lies: ``place``, $OWSEG_CAMVID or camvid below $OWSEG_DATA; None if it is not there."""
    data = os.environ.get("OWSEG_DATA", Path(__file__).parents[2] / "shared" / "data")
    folder = Path(place or os.environ.get("OWSEG_CAMVID") or Path(data, "camvid"))
    return folder if (folder / "test").is_dir() else None


def cases(name: str, camvid: Path | None = None) -> list[Case]:
    """Return the cases of a shipped knowledge base, or of all versions of the small one of that name."""
    if name in SHIPPED:
        found = [
            Case(f"{name}/{split}", name, None, "synthetic", split, few, 10, otherwise=split == "test")
            for split, few in SYNTHETIC.items()
        ]
        if camvid is not None:
            found.append(Case(f"{name}/camvid", name, None, f"camvid:{camvid}", "test", CAMVID, 28, False, False))
        return found
    place = GOLDEN / "kb" / name
    return [Case(f"{name}/{n}", str(place), n, "tiny", "", (100, 101)) for n, *_ in stored_versions(place)]


def small() -> tuple[str, ...]:
    """Return the names of the small knowledge bases."""
    return tuple(sorted(path.name for path in (GOLDEN / "kb").iterdir()))


def run(case: Case) -> Result:
    """Ask the knowledge base of a case everything."""
    kb = _loaded(case.place, case.number)
    data = case.images(kb)
    samples = list(data)
    given = outputs(kb, [sample.image for sample in samples])
    answers = [said(kb, s.image, output) for s, output in zip(samples, given, strict=True)]
    answers[0] = said(kb, samples[0].image)  # as everybody asks
    used, names = described(kb), sorted(answers[0].scores)
    scores = {name: np.stack([a.scores[name] for a in answers]) for name in names}
    facts = {
        "images": [sha256(s.image, s.target) for s in samples],
        "labels": [sha256(a.labels) for a in answers],
        "open_set": [sha256(a.open_set) for a in answers],
        "scores": {name: sha256(scores[name]) for name in names},
        "measured": _rounded(measured(kb, data, given)),
    }
    if case.otherwise:
        facts["described"] = used
        facts["otherwise"] = {name: sha256(value) for name, value in seen_otherwise(kb, samples[0].image).items()}
    step, wide = case.step, 5 * case.step
    kept = {
        f"{case.name}/score": scores[used["scorer"]][:, ::step, ::step],
        f"{case.name}/scores": np.stack([scores[name][:, ::wide, ::wide] for name in names], 1),
    }
    labels, open_set = (np.stack([getattr(a, name) for a in answers]) for name in ("labels", "open_set"))
    if case.open:
        kept[f"{case.name}/labels"] = labels
        # Where the open-set map is not that of the labels it has one id, that of the unknown.
        kept[f"{case.name}/unknown"] = np.packbits(open_set != labels)
    else:
        facts["counts"] = [[_counts(one) for one in maps] for maps in (labels, open_set)]
    return Result(plain(facts), kept)


def differences(name: str, expected: Result, found: Result, exact: bool) -> list[str]:
    """Return in words what differs between two results of a case; bits count only if ``exact``."""
    old, new = expected.facts, found.facts
    if wrong := [f"{name}: {text}" for text in unequal(old.get("described"), new.get("described"))]:
        return wrong
    if exact:
        told = ("images", "labels", "open_set", "scores", "otherwise", "measured", "counts")
        return [f"{name}: {key}: {text}" for key in told for text in unequal(old.get(key), new.get(key))]
    same = [i for i, (a, b) in enumerate(zip(old["images"], new["images"], strict=True)) if a == b]
    for key, value in found.kept.items():
        if key.endswith("/unknown"):
            shape = found.kept[f"{name}/labels"].shape
            a, b = (_bits(r.kept[key], shape)[same] for r in (expected, found))
        else:
            a, b = expected.kept[key][same], value[same]
        if "/score" in key:
            close = np.isclose(b, a, rtol=SCORES, atol=SCORES)
            if not close.all():
                wrong.append(f"{key}: {(~close).mean():.2%} of the scores differ, at most by {np.abs(b - a).max():.3g}")
        elif (share := (a == b).mean() if a.size else 1.0) < LABELS:
            wrong.append(f"{key}: only {share:.3%} of the pixels are the same")
    for olds, news in zip(old.get("counts", ()), new.get("counts", ()), strict=True):
        for i in same:
            a, b = (np.array([c.get(str(k), 0) for k in range(256)]) for c in (olds[i], news[i]))
            if np.abs(a - b).sum() / 2 > (1 - LABELS) * a.sum():
                wrong.append(f"{name}: image {i} has other labels: {olds[i]}, now {news[i]}")
    if len(same) == len(old["images"]):
        wrong += [f"{name}: measured: {text}" for text in unequal(old["measured"], new["measured"], FIGURES)]
    return wrong


def machine() -> dict[str, str]:
    """Return what decides the last bits of a result: versions, the processor, and the hash of a small computation."""
    with one_thread(), torch.no_grad():
        g = torch.Generator().manual_seed(0)
        digest = hashlib.sha256()
        for inside, out, kernel, groups, height, width in (
            (3, 32, 3, 1, 96, 128), (96, 96, 3, 96, 48, 64), (96, 24, 1, 1, 48, 64), (320, 128, 1, 1, 12, 16),
            (8, 16, 3, 1, 12, 16), (128, 128, 3, 128, 24, 32),
        ):  # fmt: skip
            x = torch.rand(1, inside, height, width, generator=g).to(memory_format=torch.channels_last)
            weight = torch.rand(out, inside // groups, kernel, kernel, generator=g) - 0.5
            x = F.conv2d(x, weight.to(memory_format=torch.channels_last), padding=kernel // 2, groups=groups)
            digest.update(x.contiguous().numpy().tobytes())
        for rows, columns in ((768, 536), (48, 44)):
            x = torch.rand(rows, columns, generator=g) @ torch.rand(columns, columns, generator=g)
            digest.update(x.numpy().tobytes() + (x / 300).softmax(1).log().numpy().tobytes())
    return {
        "torch": torch.__version__,
        "capability": torch.backends.cpu.get_cpu_capability(),
        "numpy": np.__version__,
        "pillow": version("pillow"),
        "computed": digest.hexdigest(),
    }


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


def unequal(old: Any, new: Any, tolerance: float = 0.0, where: str = "") -> list[str]:
    """Return in words where two values of plain JSON differ, numbers by more than ``tolerance``."""
    if isinstance(old, dict) and isinstance(new, dict) and old.keys() == new.keys():
        return [text for key in old for text in unequal(old[key], new[key], tolerance, f"{where}/{key}")]
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        pairs = enumerate(zip(old, new, strict=True))
        return [text for i, (a, b) in pairs for text in unequal(a, b, tolerance, f"{where}/{i}")]
    if isinstance(old, float) and isinstance(new, float) and abs(new - old) <= tolerance * (1 + abs(old)):
        return []
    return [] if old == new else [f"{where} was {old!r:.200}, is {new!r:.200}"]


def plain(value: Any) -> Any:
    """Return a value as it comes back from a file of JSON."""
    return json.loads(json.dumps(value))


@cache
def golden(folder: Path = GOLDEN) -> tuple[dict[str, str], dict[str, Result], dict[str, Any]]:
    """Return the stored machine, the results by case, and what was in the stored queue and maps."""
    value = json.loads((folder / "golden.json").read_text())
    results = {name: Result(facts) for name, facts in value["cases"].items()}
    with np.load(folder / "golden.npz") as arrays:
        for key in arrays.files:
            results["/".join(key.split("/")[:2])].kept[key] = arrays[key]
    return value["machine"], results, value["stored"]


def stored_things(place: Path) -> dict[str, Any]:
    """Return what is in the stored review queue, copied to ``place``, and in the folder of maps: facts and hashes."""
    found: dict[str, Any] = {"versions": {name: stored_versions(GOLDEN / "kb" / name) for name in small()}}
    for name, (says, arrays) in {"queue": of_queue(copied_queue(place)), "maps": of_maps(GOLDEN / "maps")}.items():
        found[name] = {"says": says, "arrays": {key: sha256(value) for key, value in arrays.items()}}
    return plain(found)


def copied_queue(place: Path) -> Any:
    """Return the stored review queue once it is copied to ``place``, where it names its images by their place."""
    for path in (p for p in (GOLDEN / "queue").rglob("*") if p.is_file()):
        copy = place / "queue" / path.relative_to(GOLDEN / "queue")
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    about = place / "queue" / "queue.json"
    value = json.loads(about.read_text())
    about.write_text(json.dumps({**value, "root": str(GOLDEN / "images")}))
    return opened_queue(place / "queue")


def write(folder: Path, results: Mapping[str, Result], stored: Mapping[str, Any]) -> None:
    """Write the golden file: golden.json and golden.npz."""
    folder.mkdir(parents=True, exist_ok=True)
    value = {"machine": machine(), "stored": stored, "cases": {name: r.facts for name, r in results.items()}}
    (folder / "golden.json").write_text(_lines(value) + "\n")
    with zipfile.ZipFile(folder / "golden.npz", "w", zipfile.ZIP_LZMA) as file:
        for key, array in ((k, a) for r in results.values() for k, a in r.kept.items()):
            data = io.BytesIO()
            np.save(data, _short(array) if array.dtype == np.float32 else array)
            file.writestr(zipfile.ZipInfo(f"{key}.npy", (2020, 1, 1, 0, 0, 0)), data.getvalue(), zipfile.ZIP_LZMA)


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare with the golden file or write it; return 1 where something differs."""
    import tempfile

    parser = argparse.ArgumentParser(description="Compare predictions with the golden ones, or write these anew.")
    parser.add_argument("--out", type=Path, help="write the golden file in this folder, instead of comparing")
    parser.add_argument("--camvid", type=Path, help="where CamVid lies, by default $OWSEG_CAMVID")
    parser.add_argument("--only", nargs="*", help="only these knowledge bases")
    chosen = parser.parse_args(arguments)
    camvid, names = camvid_at(chosen.camvid), chosen.only or (*SHIPPED, *small())
    with one_thread(), tempfile.TemporaryDirectory() as place:
        results = {case.name: run(case) for name in names for case in cases(name, camvid)}
        stored = stored_things(Path(place))
    if chosen.out:
        write(chosen.out, results, stored)
        return 0
    where, expected, there = golden()
    exact = where == machine()
    wrong = [text for name, found in results.items() for text in differences(name, expected[name], found, exact)]
    wrong += [f"stored: {text}" for text in unequal(there, stored, 0.0 if exact else SCORES)]
    sys.stdout.write("".join(f"{text}\n" for text in wrong))
    how = "bit by bit" if exact else "within tolerance, as this is another machine"
    sys.stdout.write(f"{len(results)} cases compared {how}: {len(wrong)} differences\n")
    return int(bool(wrong))


@cache
def _loaded(place: str, number: int | None) -> Any:
    return load(place, number)


def _counts(ids: np.ndarray) -> dict[str, int]:
    return {str(k): int(n) for k, n in enumerate(np.bincount(ids.ravel(), minlength=256)) if n}


def _bits(packed: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return np.unpackbits(packed, count=int(np.prod(shape))).reshape(shape)


def _rounded(value: Any) -> Any:
    """Return plain JSON with 9 digits of every number."""
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return float(f"{value:.9g}") if isinstance(value, float) else value


def _short(scores: np.ndarray) -> np.ndarray:
    """Return scores rounded to 14 bits behind the point, of which little is left when they are compressed."""
    return ((scores.view(np.uint32) + 256) & np.uint32(0xFFFFFE00)).view(np.float32)


def _lines(value: Any, depth: int = 0) -> str:
    """Return plain JSON with a line for every small value, so that a change is easy to see."""
    text = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, dict) or len(text) < 100 or depth > 3:
        return text
    pad = " " * (depth + 1)
    inner = ",\n".join(f"{pad}{json.dumps(key)}: {_lines(item, depth + 1)}" for key, item in value.items())
    return f"{{\n{inner}\n{pad[1:]}}}"


if __name__ == "__main__":
    sys.exit(main())
