"""The whole way in a browser: accept, correct, name, learn, compare, undo; the server killed in between."""

import os
import signal
import subprocess
import sys
from contextlib import contextmanager

import numpy as np
import pytest
from PIL import Image

import owseg
from owseg.data.datasets import open_dataset
from owseg.data.images import read_image
from owseg.discovery.discover import discover
from owseg.discovery.queue import Queue
from owseg.knowledge.versions import current_version
from owseg.scorers.segments import segment_ids
from tests.support import chromium

pytest.importorskip("nicegui", reason="the page needs NiceGUI: pip install 'owseg[review]'")
playwright = pytest.importorskip(
    "playwright.sync_api", reason="a browser is driven by playwright: pip install playwright"
)
pytestmark = pytest.mark.skipif(not (chromium.SYSTEM or chromium.QT), reason=chromium.MISSING)

NAME = "<b onclick=x>deer"
"""Markup is text here."""


@pytest.fixture(scope="module")
def place(tmp_path_factory, half_size):
    """Six scenes with animals, and what ``synthetic`` here, at half its size, does not know of them."""
    place = tmp_path_factory.mktemp("review")
    (place / "synthetic").symlink_to(half_size)
    source = open_dataset("synthetic", "shots").source
    (place / "photos").mkdir()
    for i in range(6):
        Image.fromarray(source.read(i)[0].transpose(1, 2, 0)).save(place / "photos" / f"{i}.png")
    discover(owseg.load(place / "synthetic"), sorted((place / "photos").iterdir()), place / "queue", "synthetic")
    return place


LOAD_FROM_ELSEWHERE = """new Promise((resolve) => {
    addEventListener("securitypolicyviolation", (event) => resolve(event.effectiveDirective));
    new Image().src = "http://127.0.0.1:9/x.png";
})"""
"""What a script that others had put into the page might do; the answer is the directive that forbids it."""


