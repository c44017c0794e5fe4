"""The page of all groups, one tile each."""

from __future__ import annotations

from dataclasses import replace

from nicegui import ui

from owseg.discovery.contents import Group
from owseg.review.frame import PAGE, count, draw_frame
from owseg.review.listing import SORTS, STATES, Listing
from owseg.review.state import ReviewState, Tile


class TilesPage:
    """Draws the groups of a listing as tiles, ``PAGE`` more at a time; ``at`` is the number of the one with the focus.

    What is listed changes only where the reviewer asks for it: a group that is decided stays where it is.
    """

    def __init__(self, state: ReviewState, listing: Listing, at: int):
        self.state, self.listing, self.at = state, listing, at
        self.links: dict[int, ui.element] = {}
        self.drawn: dict[int, Tile] = {}
        self.status = draw_frame("Groups of similar unknown regions", self.undo, self.key)
        with ui.element("main").classes("tiles"):
            if not state.groups():
                ui.label("No unknown region was found. Run owseg discover on other images.").classes("muted")
            else:
                ui.label("Open a group to name it, or press R if it shows nothing new.").classes("muted")
                self.draw_listing()
            self.none = ui.label("No group is listed.").classes("muted")
            self.grid = ui.element("div").classes("grid")
            self.rest = ui.button("Show more groups", on_click=self.more).props("flat no-caps")
        self.list_groups()
        ui.run_javascript(f'document.getElementById("tile-{self.at}")?.focus()')

    # Drawing

    def draw_listing(self) -> None:
        """Draw what chooses the groups, and their order."""
        with ui.element("div").classes("listing"):
            state = self.listing.only if self.listing.only in STATES else ""
            states = ui.toggle(
                STATES, value=state, on_change=lambda e: self.choose(replace(self.listing, only=e.value))
            )
            states.props("dense no-caps unelevated")
            sort = self.listing.sort if self.listing.sort in SORTS else ""
            ui.select(
                SORTS, value=sort, label="Order", on_change=lambda e: self.choose(replace(self.listing, sort=e.value))
            ).props("outlined dense options-dense for=sort")
            # Not at each digit, as every number lists the groups anew.
            least = ui.number("Least area", value=max(0, self.listing.least), min=0, step=10, suffix="pixels")
            least.props("outlined dense debounce=400 for=least")
            least.on_value_change(lambda e: self.choose(replace(self.listing, least=int(e.value or 0))))

    def list_groups(self) -> None:
        """Draw the tiles of the groups that are listed, at least up to that with the focus."""
        self.arrangement, self.listed = self.state.arrangement(), self.listing.groups(self.state)
        self.grid.clear()
        self.links.clear()
        self.drawn.clear()
        self.none.set_visibility(bool(self.state.groups()) and not self.listed)
        numbers = [g.number for g in self.listed]
        if self.at not in numbers:
            self.at = numbers[0] if numbers else 1
        self.more()
        while self.at in numbers and self.at not in self.links:
            self.more()
        self.refresh()

    def choose(self, listing: Listing) -> None:
        """List the groups of another listing; the address says so, too."""
        self.listing = listing
        ui.navigate.history.replace(self.listing.address("/"))
        self.list_groups()

    def more(self) -> None:
        """Draw the next tiles."""
        first = len(self.links)
        with self.grid:
            for g in self.listed[first : first + PAGE]:
                address = self.listing.address(f"/group/{g.number}")
                link = ui.element("a").props(f'href="{address}" id="tile-{g.number}"')
                link.on("focus", lambda n=g.number: setattr(self, "at", n))
                self.links[g.number] = link
                self.draw(self.state.tile(g))
        self.rest.set_visibility(len(self.links) < len(self.listed))

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
        """Draw the tiles again that have changed, all of them where regions changed their groups."""
        if self.state.arrangement() is not self.arrangement:
            self.list_groups()
            return
        for number, before in list(self.drawn.items()):
            if (tile := self.state.tile(self.state.group(number, self.listing.least))) != before:
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
        if (group := self._focused()) and (undecided := self.state.undecided(group)):
            self.state.accept(undecided, self.state.name_for(group))
            self.refresh()

    def reject_rest(self) -> None:
        """Reject all regions that are not decided of the group that has the focus."""
        if (group := self._focused()) and (undecided := self.state.undecided(group)):
            self.state.queue.reject(undecided)
            self.refresh()

    def _focused(self) -> Group | None:
        """The group that has the focus, without hidden regions; None if it is not drawn."""
        return self.state.group(self.at, self.listing.least) if self.at in self.links else None

    def undo(self) -> None:
        """Undo the last action."""
        self.state.undo()
        self.refresh()
