"""What all pages have in common: the head, the keys and the way errors are shown."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from nicegui import events, ui

from owseg.errors import OwsegError

STATIC = Path(__file__).parent / "static"


PAGE = 60
"""How many tiles, or thumbnails of a group's regions, are drawn at once."""


KEYS: Final = (
    ("← → ↑ ↓", "the next region, or tile"),
    ("Enter", "open a tile; in a group: on to the next group"),
    ("Esc", "back"),
    ("A", "accept the region as the class of the group"),
    ("R", "reject it: nothing new"),
    ("K", "it is of the known class that is chosen: a false alarm"),
    ("Shift A, R, K", "the same for all undecided regions of the group"),
    ("X", "select the region, to split it off or move it"),
    ("U", "undo the last action"),
    ("N", "name the class"),
    ("1 … 9", "use a name that was given before"),
    ("B, E, P", "brush, eraser, polygon (double-click closes it)"),
    ("S", "segments: a click adds that under the pointer, with Shift it removes it"),
    ("[ ]", "a smaller, a larger brush"),
    ("Z", "zoom to the region"),
    ("L", "learn the class"),
    ("?", "this help"),
)


def draw_frame(title: str, undo: Callable[[], None] | None, key: Callable[[str, bool], None]) -> ui.label:
    """Draw the head of a page and return its status line; ``key(name, shift)`` is called for each key."""
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
            ui.button("Undo", on_click=showing_errors(undo)).props("flat no-caps dense id=undo")
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
            # Letters in lower case, whether Shift is held or not; names such as ArrowUp as they are.
            showing_errors(key)(name if len(name) > 1 else name.lower(), bool(modifiers.shift))

    # Whoever types a name must not decide about regions.
    ui.keyboard(pressed, ignore=["input", "textarea", "select"])
    return status


def showing_errors(act: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``act`` so that an ``OwsegError`` is shown as a note on the page."""

    def acting(*arguments: Any) -> Any:
        try:
            return act(*arguments)
        except OwsegError as error:
            notify(str(error))

    return acting


def sentence(message: str) -> str:
    """Return ``message`` as a sentence: on the command line, where it follows "error: ", it begins in lower case."""
    return message[:1].upper() + message[1:]


def notify(message: str) -> None:
    """Show a sentence for a while."""
    ui.notify(sentence(message), position="bottom", timeout=6000, classes="note")


def draw_page(draw: Callable[..., Any], *arguments: Any) -> None:
    """Draw a page; after an ``OwsegError`` it shows only that."""
    try:
        draw(*arguments)
    except OwsegError as error:
        ui.add_css(STATIC / "page.css")
        with ui.element("main").classes("tiles"):
            ui.label(sentence(str(error)))
            ui.link("All groups", "/")


def count(n: int, what: str) -> str:
    """Return ``n`` things as text: ``count(2, "region")`` is ``2 regions``."""
    return f"{n:,} {what}{'' if n == 1 else 's'}"
