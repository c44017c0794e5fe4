"""The page of an open group: its regions in a row, one of them large, and what can be done with it."""

from __future__ import annotations

from nicegui import ui

from owseg.errors import OwsegError
from owseg.review.editor import Editor
from owseg.review.frame import PAGE, count, draw_frame, showing_errors
from owseg.review.learn_panel import LearnPanel
from owseg.review.listing import Listing
from owseg.review.move_panel import MovePanel
from owseg.review.open_group import OpenGroup
from owseg.review.session import LearningSession
from owseg.review.state import ReviewState

TOOL_KEYS = {"b": "brush", "e": "erase", "p": "polygon", "s": "segment"}


class GroupPage:
    """Draws the group ``number`` of a listing, and does in it what is asked for; ``region`` is shown first."""

    def __init__(self, state: ReviewState, session: LearningSession, listing: Listing, number: int, region: str):
        self.state, self.listing = state, listing
        self.open = OpenGroup(state, number, region, listing.least)
        self.buttons: dict[int, tuple[ui.element, ui.label]] = {}
        self.drawn: tuple[str, ...] = ()
        self.nearest = state.tile(self.open.group).nearest
        self.status = draw_frame(f"Group {number}, nearest known class: {self.nearest}", self.undo, self.key)
        with ui.element("main").classes("work"):
            self.strip = ui.element("nav").classes("strip")
            with ui.element("section").classes("stage"):
                self.editor = Editor(self.refresh)
            with ui.element("aside"):
                self.draw_aside(session)
        # Learning runs in a thread, perhaps begun in another window: the page asks how far it is.
        ui.timer(0.5, self.panel.watch)
        self.refresh()

    # Drawing

    def draw_aside(self, session: LearningSession) -> None:
        """Draw the class's name, the buttons and the panel for learning."""
        self.field = ui.input("Class name", value=self.open.class_name)
        self.field.props("outlined dense maxlength=60 placeholder='name the class' for=name")
        self.field.on("keydown.enter", showing_errors(lambda: self.rename(str(self.field.value or ""), True)))
        self.field.on("blur", showing_errors(lambda: self.rename(str(self.field.value or ""))))
        self.known = ui.element("div").classes("names")
        with ui.element("div").classes("decide"):
            for label, mark, act in (("Accept", "accept", self.accept), ("Reject", "reject", self.reject)):
                button = ui.button(on_click=showing_errors(act), color=None).props(f"unelevated no-caps id={mark}")
                with button.classes(mark):
                    ui.label(label)
                    ui.label(label[0]).classes("key")
        with ui.element("div").classes("decide"):
            classes = [*self.state.queue.info.classes]
            chosen = self.nearest if self.nearest in classes else classes[0]
            self.choice = ui.select(classes, value=chosen, label="Known class", on_change=lambda _: self.refresh())
            self.choice.props("outlined dense options-dense")
            with ui.button(on_click=showing_errors(self.mark_known), color=None).props("unelevated no-caps id=known"):
                ui.label("Known")
                ui.label("K").classes("key")
        for label, rest in (("Accept all undecided", self.accept_rest), ("All undecided are known", self.known_rest)):
            ui.button(label, on_click=showing_errors(rest)).props("flat no-caps dense")
        ui.separator()
        self.moves = MovePanel(self.state, self.open, self.left)
        ui.separator()
        self.panel = LearnPanel(self.state, session, self.ask_name)
        ui.space()
        ui.link("The class learned last", "/learned").classes("muted")

    def draw_strip(self) -> None:
        """Draw the thumbnails of the regions around the one that is shown."""
        self.strip.clear()
        self.buttons.clear()
        # A page of thumbnails at a time, as a group may have thousands of regions.
        first = self.open.index // PAGE * PAGE
        with self.strip:
            for i in range(first, min(first + PAGE, len(self.open.regions))):
                with ui.element("div"):
                    button = ui.element("button").on("click", showing_errors(lambda i=i: self.show(i)))
                    button.props(f'id="region-{i}" aria-label="region {i + 1}"')
                    with button:
                        ui.element("img").props(f'src="/thumbnails/{self.open.regions[i]}.jpg" alt="" loading=lazy')
                        self.buttons[i] = button, ui.label().classes("state")
                    box = ui.element("i").props(f'role=checkbox id="select-{i}" title="Select (X)"')
                    box.on("click", showing_errors(lambda i=i: self.select(i)))

    def draw_names(self) -> None:
        """Draw the names that were given before."""
        self.known.clear()
        with self.known:
            for i, name in enumerate(self.state.class_names()[:9], 1):
                button = ui.button(on_click=showing_errors(lambda n=name: self.rename(n))).props("flat no-caps dense")
                with button:
                    ui.label(str(i)).classes("muted")
                    ui.label(name)

    def refresh(self) -> None:
        """Draw what may have changed."""
        if self.open.index not in self.buttons or self.drawn != self.open.regions:
            self.drawn = self.open.regions
            self.draw_strip()
        for i, (button, label) in self.buttons.items():
            style, word = self.open.label(self.open.regions[i])
            selected = " selected" if self.open.regions[i] in self.open.selected else ""
            button.classes(replace=f"{style}{selected}{' here' if i == self.open.index else ''}")
            label.set_text(word)
        self.editor.show(self.state.view(self.open.region), self.open.name, self.open.caption())
        total = len(self.open.regions)
        decided = total - len(self.state.undecided(self.open.group))
        hidden = len(self.state.group(self.open.number)) - total
        small = f", {hidden:,} small hidden" if hidden else ""
        self.status.set_text(f"{decided:,} of {count(total, 'region')} decided{small}")
        self.draw_names()
        self.moves.show()
        self.panel.show(self.open.name, str(self.choice.value))

    # Actions

    def key(self, name: str, shift: bool) -> None:
        """Do what a key stands for."""
        if name in ("ArrowRight", "ArrowDown"):
            self.show(self.open.index + 1)
        elif name in ("ArrowLeft", "ArrowUp"):
            self.show(self.open.index - 1)
        elif name == "Escape" and self.editor.begun:
            self.editor.cancel()
        elif name == "Escape":
            ui.navigate.to(self.listing.address("/", at=self.open.number))
        elif name == "Enter":
            following = self.listing.after(self.state, self.open.number)
            ui.navigate.to(self.listing.address("/" if following is None else f"/group/{following}"))
        elif name == "a":
            self.accept_rest() if shift else self.accept()
        elif name == "r":
            self.reject_rest() if shift else self.reject()
        elif name == "k":
            self.known_rest() if shift else self.mark_known()
        elif name == "x":
            self.select(self.open.index)
        elif name == "u":
            self.undo()
        elif name == "n":
            self.ask_name()
        elif name in TOOL_KEYS:
            self.editor.take(TOOL_KEYS[name])
        elif name in ("[", "]"):
            self.editor.resize(1 if name == "]" else -1)
        elif name == "z":
            self.editor.zoom()
        elif name in "123456789" and int(name) <= len(names := self.state.class_names()):
            self.rename(names[int(name) - 1])
        elif name == "l":
            self.panel.learn()

    def show(self, index: int) -> None:
        """Show another region of the group."""
        self.open.show(index)
        self.moved()

    def moved(self) -> None:
        """Draw the region that is shown now, and make a reload show it again."""
        ui.navigate.history.replace(self.listing.address(f"/group/{self.open.number}", region=self.open.region))
        self.refresh()
        element = f'document.getElementById("region-{self.open.index}")'
        ui.run_javascript(f'{element}?.scrollIntoView({{block: "nearest"}})')

    def accept(self) -> None:
        """Accept the region that is shown."""
        self.open.accept()
        self.moved()

    def reject(self) -> None:
        """Reject the region that is shown."""
        self.open.reject()
        self.moved()

    def mark_known(self) -> None:
        """Note that the region that is shown is of the known class that is chosen."""
        self.open.mark_known(str(self.choice.value))
        self.moved()

    def accept_rest(self) -> None:
        """Accept all regions that are not decided."""
        self.open.accept_rest()
        self.refresh()

    def reject_rest(self) -> None:
        """Reject all regions that are not decided."""
        self.open.reject_rest()
        self.refresh()

    def known_rest(self) -> None:
        """Note that all regions that are not decided are of the known class that is chosen."""
        self.open.known_rest(str(self.choice.value))
        self.refresh()

    def select(self, index: int) -> None:
        """Select a region to be moved to another group, or do so no more."""
        self.open.select(index)
        self.refresh()

    def left(self, number: int) -> None:
        """Show what is left of the group, or the group ``number`` where all that was here is now."""
        try:
            self.open.reload(self.open.region)
        except OwsegError:
            ui.navigate.to(self.listing.address(f"/group/{number}"))
            return
        self.moved()

    def undo(self) -> None:
        """Undo the last action; where that was what made this group, show all groups."""
        try:
            self.open.undo()
        except OwsegError:
            if self.state.has_group(self.open.number):
                raise
            ui.navigate.to(self.listing.address("/"))
            return
        self.field.set_value(self.open.class_name)
        self.moved()

    def rename(self, name: str, leave: bool = False) -> None:
        """Name the class; with ``leave`` the keys act on the page again."""
        changed = True
        try:
            changed = self.open.rename(name)
        finally:
            if changed:  # also where it was refused: such a name does not stay in the field
                self.field.set_value(self.open.class_name)
        # Only then: on its way is perhaps a click on one of the names, which drawing would take away.
        if changed:
            self.refresh()
        if leave:
            self.field.run_method("blur")

    def ask_name(self) -> None:
        """Put the cursor into the field for the name."""
        self.field.run_method("focus")
