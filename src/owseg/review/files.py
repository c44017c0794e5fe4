"""What the pages fetch and send besides themselves: images, thumbnails and label maps, and corrected masks."""

from __future__ import annotations

from fastapi import FastAPI, Request, Response
from fastapi.responses import FileResponse, JSONResponse

from owseg.errors import OwsegError
from owseg.review.session import LearningSession
from owseg.review.state import ReviewState


def serve_files(web: FastAPI, desk: ReviewState, lessons: LearningSession) -> None:
    """Serve images, and take corrected masks."""
    kept = {"Cache-Control": "private, max-age=3600"}

    @web.exception_handler(OwsegError)
    def refuse(_: Request, error: OwsegError) -> JSONResponse:
        return JSONResponse({"error": str(error)}, 400)

    @web.get("/thumbnails/{region}.jpg")
    def thumbnail(region: str) -> Response:
        path = desk.queue.thumbnail(region)
        if not path.is_file():
            raise OwsegError(f"{path} is gone; run `owseg discover` again with another --out.")
        return FileResponse(path, headers=kept)

    @web.get("/images/{one}.jpg")
    def image(one: str) -> Response:
        return Response(desk.jpeg(one), media_type="image/jpeg", headers=kept)

    @web.get("/maps/{version}/{one}.jpg")
    def labelled(version: int, one: str) -> Response:
        return Response(lessons.map(version, one), media_type="image/jpeg")

    @web.post("/masks/{region}")
    async def correct(region: str, request: Request) -> dict[str, str]:
        # On the event loop, as all that writes to the queue: actions are taken one after another.
        try:
            value = await request.json()
            name, counts = value["name"], value["counts"]
        except (ValueError, TypeError, KeyError, RecursionError):
            raise OwsegError("a corrected mask is sent as JSON: name, and counts, its run lengths.") from None
        desk.correct(region, name, counts)
        return {"region": region}
