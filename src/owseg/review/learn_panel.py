"""The corner of an open group from which its class is learned: the shots, and the lesson."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from nicegui import Client, background_tasks, ui

from owseg.errors import OwsegError
from owseg.review.frame import notify, said
from owseg.review.session import LearningSession
from owseg.review.state import ReviewState, is_provisional
from owseg.types import MAX_SHOTS

CANDIDATES = 10
"""How many images are offered as shots."""


class LearnPanel:
    """The images that could teach a class, and the button that does it; ``ask`` asks for a name that it lacks."""

    def __init__(self, desk: ReviewState, lessons: LearningSession, ask: Callable[[], None]):
        self.desk, self.lessons, self.ask = desk, lessons, ask
        self.name = ""
        self.was_busy = bool(lessons.stage)
        self.shots = ui.element("div").classes("shots")
        self.teach = ui.element("div").classes("teach")

    def show(self, name: str) -> None:
        """Show how to learn the class ``name``."""
        self.name = name
        self.draw_shots()
        self.draw_teach()

    def draw_shots(self) -> None:
        """Draw the images that show the class, to be chosen from."""
        self.shots.clear()
        if not (found := self.desk.candidates(self.name)):
            return
        chosen = [c.image for c in found if c.chosen]

        def turn(one: str) -> None:
            now = [c for c in chosen if c != one] if one in chosen else [*chosen, one]
            self.desk.choose(self.name, now)
            self.show(self.name)

        with self.shots:
            ui.label(f"Learn from {len(chosen)} of {len(found)}, at most {MAX_SHOTS}").classes("muted")
            with ui.element("div"):
                for c in found[:CANDIDATES]:
                    button = ui.element("button").on("click", said(lambda one=c.image: turn(one)))
                    button.classes("shot chosen" if c.chosen else "shot")
                    button.props["title"], button.props["aria-pressed"] = c.name, str(c.chosen).lower()
                    with button:
                        ui.element("img").props(f'src="/thumbnails/{c.face}.jpg" alt=""')

    def draw_teach(self) -> None:
        """Draw the button, or how far a lesson is."""
        self.teach.clear()
        with self.teach:
            if self.lessons.stage:
                ui.linear_progress(show_value=False).props("indeterminate")
                ui.label(f"{self.lessons.stage} …").classes("muted")
                return
            word = "this class" if is_provisional(self.name) else self.name
            button = ui.button(f"Learn {word}", on_click=said(self.learn)).props("unelevated no-caps id=learn")
            button.set_enabled(bool(self.desk.candidates(self.name)))

    def watch(self) -> None:
        """Show how far a lesson is, also after a reload, and what came of it."""
        busy = bool(self.lessons.stage)
        if busy or self.was_busy:
            self.draw_teach()
        self.was_busy = busy

    def learn(self) -> None:
        """Learn the class beside the page, then show what that changed."""
        self.was_busy = True
        background_tasks.create(self.taught(ui.context.client, self.name))

    async def taught(self, client: Client, name: str) -> None:
        """Learn a class in a thread of its own, then go where that is shown."""
        refused = ""
        try:
            await asyncio.to_thread(self.lessons.learn, name)
        except (OwsegError, RuntimeError, MemoryError) as error:  # torch says so when it runs out of memory
            refused = str(error).splitlines()[0] if str(error) else "there is not enough memory to learn it."
        with client:
            if not refused:
                ui.navigate.to("/learned")
                return
            self.draw_teach()
            notify(refused)
            if is_provisional(name):
                self.ask()
