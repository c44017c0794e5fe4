"""An exported model, which predicts like the knowledge base that it was made of, by ONNX Runtime, OpenVINO or torch."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from owseg.data.given import Given
from owseg.data.images import ImageLike
from owseg.errors import OwsegError
from owseg.inference.graph import CELLS, FEATURES, as_facts
from owseg.inference.sessions import SUFFIXES, OpenvinoSession, Session
from owseg.knowledge.decision import score_map
from owseg.knowledge.event import Event
from owseg.knowledge.model import prediction_of, regions_of
from owseg.knowledge.prediction import Assessment, Prediction
from owseg.knowledge.regions import RegionFeatures, RegionProposals, min_area_of
from owseg.labels import LabelSpace
from owseg.models.cores import available_cores
from owseg.models.network import check_image
from owseg.models.over_images import over_images
from owseg.openset import Threshold
from owseg.scorers import ON_SEGMENTS
from owseg.scorers.segments import Segments
from owseg.types import Output, Sample


@dataclass(frozen=True, eq=False)
class GraphOutput(Output):
    """What a graph leaves of images: no pyramid and no logits, but its ``maps`` by name, (B, H, W) each."""

    maps: Mapping[str, np.ndarray] = field(default_factory=dict)

    def of(self, i: int) -> GraphOutput:
        """Return that of image ``i`` of the batch alone, as a batch of one."""
        image = None if self.image is None else self.image[i : i + 1]
        return replace(self, image=image, maps={name: maps[i : i + 1] for name, maps in self.maps.items()})


@dataclass(frozen=True, eq=False)
class Runner:
    """A ``Forward`` that runs a graph, as ``over_images`` calls it."""

    session: Session
    size: tuple[int, int] | None
    threshold: float
    batch_size: int = 1
    threads: int = 1
    how: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, image: np.ndarray, scale: float = 1.0) -> Output:
        """Return the output for an image; raise ``OwsegError`` for one of another size than the graph's."""
        return self.run([image])[0]

    def run(self, images: Sequence[np.ndarray]) -> list[Output]:
        """Return the output, a ``GraphOutput``, for each of some images of one size."""
        for image in images:
            check_image(image)
            if self.size is not None and image.shape[1:] != self.size:
                raise OwsegError(
                    f"an image of {image.shape[2]}x{image.shape[1]} does not fit this export, which is for "
                    f"{self.size[1]}x{self.size[0]}; export with --size dynamic, or resize the image."
                )
        given = np.stack(images)
        maps = self.session.run(given, self.threshold)
        nothing = torch.zeros(len(images), 0, 0, 0)
        output = GraphOutput((), nothing, nothing, image=torch.from_numpy(given), maps=maps)
        return [output.of(i) for i in range(len(images))]


