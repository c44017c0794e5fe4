"""The canvas on which the mask of a region is corrected (``static/editor.js``), and its tools."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nicegui import ui
from nicegui.element import Element

from owseg.review.frame import notify, showing_errors

TOOLS = {"brush": "Brush", "erase": "Erase", "polygon": "Polygon", "segment": "Segment"}


MIN_RADIUS, MAX_RADIUS = 2, 60
"""Of the brush, in pixels of the screen."""


class _Canvas(Element, component="static/editor.js"):
    """The element of editor.js. Props: ``view``, see ``ReviewState.view``; ``name``, what a stroke accepts it as."""

    def set(self, **props: Any) -> None:
        self._props.update(props)
        self.update()


class Editor:
    """The canvas and its tools. The browser sends each stroke to the server; then ``saved`` is called."""

    def __init__(self, saved: Callable[[], None]):
        self.radius, self.begun = 14, False  # begun: a polygon that is not closed yet
        self.canvas = _Canvas()
        self.canvas.on("saved", showing_errors(saved))
        self.canvas.on("refused", lambda e: notify(str(e.args)))
        self.canvas.on("begun", lambda e: setattr(self, "begun", bool(e.args)))
        self.canvas.on("wheeled", lambda e: self.resize(1 if e.args == 1 else -1))
        with ui.element("div").classes("tools"):
            self.buttons = {
                tool: ui.button(label, on_click=lambda t=tool: self.take(t)).props(f"no-caps dense id={tool}")
                for tool, label in TOOLS.items()
            }
            self.size = ui.slider(
                min=MIN_RADIUS, max=MAX_RADIUS, value=self.radius, on_change=lambda e: self.set_radius(e.value)
            )
            self.size.props("aria-label='Size of the brush' label-always=false").classes("size")
            ui.button("Zoom", on_click=self.zoom).props("flat no-caps dense")
            ui.space()
            self.caption = ui.label().classes("muted")
        self.canvas.set(radius=self.radius)
        self.take("brush")

    def show(self, view: dict[str, Any], name: str, caption: str) -> None:
        """Show a region, with a caption; a stroke accepts it as ``name``."""
        self.canvas.set(view=view, name=name)
        self.caption.set_text(caption)

    def take(self, tool: str) -> None:
        """Use one of the ``TOOLS``."""
        self.canvas.set(tool=tool)
        for each, button in self.buttons.items():
            button.props(remove="flat unelevated").props("unelevated" if each == tool else "flat")

    def resize(self, by: int) -> None:
        """Make the brush one step larger (1) or smaller (-1)."""
        # By a quarter and half a pixel: also a small brush changes by one pixel or more.
        self.size.set_value(min(MAX_RADIUS, max(MIN_RADIUS, round(self.radius * 1.25**by + 0.5 * by))))

    def set_radius(self, radius: float) -> None:
        """Set the radius of the brush."""
        self.radius = int(radius)
        self.canvas.set(radius=self.radius)

    def zoom(self) -> None:
        """Zoom to the region, or back."""
        self.canvas.run_method("zoom")

    def cancel(self) -> None:
        """Discard the polygon that is not closed yet."""
        self.canvas.run_method("cancel")
