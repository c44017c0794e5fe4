"""Plug-ins by name: a file in the folder of its kind, with a card that is read without importing the file.

A plug-in is a module with ``CARDS = (Card(name, help, make, ...), ...)``. The kind is one line in the folder's
``__init__``: ``SCORERS: Registry[Scorer] = Registry("scorer", "owseg.scorers")``. Names, help and options come from the
module's *text*, so that ``owseg --help`` waits for no torch; ``SCORERS["eds"]`` imports that one module. Packages
elsewhere add to a kind by an entry point of the group that is the folder's name, here ``owseg.scorers``, whose value
names a card: ``package.module:CARD`` (docs/extending.md).
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Generic, TypeVar

from owseg.errors import OwsegError, meant

T = TypeVar("T")


@dataclass(frozen=True)
class Card(Generic[T]):
    """What a plug-in is: its name, one sentence of help, and the function that makes it.

    ``source`` is the paper or the site it is from; ``options`` has the help of each argument of ``make`` that a user
    may set, by name; ``facts`` is what its kind needs to know besides, such as a data set's splits. All but ``make``
    are literals, since they are read from the text of the module.
    """

    name: str
    help: str
    make: Callable[..., T]
    source: str = ""
    options: Mapping[str, str] = field(default_factory=dict, hash=False)
    facts: Mapping[str, Any] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Entry:
    """What is known of a plug-in before it is imported: its card without ``make``, and the module that has the rest."""

    name: str
    help: str
    source: str = ""
    options: Mapping[str, str] = field(default_factory=dict, hash=False)
    facts: Mapping[str, Any] = field(default_factory=dict, hash=False)
    module: str = ""
    point: EntryPoint | None = None


class Registry(Mapping[str, Card[T]]):
    """The plug-ins of a ``kind`` by name: those in the folder of ``package``, and those of other packages.

    ``registry[name]`` imports the module and returns the card; for an unknown name it raises ``OwsegError`` with the
    names that there are. ``registry.entries`` is what is known without an import.
    """

    def __init__(self, kind: str, package: str) -> None:
        self.kind, self.package = kind, package

    @cached_property
    def entries(self) -> dict[str, Entry]:
        """Every plug-in by name, sorted by module; another package cannot replace one that comes with owseg."""
        found: dict[str, Entry] = {}
        (folder,) = importlib.import_module(self.package).__path__
        for path in sorted(Path(folder).glob("[!_]*.py")):
            for entry in _entries_in(path, f"{self.package}.{path.stem}"):
                if entry.name in found:
                    raise OwsegError(
                        f"{path} names the {self.kind} {entry.name!r}, which {found[entry.name].module} has."
                    )
                found[entry.name] = entry
        for point in sorted(entry_points(group=self.package), key=lambda p: p.name):
            found.setdefault(point.name, _entry_of(point))
        return found

    def __getitem__(self, name: str) -> Card[T]:
        entry = self.require(name)
        if entry.point is not None:
            return self._loaded(entry.point)
        cards: tuple[Card[T], ...] = importlib.import_module(entry.module).CARDS
        return next(card for card in cards if card.name == name)

    def make(self, name: str, *arguments: Any, **options: Any) -> T:
        """Return what the card of ``name`` makes; raise ``OwsegError`` for whatever another package's card raises."""
        card, point = self[name], self.entries[name].point
        try:
            return card.make(*arguments, **options)
        except Exception as error:
            if point is None or isinstance(error, OwsegError):
                raise
            raise self._broken(point, "cannot be made", error) from error

    def _loaded(self, point: EntryPoint) -> Card[T]:
        try:
            card = point.load()
        except Exception as error:  # whatever the other package raises while it is imported
            raise self._broken(point, "cannot be loaded", error) from error
        if not isinstance(card, Card) or card.name != point.name:
            raise OwsegError(f"the {self.kind} {point.name!r} of {_origin(point)} has no card of that name.")
        return card

    def _broken(self, point: EntryPoint, what: str, error: Exception) -> OwsegError:
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        return OwsegError(f"the {self.kind} {point.name!r} of {_origin(point)} {what} ({reason}).")

    def require(self, name: str) -> Entry:
        """Return what is known of ``name`` without an import; raise ``OwsegError`` if there is no such plug-in."""
        if name not in self.entries:
            others = f"it is one of {', '.join(self.entries)}."
            raise OwsegError(f"there is no {self.kind} {name!r}; {meant(name, self.entries, others)}")
        return self.entries[name]

    def get(self, name: str, default: Any = None) -> Any:
        """Return the card, or ``default`` if there is no such plug-in."""
        return self[name] if name in self else default  # noqa: SIM401

    def __contains__(self, name: object) -> bool:
        return name in self.entries

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)


