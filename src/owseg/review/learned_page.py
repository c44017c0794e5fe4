"""What the last lesson changed: images as they were labelled before and after."""

from __future__ import annotations

from nicegui import ui

from owseg.review.frame import draw_frame, said
from owseg.review.session import Change, LearningSession
from owseg.review.state import ReviewState


def draw_learned(desk: ReviewState, lessons: LearningSession) -> None:
    """Draw what the last lesson changed, or that there was none."""
    change = lessons.change()

    def undo() -> None:
        lessons.undo()
        ui.navigate.to("/")

    def key(name: str, shift: bool) -> None:
        if name == "u" and change is not None:
            undo()

    if change is None:
        draw_frame("What was learned", None, key)
        with ui.element("main").classes("tiles"):
            ui.label("Nothing was learned from this queue yet.").classes("muted")
        return
    draw_frame(f"Learned: {change.name}", None, key)
    images = lessons.images(change)
    with ui.element("main").classes("changed"):
        with ui.element("div").classes("lead"):
            ui.element("i").style(f"background: rgb{change.color}")
            ui.label(f"is {change.name} now, magenta what is still unknown.")
            ui.space()
            ui.button(f"Undo: forget {change.name}", on_click=said(undo)).props("outline no-caps id=forget")
            ui.button("Go on", on_click=lambda: ui.navigate.to("/")).props("unelevated no-caps")
        with ui.element("div").classes("pairs"):
            for one in images:
                _draw_pair(one, desk.entry(one).name, change)
        ui.label(
            f"{lessons.target} is at version {change.now}; undo takes version {change.before} into use again "
            "and deletes nothing. What the new version does not know is found with owseg discover."
        ).classes("muted")


def _draw_pair(one: str, name: str, change: Change) -> None:
    """Draw an image as both versions labelled it."""
    with ui.element("figure"):
        for version, caption in ((change.before, "before"), (change.now, "after")):
            with ui.element("div"):
                ui.element("img").props(f'src="/maps/{version}/{one}.jpg" alt="{caption}"')
                ui.label(caption).classes("caption")
        taught = ", it taught the class" if name in change.shots else ""
        with ui.element("figcaption"):
            ui.label(f"{name}{taught}").classes("muted")
