"""The page of the class learned last: images before and after."""

from __future__ import annotations

from nicegui import ui

from owseg.evaluation.diagnostics import of_shots
from owseg.review.frame import draw_frame, sentence, showing_errors
from owseg.review.session import Change, LearningSession
from owseg.review.state import ReviewState


def draw_learned(state: ReviewState, session: LearningSession) -> None:
    """Draw what the current version learned, or that nothing was learned."""
    change = session.change()

    def undo() -> None:
        session.undo()
        ui.navigate.to("/")

    def key(name: str, shift: bool) -> None:
        if name == "u" and change is not None:
            undo()

    if change is None:
        draw_frame("The class learned last", None, key)
        with ui.element("main").classes("tiles"):
            ui.label("Nothing was learned from this queue yet.").classes("muted")
        return
    draw_frame(f"{'Corrected' if change.corrected else 'Learned'}: {change.name}", None, key)
    images = session.images_to_compare(change)
    with ui.element("main").classes("changed"):
        with ui.element("div").classes("lead"):
            ui.element("i").style(f"background: rgb{change.color}")
            ui.label(f"is {change.name}; magenta is unknown.")
            ui.space()
            label = "Undo the correction" if change.corrected else f"Undo: forget {change.name}"
            ui.button(label, on_click=showing_errors(undo)).props("outline no-caps id=forget")
            ui.button("Back to the groups", on_click=lambda: ui.navigate.to("/")).props("unelevated no-caps")
        for line in [] if change.found is None else of_shots(change.name, change.found):
            ui.label(sentence(line)).classes("check")
        with ui.element("div").classes("pairs"):
            for image_id in images:
                _draw_pair(image_id, state.entry(image_id).name, change)
        ui.label(
            f"{session.target} is at version {change.version}. Undo makes version {change.parent} current again and "
            "deletes nothing. To find what the new version does not know, run owseg discover with it."
        ).classes("muted")


def _draw_pair(image_id: str, name: str, change: Change) -> None:
    """Draw an image with the labels of both versions."""
    with ui.element("figure"):
        for version, caption in ((change.parent, "before"), (change.version, "after")):
            with ui.element("div"):
                ui.element("img").props(f'src="/maps/{version}/{image_id}.jpg" alt="{caption}"')
                ui.label(caption).classes("caption")
        shot = ", one of the shots" if name in change.shots else ""
        if name in (found := change.found or {}):
            shot += f": IoU {found[name]:.2f} without it"
        with ui.element("figcaption"):
            ui.label(f"{name}{shot}").classes("muted")
