"""The addresses of the pages: all groups, an open group, and the class learned last."""

from __future__ import annotations

import warnings

from fastapi import FastAPI
from nicegui import ui

from owseg.review.files import serve_files
from owseg.review.frame import draw_page
from owseg.review.group_page import GroupPage
from owseg.review.learned_page import draw_learned
from owseg.review.listing import Listing
from owseg.review.session import LearningSession
from owseg.review.state import ReviewState
from owseg.review.tiles_page import TilesPage
from owseg.serve.guard import Guard

POLICY = "; ".join(
    (
        "default-src 'none'",
        # NiceGUI writes scripts and styles into the page, and compiles templates there.
        "script-src 'self' 'unsafe-inline' 'unsafe-eval'",
        "style-src 'self' 'unsafe-inline'",
        "font-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
"""The Content-Security-Policy: nothing is loaded from, and nothing sent to, any other server."""


def application(state: ReviewState, session: LearningSession, token: str, local: bool) -> Guard:
    """Return the pages as an ASGI application, behind the guard, which ``token`` and ``local`` are for."""
    # No schema and no pages of it: the routes are for these pages alone.
    web = FastAPI(openapi_url=None)
    serve_files(web, state, session)

    @ui.page("/")
    def tiles(at: int = 1, sort: str = "", least: int = 0, only: str = "") -> None:
        draw_page(TilesPage, state, Listing(sort, least, only), at)

    @ui.page("/group/{number}")
    def group(number: int, region: str = "", sort: str = "", least: int = 0, only: str = "") -> None:
        draw_page(GroupPage, state, session, Listing(sort, least, only), number, region)

    @ui.page("/learned")
    def learned() -> None:
        draw_page(draw_learned, state, session)

    warnings.filterwarnings("ignore", module="nicegui")  # it inspects every object there is, and some of torch's warn
    ui.run_with(web, title="owseg review", reconnect_timeout=30, show_welcome_message=False, tailwind=False)
    return Guard(web, token, local, POLICY)
