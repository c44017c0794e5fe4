"""The page: groups as tiles, an open group with its masks, and what a lesson changed. Only drawing and keys."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from fastapi import FastAPI, Request, Response
from fastapi.responses import FileResponse, JSONResponse
from nicegui import Client, background_tasks, events, ui
from nicegui.element import Element

from owseg.errors import OwsegError
from owseg.learners.shots import MAX_SHOTS
from owseg.queue import class_name
from owseg.review.desk import Desk, Tile, is_provisional
from owseg.review.guard import Guard
from owseg.review.lesson import Lessons

HERE = Path(__file__).parent
PAGE = 60
"""How many tiles, or regions of a group, are drawn at once."""
CANDIDATES = 10
"""How many pictures are offered as shots."""
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


def application(desk: Desk, lessons: Lessons, token: str = "") -> Any:
    """Return the page as an ASGI application, under its guard."""
    web = FastAPI(openapi_url=None)
    serve_files(web, desk, lessons)
    _Pages(desk, lessons)
    warnings.filterwarnings("ignore", module="nicegui")  # it looks at every object there is, and torch's complain
    ui.run_with(web, title="owseg review", reconnect_timeout=30, show_welcome_message=False, tailwind=False)
    return Guard(web, token)


def serve_files(web: FastAPI, desk: Desk, lessons: Lessons) -> None:
    """Serve pictures, and take corrected masks."""
    kept = {"Cache-Control": "private, max-age=3600"}

    @web.exception_handler(OwsegError)
    def refuse(_: Request, error: OwsegError) -> JSONResponse:
        return JSONResponse({"error": str(error)}, 400)

    @web.get("/thumbnails/{region}.jpg")
    def thumbnail(region: str) -> Response:
        path = desk.queue.thumbnail(region)
        if not path.is_file():
            raise OwsegError(f"{path} is gone; run `owseg discover` again with another --out.")
        return FileResponse(path, headers=kept)

    @web.get("/pictures/{one}.jpg")
    def picture(one: str) -> Response:
        return Response(desk.jpeg(one), media_type="image/jpeg", headers=kept)

    @web.get("/maps/{version}/{one}.jpg")
    def labelled(version: int, one: str) -> Response:
        return Response(lessons.map(version, one), media_type="image/jpeg")

    @web.post("/masks/{region}")
    async def correct(region: str, request: Request) -> dict[str, str]:
        # On the event loop, as all that writes to the queue: actions are taken one after another.
        try:
            value = await request.json()
            name, counts = value["name"], value["counts"]
        except (ValueError, TypeError, KeyError, RecursionError):
            raise OwsegError("a corrected mask is sent as JSON: name, and counts, its run lengths.") from None
        desk.correct(region, name, counts)
        return {"region": region}


class _Editor(Element, component="editor.js"):
    """The picture on which a region's mask is corrected (editor.js)."""

    def show(self, view: dict[str, Any], name: str) -> None:
        self._props["view"], self._props["name"] = view, name
        self.update()

    def set(self, **props: Any) -> None:
        self._props.update(props)
        self.update()


