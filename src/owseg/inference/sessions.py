"""What runs an exported graph: one class a runtime, each imported when it is used."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import local
from typing import Any, Protocol

import numpy as np
import torch

from owseg.errors import OwsegError
from owseg.inference.graph import CELLS, OUTPUTS

FACTS = "owseg"
"""The key, or the file, under which OpenVINO and torch keep what a graph says of itself."""


class Session(Protocol):
    """A graph that is loaded; several threads may run it at once."""

    facts: Mapping[str, str]
    title: str

    def run(self, images: np.ndarray, threshold: float) -> dict[str, np.ndarray]:
        """Return the maps by name, (B, H, W) each, of images (B, 3, H, W) uint8."""
        ...


class OnnxSession:
    """A graph in ONNX Runtime on ``threads`` threads of a CPU, for each of the ``workers`` that run it."""

    def __init__(self, path: Path, threads: int, workers: int = 1) -> None:
        onnxruntime = library("onnxruntime")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        # Threads that spin while they wait take the cores from those that prepare and pool.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # each kind of damage has its own
            raise OwsegError(
                f"{path} is no graph that ONNX Runtime opens ({_reason(error)}); export it anew."
            ) from None
        self.facts: Mapping[str, str] = self._session.get_modelmeta().custom_metadata_map
        self._names = [output.name for output in self._session.get_outputs()]
        self.title = "ONNX Runtime"

    def run(self, images: np.ndarray, threshold: float) -> dict[str, np.ndarray]:
        """Return the maps by name."""
        feed = {"image": images, "threshold": np.array(threshold, np.float32)}
        return dict(zip(self._names, self._session.run(None, feed), strict=True))


class OpenvinoSession:
    """A graph in OpenVINO on ``threads`` threads of a CPU for each of the ``workers`` that run it at the same time.

    ``precision`` is OpenVINO's hint, f32 or bf16.
    """

    def __init__(self, path: Path, threads: int, workers: int = 1, precision: str = "f32") -> None:
        openvino = library("openvino")
        core = openvino.Core()
        # By default one request runs at a time, and the workers would wait for each other.
        hints = {
            "INFERENCE_NUM_THREADS": threads * workers,
            "NUM_STREAMS": workers,
            "INFERENCE_PRECISION_HINT": precision,
        }
        if not (weights := path.with_suffix(".bin")).is_file():
            raise OwsegError(f"{weights}, with the weights of {path}, does not exist; put it beside that.")
        try:
            model = core.read_model(str(path))
            self._model = core.compile_model(model, "CPU", hints)
        except Exception as error:
            raise OwsegError(f"{path} is no graph that OpenVINO opens ({_reason(error)}); export it anew.") from None
        about = model.get_rt_info()
        self.facts: Mapping[str, str] = json.loads(about[FACTS].astype(str)) if FACTS in about else {}
        self._requests, self.title = local(), f"OpenVINO, {precision}"

    def run(self, images: np.ndarray, threshold: float) -> dict[str, np.ndarray]:
        """Return the maps by name."""
        if not hasattr(self._requests, "mine"):  # a request is for one thread
            self._requests.mine = self._model.create_infer_request()
        found = self._requests.mine.infer({"image": images, "threshold": np.array(threshold, np.float32)})
        # What is handed on as it is has more than one name.
        return {name: np.array(found[output]) for output in self._model.outputs for name in output.names}


class TorchSession:
    """A graph in TorchScript, with the threads that torch has."""

    def __init__(self, path: Path, threads: int, workers: int = 1) -> None:
        extra = {f"{FACTS}.json": ""}
        try:
            load: Callable[..., Any] = torch.jit.load
            self._module = load(str(path), map_location="cpu", _extra_files=extra)
        except Exception as error:
            raise OwsegError(f"{path} is no graph that torch opens ({_reason(error)}); export it anew.") from None
        about = extra[f"{FACTS}.json"]
        self.facts: Mapping[str, str] = json.loads(about) if about else {}
        self.title = "torch"

    @torch.no_grad()
    def run(self, images: np.ndarray, threshold: float) -> dict[str, np.ndarray]:
        """Return the maps by name."""
        found = self._module(torch.from_numpy(images), torch.tensor(threshold, dtype=torch.float32))
        return {name: maps.numpy() for name, maps in zip((*OUTPUTS, CELLS), found, strict=False)}


SUFFIXES: Mapping[str, Callable[[Path, int, int], Session]] = {
    ".onnx": OnnxSession,
    ".xml": OpenvinoSession,
    ".pt": TorchSession,
}
"""What opens an export, by the suffix of its file."""


def library(name: str) -> Any:
    """Return the module of a library that only exports need; raise ``OwsegError`` with the command that installs it."""
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError:
        raise OwsegError(f"exports need {name.split('.')[0]}; install it with `pip install 'owseg[export]'`.") from None


def _reason(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip(".")[:200]
