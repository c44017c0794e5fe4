"""Graphs of ONNX with fewer bits: weights of 16, or convolutions of 8."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from owseg.inference.sessions import library

QUANTIZED = ("Conv", "Clip", "Relu")
"""The operators that compute with 8 bits; what scores and increments do stays in float."""

NETWORK = "/parts.0/"
"""How the names of the network's nodes begin (see ``owseg.inference.graph.Decision``)."""


def to_16_bits(path: Path, images: Sequence[np.ndarray]) -> None:
    """Store the weights of convolutions with 16 bits: half the file. A runtime computes with what it likes best."""
    onnx = library("onnx")
    model = onnx.load(str(path))
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    wanted = [node for node in model.graph.node if node.op_type == "Conv" and node.name.startswith(NETWORK)]
    casts = []
    for name in dict.fromkeys(node.input[1] for node in wanted if node.input[1] in stored):
        tensor = stored[name]
        half = onnx.numpy_helper.to_array(tensor).astype(np.float16)
        tensor.CopyFrom(onnx.numpy_helper.from_array(half, f"{name}.half"))
        cast = onnx.helper.make_node("Cast", [f"{name}.half"], [name], f"{name}.float", to=onnx.TensorProto.FLOAT)
        casts.append(cast)
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.save(model, str(path))


def to_8_bits(path: Path, images: Sequence[np.ndarray]) -> None:
    """Let the network's convolutions compute with 8 bits, by ranges that are found on ``images`` (3, H, W) uint8."""
    quantization = library("onnxruntime.quantization")
    prepared = path.with_suffix(".prepared.onnx")
    library("onnxruntime.quantization.shape_inference").quant_pre_process(
        str(path), str(prepared), skip_symbolic_shape=True
    )
    nodes = library("onnx").load(str(prepared)).graph.node
    floats = [node.name for node in nodes if node.op_type in QUANTIZED and not node.name.startswith(NETWORK)]
    quantization.quantize_static(
        str(prepared), str(path), _Images(images), quant_format=quantization.QuantFormat.QDQ, per_channel=True,
        op_types_to_quantize=[*QUANTIZED], nodes_to_exclude=floats,
        activation_type=quantization.QuantType.QUInt8, weight_type=quantization.QuantType.QInt8,
    )  # fmt: skip


class _Images:
    """Images one after the other, as ONNX Runtime asks for them."""

    def __init__(self, images: Sequence[np.ndarray]) -> None:
        self._images: Iterator[np.ndarray] = iter(images)

    def get_next(self) -> dict[str, Any] | None:
        """Return what to run the graph on next; None at the end."""
        image = next(self._images, None)
        return None if image is None else {"image": image[None], "threshold": np.array(0, np.float32)}


REDUCE: Mapping[str, Callable[[Path, Sequence[np.ndarray]], None]] = {"fp16": to_16_bits, "int8": to_8_bits}
"""What changes the file of a graph, by the precision that is asked for."""
