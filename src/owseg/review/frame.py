"""What all pages have in common: the head with its keys, and how a refusal is told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from nicegui import events, ui

from owseg.errors import OwsegError

STATIC = Path(__file__).parent / "static"


PAGE = 60
"""How many tiles, or regions of a group, are drawn at once."""


KEYS: Final = (
    ("← → ↑ ↓", "the next region, or tile"),
    ("Enter", "open a tile; in a group: on to the next group"),
    ("Esc", "back"),
    ("A", "accept: this is one of what the group is named"),
    ("R", "reject: nothing new"),
    ("Shift A, Shift R", "the same for all that are left in the group"),
    ("U", "undo the last action"),
    ("N", "name the class"),
    ("1 … 9", "take a name that was given before"),
    ("B, E, P", "brush, eraser, polygon (double-click closes it)"),
    ("[ ]", "a smaller, a larger brush"),
    ("Z", "zoom to the region"),
    ("L", "learn the class"),
    ("?", "this help"),
)


def draw_frame(title: str, undo: Callable[[], None] | None, key: Callable[[str, bool], None]) -> ui.label:
    """Draw the head of a page and return its status line; ``key`` is told each key and whether Shift is down."""
    ui.colors(primary="#3b4a5a")
    ui.add_css(STATIC / "page.css")
    ui.add_head_html(f"<script>{(STATIC / 'walk.js').read_text()}</script>")
    with ui.dialog() as help_, ui.card().classes("help"):
        ui.label("Keys").classes("title")
        with ui.element("dl"):
            for name, what in KEYS:
                with ui.element("dt"):
                    ui.label(name)
                with ui.element("dd"):
                    ui.label(what)
        ui.button("Close", on_click=help_.close).props("flat no-caps")
    with ui.element("header"):
        ui.link("owseg review", "/").classes("home")
        ui.label(title).classes("title")
        ui.space()
        status = ui.label().classes("muted")
        if undo is not None:
            ui.button("Undo", on_click=said(undo)).props("flat no-caps dense id=undo")
        ui.button("?", on_click=help_.open).props("flat round dense aria-label=Keys")

    def pressed(event: events.KeyEventArguments) -> None:
        modifiers = event.modifiers
        if not event.action.keydown or modifiers.ctrl or modifiers.meta or modifiers.alt:
            return
        name = str(event.key.name)
        if name == "?":
            help_.open()
        elif name == "Escape" and help_.value:
            help_.close()
        elif not help_.value:
            said(key)(name if len(name) > 1 else name.lower(), bool(modifiers.shift))

    ui.keyboard(pressed, ignore=["input", "textarea", "select"])
    return status


def said(act: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``act`` so that what is refused is shown in its one sentence."""

    def acted(*arguments: Any) -> Any:
        try:
            return act(*arguments)
        except OwsegError as error:
            notify(str(error))

    return acted


def notify(sentence: str) -> None:
    """Show a sentence for a while."""
    ui.notify(sentence[:1].upper() + sentence[1:], position="bottom", timeout=6000, classes="note")


def or_say_why(draw: Callable[..., Any], *arguments: Any) -> None:
    """Draw a page; what is refused becomes a page that only says why there is nothing on it."""
    try:
        draw(*arguments)
    except OwsegError as error:
        sentence = str(error)
        ui.add_css(STATIC / "page.css")
        with ui.element("main").classes("tiles"):
            ui.label(sentence[:1].upper() + sentence[1:])
            ui.link("All groups", "/")


def count(n: int, what: str) -> str:
    """Return a number of things in words."""
    return f"{n:,} {what}{'' if n == 1 else 's'}"
