"""What counts as a difference between two results: bits, or more than was mended, or than another machine changes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import maximum_filter, minimum_filter

from tools.golden.cases import Result, one_thread

LABELS = 0.999
"""On another machine at least this share of the pixels has the same label."""
SCORES = 1e-3
"""On another machine scores differ by no more than this, absolute plus relative."""
METRICS = 0.03
"""On another machine metrics differ by no more than this: a few pixels of a tiny image weigh much."""

MENDED = {
    "softmax": "The softmax scores of networks with a prototype classifier are computed from Output.softmax_logits. "
    "The logits that they read before carry -|f|^2, which in float32 drowns what tells the classes apart.",
    "npm": "Classes learned as prototypes decide Eq. 12 of DMLNet at full resolution. It was decided on the "
    "embedding's grid and its margin interpolated, which moved the border of the class.",
}
"""What is computed otherwise than when the golden file was written, and why; all else is the same bit by bit.

``queries.unmended`` puts it back as it was, and then every bit is the same.
"""
SOFTMAX = frozenset({"entropy", "mixture", "mixture_code", "mixture_paper", "mmsp", "msp"})
"""The scores that are mended by "softmax"."""
SOFTMAX_SCORES = 1e-4
"""They differ by no more than this part of themselves, plus a hundredth of it absolute, and their metrics by this."""
NPM_BORDER = 2
"""Labels that are mended by "npm" differ only within this many pixels of a border of the label map..."""
NPM_LABELS = 0.9
"""... and at least this share of them is the same: much of a tiny image is near a border."""

COMPARED = ("images", "labels", "open_set", "scores", "scaled", "metrics", "counts")


def differences(name: str, expected: Result, found: Result, exact: bool) -> list[str]:
    """Return in words what differs between two results of a case; bits count only if ``exact``."""
    if wrong := [f"{name}: {text}" for text in unequal(expected.facts.get("described"), found.facts.get("described"))]:
        return wrong
    return list(_of_bits(name, expected, found) if exact else _of_another_machine(name, expected, found))


def _of_bits(name: str, expected: Result, found: Result) -> Iterator[str]:
    old, new = (_without_mended(r.facts, found.mended) for r in (expected, found))
    for key in COMPARED:
        yield from (f"{name}: {key}: {text}" for text in unequal(old.get(key), new.get(key)))
    if "softmax" in found.mended:
        yield from _of_softmax(name, expected, found)
    if "npm" in found.mended:
        yield from _of_npm(name, expected, found)


def _without_mended(facts: dict[str, Any], mended: frozenset[str]) -> dict[str, Any]:
    """Return the facts of a case that are the same bit by bit."""
    if "npm" in mended:
        # At full resolution there is one grid, so nothing was to be mended there.
        scaled = {key: value for key, value in facts["scaled"].items() if key != "multi_scale/labels"}
        facts = {**facts, "labels": [], "open_set": [], "metrics": {}, "scaled": scaled}
    if "softmax" in mended:
        scores = {key: value for key, value in facts["scores"].items() if key not in SOFTMAX}
        facts = {**facts, "scores": scores}
        if metrics := facts["metrics"]:
            of_scores = {key: value for key, value in metrics["scores"].items() if key not in SOFTMAX}
            facts["metrics"] = {**metrics, "scores": of_scores}
    return facts


def _of_softmax(name: str, expected: Result, found: Result) -> Iterator[str]:
    for i, score in enumerate(sorted(found.facts["scores"])):
        if score in SOFTMAX:
            old, new = (r.kept[f"{name}/scores"][:, i] for r in (expected, found))
            yield from _not_close(f"{name}: {score}", old, new, SOFTMAX_SCORES, SOFTMAX_SCORES / 100)
            if "npm" not in found.mended:  # whose labels decide which pixels are measured
                before, now = (r.facts["metrics"]["scores"][score] for r in (expected, found))
                yield from unequal(before, now, SOFTMAX_SCORES, f"{name}: metrics: /scores/{score}")


def _of_npm(name: str, expected: Result, found: Result) -> Iterator[str]:
    old, new = (r.kept[f"{name}/labels"] for r in (expected, found))
    around = (1, 2 * NPM_BORDER + 1, 2 * NPM_BORDER + 1)
    inside = minimum_filter(old, around) == maximum_filter(old, around)
    if wrong := np.count_nonzero((old != new) & inside):
        yield f"{name}: {wrong} pixels that are {NPM_BORDER} or more from a border have other labels"
    if (share := (old == new).mean()) < NPM_LABELS:
        yield f"{name}: only {share:.1%} of the labels are the same"
    unknown = (_bits(r.kept[f"{name}/unknown"], old.shape) for r in (expected, found))
    if np.any(np.not_equal(*unknown) & (old == new)):
        yield f"{name}: pixels with the same label are unknown in one open-set map only"


def _of_another_machine(name: str, expected: Result, found: Result) -> Iterator[str]:
    old, new = expected.facts, found.facts
    same = [i for i, (a, b) in enumerate(zip(old["images"], new["images"], strict=True)) if a == b]
    for key, value in found.kept.items():
        if key.endswith("/unknown"):
            shape = found.kept[f"{name}/labels"].shape
            a, b = (_bits(r.kept[key], shape)[same] for r in (expected, found))
        else:
            a, b = expected.kept[key][same], value[same]
        if "/score" in key:
            yield from _not_close(key, a, b, SCORES, SCORES)
        elif (share := (a == b).mean() if a.size else 1.0) < (NPM_LABELS if "npm" in found.mended else LABELS):
            yield f"{key}: only {share:.3%} of the pixels are the same"
    for olds, news in zip(old.get("counts", ()), new.get("counts", ()), strict=True):
        for i in same:
            a, b = (np.array([c.get(str(k), 0) for k in range(256)]) for c in (olds[i], news[i]))
            if np.abs(a - b).sum() / 2 > (1 - LABELS) * a.sum():
                yield f"{name}: image {i} has other labels: {olds[i]}, now {news[i]}"
    if len(same) == len(old["images"]) and "npm" not in found.mended:
        yield from (f"{name}: metrics: {text}" for text in unequal(old["metrics"], new["metrics"], METRICS))


def _not_close(what: str, old: np.ndarray, new: np.ndarray, relative: float, absolute: float) -> Iterator[str]:
    close = np.isclose(new, old, rtol=relative, atol=absolute)
    if not close.all():
        yield f"{what}: {(~close).mean():.2%} of the scores differ, at most by {np.abs(new - old).max():.3g}"


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
        # The products of Gaussians, whose last bits processors of one instruction set do not agree on.
        for cells, channels, classes in ((1360, 536, 11), (330, 536, 8), (48, 44, 3)):
            x, means = torch.rand(cells, channels, generator=g), torch.rand(classes, channels, generator=g)
            z = x @ torch.rand(channels, channels, generator=g).T
            along, inner = z @ means.T, means.double() @ means.double().T + torch.eye(classes)
            between = torch.linalg.inv(inner).float()
            for value in (z, z.square().sum(1), along, inner, between, (along @ between * along).sum(1)):
                digest.update(value.numpy().tobytes())
    return {
        "torch": torch.__version__,
        "capability": torch.backends.cpu.get_cpu_capability(),
        "numpy": np.__version__,
        "pillow": version("pillow"),
        "computed": digest.hexdigest(),
    }


def _bits(packed: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return np.unpackbits(packed, count=int(np.prod(shape))).reshape(shape)
