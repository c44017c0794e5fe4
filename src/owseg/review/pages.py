"""The pages and where they lie: the groups as tiles, an open group, and what was learned."""

from __future__ import annotations

import warnings
from typing import Any

from fastapi import FastAPI
from nicegui import ui

from owseg.review.files import serve_files
from owseg.review.frame import or_say_why
from owseg.review.group_page import OpenGroup
from owseg.review.learned_page import draw_learned
from owseg.review.session import LearningSession
from owseg.review.state import ReviewState
from owseg.review.tiles_page import Tiles
from owseg.serve.guard import Guard


def application(desk: ReviewState, lessons: LearningSession, token: str = "") -> Any:
    """Return the pages as an ASGI application, under its guard."""
    web = FastAPI(openapi_url=None)
    serve_files(web, desk, lessons)

    @ui.page("/")
    def tiles(at: int = 1) -> None:
        or_say_why(Tiles, desk, at)

    @ui.page("/group/{number}")
    def group(number: int, region: str = "") -> None:
        or_say_why(OpenGroup, desk, lessons, number, region)

    @ui.page("/learned")
    def learned() -> None:
        or_say_why(draw_learned, desk, lessons)

    warnings.filterwarnings("ignore", module="nicegui")  # it looks at every object there is, and torch's complain
    ui.run_with(web, title="owseg review", reconnect_timeout=30, show_welcome_message=False, tailwind=False)
    return Guard(web, token)
