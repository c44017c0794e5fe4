"""An open group: which of its regions is shown, the name that it is accepted as, and what a reviewer does."""

from __future__ import annotations

from owseg.discovery.log import class_name
from owseg.review.state import ReviewState, is_provisional


class OpenGroup:
    """The group ``number`` under review; ``region`` is shown first, if it belongs to the group.

    Regions whose core has fewer than ``least`` pixels are left out; some may be ``selected``, to be moved. ``name`` is
    what regions are accepted as: a class, or until that is named the provisional name of the group.
    """

    def __init__(self, state: ReviewState, number: int, region: str = "", least: int = 0):
        self.state, self.number, self.least = state, number, least
        self.selected: set[str] = set()
        self.index = 0
        self.reload(region)
        self.name = state.name_for(self.group)

    def reload(self, region: str = "") -> None:
        """Read which regions the group has by now, and show ``region`` if it is one of them.

        Raises ``OwsegError`` if the group is no more.
        """
        self.group = self.state.group(self.number, self.least)
        self.regions = self.group.regions
        self._places = {region: i for i, region in enumerate(self.regions)}
        self.selected &= self._places.keys()
        self.show(self._places.get(region, self.index))

    @property
    def region(self) -> str:
        """The region that is shown."""
        return self.regions[self.index]

    @property
    def class_name(self) -> str:
        """The name of the class; empty until it is named."""
        return "" if is_provisional(self.name) else self.name

    def show(self, index: int) -> None:
        """Show the region of that index, or the nearest that there is."""
        self.index = min(max(index, 0), len(self.regions) - 1)

    def accept(self) -> None:
        """Accept the region that is shown, and go on to the next."""
        self.state.accept([self.region], self.name)
        self.show(self.index + 1)

    def reject(self) -> None:
        """Reject the region that is shown, and go on to the next."""
        self.state.queue.reject(self.region)
        self.show(self.index + 1)

    def mark_known(self, name: str) -> None:
        """Note that the region that is shown is of the known class ``name``, and go on to the next."""
        self.state.queue.mark_known(self.region, name)
        self.show(self.index + 1)

    def accept_rest(self) -> None:
        """Accept all regions that are not decided."""
        if undecided := self.state.undecided(self.group):
            self.state.accept(undecided, self.name)

    def reject_rest(self) -> None:
        """Reject all regions that are not decided."""
        if undecided := self.state.undecided(self.group):
            self.state.queue.reject(undecided)

    def known_rest(self, name: str) -> None:
        """Note that all regions that are not decided are of the known class ``name``."""
        if undecided := self.state.undecided(self.group):
            self.state.queue.mark_known(undecided, name)

    def select(self, index: int) -> None:
        """Select the region of that index, or do so no more."""
        self.selected ^= {self.regions[index]}

    def split(self) -> int:
        """Make the selected regions a group of their own, and return its number."""
        return self.state.queue.split([r for r in self.regions if r in self.selected])

    def merge(self, into: int) -> None:
        """Move the selected regions to the group ``into``; if there are none, all of the group, also those left out."""
        selected = [r for r in self.regions if r in self.selected]
        self.state.queue.merge(selected or self.state.group(self.number).regions, into)

    def undo(self) -> None:
        """Undo the last action, of whatever group, and show a region that it changed if one is in this group.

        Raises ``OwsegError`` if the group is no more then.
        """
        undone = self.state.undo()
        self.reload(self.region)
        changed = [r for r in undone if r in self._places]
        # What was undone may be the naming of the class.
        if is_provisional(self.name) or self.name not in self.state.class_names():
            self.name = self.state.name_for(self.group)
        if changed and self.region not in changed:
            self.index = self._places[changed[0]]

    def rename(self, name: str) -> bool:
        """Name the class of regions accepted from now on, and of those accepted before they had a name.

        Returns whether that changed the name; a blank one changes nothing. Raises ``OwsegError`` for what is not the
        name of a class, is reserved, or known already.
        """
        if not name.strip() or name.strip() == self.name:
            return False
        self.state.name_group(self.group, name)
        self.name = class_name(name)
        return True

    def caption(self) -> str:
        """Return a line about the region that is shown: its image, the decision, whether its mask was corrected."""
        view = self.state.view(self.region)
        decided = {
            "": "not decided", "accept": accepted_label(view["class"]), "reject": "rejected",
            "known": f"known: {view['class']}",
        }[view["action"]]  # fmt: skip
        return f"{view['name']} · {decided}{', mask corrected' if view['corrected'] else ''}"

    def label(self, region: str) -> tuple[str, str]:
        """Return a region's decision as a style, ``open``, ``accept``, ``reject`` or ``known``, and as a word."""
        decision = self.state.decisions().get(region)
        if decision is None:
            return "open", ""
        word = "rejected" if decision.known is None else f"known: {decision.known}"
        return decision.action, word if decision.name is None else accepted_label(decision.name)


def accepted_label(name: str) -> str:
    """Return the name of a class, or "accepted" for a provisional one."""
    return "accepted" if is_provisional(name) else name
