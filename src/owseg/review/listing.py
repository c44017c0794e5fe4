"""Which groups are listed, and in which order: what the address of a page says, so that reloading changes nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from urllib.parse import urlencode

from owseg.discovery.contents import Group
from owseg.review.state import ReviewState

SORTS = {"": "By priority", "size": "By size", "name": "By name"}
STATES = {"": "All", "untouched": "Untouched", "begun": "Begun", "done": "Done"}
"""The values of ``Listing.sort`` and ``Listing.only``, and what the page calls them."""


@dataclass(frozen=True)
class Listing:
    """The groups in an order, of ``SORTS``, or ``only`` those in a state, of ``STATES``; other values are as "".

    Regions whose core has fewer than ``least`` pixels are hidden, and so are groups of such regions alone. Where groups
    are equal, that of higher priority comes first; by name, those without one come last.
    """

    sort: str = ""
    least: int = 0
    only: str = ""

    def groups(self, state: ReviewState) -> list[Group]:
        """Return the groups that are listed, in their order, without the regions that are hidden."""
        shown = [shown for g in state.groups() if (shown := state.shown(g, self.least)).regions]
        decisions = state.decisions()
        if self.sort == "size":
            shown.sort(key=lambda g: -len(g))
        elif self.sort == "name":
            names = {g.number: state.tile(g, decisions).name for g in shown}
            shown.sort(key=lambda g: (not names[g.number], names[g.number].casefold()))
        is_state = self.only and self.only in STATES
        return [g for g in shown if state.tile(g, decisions).state == self.only] if is_state else shown

    def after(self, state: ReviewState, number: int) -> int | None:
        """Return the number of the group that is listed after the group ``number``; None for the last.

        The latter need not be listed itself: what is decided in a group may change its state.
        """
        order = [g.number for g in replace(self, only="").groups(state)]
        left = order[order.index(number) + 1 :] if number in order else []
        listed = {g.number for g in self.groups(state)}
        return next((n for n in left if n in listed), None)

    def address(self, path: str, **further: object) -> str:
        """Return ``path`` with the query that stands for this listing, and what is ``further`` in it."""
        query = {"sort": self.sort, "least": self.least, "only": self.only, **further}
        said = urlencode({key: value for key, value in query.items() if value})
        return f"{path}?{said}" if said else path
