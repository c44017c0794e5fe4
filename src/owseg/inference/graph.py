"""The whole decision of a knowledge base as one graph: an image in; labels, score and open-set map out."""

from __future__ import annotations

import json
import warnings
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from owseg import __version__
from owseg.errors import OwsegError
from owseg.increments.head import Head
from owseg.knowledge.base import KnowledgeBase
from owseg.knowledge.decision import label_maps, open_set, score_map
from owseg.knowledge.event import Event
from owseg.knowledge.regions import class_means, region_map
from owseg.openset import NO_THRESHOLD
from owseg.scorers import ON_ROAD, ON_SEGMENTS

OPSET = 20
"""The version of ONNX's operators; from 19 on a pooled map may end beyond the edge."""

INPUTS = ("image", "threshold")
FEATURES = "features"
OUTPUTS = ("labels", "score", "open_set", "learned", FEATURES)
"""The names of what goes in and of what comes out; a score that is pooled over segments adds ``CELLS``."""

CELLS = "cells"
"""The score (B, h, w) at the network's resolution, which a runtime pools over segments of the image."""

AXES = {
    **{name: {1: "height", 2: "width"} for name in OUTPUTS},
    "image": {2: "height", 3: "width"},
    FEATURES: {2: "feature_rows", 3: "feature_columns"},
    CELLS: {1: "rows", 2: "columns"},
}
"""The names of the sides that differ from image to image."""

LICENCE = "owseg: Apache-2.0; the weights have the licence of who trained them and of the data"
"""What is said where nobody says more."""