class _Pages:
    """The pages, one function each."""

    def __init__(self, desk: Desk, lessons: Lessons):
        self.desk, self.lessons = desk, lessons
        ui.page("/")(self.tiles)
        ui.page("/group/{number}")(self.group)
        ui.page("/learned")(self.learned)

    def tiles(self, at: int = 1) -> None:
        """Draw the groups as tiles."""
        try:
            groups = self.desk.groups()
        except OwsegError as error:
            return _alas(str(error))
        where = {"at": min(max(at, 1), max(1, len(groups))), "shown": 0}
        tiles: dict[int, ui.element] = {}

        def draw(tile: Tile) -> None:
            box = tiles[tile.number]
            box.clear()
            box.classes(replace=f"tile {tile.state}")
            with box:
                ui.element("img").props(f'src="/thumbnails/{tile.face}.jpg" alt="" loading=lazy')
                with ui.element("div").classes("said"):
                    ui.label(f"{tile.number}").classes("number")
                    copies = f" + {tile.copies} alike" if tile.copies else ""
                    ui.label(f"{_count(tile.regions, 'region')}{copies}")
                ui.label(f"nearest: {tile.nearest}").classes("muted")
                ui.label(_summary(tile)).classes("state")

        def more() -> None:
            with grid:
                for g in groups[where["shown"] : where["shown"] + PAGE]:
                    link = ui.element("a").props(f'href="/group/{g.number}" id="tile-{g.number}"')
                    link.on("focus", lambda n=g.number: where.update(at=n))
                    tiles[g.number] = link
                    draw(self.desk.tile(g))
            where["shown"] += PAGE
            rest.set_visibility(where["shown"] < len(groups))

        def redraw() -> None:
            for number in tiles:
                if (tile := self.desk.tile(groups[number - 1])) != last.get(number):
                    last[number] = tile
                    draw(tile)
            done, total = self.desk.progress()
            status.set_text(f"{done:,} of {total:,} regions decided")

        def decide(verdict: str) -> None:
            group = groups[where["at"] - 1]
            left = [r for r in group.regions if r not in self.desk.decisions()]
            if not left:
                return
            if verdict == "a":
                self.desk.accept(left, self.desk.name_of(group))
            else:
                self.desk.queue.reject(left)
            redraw()

        def undo() -> None:
            _undo(self.desk)
            redraw()

        def key(name: str, shift: bool) -> None:
            if name.startswith("Arrow"):
                ui.run_javascript(f"walk({name[5:]!r})")
            elif name in "ar":
                decide(name)
            elif name == "u":
                undo()

        last: dict[int, Tile] = {}
        status = self._frame("Unknown regions, in groups that look alike", undo, key)
        with ui.element("main").classes("tiles"):
            if not groups:
                ui.label("No unknown region was found. Look at other pictures with owseg discover.").classes("muted")
            else:
                line = "The most rewarding groups come first. Open one to say what it is, or press R if it is nothing."
                ui.label(line).classes("muted")
            grid = ui.element("div").classes("grid")
            rest = ui.button("Show more groups", on_click=more).props("flat no-caps")
        while where["shown"] < max(1, where["at"]):
            more()
        last.update({n: self.desk.tile(groups[n - 1]) for n in tiles})
        redraw()
        ui.run_javascript(f'document.getElementById("tile-{where["at"]}")?.focus()')

    def group(self, number: int, region: str = "") -> None:
        """Draw an open group."""
        try:
            _Group(self, number, region)
        except OwsegError as error:
            _alas(str(error))

    def learned(self) -> None:
        """Draw what the last lesson changed: pictures as they were labelled before and after."""
        try:
            change = self.lessons.change()
        except OwsegError as error:
            return _alas(str(error))

        def undo() -> None:
            self.lessons.undo()
            ui.navigate.to("/")

        def key(name: str, shift: bool) -> None:
            if name == "u" and change is not None:
                undo()

        if change is None:
            self._frame("What was learned", None, key)
            with ui.element("main").classes("tiles"):
                ui.label("Nothing was learned from this queue yet.").classes("muted")
            return
        self._frame(f"Learned: {change.name}", None, key)
        pictures = self.lessons.pictures(change)
        with ui.element("main").classes("changed"):
            with ui.element("div").classes("lead"):
                ui.element("i").style(f"background: rgb{change.color}")
                ui.label(f"is {change.name} now, magenta what is still unknown.")
                ui.space()
                ui.button(f"Undo: forget {change.name}", on_click=_said(undo)).props("outline no-caps id=forget")
                ui.button("Go on", on_click=lambda: ui.navigate.to("/")).props("unelevated no-caps")
            with ui.element("div").classes("pairs"):
                for one in pictures:
                    found = self.desk.picture(one)
                    with ui.element("figure"):
                        for version, caption in ((change.before, "before"), (change.now, "after")):
                            with ui.element("div"):
                                ui.element("img").props(f'src="/maps/{version}/{one}.jpg" alt="{caption}"')
                                ui.label(caption).classes("caption")
                        taught = ", it taught the class" if found.name in change.shots else ""
                        with ui.element("figcaption"):
                            ui.label(f"{found.name}{taught}").classes("muted")
            ui.label(
                f"{self.lessons.target} is at version {change.now}; undo takes version {change.before} into use again "
                "and deletes nothing. What the new version does not know is found with owseg discover."
            ).classes("muted")

    def _frame(self, title: str, undo: Callable[[], None] | None, key: Callable[[str, bool], None]) -> ui.label:
        """Draw the head of a page, listen to its keys, and return its status line."""
        ui.colors(primary="#3b4a5a")
        ui.add_css(HERE / "page.css")
        ui.add_head_html(f"<script>{(HERE / 'walk.js').read_text()}</script>")
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
                ui.button("Undo", on_click=_said(undo)).props("flat no-caps dense id=undo")
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
                _said(key)(name if len(name) > 1 else name.lower(), bool(modifiers.shift))

        ui.keyboard(pressed, ignore=["input", "textarea", "select"])
        return status


