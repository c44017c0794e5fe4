"""What Prometheus is given: requests by status, latency, the queue, what images are like, and whether that drifts."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection
from math import nan
from time import perf_counter

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from owseg.serve.model import Answer, Served

RECENT = 100
"""Of so many images, the latest, the scores are compared with those that the threshold is for."""

SECONDS = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0)
SHARES = (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
IMAGES = (1, 2, 4, 8, 16, 32, 64)
"""The upper bounds of the bars of histograms."""


class Metrics:
    """The metrics of one service, in a registry of their own; all have names that begin with ``owseg_``."""

    def __init__(self, waiting: Callable[[], int], model: Callable[[], Served]) -> None:
        self._model, self._recent = model, deque[np.ndarray](maxlen=RECENT)
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._requests = Counter(
            "owseg_requests", "Requests by path and status.", ["path", "status"], registry=registry
        )
        self._seconds = Histogram(
            "owseg_request_seconds", "Time from the first byte to the last of the answer.", ["path"], buckets=SECONDS,
            registry=registry,
        )  # fmt: skip
        self._images = Counter("owseg_images", "Images that were answered.", registry=registry)
        self._batches = Histogram(
            "owseg_batch_images", "Images that the worker took at once.", buckets=IMAGES, registry=registry
        )
        self._unknown = Histogram(
            "owseg_unknown_share", "Share of an image that is unknown.", buckets=SHARES, registry=registry
        )
        self._reloads = Counter("owseg_reloads", "Versions that were loaded, or not.", ["result"], registry=registry)
        self._drift = {
            name: Gauge(f"owseg_{name}", text, registry=registry)
            for name, text in (
                ("score_shift", f"By how much the median scores of the last {RECENT} images are higher."),
                ("score_shift_critical", "How large that may be by chance."),
                ("known_lost_share", "Estimated share of known pixels that are called unknown there."),
                ("new_place", "1 where the images are of another place than the threshold is for, else 0."),
            )
        }
        Gauge("owseg_queue_images", "Images that wait.", registry=registry).set_function(waiting)
        version = Gauge("owseg_version", "The version in use, -1 where it has no number.", registry=registry)
        version.set_function(lambda: -1 if (number := model().version) is None else number)

    def taken(self, images: int) -> None:
        """Count a batch."""
        self._batches.observe(images)

    def answered(self, answer: Answer) -> None:
        """Count an image; its scores are compared where they are of the version in use."""
        self._images.inc()
        self._unknown.observe(answer.prediction.unknown)
        if answer.scores is not None and answer.version == self._model().version:
            self._recent.append(answer.scores)

    def reloaded(self, well: bool) -> None:
        """Count a version that was loaded, or was not; with another one the comparison begins anew."""
        self._reloads.labels("loaded" if well else "failed").inc()
        if well:
            self._recent.clear()

    def refused(self, status: int, path: str = "other") -> None:
        """Count a request that was answered before its path was known."""
        self._requests.labels(path, str(status)).inc()

    def text(self) -> bytes:
        """Return all of it as Prometheus reads it."""
        shift = self._model().shift([*self._recent])
        found = (0.0, nan, 0.0, 0.0) if shift is None else (shift.score, shift.critical, shift.lost, shift.significant)
        for gauge, value in zip(self._drift.values(), found, strict=True):
            gauge.set(value)
        return generate_latest(self._registry)

    def measured(self, app: ASGIApp, paths: Collection[str]) -> ASGIApp:
        """Return ``app`` with its answers counted by status and ``paths``; all other paths are one."""

        async def counted(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                return await app(scope, receive, send)
            path, began = scope["path"] if scope["path"] in paths else "other", perf_counter()

            async def send_counted(message: Message) -> None:
                if message["type"] == "http.response.start":
                    self._requests.labels(path, str(message["status"])).inc()
                await send(message)

            await app(scope, receive, send_counted)
            self._seconds.labels(path).observe(perf_counter() - began)

        return counted