class Server:
    """``owseg review`` as a process that can be killed and started again at the same place."""

    def __init__(self, place, *options):
        self.place, self.options, self.port, self.process = place, options, 0, None
        self.start()

    def start(self):
        start = [sys.executable, "-c", "from owseg.cli import main; main()"]
        command = ["review", "synthetic", self.place / "queue", "--out", self.place / "kb", "--no-browser"]
        self.process = subprocess.Popen(
            [*start, *map(str, command), "--port", str(self.port), *self.options],
            stdout=subprocess.PIPE, text=True, cwd=self.place, env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        self.url = self.process.stdout.readline().split()[-1]
        self.port = int(self.url.split("/")[2].rpartition(":")[2])

    def stop(self, how=signal.SIGKILL):
        self.process.send_signal(how)
        return self.process.communicate(timeout=60)[0]


@contextmanager
def browser(server):
    """A page that notes errors of its scripts, and requests to anything but the server, in ``page.wrong``.

    Where the test fails, what was loaded and said in the meantime is printed.
    """
    with playwright.sync_playwright() as driver, chromium.open_page(driver) as page:
        page.set_default_timeout(120_000)
        page.wrong, log = [], []
        page.on("framenavigated", lambda frame: log.append(f"loaded {frame.url}"))
        page.on("console", lambda message: log.append(message.text))
        page.on("pageerror", lambda error: page.wrong.append(error))
        page.on("console", lambda m: "Content Security Policy" not in m.text or page.wrong.append(m.text))
        page.on(
            "request",
            lambda r: r.url.startswith((server.url[:17], "data:", "ws:", "blob:")) or page.wrong.append(r.url),
        )
        try:
            yield page
        except BaseException:
            print("\n".join([*log, page.url, page.inner_text("body")]))
            raise


def until(page, condition, act, arg=None):
    """Act until ``condition`` holds: a page may load itself anew on a busy machine, and what was done in it is lost."""
    for again in range(23, -1, -1):
        act()
        try:
            page.wait_for_function(condition, arg=arg, timeout=5_000)
            break
        except playwright.TimeoutError:
            if not again:
                raise


def shown(page):
    """What the page shows of an open group."""
    page.wait_for_selector(".editor[data-ready*='-']")
    labels = page.locator(".strip button").all_inner_texts()
    return page.url, labels, page.locator(".strip button.here").get_attribute("id"), page.input_value("#name")


def stroke(page):
    """Paint with the brush, and return how the server answered."""
    box = page.locator(".editor canvas").bounding_box()
    with page.expect_response("**/masks/*") as answered:
        page.mouse.move(box["x"] + 300, box["y"] + 300)
        page.mouse.down()
        page.mouse.move(box["x"] + 380, box["y"] + 320, steps=4)
        page.mouse.up()
    return answered.value


def restart(server, page, queue):
    """Kill the server and start it again; the page is as it was, and so is the queue."""
    before, decisions = shown(page), queue.decisions()
    page.goto("about:blank")  # the page would load itself again once the server is back, and so get in the way
    server.stop()
    server.start()
    page.goto(server.url)  # it has another token
    page.goto(before[0])
    assert shown(page) == before and queue.decisions() == decisions


def choose_tiles(page, queue):
    """List the groups of one state, then all, then those with a large region: a reload and the way back keep that."""
    images = page.wait_for_selector(".tile").query_selector_all("img")
    assert len(images) == min(4, len(queue.groups()[0]))
    drawn = "n => document.querySelectorAll('.tile').length === n"
    until(page, drawn, page.get_by_text("Done", exact=True).click, arg=0)
    until(page, drawn, page.get_by_text("All", exact=True).click, arg=len(queue.groups()))
    largest = max(area for image_id in queue.image_ids() for area in queue.summary(image_id).areas)
    until(page, drawn, lambda: page.fill("#least", str(largest)), arg=1)
    page.wait_for_url(f"**/?least={largest}")
    page.reload()
    page.wait_for_function(drawn, arg=1)
    assert page.input_value("#least") == str(largest)
    page.locator(".tile").click()
    page.wait_for_selector(".strip button")
    assert page.locator(".strip button").count() == 1
    page.go_back()
    page.wait_for_function(drawn, arg=1)
    page.reload()  # one of the browser's cache may load itself anew at any moment
    page.wait_for_function(drawn, arg=1)
    until(page, drawn, lambda: page.fill("#least", ""), arg=len(queue.groups()))


def click_segment(page, queue, region):
    """Add the segment in the corner of the image to the mask, remove it, and undo both."""
    image_id = region.partition("-")[0]
    height, width = queue.entry(image_id).size
    page.keyboard.press("s")
    page.wait_for_selector(f".editor[data-segments='{image_id}']")
    ids = segment_ids(queue.image(image_id))
    rows, columns = (
        ((np.arange(n) + 0.5) * m / n).astype(int) for n, m in zip((height, width), ids.shape, strict=True)
    )
    inside = (ids == ids[0, 0])[rows[:, None], columns]
    before = queue.region(region).mask.mask()
    box = page.locator(".editor canvas").bounding_box()
    scale = min(box["width"] / width, box["height"] / height)
    at = {"x": (box["width"] - scale * width) / 2 + 3, "y": (box["height"] - scale * height) / 2 + 3}
    for keys, expected in (([], before | inside), (["Shift"], before & ~inside)):
        with page.expect_response("**/masks/*") as answered:
            page.locator(".editor canvas").click(position=at, modifiers=keys)
        assert answered.value.ok and inside.sum() > 100
        wrong = queue.decisions()[region].mask.mask() != expected
        assert wrong.sum() < 0.05 * inside.sum()  # along its border, which is smoothed
    for _ in range(2):
        page.keyboard.press("u")
    page.wait_for_function("!document.querySelector('.tools').innerText.includes('corrected')")
    page.keyboard.press("b")


def split_off_and_merge(page, queue, group):
    """Split the first region off, see that a reload keeps it so, move it back by merging its group, and undo both."""
    before = queue.groups()
    page.locator("#region-0").click()
    page.keyboard.press("x")
    page.wait_for_selector("#region-0.selected")
    page.locator("#split").click()
    page.wait_for_function("n => document.querySelectorAll('.strip button').length === n", arg=len(group) - 1)
    number = len(before) + 1
    assert next(g for g in queue.groups() if g.number == number).regions == group.regions[:1]
    page.goto(f"{page.url.partition('/group')[0]}/group/{number}")
    page.wait_for_selector(f".editor[data-ready='{group.regions[0]}']")
    page.locator("#into").click()
    page.locator(".q-item", has_text=f"{group.number} · ").first.click()
    page.locator("#merge").click()
    page.wait_for_url(f"**/group/{group.number}")
    page.wait_for_function("n => document.querySelectorAll('.strip button').length === n", arg=len(group))
    for _ in range(2):
        page.keyboard.press("u")
    page.wait_for_selector(".strip button.here .state")
    page.wait_for_function("r => document.querySelector('#region-0 img').src.includes(r)", arg=group.regions[0])
    assert queue.groups() == before


def mark_known(page, queue, region):
    """Mark the first region as the known class that is nearest, and undo that."""
    nearest = queue.region(region).nearest
    page.locator("#region-0").click()
    page.keyboard.press("k")
    page.wait_for_selector(f"#region-0.known .state:has-text('known: {nearest}')")
    assert queue.decisions()[region].known == nearest
    page.keyboard.press("u")
    page.wait_for_selector("#region-0.accept")


@pytest.mark.timeout(900)
def test_from_unknown_regions_to_a_class_and_back(place):
    server = Server(place)
    queue = Queue.open(place / "queue")
    group = max(queue.groups(), key=len)
    mine = group.regions[:3]
    assert len(mine) == 3

    try:
        with browser(server) as page:
            page.goto(server.url)
            choose_tiles(page, queue)
            page.locator(f"#tile-{group.number}").focus()
            page.keyboard.press("Enter")
            shown(page)
            for i in range(3):  # accept by the keyboard
                page.keyboard.press("a")
                page.wait_for_selector(f"#region-{i} .state:has-text('accepted')")
            assert list(queue.decisions()) == list(mine)

            page.fill("#name", NAME)
            page.keyboard.press("Enter")
            page.wait_for_function("n => document.querySelector('#region-0 .state').innerText === n", arg=NAME)
            assert queue.accepted() == {NAME: list(mine)}

            page.locator("#region-0").click()
            page.wait_for_selector(f".editor[data-ready='{mine[0]}']")
            click_segment(page, queue, mine[0])
            assert stroke(page).ok and queue.decisions()[mine[0]].mask.area > queue.region(mine[0]).area
            restart(server, page, queue)
            page.keyboard.press("u")  # undoes the stroke, and nothing else
            page.wait_for_function("!document.querySelector('.tools').innerText.includes('corrected')")
            assert queue.accepted() == {NAME: list(mine)} and queue.decisions()[mine[0]].mask is None

            split_off_and_merge(page, queue, group)
            mark_known(page, queue, mine[0])
            page.keyboard.press("l")
            page.wait_for_url("**/learned")
            page.wait_for_selector(".pairs img")
            page.wait_for_function("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
            assert NAME in page.locator("header").inner_text()
            updated = owseg.load(place / "kb")
            found = updated.history[-1].details["left_out_iou"]
            shown_ious = ", ".join(f"{iou:.2f} ({shot})" for shot, iou in found.items())
            check = page.locator(".check").first.inner_text()  # below it may be one that says where shots disagree
            assert f"each shot of {NAME} is found with an IoU of {shown_ious}." in check
            one = next(iter(found))
            assert f"{one}, one of the shots: IoU {found[one]:.2f} without it" in page.inner_text(".pairs")
            assert updated.labels.names[-1] == NAME and current_version(place / "kb") == 2
            shot = queue.shots(NAME)[0]
            after = updated.predict(read_image(place / "photos" / shot.id)).open_set == len(updated.labels) - 1
            assert after[shot.positives].mean() > 0.3 > after[shot.negatives].mean()
            page.reload()
            page.locator("#forget").click()
            page.wait_for_selector(".tile")
            assert current_version(place / "kb") == 1 and NAME not in owseg.load(place / "kb").labels.names
            assert page.wrong == [] and page.evaluate(LOAD_FROM_ELSEWHERE) == "img-src"
    finally:
        output = server.stop(signal.SIGINT)
    assert "goes on from there" in output and server.process.returncode == 0
    assert not list(place.glob(".nicegui"))
