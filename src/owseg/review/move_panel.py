"""The panel of an open group from which regions are split off, moved to another group, or the group is merged."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from nicegui import ui

from owseg.discovery.contents import Group
from owseg.discovery.decisions import Decision
from owseg.review.frame import count, notify, showing_errors
from owseg.review.open_group import OpenGroup
from owseg.review.state import ReviewState


class MovePanel:
    """A list of the other groups, and buttons that split and move; ``left`` is called with where the regions are."""

    def __init__(self, state: ReviewState, open_: OpenGroup, left: Callable[[int], None]):
        self.state, self.open, self.left = state, open_, left
        self.arrangement: object = None
        with ui.element("div").classes("decide"):
            self.into = ui.select({}, label="To group").props("outlined dense options-dense for=into")
            with ui.button(on_click=showing_errors(self.merge), color=None).props("outline no-caps id=merge"):
                self.merges = ui.label()
        with ui.button(on_click=showing_errors(self.split)).props("flat no-caps dense id=split") as self.splitting:
            self.splits = ui.label()

    def show(self) -> None:
        """Show what is selected, and the groups that there are."""
        if self.state.arrangement() is not self.arrangement:
            self.arrangement = self.state.arrangement()
            others = sorted(self.state.groups(), key=lambda g: g.number)
            decisions = self.state.decisions()
            options = {g.number: self._label(g, decisions) for g in others if g.number != self.open.number}
            self.into.set_options(options, value=self.into.value if self.into.value in options else None)
        selected = len(self.open.selected)
        self.merges.set_text(f"Move {selected:,}" if selected else "Merge")
        self.splits.set_text(
            f"Split off {count(selected, 'region')}" if selected else "Select regions (X) to split off"
        )
        self.splitting.set_enabled(bool(selected))

    def split(self) -> None:
        """Make the selected regions a group of their own."""
        selected, number = len(self.open.selected), self.open.split()
        notify(f"{count(selected, 'region')} {'is' if selected == 1 else 'are'} group {number} now.")
        self.left(number)

    def merge(self) -> None:
        """Move the selected regions, or all, to the group that is chosen."""
        if self.into.value is None:
            notify("choose a group to move to.")
            return
        self.open.merge(int(self.into.value))
        self.left(int(self.into.value))

    def _label(self, group: Group, decisions: Mapping[str, Decision]) -> str:
        tile = self.state.tile(group, decisions)
        return f"{group.number} · {tile.name or tile.nearest} · {count(tile.regions, 'region')}"
