"""The image on which a region's mask is corrected (editor.js), and the tools to do that with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nicegui import ui
from nicegui.element import Element

from owseg.review.frame import notify, said

TOOLS = {"brush": "Brush", "erase": "Erase", "polygon": "Polygon"}


SMALLEST, LARGEST = 2, 60
"""Radius of the brush, in pixels of the screen."""


class _Canvas(Element, component="static/editor.js"):
    """What editor.js draws: ``view`` is that of ``ReviewState.view``, ``name`` the class that a stroke accepts it as."""

    def set(self, **props: Any) -> None:
        self._props.update(props)
        self.update()


class Editor:
    """The canvas and its tools; a stroke is sent to the server by itself, which then calls ``saved``."""

    def __init__(self, saved: Callable[[], None]):
        self.radius, self.begun = 14, False
        self.canvas = _Canvas()
        self.canvas.on("saved", said(saved))
        self.canvas.on("refused", lambda e: notify(str(e.args)))
        self.canvas.on("begun", lambda e: setattr(self, "begun", bool(e.args)))
        self.canvas.on("wheeled", lambda e: self.resize(1 if e.args == 1 else -1))
        with ui.element("div").classes("tools"):
            self.buttons = {
                tool: ui.button(label, on_click=lambda t=tool: self.take(t)).props(f"no-caps dense id={tool}")
                for tool, label in TOOLS.items()
            }
            self.size = ui.slider(min=SMALLEST, max=LARGEST, value=self.radius, on_change=lambda e: self.sized(e.value))
            self.size.props("aria-label='Size of the brush' label-always=false").classes("size")
            ui.button("Zoom", on_click=self.zoom).props("flat no-caps dense")
            ui.space()
            self.what = ui.label().classes("muted")
        self.canvas.set(radius=self.radius)
        self.take("brush")

    def show(self, view: dict[str, Any], name: str, what: str) -> None:
        """Show a region; ``what`` is said of it."""
        self.canvas.set(view=view, name=name)
        self.what.set_text(what)

    def take(self, tool: str) -> None:
        """Take one of the ``TOOLS``."""
        self.canvas.set(tool=tool)
        for each, button in self.buttons.items():
            button.props(remove="flat unelevated").props("unelevated" if each == tool else "flat")

    def resize(self, by: int) -> None:
        """Take a brush one step larger, or smaller for -1."""
        self.size.set_value(min(LARGEST, max(SMALLEST, round(self.radius * 1.25**by + 0.5 * by))))

    def sized(self, radius: float) -> None:
        """Take a brush of a radius."""
        self.radius = int(radius)
        self.canvas.set(radius=self.radius)

    def zoom(self) -> None:
        """Zoom to the region, or back."""
        self.canvas.run_method("zoom")

    def cancel(self) -> None:
        """Give a begun polygon up."""
        self.canvas.run_method("cancel")
