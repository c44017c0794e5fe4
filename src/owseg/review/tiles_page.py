"""The wall of tiles: the groups of a queue, the most rewarding first, and how far each of them is."""

from __future__ import annotations

from nicegui import ui

from owseg.review.frame import PAGE, count, draw_frame
from owseg.review.state import ReviewState, Tile, is_provisional


class Tiles:
    """The groups as tiles, a page of them after the other; ``at`` is the number of the one that has the focus."""

    def __init__(self, desk: ReviewState, at: int):
        self.desk, self.groups = desk, desk.groups()
        self.at = min(max(at, 1), max(1, len(self.groups)))
        self.boxes: dict[int, ui.element] = {}
        self.drawn: dict[int, Tile] = {}
        self.status = draw_frame("Unknown regions, in groups that look alike", self.undo, self.key)
        with ui.element("main").classes("tiles"):
            if not self.groups:
                ui.label("No unknown region was found. Look at other images with owseg discover.").classes("muted")
            else:
                line = "The most rewarding groups come first. Open one to say what it is, or press R if it is nothing."
                ui.label(line).classes("muted")
            self.grid = ui.element("div").classes("grid")
            self.rest = ui.button("Show more groups", on_click=self.more).props("flat no-caps")
        self.more()
        while len(self.boxes) < min(self.at, len(self.groups)):
            self.more()
        self.refresh()
        ui.run_javascript(f'document.getElementById("tile-{self.at}")?.focus()')

    def more(self) -> None:
        """Draw the next page of tiles."""
        first = len(self.boxes)
        with self.grid:
            for g in self.groups[first : first + PAGE]:
                link = ui.element("a").props(f'href="/group/{g.number}" id="tile-{g.number}"')
                link.on("focus", lambda n=g.number: setattr(self, "at", n))
                self.boxes[g.number] = link
                self.draw(self.desk.tile(g))
        self.rest.set_visibility(len(self.boxes) < len(self.groups))

    def draw(self, tile: Tile) -> None:
        """Draw one tile."""
        self.drawn[tile.number] = tile
        box = self.boxes[tile.number]
        box.clear()
        box.classes(replace=f"tile {tile.state}")
        with box:
            ui.element("img").props(f'src="/thumbnails/{tile.face}.jpg" alt="" loading=lazy')
            with ui.element("div").classes("said"):
                ui.label(f"{tile.number}").classes("number")
                copies = f" + {tile.copies} alike" if tile.copies else ""
                ui.label(f"{count(tile.regions, 'region')}{copies}")
            ui.label(f"nearest: {tile.nearest}").classes("muted")
            ui.label(summary(tile)).classes("state")

    def refresh(self) -> None:
        """Draw the tiles again that have changed."""
        for number, before in list(self.drawn.items()):
            if (tile := self.desk.tile(self.groups[number - 1])) != before:
                self.draw(tile)
        done, total = self.desk.progress()
        self.status.set_text(f"{done:,} of {total:,} regions decided")

    # What a person does

    def key(self, name: str, shift: bool) -> None:
        """Take a key."""
        if name.startswith("Arrow"):
            ui.run_javascript(f"walk({name[5:]!r})")
        elif name in "ar":
            self.decide(name)
        elif name == "u":
            self.undo()

    def decide(self, verdict: str) -> None:
        """Accept (``a``) or reject all that is left of the tile that has the focus."""
        group = self.groups[self.at - 1]
        left = self.desk.left(group)
        if not left:
            return
        if verdict == "a":
            self.desk.accept(left, self.desk.name_of(group))
        else:
            self.desk.queue.reject(left)
        self.refresh()

    def undo(self) -> None:
        """Take the last action back."""
        self.desk.undo()
        self.refresh()


def summary(tile: Tile) -> str:
    """Say in a few words how far a group is."""
    said = []
    if tile.accepted:
        names = [n for n in tile.names if not is_provisional(n)]
        said.append(f"{tile.accepted} {', '.join(names) or 'accepted'}")
    if tile.rejected:
        said.append(f"{tile.rejected} rejected")
    if tile.left and said:
        said.append(f"{tile.left} left")
    return " · ".join(said)
