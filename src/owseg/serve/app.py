"""The routes of ``owseg serve``, behind the guard."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from importlib.resources import files
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp

from owseg import __version__
from owseg._files import json_ready
from owseg._progress import logger
from owseg.data.images import failure
from owseg.errors import OwsegError
from owseg.serve import schema
from owseg.serve.answers import PNG, as_json, encoded, map_names, wants_png
from owseg.serve.guard import Guard
from owseg.serve.images import several_images, single_image
from owseg.serve.model import Answer
from owseg.serve.refused import LEFT, Refused
from owseg.serve.service import Service

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob: data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
"""The Content-Security-Policy: the page runs its own script alone, and loads nothing from any other server."""

PROBES = ("/healthz", "/readyz")
"""What is answered without the token: whether the service lives, and whether it takes images."""

PAGE = {
    "/": ("page.html", "text/html"),
    "/page.js": ("page.js", "text/javascript"),
    "/page.css": ("page.css", "text/css"),
}
"""The files of the page and their types, by address."""

Maps = Annotated[str, Query(description=f"Of {', '.join(PNG)}, with commas; as PNG one of them, by default overlay.")]
Format = Annotated[str, Query(description="json or png; by default what the header Accept asks for.")]


def application(service: Service, token: str | None, local: bool) -> ASGIApp:
    """Return the service as an ASGI application; ``token`` and ``local`` are those of ``Guard``."""
    web = routes(service)
    paths = {getattr(route, "path", "") for route in web.routes}
    guard = Guard(web, token, local, POLICY, service.limits.max_bytes, PROBES)
    return service.metrics.measured(guard, paths)


def routes(service: Service) -> FastAPI:
    """Return the routes, and what is done at the beginning and the end, without the guard."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        watch = asyncio.create_task(service.watch())
        yield
        watch.cancel()
        with suppress(asyncio.CancelledError):
            await watch
        await service.close()

    web = FastAPI(
        title="owseg serve", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None,
        description="Which class each pixel of an image is of, and which are of none.",
    )  # fmt: skip
    _add_predictions(web, service)
    _add_model(web, service)
    _add_probes(web, service)
    _add_page(web)
    _add_refusals(web)
    return web


def _add_predictions(web: FastAPI, service: Service) -> None:
    png = {"description": "JSON, or one map.", "model": schema.Prediction, "content": {"image/png": {}}}

    @web.post("/v1/predict", responses={200: png, **schema.REFUSALS}, openapi_extra=schema.IMAGE_BODY)
    async def predict(request: Request, maps: Maps = "", format: Format = "") -> Response:
        """Predict one image."""
        names = map_names(maps)
        as_png = wants_png(request.headers.get("accept", ""), format)
        if as_png and len(names) > 1:
            raise Refused(422, "a PNG is of one map; name one, or ask for json.")
        name, data = await single_image(request)
        (answer,) = await service.answers(request, [data])
        if isinstance(answer, Exception):
            raise answer
        version = {"X-Owseg-Version": str(answer.version)}
        if as_png:
            content = await asyncio.to_thread(PNG[(*names, "overlay")[0]], answer.prediction)
            return Response(content, media_type="image/png", headers=version)
        content = await asyncio.to_thread(lambda: encoded(as_json(answer, name, names)))
        return Response(content, media_type="application/json", headers=version)

    several = {200: {"model": schema.Batch}, **schema.REFUSALS}

    @web.post("/v1/predict/batch", responses=several, openapi_extra=schema.FILES_BODY)
    async def predict_batch(request: Request, maps: Maps = "") -> Response:
        """Predict several images; one that cannot be read has an error in place of its prediction."""
        names = map_names(maps)
        files = await several_images(request, service.limits.max_queue)
        answers = await service.answers(request, [data for _, data in files])
        if all(isinstance(answer, Exception) for answer in answers):
            raise answers[0]  # type: ignore[misc]

        def content() -> bytes:
            pairs = zip(files, answers, strict=True)
            return encoded({"results": [_result(answer, name, names) for (name, _), answer in pairs]})

        return Response(await asyncio.to_thread(content), media_type="application/json")


def _result(answer: Answer | Exception, name: str, maps: tuple[str, ...]) -> dict[str, Any]:
    if isinstance(answer, Exception):
        return {"image": name, "error": _sentence(answer)[1]}
    return as_json(answer, name, maps)


def _add_model(web: FastAPI, service: Service) -> None:
    def about() -> Response:
        value = {**service.current.model.about, "failure": service.current.failure}
        return Response(encoded(json_ready(value)), media_type="application/json")

    @web.get("/v1/model", responses={200: {"model": schema.ModelInfo}})
    async def model() -> Response:
        """Describe the version in use."""
        return about()

    responses: dict[int | str, dict[str, Any]] = {
        200: {"model": schema.ModelInfo},
        409: {"model": schema.Error, "description": "It does not load; the version in use stays."},
    }

    @web.post("/v1/reload", responses=responses)
    async def reload() -> Response:
        """Put the version to use that is current now."""
        try:
            await service.reload()
        except OwsegError as error:
            raise Refused(409, str(error)) from None
        return about()


def _add_probes(web: FastAPI, service: Service) -> None:
    @web.get("/healthz")
    async def healthz() -> dict[str, str]:
        """Say whether the service lives; if not, it has to be started again."""
        if not service.batcher.is_working:
            raise Refused(503, "the worker has ended; start the service again.")
        return {"status": "ok"}

    @web.get("/readyz")
    async def readyz() -> dict[str, str]:
        """Say whether an image would be taken now."""
        if not service.batcher.is_working or len(service.batcher) >= service.batcher.capacity:
            raise Refused(503, "the queue is full, or the service is ending; send images elsewhere.")
        return {"status": "ok"}

    @web.get("/metrics")
    async def metrics() -> Response:
        """Return the metrics as Prometheus reads them."""
        return Response(await asyncio.to_thread(service.metrics.text), media_type=CONTENT_TYPE_LATEST)


def _add_page(web: FastAPI) -> None:
    for path, (name, kind) in PAGE.items():
        content = (files("owseg.serve") / "page" / name).read_bytes()

        def page(request: Request, content: bytes = content, kind: str = kind) -> Response:
            return Response(content, media_type=kind, headers={"Cache-Control": "no-cache"})

        web.add_route(path, page, include_in_schema=False)


def _add_refusals(web: FastAPI) -> None:
    """Answer whatever goes wrong with one sentence."""

    async def answer(_: Request, error: Exception) -> Response:
        status, why = _sentence(error)
        headers = getattr(error, "headers", None)
        return JSONResponse({"error": why}, status, headers=headers)

    for kind in (OwsegError, HTTPException, RequestValidationError, ClientDisconnect, Exception):
        web.add_exception_handler(kind, answer)


NOT_FOUND = "there is nothing at this address; /openapi.json has those that there are."


def _sentence(error: Exception) -> tuple[int, str]:
    """Return the status and the sentence for what went wrong."""
    if isinstance(error, Refused):
        return error.status, str(error)
    if isinstance(error, OwsegError):
        return 422, str(error)
    if isinstance(error, HTTPException):
        said = {404: NOT_FOUND, 405: "this address takes another method; /openapi.json says which."}
        return error.status_code, said.get(error.status_code, f"{str(error.detail).rstrip('.')}.")
    if isinstance(error, ClientDisconnect):
        return 499, LEFT
    if isinstance(error, RequestValidationError):
        return 422, "the query cannot be read; /openapi.json says what there is."
    logger.error("An image could not be predicted.", exc_info=error)
    return 500, failure("the image", error) if isinstance(error, MemoryError) else "this went wrong; the log says why."
