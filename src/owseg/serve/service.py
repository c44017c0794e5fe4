"""The service without its routes: images in, answers out, by the model in use."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from math import ceil
from typing import Any

import numpy as np
from starlette.requests import Request

from owseg._progress import logger
from owseg.errors import OwsegError
from owseg.serve.batching import Batcher, Closed, Full
from owseg.serve.images import decoded
from owseg.serve.metrics import Metrics
from owseg.serve.model import Answer, Current, Served
from owseg.serve.refused import LEFT, Refused
from owseg.serve.settings import Limits

WATCH = 1.0
"""Every so many seconds it is looked whether another version is current."""


class Service:
    """Answers images by the model in use, a few at a time, and puts a newer version to use."""

    def __init__(self, current: Current, limits: Limits) -> None:
        self.current, self.limits = current, limits
        self.batcher: Batcher[np.ndarray, Answer] = Batcher(
            self._run, lambda: current.model.at_once, limits.max_wait, limits.max_queue
        )
        self.metrics = Metrics(lambda: len(self.batcher), lambda: current.model)

    def _run(self, images: Sequence[np.ndarray]) -> Iterable[Answer | Exception]:
        self.metrics.taken(len(images))
        return self.current.model.answers(images)  # one model for all of them, whatever is loaded meanwhile

    async def answers(self, request: Request, files: Sequence[bytes]) -> list[Answer | Exception]:
        """Return the answer for each image, or what is wrong with it.

        Raises ``Refused``: 429 where they have no place in the queue, 503 while the service ends, and 499 where the
        client has left.
        """
        try:
            self.batcher.require_place(len(files))  # before they take memory
            found: list[Answer | Exception | np.ndarray] = [
                *await asyncio.gather(*(asyncio.to_thread(self._decoded, data) for data in files))
            ]
            places = [i for i, image in enumerate(found) if isinstance(image, np.ndarray)]
            futures = self.batcher.submit([image for image in found if isinstance(image, np.ndarray)])
        except Full as full:
            seconds = max(1, ceil(full.seconds))
            why = f"{len(self.batcher)} images wait already; try again in {seconds} s."
            raise Refused(429, why, {"Retry-After": str(seconds)}) from None
        except Closed:
            raise Refused(503, "the service is ending; try again later.", {"Retry-After": "5"}) from None
        for i, answer in zip(places, await _unless_gone(request, futures), strict=True):
            found[i] = answer
            if isinstance(answer, Answer):
                self.metrics.answered(answer)
        return [answer for answer in found if not isinstance(answer, np.ndarray)]

    def _decoded(self, data: bytes) -> np.ndarray | Exception:
        try:
            return decoded(data, self.limits.max_pixels)
        except Refused as refused:
            return refused

    async def reload(self) -> Served:
        """Load what is current now and put it to use; raise ``OwsegError`` where that is not possible."""
        try:
            model = await asyncio.to_thread(self.current.reload)
        except OwsegError:
            self.metrics.reloaded(False)
            raise
        self.metrics.reloaded(True)
        return model

    async def watch(self) -> None:
        """Put each version to use that becomes current, until this is cancelled."""
        while True:
            await asyncio.sleep(WATCH)
            if await asyncio.to_thread(self.current.has_changed):
                try:
                    await self.reload()
                except OwsegError:
                    logger.debug("The version that is current now was not loaded.", exc_info=True)

    async def close(self) -> None:
        """Finish what waits, and take nothing more."""
        await asyncio.to_thread(self.batcher.close)


async def _unless_gone(request: Request, futures: Sequence[Future[Answer]]) -> list[Answer | Exception]:
    """Return all results, or what was raised; where the client leaves, cancel them and raise ``Refused``."""
    results = asyncio.gather(*map(asyncio.wrap_future, futures), return_exceptions=True)
    gone = asyncio.ensure_future(_disconnected(request))
    both: set[asyncio.Future[Any]] = {results, gone}
    try:
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if not results.done():
            for future in futures:
                future.cancel()
            raise Refused(499, LEFT)
    finally:
        gone.cancel()
    return [_answer_or_raise(found) for found in await results]


def _answer_or_raise(found: Answer | BaseException) -> Answer | Exception:
    if isinstance(found, Answer | Exception):
        return found
    raise found


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
