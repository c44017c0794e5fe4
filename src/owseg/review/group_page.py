"""An open group: its regions in a row, one of them large, and what can be done with it."""

from __future__ import annotations

from nicegui import ui

from owseg.discovery.decisions import class_name
from owseg.review.editor import Editor
from owseg.review.frame import PAGE, count, draw_frame, said
from owseg.review.learn_panel import LearnPanel
from owseg.review.session import LearningSession
from owseg.review.state import ReviewState, is_provisional


class OpenGroup:
    """The group ``number``; ``region`` is shown first, if it is one of it.

    ``name`` is what regions are accepted as: a class, or until there is one the group's number.
    """

    def __init__(self, desk: ReviewState, lessons: LearningSession, number: int, region: str):
        self.desk, self.number = desk, number
        self.group = desk.group(number)
        self.regions = self.group.regions
        self.at = self.regions.index(region) if region in self.regions else 0
        self.name = desk.name_of(self.group)
        self.faces: dict[int, tuple[ui.element, ui.label]] = {}
        title = f"Group {number}: {count(len(self.regions), 'region')}, nearest to {desk.tile(self.group).nearest}"
        self.status = draw_frame(title, self.undo, self.key)
        with ui.element("main").classes("work"):
            self.strip = ui.element("nav").classes("strip")
            with ui.element("section").classes("stage"):
                self.editor = Editor(self.refresh)
            with ui.element("aside"):
                self.field = ui.input("What is it?", value=self.shown_name())
                self.field.props("outlined dense maxlength=60 placeholder='name the class' for=name")
                self.field.on("keydown.enter", said(lambda: self.call(str(self.field.value or ""), True)))
                self.field.on("blur", said(lambda: self.call(str(self.field.value or ""))))
                self.known = ui.element("div").classes("names")
                with ui.element("div").classes("verdicts"):
                    for label, mark, act in (("Accept", "accept", self.accept), ("Reject", "reject", self.reject)):
                        button = ui.button(on_click=said(act), color=None).props(f"unelevated no-caps id={mark}")
                        with button.classes(mark):
                            ui.label(label)
                            ui.label(label[0]).classes("key")
                ui.button("Accept all that are left", on_click=said(self.accept_left)).props("flat no-caps dense")
                ui.separator()
                self.teaching = LearnPanel(desk, lessons, self.ask)
                ui.space()
                ui.link("What was learned last", "/learned").classes("muted")
        ui.timer(0.5, self.teaching.watch)
        self.refresh()

    @property
    def region(self) -> str:
        """The region that is shown large."""
        return self.regions[self.at]

    def shown_name(self) -> str:
        """Return the name of the class, nothing while there is none."""
        return "" if is_provisional(self.name) else self.name

    # Drawing

    def draw_strip(self) -> None:
        """Draw the regions around the one that is shown."""
        self.strip.clear()
        self.faces.clear()
        first = self.at // PAGE * PAGE
        with self.strip:
            for i in range(first, min(first + PAGE, len(self.regions))):
                button = ui.element("button").on("click", said(lambda i=i: self.go(i)))
                button.props(f'id="region-{i}" aria-label="region {i + 1}"')
                with button:
                    ui.element("img").props(f'src="/thumbnails/{self.regions[i]}.jpg" alt="" loading=lazy')
                    self.faces[i] = button, ui.label().classes("state")

    def refresh(self) -> None:
        """Draw what may have changed."""
        if self.at not in self.faces:
            self.draw_strip()
        decisions = self.desk.decisions()
        for i, (button, label) in self.faces.items():
            decision = decisions.get(self.regions[i])
            button.classes(replace=f"{decision.verdict if decision else 'open'}{' here' if i == self.at else ''}")
            label.set_text("" if decision is None else "rejected" if decision.name is None else _told(decision.name))
        view = self.desk.view(self.region)
        state = {"": "not decided", "accept": _told(view["said"]), "reject": "rejected"}[view["verdict"]]
        what = f"{view['name']} · {state}{', mask corrected' if view['corrected'] else ''}"
        self.editor.show(view, self.name, what)
        done = sum(r in decisions for r in self.regions)
        self.status.set_text(f"{done:,} of {count(len(self.regions), 'region')} decided")
        self.draw_names()
        self.teaching.show(self.name)

    def draw_names(self) -> None:
        """Draw the names that were given before."""
        self.known.clear()
        with self.known:
            for i, name in enumerate(self.desk.names()[:9], 1):
                button = ui.button(on_click=said(lambda n=name: self.call(n))).props("flat no-caps dense")
                with button:
                    ui.label(str(i)).classes("muted")
                    ui.label(name)

    # What a person does

    def key(self, name: str, shift: bool) -> None:
        """Take a key."""
        if name in ("ArrowRight", "ArrowDown"):
            self.go(self.at + 1)
        elif name in ("ArrowLeft", "ArrowUp"):
            self.go(self.at - 1)
        elif name == "Escape" and self.editor.begun:
            self.editor.cancel()
        elif name == "Escape":
            ui.navigate.to(f"/?at={self.number}")
        elif name == "Enter":
            last = len(self.desk.groups())
            ui.navigate.to(f"/group/{self.number + 1}" if self.number < last else "/")
        elif name == "a":
            self.accept_left() if shift else self.accept()
        elif name == "r":
            self.reject_left() if shift else self.reject()
        elif name == "u":
            self.undo()
        elif name == "n":
            self.ask()
        elif name in ("b", "e", "p"):
            self.editor.take({"b": "brush", "e": "erase", "p": "polygon"}[name])
        elif name in ("[", "]"):
            self.editor.resize(1 if name == "]" else -1)
        elif name == "z":
            self.editor.zoom()
        elif name in "123456789" and int(name) <= len(names := self.desk.names()):
            self.call(names[int(name) - 1])
        elif name == "l":
            self.teaching.learn()

    def go(self, i: int) -> None:
        """Show another region of the group."""
        self.at = min(max(i, 0), len(self.regions) - 1)
        ui.navigate.history.replace(f"/group/{self.number}?region={self.region}")
        self.refresh()
        ui.run_javascript(f'document.getElementById("region-{self.at}")?.scrollIntoView({{block: "nearest"}})')

    def accept(self) -> None:
        """Accept the region that is shown, and go on to the next."""
        self.desk.accept([self.region], self.name)
        self.go(self.at + 1)

    def reject(self) -> None:
        """Reject the region that is shown, and go on to the next."""
        self.desk.queue.reject(self.region)
        self.go(self.at + 1)

    def accept_left(self) -> None:
        """Accept all that nobody has decided about."""
        if left := self.desk.left(self.group):
            self.desk.accept(left, self.name)
            self.refresh()

    def reject_left(self) -> None:
        """Reject all that nobody has decided about."""
        if left := self.desk.left(self.group):
            self.desk.queue.reject(left)
            self.refresh()

    def undo(self) -> None:
        """Take the last action back, and go where that shows."""
        changed = [r for r in self.desk.undo() if r in self.regions]
        if is_provisional(self.name) or self.name not in self.desk.names():
            self.name = self.desk.name_of(self.group)
        self.field.set_value(self.shown_name())
        self.go(self.regions.index(changed[0]) if changed and self.region not in changed else self.at)

    def call(self, name: str, leave: bool = False) -> None:
        """Name what is accepted from now on, and what was accepted here before it had a name."""
        if name.strip() and name.strip() != self.name:
            try:
                self.desk.name_group(self.group, name)
                self.name = class_name(name)
            finally:
                self.field.set_value(self.shown_name())
            self.refresh()
        if leave:
            self.field.run_method("blur")

    def ask(self) -> None:
        """Ask for the name."""
        self.field.run_method("focus")


def _told(name: str) -> str:
    """Return the name of a class, or that it has none yet."""
    return "accepted" if is_provisional(name) else name
