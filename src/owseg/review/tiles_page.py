"""The page of all groups, one tile each, in the order of review."""

from __future__ import annotations

from nicegui import ui

from owseg.review.frame import PAGE, count, draw_frame
from owseg.review.state import ReviewState, Tile

STATES = {"": "All", "untouched": "Untouched", "begun": "Begun", "done": "Done"}


class TilesPage:
    """Draws the groups as tiles, ``PAGE`` more at a time; ``at`` is the number of the one that has the focus."""

    def __init__(self, state: ReviewState, at: int):
        self.state, self.groups = state, state.groups()
        self.listed = self.groups
        self.at = min(max(at, 1), max(1, len(self.groups)))
        self.links: dict[int, ui.element] = {}
        self.drawn: dict[int, Tile] = {}
        self.status = draw_frame("Groups of similar unknown regions", self.undo, self.key)
        with ui.element("main").classes("tiles"):
            if not self.groups:
                ui.label("No unknown region was found. Run owseg discover on other images.").classes("muted")
            else:
                line = "Groups of high priority come first. Open one to name it, or press R if it shows nothing new."
                ui.label(line).classes("muted")
                ui.toggle(STATES, value="", on_change=lambda e: self.choose(e.value)).props("dense no-caps unelevated")
            self.grid = ui.element("div").classes("grid")
            self.rest = ui.button("Show more groups", on_click=self.more).props("flat no-caps")
        self.more()
        while len(self.links) < min(self.at, len(self.groups)):
            self.more()
        self.refresh()
        ui.run_javascript(f'document.getElementById("tile-{self.at}")?.focus()')

    # Drawing

    def more(self) -> None:
        """Draw the next tiles."""
        first = len(self.links)
        with self.grid:
            for g in self.listed[first : first + PAGE]:
                link = ui.element("a").props(f'href="/group/{g.number}" id="tile-{g.number}"')
                link.on("focus", lambda n=g.number: setattr(self, "at", n))
                self.links[g.number] = link
                self.draw(self.state.tile(g))
        self.rest.set_visibility(len(self.links) < len(self.listed))

    def choose(self, state: str) -> None:
        """Draw the groups in one of ``STATES`` alone; one that then changes stays."""
        self.listed = self.state.groups_in(state)
        self.grid.clear()
        self.links.clear()
        self.drawn.clear()
        self.more()

    def draw(self, tile: Tile) -> None:
        """Draw one tile."""
        self.drawn[tile.number] = tile
        link = self.links[tile.number]
        link.clear()
        link.classes(replace=f"tile {tile.state}")
        with link:
            with ui.element("div").classes("typical"):
                for region in tile.typical:
                    ui.element("img").props(f'src="/thumbnails/{region}.jpg" alt="" loading=lazy')
            with ui.element("div").classes("summary"):
                ui.label(f"{tile.number}").classes("number")
                copies = f" + {count(tile.copies, 'near-duplicate')}" if tile.copies else ""
                ui.label(f"{count(tile.regions, 'region')}{copies}")
            ui.label(f"nearest: {tile.nearest}").classes("muted")
            ui.label(tile.summary).classes("state")

    def refresh(self) -> None:
        """Draw the tiles again that have changed."""
        for number, before in list(self.drawn.items()):
            if (tile := self.state.tile(self.groups[number - 1])) != before:
                self.draw(tile)
        decided, total = self.state.progress()
        self.status.set_text(f"{decided:,} of {total:,} regions decided")

    # Actions

    def key(self, name: str, shift: bool) -> None:
        """Do what a key stands for."""
        if name.startswith("Arrow"):
            ui.run_javascript(f"moveFocus({name[5:]!r})")
        elif name == "a":
            self.accept_rest()
        elif name == "r":
            self.reject_rest()
        elif name == "u":
            self.undo()

    def accept_rest(self) -> None:
        """Accept all regions that are not decided of the group that has the focus."""
        if undecided := self._undecided():
            self.state.accept(undecided, self.state.name_for(self.groups[self.at - 1]))
            self.refresh()

    def reject_rest(self) -> None:
        """Reject all regions that are not decided of the group that has the focus."""
        if undecided := self._undecided():
            self.state.queue.reject(undecided)
            self.refresh()

    def _undecided(self) -> list[str]:
        """The undecided regions of the group that has the focus; none if it is not drawn."""
        return self.state.undecided(self.groups[self.at - 1]) if self.at in self.links else []

    def undo(self) -> None:
        """Undo the last action."""
        self.state.undo()
        self.refresh()