@dataclass(frozen=True, eq=False)
class ExportedModel:
    """What ``owseg export`` wrote: it predicts like a knowledge base, and learns nothing.

    ``threshold`` may be another one (``dataclasses.replace``): the graph takes it as an input. ``facts`` is what the
    file says of itself. Regions are not found by a file of an older version, which has no features.
    """

    session: Session = field(repr=False)
    labels: LabelSpace
    scorer: str
    threshold: Threshold | None
    facts: Mapping[str, Any] = field(repr=False)
    batch: int = 1
    workers: int = 1

    increments = ()
    obstacles = None

    @property
    def base_classes(self) -> tuple[str, ...]:
        """The names of the classes that the network was trained for."""
        return self.labels.names[: self.facts["base_classes"]]

    @property
    def history(self) -> Sequence[Event]:
        """What was done to make the knowledge base that it was exported of."""
        events: Sequence[Event] = self.facts["history"]
        return events

    @property
    def learned_classes(self) -> tuple[str, ...]:
        """The names of the classes that were learned since, in their order."""
        return self.labels.names[self.facts["base_classes"] :]

    @property
    def working_size(self) -> int | None:
        """The shorter side, in pixels, to which the graph resizes images; None where they keep their size."""
        size: int | None = self.facts["working_size"]
        return size

    @cached_property
    def scorers(self) -> Mapping[str, Callable[[Output], torch.Tensor]]:
        """The one score that is in the graph, by its name, on the grid that it has."""
        return MappingProxyType({self.scorer: self._score})

    def require_scorer(self, name: str) -> Callable[[Output], torch.Tensor]:
        """Return the scorer called ``name``; raise ``OwsegError`` for another than the one in the graph."""
        if name != self.scorer:
            raise OwsegError(f"this export has the score {self.scorer} alone, not {name}; use the knowledge base.")
        return self.scorers[name]

    def engine(self, **options: Any) -> Runner:
        """Return what runs the graph; raise ``OwsegError`` for options of how an image is run, which are in it."""
        if given := [name.replace("_", "-") for name, value in options.items() if value]:
            raise OwsegError(f"how images are run is in the export; omit --{given[0]}, or use the knowledge base.")
        value = self.threshold.value if self.threshold else 0.0
        size = None if self.facts["size"] == "dynamic" else tuple(int(v) for v in self.facts["size"].split("x"))
        how = {"graph": self.fingerprint(), "runtime": self.session.title}
        return Runner(self.session, size, value, self.batch, self.workers, how)  # type: ignore[arg-type]

    def assess(
        self, output: Output, size: tuple[int, int], scorers: tuple[str, ...] = (),
        scores: Mapping[str, np.ndarray] = MappingProxyType({}),
    ) -> Assessment:  # fmt: skip
        """Return closed map, learned classes and score of one image; at a ``size`` other than its own, interpolated."""
        assert isinstance(output, GraphOutput)
        for name in scorers:
            self.require_scorer(name)
        labels, learned = output.maps["labels"], output.maps["learned"]
        if labels.shape[1:] != size:
            both = torch.from_numpy(np.stack([labels, learned.astype(np.uint8)], 1))
            labels, learned = F.interpolate(both, size=size, mode="nearest-exact").numpy().swapaxes(0, 1)
        score = scores[self.scorer] if self.scorer in scores else score_map(self._score(output), size).numpy()[0]
        return Assessment(labels[0], learned[0].astype(bool), {self.scorer: score})

    def _score(self, output: Output) -> torch.Tensor:
        assert isinstance(output, GraphOutput)
        maps = output.maps
        if self.scorer.endswith(ON_SEGMENTS):
            return Segments(lambda _: torch.from_numpy(maps[CELLS]))(output)
        return torch.from_numpy(maps["score"])

    def predict(self, image: ImageLike) -> Prediction:
        """Label an image as ``KnowledgeBase.predict`` does, and raise as that."""
        sample = Given([image])[0]
        return self.decide(sample, self.engine()(sample.image))

    def predict_all(self, images: Sequence[Any]) -> list[Prediction]:
        """Label each of some images, several at a time."""
        return list(over_images(self.engine(), Given(images), self.decide))

    def decide(self, sample: Sample, output: Output) -> Prediction:
        """Return the prediction for an image whose output is there."""
        assert isinstance(output, GraphOutput)
        find = partial(self._regions, output) if FEATURES in output.maps else None
        return prediction_of(self, sample, output, find)

    def _regions(self, output: GraphOutput, prediction: Prediction) -> RegionProposals:
        features = RegionFeatures.of_map(output.maps[FEATURES][0])
        return regions_of(prediction, features, self.facts["means"], min_area_of(self.scorer))

    def fingerprint(self, decides: bool = False) -> str:
        """Return a short SHA-256 of all that labels and scores depend on; the threshold if it ``decides``."""
        value = [self.facts["fingerprint"], self.facts["precision"], self.facts["size"], self.scorer]
        threshold = self.threshold.to_json() if decides and self.threshold else None
        return sha256(json.dumps([value, threshold], sort_keys=True).encode()).hexdigest()[:16]


def load_export(
    path: str | Path, batch: int | None = None, workers: int | None = None, precision: str = "32"
) -> ExportedModel:
    """Open what ``owseg export`` wrote: .onnx by ONNX Runtime, .xml by OpenVINO, .pt by torch.

    ``workers`` threads work on images, by default as many as there are cores for this process (``available_cores``);
    each has its share of these. With the ``precision`` bf16, which is for OpenVINO alone, a CPU with AMX takes half the
    time, and labels and scores differ (docs/export.md). Raises ``OwsegError`` for a file that is damaged or that owseg
    did not write, and where the runtime is not installed.
    """
    path = Path(path).expanduser()
    cores = min(available_cores(), torch.get_num_threads())  # which OMP_NUM_THREADS sets
    workers = workers or cores
    threads = max(1, cores // workers)
    if precision == "bf16" and path.suffix == ".xml":
        session: Session = OpenvinoSession(path, threads, workers, precision)
    elif precision == "32":
        session = SUFFIXES[path.suffix](path, threads, workers)
    else:
        raise OwsegError(f"{path} runs in its own precision; omit --precision (bf16 is for OpenVINO, .xml).")
    try:
        facts = as_facts(session.facts)
        labels, threshold = LabelSpace.from_json(facts["classes"]), Threshold.from_json(facts["threshold"])
    except OwsegError as error:
        raise OwsegError(f"{path} cannot be used: {error}") from None
    return ExportedModel(session, labels, facts["scorer"], threshold, facts, batch or 1, workers)
