"""The pages and where they lie: the groups as tiles, an open group, and what was learned."""

from __future__ import annotations

import warnings
from typing import Any

from fastapi import FastAPI
from nicegui import ui

from owseg.review.desk import Desk
from owseg.review.files import serve_files
from owseg.review.frame import or_say_why
from owseg.review.group import OpenGroup
from owseg.review.guard import Guard
from owseg.review.learned import draw_learned
from owseg.review.lesson import Lessons
from owseg.review.tiles import Tiles


def application(desk: Desk, lessons: Lessons, token: str = "") -> Any:
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