class _Group:
    """An open group: its regions in a row, one of them large, and what can be done with it."""

    def __init__(self, pages: _Pages, number: int, region: str):
        self.desk, self.lessons, self.number = pages.desk, pages.lessons, number
        self.group = self.desk.group(number)
        self.regions = self.group.regions
        self.at = self.regions.index(region) if region in self.regions else 0
        self.name = self.desk.name_of(self.group)
        self.radius, self.tool, self.begun = 14, "brush", False
        self.faces: dict[int, ui.element] = {}
        self.was_busy = bool(self.lessons.stage)
        tile = self.desk.tile(self.group)
        title = f"Group {number}: {_count(len(self.regions), 'region')}, nearest to {tile.nearest}"
        self.status = pages._frame(title, self.undo, self.key)
        with ui.element("main").classes("work"):
            self.strip = ui.element("nav").classes("strip")
            with ui.element("section").classes("stage"):
                self.editor = _Editor()
                self.editor.set(tool=self.tool, radius=self.radius)
                self.editor.on("saved", _said(self.refresh))
                self.editor.on("refused", lambda e: _notify(str(e.args)))
                self.editor.on("begun", lambda e: setattr(self, "begun", bool(e.args)))
                self.editor.on("wheeled", lambda e: self.resize(1 if e.args == 1 else -1))
                with ui.element("div").classes("tools"):
                    self.tools = {
                        tool: ui.button(label, on_click=lambda t=tool: self.take(t)).props(f"no-caps dense id={tool}")
                        for tool, label in (("brush", "Brush"), ("erase", "Erase"), ("polygon", "Polygon"))
                    }
                    self.size = ui.slider(min=2, max=60, value=self.radius, on_change=lambda e: self.sized(e.value))
                    self.size.props("aria-label='Size of the brush' label-always=false").classes("size")
                    ui.button("Zoom", on_click=lambda: self.editor.run_method("zoom")).props("flat no-caps dense")
                    ui.space()
                    self.what = ui.label().classes("muted")
            with ui.element("aside"):
                self.field = ui.input("What is it?", value="" if is_provisional(self.name) else self.name)
                self.field.props("outlined dense maxlength=60 placeholder='name the class' for=name")
                self.field.on("keydown.enter", _said(lambda: self.call(str(self.field.value or ""), True)))
                self.field.on("blur", _said(lambda: self.call(str(self.field.value or ""))))
                self.known = ui.element("div").classes("names")
                with ui.element("div").classes("verdicts"):
                    for label, mark, act in (("Accept", "accept", self.accept), ("Reject", "reject", self.reject)):
                        button = ui.button(on_click=_said(act), color=None).props(f"unelevated no-caps id={mark}")
                        with button.classes(mark):
                            ui.label(label)
                            ui.label(label[0]).classes("key")
                ui.button("Accept all that are left", on_click=_said(self.accept_left)).props("flat no-caps dense")
                ui.separator()
                self.shots = ui.element("div").classes("shots")
                self.teach = ui.element("div").classes("teach")
                ui.space()
                ui.link("What was learned last", "/learned").classes("muted")
        ui.timer(0.5, self.watch)
        self.draw_strip()
        self.refresh()

    @property
    def region(self) -> str:
        """The region that is shown large."""
        return self.regions[self.at]

    # Drawing

    def draw_strip(self) -> None:
        self.strip.clear()
        self.faces.clear()
        first = self.at // PAGE * PAGE
        with self.strip:
            for i in range(first, min(first + PAGE, len(self.regions))):
                button = ui.element("button").on("click", _said(lambda i=i: self.go(i)))
                button.props(f'id="region-{i}" aria-label="region {i + 1}"')
                with button:
                    ui.element("img").props(f'src="/thumbnails/{self.regions[i]}.jpg" alt="" loading=lazy')
                    ui.label().classes("state")
                self.faces[i] = button

    def refresh(self) -> None:
        """Draw what may have changed."""
        if self.at not in self.faces:
            self.draw_strip()
        decisions = self.desk.decisions()
        for i, button in self.faces.items():
            said = decisions.get(self.regions[i])
            button.classes(replace=f"{said.verdict if said else 'open'}{' here' if i == self.at else ''}")
            label = list(button)[1]
            assert isinstance(label, ui.label)
            label.set_text("" if said is None else "rejected" if said.name is None else _told(said.name))
        view = self.desk.view(self.region)
        self.editor.show(view, self.name)
        state = {"": "not decided", "accept": _told(view["said"]), "reject": "rejected"}[view["verdict"]]
        self.what.set_text(f"{view['name']} · {state}{', mask corrected' if view['corrected'] else ''}")
        done = sum(r in decisions for r in self.regions)
        self.status.set_text(f"{done:,} of {_count(len(self.regions), 'region')} decided")
        for tool, button in self.tools.items():
            button.props(remove="flat unelevated").props("unelevated" if tool == self.tool else "flat")
        self.draw_names()
        self.draw_shots()
        self.draw_teach()

    def draw_names(self) -> None:
        self.known.clear()
        with self.known:
            for i, name in enumerate(self.desk.names()[:9], 1):
                button = ui.button(on_click=_said(lambda n=name: self.call(n))).props("flat no-caps dense")
                with button:
                    ui.label(str(i)).classes("muted")
                    ui.label(name)

    def draw_shots(self) -> None:
        self.shots.clear()
        if not (found := self.desk.candidates(self.name)):
            return
        chosen = [c.picture for c in found if c.chosen]

        def turn(one: str) -> None:
            now = [c for c in chosen if c != one] if one in chosen else [*chosen, one]
            self.desk.choose(self.name, now)
            self.draw_shots()
            self.draw_teach()

        with self.shots:
            ui.label(f"Learn from {len(chosen)} of {len(found)}, at most {MAX_SHOTS}").classes("muted")
            with ui.element("div"):
                for c in found[:CANDIDATES]:
                    button = ui.element("button").on("click", _said(lambda one=c.picture: turn(one)))
                    button.classes("shot chosen" if c.chosen else "shot")
                    button.props["title"], button.props["aria-pressed"] = c.name, str(c.chosen).lower()
                    with button:
                        ui.element("img").props(f'src="/thumbnails/{c.face}.jpg" alt=""')

    def draw_teach(self) -> None:
        self.teach.clear()
        with self.teach:
            if self.lessons.stage:
                ui.linear_progress(show_value=False).props("indeterminate")
                ui.label(f"{self.lessons.stage} …").classes("muted")
                return
            word = "this class" if is_provisional(self.name) else self.name
            button = ui.button(f"Learn {word}", on_click=_said(self.learn)).props("unelevated no-caps id=learn")
            button.set_enabled(bool(self.desk.candidates(self.name)))

    def watch(self) -> None:
        """Show how far a lesson is, also after a reload, and what came of it."""
        busy = bool(self.lessons.stage)
        if busy or self.was_busy:
            self.draw_teach()
        self.was_busy = busy

    # What a person does

    def key(self, name: str, shift: bool) -> None:
        if name in ("ArrowRight", "ArrowDown"):
            self.go(self.at + 1)
        elif name in ("ArrowLeft", "ArrowUp"):
            self.go(self.at - 1)
        elif name == "Escape" and self.begun:
            self.editor.run_method("cancel")
        elif name == "Escape":
            ui.navigate.to(f"/?at={self.number}")
        elif name == "Enter":
            last = len(self.desk.groups())
            ui.navigate.to(f"/group/{self.number + 1}" if self.number < last else "/")
        elif name == "a":
            self.accept_left() if shift else self.accept()
        elif name == "r":
            self.reject_left() if shift else self.reject()
        elif name == "u":
            self.undo()
        elif name == "n":
            self.field.run_method("focus")
        elif name in ("b", "e", "p"):
            self.take({"b": "brush", "e": "erase", "p": "polygon"}[name])
        elif name in ("[", "]"):
            self.resize(1 if name == "]" else -1)
        elif name == "z":
            self.editor.run_method("zoom")
        elif name in "123456789" and int(name) <= len(names := self.desk.names()):
            self.call(names[int(name) - 1])
        elif name == "l":
            self.learn()

    def go(self, i: int) -> None:
        """Show another region of the group."""
        self.at = min(max(i, 0), len(self.regions) - 1)
        ui.navigate.history.replace(f"/group/{self.number}?region={self.region}")
        self.refresh()
        ui.run_javascript(f'document.getElementById("region-{self.at}")?.scrollIntoView({{block: "nearest"}})')

    def accept(self) -> None:
        self.desk.accept([self.region], self.name)
        self.go(self.at + 1)

    def reject(self) -> None:
        self.desk.queue.reject(self.region)
        self.go(self.at + 1)

    def accept_left(self) -> None:
        if left := self.left():
            self.desk.accept(left, self.name)
            self.refresh()

    def reject_left(self) -> None:
        if left := self.left():
            self.desk.queue.reject(left)
            self.refresh()

    def left(self) -> Sequence[str]:
        """Return the regions of the group that nobody has decided about."""
        return [r for r in self.regions if r not in self.desk.decisions()]

    def undo(self) -> None:
        changed = [r for r in _undo(self.desk) if r in self.regions]
        if is_provisional(self.name) or self.name not in self.desk.names():
            self.name = self.desk.name_of(self.group)
        self.field.set_value("" if is_provisional(self.name) else self.name)
        self.go(self.regions.index(changed[0]) if changed and self.region not in changed else self.at)

    def call(self, name: str, leave: bool = False) -> None:
        """Name what is accepted from now on, and what was accepted here before it had a name."""
        if name.strip() and name.strip() != self.name:
            try:
                self.desk.baptise(self.group, name)
                self.name = class_name(name)
            finally:
                self.field.set_value("" if is_provisional(self.name) else self.name)
            self.refresh()
        if leave:
            self.field.run_method("blur")

    def take(self, tool: str) -> None:
        self.tool = tool
        self.editor.set(tool=tool)
        self.refresh()

    def resize(self, by: int) -> None:
        self.size.set_value(min(60, max(2, round(self.radius * 1.25**by + 0.5 * by))))

    def sized(self, radius: float) -> None:
        self.radius = int(radius)
        self.editor.set(radius=self.radius)

    def learn(self) -> None:
        """Learn the class beside the page, then show what that changed."""
        self.was_busy = True
        background_tasks.create(self.taught(ui.context.client, self.name))

    async def taught(self, client: Client, name: str) -> None:
        refused = ""
        try:
            await asyncio.to_thread(self.lessons.learn, name)
        except (OwsegError, RuntimeError, MemoryError) as error:  # torch says so when it runs out of memory
            refused = str(error).splitlines()[0] if str(error) else "there is not enough memory to learn it."
        with client:
            if not refused:
                ui.navigate.to("/learned")
                return
            self.draw_teach()
            _notify(refused)
            if is_provisional(name):
                self.field.run_method("focus")