class Decision(nn.Module):
    """``image (B, 3, H, W) uint8, threshold () -> labels, score, open_set, learned, features[, cells]``.

    ``labels`` (B, H, W) uint8 is the closed map, ``score`` (B, H, W) float32, ``open_set`` (B, H, W) uint8 with UNKNOWN
    where the score is above the threshold, ``learned`` (B, H, W) bool where the labels are what was learned: all of
    this at the size of the image; what is resized, normalised and averaged before is in it. ``features`` (B, C, h, w)
    tell the objects of a region apart (``region_map``). A score ``NAME@segments`` is NAME here, as segments are
    found in the image by no tensors. Raises ``OwsegError`` for a score on the road, and without a threshold.
    """

    def __init__(self, kb: KnowledgeBase, **options: Any) -> None:
        super().__init__()
        if kb.scorer.endswith(ON_ROAD):
            raise OwsegError(
                f"{kb.scorer} cannot be exported: the road's convex hull is found by no tensors; choose another score "
                "with `owseg calibrate KB --scorer`."
            )
        if kb.threshold is None:
            raise OwsegError(NO_THRESHOLD)
        self.is_pooled = kb.scorer.endswith(ON_SEGMENTS)
        self.kb, self.engine = kb, kb.engine(precision="32", compiled=False, **options)
        self.score = kb.require_scorer(kb.scorer.removesuffix(ON_SEGMENTS))
        # As modules of this one, so that their weights are known as such.
        heads = [nn.ModuleList([i.decoder, i.classifier]) for i in kb.increments if isinstance(i, Head)]
        fitted = [scorer for scorer in kb.fitted.values() if isinstance(scorer, nn.Module)]
        self.parts = nn.ModuleList([kb.network, *([] if kb.residual is None else [kb.residual]), *heads, *fitted])
        self.eval()

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of what it returns."""
        return (*OUTPUTS, CELLS) if self.is_pooled else OUTPUTS

    def forward(self, image: Tensor, threshold: Tensor) -> tuple[Tensor, ...]:
        """Return the maps, in the order of ``outputs``."""
        size = image.shape[-2], image.shape[-1]
        output = self.engine.traceable(image)
        labels, learned = label_maps(self.kb, output, size)
        cells = self.score(output)
        score = score_map(cells, size)
        features = region_map(output, self.kb.feature_space)
        maps = labels, score, open_set(labels, score, learned, threshold), learned, features
        return (*maps, cells.float()) if self.is_pooled else maps


@dataclass(frozen=True)
class Traced:
    """A decision that is ready to be written, for images of ``size`` (H, W) or, with None, of any."""

    decision: Decision
    size: tuple[int, int] | None

    @classmethod
    def of(
        cls, kb: KnowledgeBase, size: tuple[int, int] | None = None, options: Mapping[str, Any] = MappingProxyType({})
    ) -> Traced:
        """Return the decision of ``kb`` for images of ``size`` (H, W), by default of any; ``options`` of ``Engine``."""
        if size is None and (kb.network.squares or options.get("tile") or options.get("window")):
            raise OwsegError("this network is run in tiles, whose number a graph must know; give --size HxW.")
        return cls(Decision(kb.to("cpu"), **options), size)

    @property
    def example(self) -> tuple[Tensor, Tensor]:
        """Two images of the size, or of one with odd sides, and the threshold."""
        size = self.size or (187, 250)
        threshold = self.decision.kb.threshold
        assert threshold is not None
        seeded = torch.Generator().manual_seed(0)
        image = torch.randint(0, 256, (2, 3, *size), dtype=torch.uint8, generator=seeded)
        return image, torch.tensor(threshold.value, dtype=torch.float32)

    @torch.no_grad()
    def to_onnx(self, path: Path) -> None:
        """Write the graph as ONNX, the threshold without a default; raise ``OwsegError`` where that cannot be done."""
        axes = {name: {0: "batch", **(AXES[name] if self.size is None else {})}
                for name in ("image", *self.decision.outputs)}  # fmt: skip
        self.decision(*self.example)  # what is computed once is computed here, and no part of the graph
        with _quiet():
            register: Any = torch.onnx.register_custom_op_symbolic  # type: ignore[attr-defined]
            register("aten::asinh", lambda g, x: g.op("Asinh", x), 9)
            try:
                torch.onnx.export(
                    self.decision, self.example, str(path), dynamo=False, opset_version=OPSET,
                    input_names=list(INPUTS), output_names=list(self.decision.outputs), dynamic_axes=axes,
                )  # fmt: skip
            except (torch.onnx.errors.OnnxExporterError, RuntimeError) as error:
                reason = str(error).strip().splitlines()[0].rstrip(".")
                raise OwsegError(f"this network cannot be exported to ONNX ({reason:.200}).") from error

    @torch.no_grad()
    def to_torchscript(self) -> torch.jit.ScriptModule:
        """Return the graph as TorchScript."""
        self.decision(*self.example)
        with _quiet():
            traced = torch.jit.trace(self.decision, self.example, check_trace=False)  # type: ignore[no-untyped-call]
        return cast(torch.jit.ScriptModule, traced)


def facts_of(
    kb: KnowledgeBase,
    size: tuple[int, int] | None,
    precision: str,
    licence: str = LICENCE,
    working_size: int | None = None,
) -> dict[str, str]:
    """Return what an export says of itself, as text by name; JSON where it is more than a word.

    ``history`` is that of the knowledge base, ``calibration`` the line of it that the threshold is from. ``means`` are
    those of the base classes, (K, C) float32, as bytes in base 64, little-endian.
    """
    assert kb.threshold is not None
    calibrated = [e.message for e in kb.history if e.action in ("calibrate", "adapt")]
    means = class_means(kb.feature_space)
    return {
        "owseg": __version__,
        "classes": json.dumps(kb.labels.to_json()),
        "base_classes": str(len(kb.base_classes)),
        "scorer": kb.scorer,
        "threshold": json.dumps(kb.threshold.to_json()),
        "calibration": calibrated[-1] if calibrated else "",
        "history": json.dumps([asdict(event) for event in kb.history]),
        "fingerprint": kb.fingerprint(),
        "size": "dynamic" if size is None else f"{size[0]}x{size[1]}",
        "working_size": str(working_size or kb.working_size or ""),
        "means": "" if means is None else b64encode(means.astype("<f4").tobytes()).decode(),
        "precision": precision,
        "licence": licence,
        "outside": SEGMENTS if kb.scorer.endswith(ON_SEGMENTS) else "",
    }


SEGMENTS = (
    f"the threshold is for the output '{CELLS}' pooled over segments of the image, which owseg does after the graph "
    "(owseg.scorers.segments); 'score' and 'open_set' are without that step"
)
"""What a graph leaves to the runtime where the score is pooled over segments."""


class _quiet(warnings.catch_warnings):
    """Without what tracing warns of: shapes that are compared are checks, and what they do is compared afterwards."""

    def __enter__(self) -> None:
        super().__enter__()
        warnings.simplefilter("ignore")
        # Where tracing fails it would print the graph, thousands of lines of it, on standard output.
        torch._C._jit_set_onnx_log_enabled(False)


def as_facts(values: Mapping[str, str]) -> dict[str, Any]:
    """Return what ``facts_of`` wrote, read from JSON; raise ``OwsegError`` for a file that owseg did not export."""
    try:
        found: dict[str, Any] = dict(values)
        found["classes"], found["threshold"] = json.loads(values["classes"]), json.loads(values["threshold"])
        found["base_classes"] = int(values["base_classes"])
        found["working_size"] = int(values["working_size"]) if values["working_size"] else None
        found["history"] = tuple(Event(**event) for event in json.loads(values.get("history", "[]")))
        found["means"] = _means(values.get("means", ""), found["base_classes"])
        found["scorer"], found["fingerprint"], found["size"] = values["scorer"], values["fingerprint"], values["size"]
    except (KeyError, ValueError, TypeError):
        raise OwsegError("it does not say which classes and which threshold it has; export it with owseg.") from None
    return found


def _means(text: str, classes: int) -> np.ndarray | None:
    return np.frombuffer(b64decode(text), "<f4").reshape(classes, -1) if text else None
