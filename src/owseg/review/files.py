"""What the pages fetch and send besides themselves: images, thumbnails, segments and label maps; corrected masks."""

from __future__ import annotations

from fastapi import FastAPI, Request, Response
from fastapi.responses import FileResponse, JSONResponse

from owseg.errors import OwsegError
from owseg.review.session import LearningSession
from owseg.review.state import ReviewState


def serve_files(web: FastAPI, state: ReviewState, session: LearningSession) -> None:
    """Add the routes of images, thumbnails, segments, label maps and corrected masks to ``web``.

    Errors are answered with 400.
    """
    # What belongs to an id never changes.
    cached = {"Cache-Control": "private, max-age=3600"}

    @web.exception_handler(OwsegError)
    def refuse(_: Request, error: OwsegError) -> JSONResponse:
        return JSONResponse({"error": str(error)}, 400)

    @web.get("/thumbnails/{region}.jpg")
    def thumbnail(region: str) -> Response:
        path = state.queue.thumbnail(region)
        if not path.is_file():
            raise OwsegError(f"{path} is gone; run `owseg discover` again with another --out.")
        return FileResponse(path, headers=cached)

    @web.get("/images/{image_id}.jpg")
    def image(image_id: str) -> Response:
        return Response(state.jpeg(image_id), media_type="image/jpeg", headers=cached)

    @web.get("/segments/{image_id}.png")
    def segments(image_id: str) -> Response:
        return Response(state.segments(image_id), media_type="image/png", headers=cached)

    @web.get("/maps/{version}/{image_id}.jpg")
    def overlay(version: int, image_id: str) -> Response:
        return Response(session.overlay(version, image_id), media_type="image/jpeg")

    @web.post("/masks/{region}")
    async def correct(region: str, request: Request) -> dict[str, str]:
        # async: on the event loop, like every action on the queue, so that they are taken one after another.
        try:
            value = await request.json()
            name, counts = value["name"], value["counts"]
        except (ValueError, TypeError, KeyError, RecursionError):
            raise OwsegError("a corrected mask is sent as JSON: name, and counts, its run lengths.") from None
        state.correct(region, name, counts)
        return {"region": region}
