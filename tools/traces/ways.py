"""The five ways: the data that they run on, their command lines, and a process for each."""

from __future__ import annotations

import contextlib
import io
import json
import multiprocessing
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from tools.traces.tracer import Trace, Tracer

T = TypeVar("T")
WAYS = ("predict", "learn", "evaluate", "benchmark", "train")
SIZE = (48, 64)
COLORS = ((220, 30, 30), (30, 220, 30), (30, 30, 220), (220, 220, 30))
NAMES = ("road", "sky", "tree", "rock")
"""The classes of the images; the last is the one that is unknown and then learned."""


def prepare(place: Path) -> None:
    """Write images, one shot, a backbone, a recipe and a knowledge base, ``kb``, into ``place``."""
    import numpy as np
    import torch
    from PIL import Image
    from transformers import MobileNetV2Config, MobileNetV2Model

    height, width = SIZE
    for split, count in (("train", 8), ("val", 4), ("test", 3), ("shots", 1)):
        for number in range(count):
            random = np.random.default_rng([len(split), number])
            blocks = random.integers(0, len(NAMES), (height // 16, width // 16))
            blocks.flat[: len(NAMES)] = range(len(NAMES))  # every class in every image
            mask = np.kron(blocks, np.ones((16, 16))).astype(np.uint8)
            noise = random.integers(-25, 25, (height, width, 3))
            image = np.clip(np.array(COLORS)[mask] + noise, 0, 255).astype(np.uint8)
            folder = place / split if split == "shots" else place / "data" / split
            for kind, array in (("images", image), ("masks", (mask == 3) * np.uint8(1) if split == "shots" else mask)):
                (folder / kind).mkdir(parents=True, exist_ok=True)
                Image.fromarray(array).save(folder / kind / f"f{number}.png")
    (place / "data" / "classes.json").write_text(json.dumps(NAMES))
    torch.manual_seed(0)
    with contextlib.redirect_stderr(io.StringIO()):  # a progress bar
        MobileNetV2Model(MobileNetV2Config(depth_multiplier=0.25)).save_pretrained(place / "backbone")
    recipe: dict[str, dict[str, Any]] = {"models.tiny": {"kb": str(place / "kb"), "scorers": ["joint", "msp"]},
              "data.own": {"spec": f"folder:{place / 'data'}", "most": 2}}  # fmt: skip
    lines = [
        line for name, t in recipe.items() for line in (f"[{name}]", *(f"{k} = {json.dumps(v)}" for k, v in t.items()))
    ]
    (place / "recipe.toml").write_text("\n".join(lines) + "\n")
    _command(_arguments("train", place, "kb"))


def _arguments(way: str, place: Path, made: str) -> list[str]:
    """Return the command line of a way; ``made`` names what it writes."""
    kb, data, out = str(place / "kb"), f"folder:{place / 'data'}", str(place / made)
    return {
        "predict": ["predict", str(place / "data/test/images/f0.png"), "--kb", kb, "--out", out],
        "learn": ["learn", kb, NAMES[-1], "--shots", str(place / "shots"), "--known", data, "--out", out],
        "evaluate": ["evaluate", kb, "--data", data],
        "benchmark": ["benchmark", str(place / "recipe.toml"), "--out", out],
        "train": [
            "train", out, "--data", data, "--backbone", str(place / "backbone"), "--unknown", NAMES[-1],
            "--epochs", "1", "--batch", "4", "--crop", f"{SIZE[0]}x{SIZE[1]}",
        ],
    }[way]  # fmt: skip


def _command(arguments: list[str], tracer: Tracer | None = None) -> None:
    """Run the command line in this process; raise ``RuntimeError`` with its output if it fails."""
    import torch

    from owseg.cli import app

    torch.set_num_threads(1)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        try:
            with tracer.following() if tracer else contextlib.nullcontext():
                code = app(arguments, standalone_mode=False)
        except Exception as error:
            raise RuntimeError(f"owseg {' '.join(arguments)}: {error!r}\n{printed.getvalue()}") from error
    if code:
        raise RuntimeError(f"owseg {' '.join(arguments)} ended with {code}\n{printed.getvalue()}")


def follow(way: str, place: Path) -> Trace:
    """Trace one way in this process, on what ``prepare`` wrote into ``place``."""
    import owseg

    tracer = Tracer(Path(str(owseg.__file__)).parent, way)
    _command(_arguments(way, place, f"out-{way}"), tracer)
    return tracer.trace


def follow_all(ways: list[str]) -> list[Trace]:
    """Trace each of ``ways`` in a fresh process."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        _afresh(prepare, place)
        return [_afresh(follow, way, place) for way in ways]


def _afresh(work: Callable[..., T], *arguments: object) -> T:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as fresh:
        return fresh.submit(work, *arguments).result()
