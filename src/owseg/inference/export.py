"""Export: a knowledge base as one file for a runtime, compared with the knowledge base before it has its name."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import numpy as np
import torch

from owseg._files import check_writable, replacing
from owseg.data.datasets import open_source
from owseg.data.images import read_image
from owseg.errors import OwsegError
from owseg.inference.graph import FEATURES, LICENCE, Traced, facts_of
from owseg.inference.matched import matched
from owseg.inference.reduced import REDUCE
from owseg.inference.runtime import ExportedModel, GraphOutput, load_export
from owseg.inference.sessions import FACTS, library
from owseg.knowledge.base import KnowledgeBase
from owseg.knowledge.regions import min_area_of, region_map
from owseg.models.ops import resize_image
from owseg.types import Sample

FORMATS = {"onnx": ".onnx", "openvino": ".xml", "torch": ".pt"}
"""The suffix of the file of each format; OpenVINO's has its weights in another beside it, ``.bin``."""

PRECISIONS = ("fp32", "fp16", "int8")

TOLERANCE = {"fp32": (0.9999, 1e-3, 1e-2), "fp16": (0.995, 0.2, 1.0), "int8": (0.8, float("inf"), float("inf"))}
"""The least share of equal labels, and how much score and features may differ (see ``Compared``), for each."""

MOST = 64
"""So many of the images that are given are read: to compare, and to find the ranges of 8 bits."""

TIES = 2
"""So many pixels may differ in labels in any image, however small: at a tie the last digit of a sum decides."""

SIZES = ((360, 480), (241, 321), (403, 715))
"""The sizes (H, W) of images at which an export of any size is compared with its knowledge base."""


@dataclass(frozen=True)
class Compared:
    """How an export differs from its knowledge base on images of one ``size`` (H, W), ``batch`` of them at once.

    ``labels`` and ``open_set`` are the shares of pixels that are equal; ``score`` is the greatest difference, and
    ``typical`` the 99.9th percentile, both in units of the threshold. ``features`` is the greatest difference of those
    of regions, in units of their root mean square.
    """

    size: tuple[int, int]
    batch: int
    labels: float
    open_set: float
    score: float
    typical: float
    features: float

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Exported:
    """The file that was written, how it compares with the knowledge base, and what calibrating again changed."""

    path: Path
    bytes: int
    compared: tuple[Compared, ...]
    thresholds: tuple[float, float]

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        before, after = self.thresholds
        compared = [one.to_json() for one in self.compared]
        return {"file": str(self.path), "bytes": self.bytes, "compared": compared,
                "threshold": after, "threshold_before": before}  # fmt: skip


def export(
    kb: KnowledgeBase,
    path: Path,
    format: str = "onnx",
    precision: str = "fp32",
    size: tuple[int, int] | None = None,
    images: Sequence[np.ndarray] = (),
    licence: str = LICENCE,
    scorer: str | None = None,
    working_size: int | None = None,
    **options: Any,
) -> Exported:
    """Write the decision of ``kb`` as one graph, compare it with ``kb``, and return how they compare.

    ``size`` (H, W) is that of the images that it will take, by default any; ``images`` (3, H, W) uint8 are compared, by
    default scenes that are drawn; ``options`` are those of ``Engine``. With int8, another ``scorer`` or a smaller
    ``working_size``, which make it faster, ``images`` must be given, and the threshold is found anew on them
    (``matched``). The file has its name only once it was found to predict what ``kb`` predicts, in the same way, within
    ``TOLERANCE``. Raises ``OwsegError`` where it does not, for a score or a network that cannot be exported, without
    images where they are needed, and where it cannot be written.
    """
    is_other = changes_scores(precision, scorer, working_size)
    check_asked(path, format, precision, bool(images) or not is_other)
    check_writable(path.parent)
    how = options if working_size is None else {**options, "size": working_size}
    traced = Traced.of(kb if scorer is None else replace(kb, scorer=scorer), size, how)
    reference, shown = traced.decision.kb, [fitting(image, size) for image in images or drawn()]
    facts = facts_of(reference, size, precision, licence, working_size)
    with TemporaryDirectory(prefix=".export-", dir=path.parent) as folder:
        made = Path(folder, path.name)
        graph = _graph(traced, Path(folder, "graph.onnx"), format, precision, shown)
        finish(graph, made, format, facts)
        model = load_export(made)
        if is_other:
            model = calibrated_again(kb, model, shown, options)
            assert model.threshold is not None
            finish(graph, made, format, {**facts, "threshold": json.dumps(model.threshold.to_json())})
        if precision != "int8":  # whose decisions are compared with those of the knowledge base as it is
            reference = replace(reference, threshold=model.threshold)
        compared = tuple(compare(reference, model, shown, size, how))
        _check(compared, precision)
        written = _named(made, path)
    assert kb.threshold is not None and model.threshold is not None
    return Exported(path, written, compared, (kb.threshold.value, model.threshold.value))


