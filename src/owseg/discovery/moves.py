"""The groups after a reviewer's moves: regions that were split off, or merged into another group.

A move names regions, and not numbers of groups: those change when ``owseg discover`` adds images and groups anew, and
the moves are made again on what it found.
"""

from __future__ import annotations

from collections.abc import Sequence

from owseg.discovery.contents import Group
from owseg.discovery.log import MOVE, Action
from owseg.errors import OwsegError


def regrouped(groups: Sequence[Group], moves: Sequence[Action]) -> list[Group]:
    """Return ``groups``, which were discovered, after ``moves`` in their order; those that are empty then are left out.

    A group that was split off comes behind the one that its first region was found in. Regions come behind those that
    are in a group already. Priorities are shared evenly by the regions of a group. A region that is in no group, as a
    near-duplicate, is not moved, and stands for the one that it is a copy of where others join it.
    """
    if not moves:
        return list(groups)
    home = {region: group for group in groups for region in group.regions}
    copy_of = {copy: r for group in groups for r, several in group.copies.items() for copy in several}
    number = {region: group.number for region, group in home.items()}
    new = len(groups)
    for move in moves:
        if move.name is None:
            into: int | None = (new := new + 1)
        else:
            into = number.get(copy_of.get(move.name, move.name))
        if into is not None:
            for region in filter(number.__contains__, move.regions):
                del number[region]  # so that it comes last
                number[region] = into
    members: dict[int, list[str]] = {}
    for region, n in number.items():
        members.setdefault(n, []).append(region)
    order = sorted(members, key=lambda n: (n if n <= len(groups) else home[members[n][0]].number, n))
    return [_group(n, tuple(members[n]), home) for n in order]


def number_of_next(groups: Sequence[Group], moves: Sequence[Action]) -> int:
    """Return the number of the group that is split off next, after ``moves`` of ``groups``, which were discovered."""
    return len(groups) + 1 + sum(move.name is None for move in moves)


def split_off(groups: Sequence[Group], regions: Sequence[str]) -> Action:
    """Return the move of ``regions`` to a group of their own; ``groups`` are those of now.

    Raises ``OwsegError`` for a region that is in no group, and for all of a group.
    """
    _check_grouped(groups, regions)
    if any(set(group.regions) == set(regions) for group in groups):
        raise OwsegError("these regions are a group already; split off some of them.")
    return Action(MOVE, tuple(regions))


def moved(groups: Sequence[Group], regions: Sequence[str], into: int) -> Action:
    """Return the move of ``regions`` to the group of the number ``into``; ``groups`` are those of now.

    Raises ``OwsegError`` for a region that is in no group, for a group that is not there, and where all of them are in
    it already.
    """
    _check_grouped(groups, regions)
    if (target := next((group for group in groups if group.number == into), None)) is None:
        raise OwsegError(f"there is no group {into}; groups are {_listed([group.number for group in groups])}.")
    there = frozenset(target.regions)
    if not (others := tuple(region for region in regions if region not in there)):
        raise OwsegError(f"all of these regions are in group {into} already.")
    return Action(MOVE, others, target.regions[0])


def _check_grouped(groups: Sequence[Group], regions: Sequence[str]) -> None:
    grouped = {region for group in groups for region in group.regions}
    if others := [region for region in regions if region not in grouped]:
        raise OwsegError(f"{others[0]!r} is in no group by itself; a near-duplicate goes with the region it is like.")


def _listed(numbers: Sequence[int]) -> str:
    shown = ", ".join(map(str, sorted(numbers)[:9]))
    return f"{shown}, ..." if len(numbers) > 9 else shown


def _group(number: int, regions: tuple[str, ...], home: dict[str, Group]) -> Group:
    if (before := home[regions[0]]).number == number and before.regions == regions:
        return before
    copies = {r: home[r].copies[r] for r in regions if r in home[r].copies}
    return Group(number, regions, copies, sum(home[r].priority / len(home[r]) for r in regions))