def _entries_in(path: Path, module: str) -> Iterator[Entry]:
    """Yield the entries of the cards in a module's text; a module without ``CARDS`` holds no plug-in."""
    cards = _assigned(path, "CARDS")
    if cards is None:
        return
    assert isinstance(cards, ast.Tuple), path
    for call in cards.elts:
        yield Entry(**_literals(call), module=module)


def _assigned(path: Path, name: str) -> ast.expr | None:
    """Return what the text of a module assigns to ``name``; None where it assigns nothing."""
    for node in ast.parse(path.read_bytes(), str(path)).body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        targets = [node.target] if isinstance(node, ast.AnnAssign) else targets
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            assert isinstance(node, ast.Assign | ast.AnnAssign)
            return node.value
    return None


def _literals(call: ast.expr) -> dict[str, Any]:
    """Return the arguments of a call of ``Card``, but ``make``; raise ``ValueError`` for what is no literal."""
    if not isinstance(call, ast.Call):
        raise ValueError("a card is written as Card(...), so that it can be read without an import")
    given = dict(zip(("name", "help", "make", "source", "options", "facts"), call.args, strict=False))
    given |= {str(k.arg): k.value for k in call.keywords}
    given.pop("make", None)
    return {key: ast.literal_eval(value) for key, value in given.items()}


def _entry_of(point: EntryPoint) -> Entry:
    """Return the entry of a card in the text of another package; its name and origin where that cannot be read."""
    try:
        path = _file_of(point.module)
        card = None if path is None else _assigned(path, point.attr)
        if card is not None:
            entry = Entry(**{**_literals(card), "name": point.name}, module=point.module, point=point)
            if isinstance(entry.options, dict) and isinstance(entry.facts, dict):
                return entry
    except (OSError, SyntaxError, ValueError, TypeError, AttributeError):
        pass  # it may load all the same: only what is known before is less
    return Entry(point.name, f"from {_origin(point)}", module=point.value.partition(":")[0], point=point)


def _file_of(module: str) -> Path | None:
    """Return the file of a module, found without importing it or a package above it; None where it is not found."""
    top, *rest = module.split(".")
    spec = importlib.util.find_spec(top)
    if spec is None or not rest:
        return Path(spec.origin) if spec is not None and spec.origin else None
    places = [Path(folder, *rest) for folder in spec.submodule_search_locations or ()]
    return next((f for p in places for f in (p.with_suffix(".py"), p / "__init__.py") if f.is_file()), None)


def _origin(point: EntryPoint) -> str:
    return str(point.dist.metadata["Name"]) if point.dist is not None else point.value


def with_options(card: Card[T], options: Mapping[str, str], *arguments: Any) -> T:
    """Return what ``card`` makes of ``arguments`` with ``options`` given as text; errors as in ``read_options``."""
    return card.make(*arguments, **read_options(card, options))


def read_options(card: Card[Any], options: Mapping[str, str], where: str = "") -> dict[str, Any]:
    """Return ``options``, given as text, as the types of their defaults in ``card.make``.

    Raises ``OwsegError`` for an option that the card does not name, and for a value of another type; it names
    ``where`` the options are from, by default the card.
    """
    where = where or card.name
    parameters = inspect.signature(card.make).parameters
    values: dict[str, Any] = {}
    for name, text in options.items():
        if name not in card.options:
            others = f"it has {', '.join(card.options)}." if card.options else "it takes none."
            raise OwsegError(f"{where} has no option {name!r}; {meant(name, card.options, others)}")
        given = parameters.get(name)
        default, kind = (None, "") if given is None else (given.default, str(given.annotation))
        of_none = int if "int" in kind and "float" not in kind else float
        values[name] = _read_as(default, text, f"{where}: {name}", of_none)
    return values


def _read_as(default: Any, text: str, name: str, of_none: type[int] | type[float]) -> Any:
    """Return ``text`` as a value of the type of ``default``; a number, where one can be read, for None.

    None, and the parts of an empty tuple, are ``of_none``.
    """
    try:
        if isinstance(default, bool):
            return {"true": True, "false": False}[text.lower()]
        if isinstance(default, tuple):
            part_type = type(default[0]) if default else of_none
            return () if text == "none" else tuple(part_type(part) for part in text.split(","))
        if isinstance(default, int | float):
            return type(default)(text)
        return text if isinstance(default, str) else of_none(text)
    except (ValueError, KeyError):
        kind = {bool: "true or false", int: "a whole number", tuple: "numbers with commas"}.get(
            type(default), "a number"
        )
        raise OwsegError(f"{name} is {kind}, not {text!r}.") from None