def _graph(
    traced: Traced, file: Path, format: str, precision: str, images: Sequence[np.ndarray]
) -> Path | torch.jit.ScriptModule:
    """Return the graph as TorchScript, or the ``file`` of ONNX with it; 8 bits cover its ranges on ``images``."""
    if format == "torch":
        return traced.to_torchscript()
    traced.to_onnx(file)
    if precision != "fp32":
        REDUCE[precision](file, images)
    return file


def changes_scores(precision: str, scorer: str | None, working_size: int | None) -> bool:
    """Return whether an export has other scores than its knowledge base, and so needs a threshold of its own."""
    return precision == "int8" or scorer is not None or working_size is not None


def check_asked(path: Path, format: str, precision: str, with_images: bool) -> None:
    """Raise ``OwsegError`` for a format or a precision that there is not, or that do not go together, and a library."""
    if format not in FORMATS:
        raise OwsegError(f"there is no format {format!r}; it is {', '.join(FORMATS)}.")
    if path.suffix != FORMATS[format]:
        raise OwsegError(
            f"a file of the format {format} ends with {FORMATS[format]}; call it {path.stem}{FORMATS[format]}."
        )
    if precision not in PRECISIONS:
        raise OwsegError(f"there is no precision {precision!r}; it is {', '.join(PRECISIONS)}.")
    if format == "torch" and precision != "fp32":
        raise OwsegError(f"the format torch is written in fp32 alone; {precision} is for onnx and openvino.")
    if not with_images:
        raise OwsegError(
            "int8, another score and another working size are calibrated on images like those that it will see; "
            "give --images DIR with 20 or more."
        )
    for name in {"onnx": ("onnx", "onnxruntime"), "openvino": ("onnx", "openvino")}.get(format, ()):
        library(name)


def drawn() -> list[np.ndarray]:
    """Return three images that come with owseg: synthetic scenes."""
    source = open_source("synthetic", "test")
    return [source.read(i)[0] for i in range(3)]


