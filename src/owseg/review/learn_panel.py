"""The panel of an open group from which its class is learned, or a known one corrected."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from nicegui import Client, background_tasks, ui

from owseg.errors import OwsegError
from owseg.review.frame import count, notify, showing_errors
from owseg.review.session import LearningSession
from owseg.review.state import ReviewState, is_provisional
from owseg.types import DEFAULT_SHOTS

MAX_CANDIDATES = 10
"""How many images are offered as shots."""


class LearnPanel:
    """The shots of a class, a button that learns it, and one that corrects a known class.

    ``ask_name`` asks for the name of a class that has none.
    """

    def __init__(self, state: ReviewState, session: LearningSession, ask_name: Callable[[], None]):
        self.state, self.session, self.ask_name = state, session, ask_name
        self.name = self.known = ""
        self.was_busy = bool(session.stage)
        self.shots = ui.element("div").classes("shots")
        self.buttons = ui.element("div").classes("learn")

    def show(self, name: str, known: str) -> None:
        """Show how to learn the class ``name``, and how to correct the class ``known``."""
        self.name, self.known = name, known
        self.draw_shots()
        self.draw_buttons()

    def draw_shots(self) -> None:
        """Draw the images that show the class, to choose from."""
        self.shots.clear()
        if not (candidates := self.state.candidates(self.name)):
            return
        chosen = [c.image_id for c in candidates if c.chosen]

        def choose(images: list[str]) -> None:
            self.state.queue.choose(self.name, images)
            self.show(self.name, self.known)

        def toggle(image_id: str) -> None:
            choose([i for i in chosen if i != image_id] if image_id in chosen else [*chosen, image_id])

        every = [c.image_id for c in candidates]
        with self.shots:
            ui.label(f"Learn from {len(chosen)} of {count(len(candidates), 'image')}").classes("muted")
            if len(every) > DEFAULT_SHOTS:
                first = every[:DEFAULT_SHOTS]
                label, images = ("All", every) if len(chosen) < len(every) else (f"The first {len(first)}", first)
                ui.button(label, on_click=showing_errors(lambda: choose(images))).props("flat no-caps dense id=all")
            with ui.element("div"):
                for c in candidates[:MAX_CANDIDATES]:
                    button = ui.element("button").on("click", showing_errors(lambda i=c.image_id: toggle(i)))
                    button.classes("shot chosen" if c.chosen else "shot")
                    button.props["title"], button.props["aria-pressed"] = c.name, str(c.chosen).lower()
                    with button:
                        ui.element("img").props(f'src="/thumbnails/{c.region}.jpg" alt=""')

    def draw_buttons(self) -> None:
        """Draw the buttons or, while a class is being learned, the present step."""
        self.buttons.clear()
        with self.buttons:
            if self.session.stage:
                ui.linear_progress(show_value=False).props("indeterminate")
                ui.label(f"{self.session.stage} …").classes("muted")
                return
            what = "this class" if is_provisional(self.name) else self.name
            verb = "Correct" if self.name in self.session.kb().labels else "Learn"
            button = ui.button(f"{verb} {what}", on_click=showing_errors(self.learn)).props(
                "unelevated no-caps id=learn"
            )
            button.set_enabled(bool(self.state.candidates(self.name)))
            marked = sum(d.known == self.known for d in self.state.decisions().values())
            if marked:
                label = f"Correct {self.known}: {count(marked, 'region')}"
                act = showing_errors(lambda: self.learn(self.known))
                ui.button(label, on_click=act).props("flat no-caps id=correct")

    def watch(self) -> None:
        """Show the present step, also after the page was loaded again, until learning is done."""
        busy = bool(self.session.stage)
        if busy or self.was_busy:
            self.draw_buttons()
        self.was_busy = busy

    def learn(self, name: str = "") -> None:
        """Learn the class, or correct the known one ``name``, in the background; then show images before and after."""
        self.was_busy = True
        # The client is read here, as the task runs outside of any page.
        background_tasks.create(self._learn(ui.context.client, name or self.name))

    async def _learn(self, client: Client, name: str) -> None:
        refused = ""
        try:
            # Takes seconds or minutes, in which the event loop goes on serving the pages.
            await asyncio.to_thread(self.session.learn, name)
        except (OwsegError, RuntimeError, MemoryError) as error:  # torch says so when it runs out of memory
            refused = str(error).splitlines()[0] if str(error) else "there is not enough memory to learn it."
        # A background task has no page of its own: what follows is drawn on the one that asked.
        with client:
            if not refused:
                ui.navigate.to("/learned")
                return
            self.draw_buttons()
            notify(refused)
            if is_provisional(name):
                self.ask_name()