def _undo(desk: Desk) -> list[str]:
    """Take the last action back and return the regions that it was about."""
    before = dict(desk.decisions())
    if not desk.queue.undo():
        raise OwsegError("there is nothing to undo.")
    after = desk.decisions()
    return [r for r in {**before, **after} if before.get(r) != after.get(r)]


def _said(act: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``act`` so that what is refused is shown in its one sentence."""

    def acted(*arguments: Any) -> Any:
        try:
            return act(*arguments)
        except OwsegError as error:
            _notify(str(error))

    return acted


def _notify(sentence: str) -> None:
    ui.notify(sentence[:1].upper() + sentence[1:], position="bottom", timeout=6000, classes="note")


def _alas(sentence: str) -> None:
    """Draw a page that only says why there is nothing on it."""
    ui.add_css(HERE / "page.css")
    with ui.element("main").classes("tiles"):
        ui.label(sentence[:1].upper() + sentence[1:])
        ui.link("All groups", "/")


def _summary(tile: Tile) -> str:
    """Say in a few words how far a group is."""
    said = []
    if tile.accepted:
        names = [n for n in tile.names if not is_provisional(n)]
        said.append(f"{tile.accepted} {', '.join(names) or 'accepted'}")
    if tile.rejected:
        said.append(f"{tile.rejected} rejected")
    if tile.left and said:
        said.append(f"{tile.left} left")
    return " · ".join(said)


def _told(name: str) -> str:
    """Return the name of a class, or that it has none yet."""
    return "accepted" if is_provisional(name) else name


def _count(n: int, what: str) -> str:
    return f"{n:,} {what}{'' if n == 1 else 's'}"
