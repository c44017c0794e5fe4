"""What keys do on the pages, without a browser."""

from unittest.mock import MagicMock, call

import pytest

pytest.importorskip("nicegui", reason="the page needs NiceGUI: pip install 'owseg[review]'")
from owseg.discovery import rows
from owseg.discovery.contents import Group
from owseg.errors import OwsegError
from owseg.review import frame, group_page, move_panel, tiles_page
from owseg.review.group_page import GroupPage
from owseg.review.listing import Listing
from owseg.review.move_panel import MovePanel
from owseg.review.open_group import OpenGroup
from owseg.review.state import ReviewState
from owseg.review.tiles_page import TilesPage
from tests.support.queues import IDS, make, many


@pytest.fixture
def state(tmp_path):
    return ReviewState(make(tmp_path))


@pytest.fixture
def ui(monkeypatch):
    ui = MagicMock()
    for module in (group_page, move_panel, frame):
        monkeypatch.setattr(module, "ui", ui)
    monkeypatch.setattr(tiles_page, "ui", ui)
    return ui


@pytest.fixture
def page(state, ui):
    """The page of the first group, with nothing drawn on it."""
    page = object.__new__(GroupPage)
    page.state, page.open, page.listing = state, OpenGroup(state, 1), Listing()
    page.buttons = dict.fromkeys(range(3), (MagicMock(), MagicMock()))
    page.drawn = page.open.regions
    page.editor, page.panel, page.field, page.known, page.status, page.strip = (MagicMock() for _ in range(6))
    page.choice = MagicMock(value="sky")
    page.moves = MovePanel(state, page.open, page.left)
    return page


def test_many_groups_to_move_to_are_named_with_a_few_looks_at_the_database(tmp_path, ui, monkeypatch):
    queue, ids = many(tmp_path / "queue", images=1, regions=60)
    queue.write_groups([Group(n, (region,)) for n, region in enumerate(ids, 1)])
    state, looks, read = ReviewState(queue), [], rows.read_stamp
    panel = MovePanel(state, OpenGroup(state, 1), MagicMock())
    monkeypatch.setattr(rows, "read_stamp", lambda db: looks.append(db) or read(db))
    panel.show()
    assert len(panel.into.set_options.call_args.args[0]) == 59 and len(looks) < 10


def actions(state):
    return {IDS.index(r): d.action for r, d in state.decisions().items()}


def test_keys_that_decide(page, state):
    page.key("a", False)
    assert actions(state) == {0: "accept"} and page.open.index == 1
    page.key("r", False)
    assert actions(state) == {0: "accept", 1: "reject"} and page.open.index == 2
    page.key("u", False)
    assert actions(state) == {0: "accept"} and page.open.index == 1
    page.key("r", True)
    assert actions(state) == {0: "accept", 1: "reject", 3: "reject"}
    page.key("u", False)
    page.key("a", True)
    assert actions(state) == {0: "accept", 1: "accept", 3: "accept"}


def test_a_group_of_a_known_class(page, state):
    page.key("r", False)
    page.key("k", True)
    assert actions(state) == {0: "reject", 1: "known", 3: "known"}
    assert {d.known for d in state.decisions().values()} == {None, "sky"}
    page.panel.show.assert_called_with("group 1", "sky")
    page.key("k", True)  # nothing is left
    page.key("u", False)
    assert actions(state) == {0: "reject"}


def regions(state):
    return {g.number: [IDS.index(r) for r in g.regions] for g in state.groups()}


def test_selected_regions_are_split_off_and_the_page_shows_the_rest(page, state, ui):
    page.key("x", False)
    page.select(2)
    page.moves.split()
    assert regions(state) == {1: [1], 3: [0, 3], 2: [2]} and page.open.regions == (IDS[1],)
    assert list(page.buttons) == [0]  # the strip is drawn again
    ui.notify.assert_called_once()
    assert ui.notify.call_args[0] == ("2 regions are group 3 now.",)
    page.moves.into.set_options.assert_called_with({2: "2 · road · 1 region", 3: "3 · road · 2 regions"}, value=None)
    page.key("u", False)
    assert regions(state) == {1: [0, 1, 3], 2: [2]} and page.open.regions == (IDS[0], IDS[1], IDS[3])


def test_regions_are_moved_and_the_rest_is_merged(page, state, ui):
    page.moves.into.value = None
    page.moves.merge()
    assert not state.queue.actions() and ui.notify.call_args[0] == ("Choose a group to move to.",)
    page.moves.into.value = 2
    page.key("x", False)
    page.moves.merge()
    assert regions(state) == {1: [1, 3], 2: [2, 0]} and page.open.region == IDS[1]
    page.moves.merge()
    assert regions(state) == {2: [2, 0, 1, 3]}
    ui.navigate.to.assert_called_once_with("/group/2")
    page.key("u", False)
    assert regions(state) == {1: [1, 3], 2: [2, 0]}


def test_undoing_what_made_the_group_shows_all_groups(page, state, ui):
    state.queue.split(IDS[0])
    page.open = OpenGroup(state, 3)
    page.key("u", False)
    assert regions(state) == {1: [0, 1, 3], 2: [2]}
    ui.navigate.to.assert_called_once_with("/")
    with pytest.raises(OwsegError, match="nothing to undo"):
        page.open = OpenGroup(state, 1)
        page.undo()


def test_a_region_of_a_known_class(page, state):
    page.key("k", False)
    assert state.decisions()[IDS[0]].known == "sky" and page.open.index == 1
    page.editor.show.assert_called_with(state.view(IDS[1]), "group 1", page.open.caption())
    page.key("u", False)
    assert not state.decisions() and page.open.index == 0