def read_some(paths: Sequence[Path]) -> list[np.ndarray]:
    """Read ``MOST`` of some images at most, evenly spread."""
    return [read_image(path) for path in paths[:: max(1, -(-len(paths) // MOST))]]


def fitting(image: np.ndarray, size: tuple[int, int] | None) -> np.ndarray:
    """Return an image (3, H, W) uint8 at ``size``, or as it is."""
    if size is None:
        return image
    resized = resize_image(torch.from_numpy(np.ascontiguousarray(image))[None].float(), size)
    return resized[0].round().clamp(0, 255).byte().numpy()


def compare(
    kb: KnowledgeBase,
    model: ExportedModel,
    images: Sequence[np.ndarray],
    size: tuple[int, int] | None = None,
    options: Mapping[str, Any] | None = None,
) -> Iterator[Compared]:
    """Yield how ``model`` and ``kb`` differ: at each of ``SIZES`` or at ``size``, and there on a batch of three."""
    forward = kb.engine(**(options or {}))
    assert kb.threshold is not None
    for at in (size,) if size else SIZES:
        for batch in (1, 3) if at == (size or SIZES[0]) else (1,):
            shown = [fitting(images[i % len(images)], at) for i in range(batch)]
            outputs = [cast(GraphOutput, output) for output in model.engine().run(shown)]
            expected = [forward(image) for image in shown]
            pairs = [
                (kb.decide(sample, one), model.decide(sample, other))
                for image, one, other in zip(shown, expected, outputs, strict=True)
                for sample in (Sample(image, None, ""),)
            ]
            maps = np.concatenate([region_map(one, kb.feature_space).cpu().numpy() for one in expected])
            found = np.concatenate([output.maps[FEATURES] for output in outputs])
            apart = np.abs(maps - found).max() if maps.shape == found.shape else np.inf
            away = np.stack([np.abs(one.score - other.score) for one, other in pairs]) / kb.threshold.unit
            yield Compared(
                at,
                batch,
                float(np.mean([one.labels == other.labels for one, other in pairs])),
                float(np.mean([one.open_set == other.open_set for one, other in pairs])),
                float(away.max()),
                float(np.quantile(away, 0.999)),
                float(apart / np.sqrt(np.square(maps).mean())),
            )


def calibrated_again(
    kb: KnowledgeBase, model: ExportedModel, images: Sequence[np.ndarray], options: Mapping[str, Any]
) -> ExportedModel:
    """Return ``model`` with the threshold at which as much of ``images`` is unknown as with ``kb`` (``matched``)."""
    assert kb.threshold is not None
    before, after = ([one.decide(s, forward(s.image)) for s in (Sample(image, None, "") for image in images)]
                     for one, forward in ((kb, kb.engine(**options)), (model, model.engine())))  # fmt: skip
    return replace(model, threshold=matched(kb.threshold, before, after, min_area_of(kb.scorer)))


def finish(graph: Path | torch.jit.ScriptModule, made: Path, format: str, facts: Mapping[str, str]) -> None:
    """Write a graph of ONNX, or TorchScript, in its ``format`` as ``made``, with what it says of itself.

    In ONNX the threshold has its default.
    """
    if isinstance(graph, torch.jit.ScriptModule):
        torch.jit.save(graph, str(made), _extra_files={f"{FACTS}.json": json.dumps(facts)})
        return
    if format == "openvino":
        openvino, passes = library("openvino"), library("openvino._offline_transformations")
        model = openvino.Core().read_model(str(graph))  # convert_model would tell Google Analytics of each conversion
        # What it does besides. Without, graphs of 8 bits compute something else, and as floats (OpenVINO 2026.4).
        passes.apply_moc_transformations(model, cf=False)
        passes.compress_quantize_weights_transformation(model)
        model.set_rt_info(json.dumps(facts), FACTS)
        openvino.save_model(model, str(made), compress_to_fp16=False)
        return
    onnx = library("onnx")
    model = onnx.load(str(graph))
    value = json.loads(facts["threshold"])["value"]
    # An initializer of the name of an input is its default.
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(value).reshape(()), "threshold"))
    onnx.helper.set_model_props(model, dict(facts))
    onnx.checker.check_model(model)
    onnx.save(model, str(made))


def _check(compared: Sequence[Compared], precision: str) -> None:
    labels, score, features = TOLERANCE[precision]
    for one in compared:
        height, width = one.size
        other = round((1 - one.labels) * one.batch * height * width)
        if other > max(TIES, (1 - labels) * one.batch * height * width) or not one.score <= score:
            raise OwsegError(
                f"the export does not predict what the knowledge base does: of images of {width}x{height}, "
                f"{one.labels:.3%} of the labels are equal ({labels:.2%} needed) and scores differ by up to "
                f"{one.score:.2g} units of the threshold ({score:g} allowed); nothing was written."
            )
        if not one.features <= features:
            raise OwsegError(
                f"the export does not find the regions that the knowledge base does: of images of {width}x{height}, "
                f"features differ by up to {one.features:.2g} ({features:g} allowed); nothing was written."
            )


def _named(made: Path, path: Path) -> int:
    """Give what was made its name, and return its bytes."""
    beside = [file for file in made.parent.glob(f"{made.stem}.*") if file.suffix == ".bin"]
    files = {file: path.with_suffix(file.suffix) for file in (*beside, made)}  # the weights first
    total = sum(file.stat().st_size for file in files)
    for file, place in files.items():
        with replacing(place) as aside:
            file.replace(aside)
    return total