@pytest.mark.parametrize("key, index", [("ArrowRight", 2), ("ArrowDown", 2), ("ArrowLeft", 0), ("ArrowUp", 0)])
def test_keys_that_move(page, state, ui, key, index):
    page.open.show(1)
    page.key(key, False)
    assert page.open.index == index and not state.decisions()
    ui.navigate.history.replace.assert_called_with(f"/group/1?region={page.open.region}")
    page.editor.show.assert_called_with(state.view(page.open.region), "group 1", page.open.caption())


def test_keys_that_leave(page, state, ui):
    page.editor.begun = True
    page.key("Escape", False)  # only the polygon that was begun
    page.editor.cancel.assert_called_once_with()
    ui.navigate.to.assert_not_called()
    page.editor.begun = False
    page.key("Escape", False)
    page.key("Enter", False)
    page.open = OpenGroup(state, 2)
    page.key("Enter", False)
    assert ui.navigate.to.call_args_list == [call("/?at=1"), call("/group/2"), call("/")]


def test_the_listing_stays_in_the_address(page, state, ui):
    page.listing, page.editor.begun = Listing("size", 20, "begun"), False
    page.key("ArrowRight", False)
    ui.navigate.history.replace.assert_called_with(f"/group/1?sort=size&least=20&only=begun&region={IDS[1]}")
    page.key("Escape", False)
    page.key("Enter", False)  # no other group is begun
    assert ui.navigate.to.call_args_list == [
        call("/?sort=size&least=20&only=begun&at=1"), call("/?sort=size&least=20&only=begun"),
    ]  # fmt: skip


def test_keys_of_the_editor_and_the_panel(page):
    for key in "beps[]znl":
        page.key(key, False)
    assert page.editor.mock_calls == [
        call.take("brush"), call.take("erase"), call.take("polygon"), call.take("segment"),
        call.resize(-1), call.resize(1), call.zoom(),
    ]  # fmt: skip
    page.field.run_method.assert_called_once_with("focus")
    page.panel.learn.assert_called_once_with()


def test_a_digit_is_a_name_that_was_given_before(page, state):
    state.accept([IDS[2]], "cat")
    page.key("2", False)  # there is none
    assert page.open.name == "group 1"
    page.key("1", False)
    assert page.open.name == "cat"
    page.field.set_value.assert_called_with("cat")


def test_a_refused_name_leaves_the_field(page):
    with pytest.raises(ValueError, match="not a class name"):
        page.rename("a\nb", leave=True)
    page.field.set_value.assert_called_once_with("")
    page.rename("  ")
    assert page.field.set_value.call_count == 1
    page.status.set_text.assert_not_called()  # nothing is drawn again
    page.rename("dog", leave=True)
    page.field.run_method.assert_called_once_with("blur")


@pytest.fixture
def tiles(state, ui, monkeypatch):
    """Returns the page of tiles of a listing, whose focus is on the second group."""
    monkeypatch.setattr(tiles_page, "draw_frame", MagicMock())
    return lambda *listing: TilesPage(state, Listing(*listing), 2)


def test_keys_on_the_tiles(state, ui, tiles):
    page = tiles()
    page.key("a", False)
    assert actions(state) == {2: "accept"}
    page.key("u", False)
    page.key("r", False)
    assert actions(state) == {2: "reject"}
    page.status.set_text.assert_called_with("1 of 4 regions decided")
    page.key("ArrowLeft", False)
    ui.run_javascript.assert_called_with("moveFocus('Left')")
    page.links, page.drawn = {}, {}  # the group is not drawn, so nothing is decided about it unseen
    page.key("u", False)
    page.key("a", False)
    page.key("r", False)
    assert not actions(state)


def test_tiles_of_one_state(state, tiles):
    page = tiles()
    assert list(page.links) == list(page.drawn) == [1, 2]
    state.accept([IDS[0]], "dog")
    page.choose(Listing(only="begun"))
    assert list(page.links) == list(page.drawn) == [1] and page.at == 1
    state.undo()
    page.refresh()
    assert list(page.links) == [1]  # it stays until the reviewer chooses again
    page.choose(Listing(only="done"))
    assert not page.links
    page.choose(Listing())
    assert list(page.links) == [1, 2]


def test_what_is_hidden_is_not_decided(state, ui, tiles):
    page = tiles("", 26)  # the second group has no region of that size
    assert list(page.links) == [1] and page.at == 1 and page.drawn[1].regions == 2
    page.key("r", False)
    assert actions(state) == {0: "reject", 3: "reject"} and page.drawn[1].state == "done"
    page.choose(Listing("name", 10))
    ui.navigate.history.replace.assert_called_with("/?sort=name&least=10")
    assert list(page.links) == [1, 2] and page.drawn[1].state == "begun"


def test_tiles_are_drawn_again_after_a_move(state, tiles):
    page = tiles()
    state.queue.merge(IDS[2], 1)
    page.undo()
    assert list(page.links) == [1, 2]
    state.queue.split(IDS[0])
    page.refresh()
    assert list(page.links) == list(page.drawn) == [1, 3, 2]
    page.undo()
    assert list(page.links) == [1, 2] and page.drawn[1].regions == 3


def test_tiles_up_to_that_with_the_focus_are_drawn(state, tiles, monkeypatch):
    monkeypatch.setattr(tiles_page, "PAGE", 1)
    assert list(tiles().links) == [1, 2]
    assert list(tiles("", 26).links) == [1]
