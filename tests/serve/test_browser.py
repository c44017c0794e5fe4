"""The page in a browser: an image is dropped, its map and regions are shown, and what is refused is said."""

from dataclasses import replace

import pytest

from tests.support import chromium

pytest.importorskip("prometheus_client", reason="pip install 'owseg[serve]'")
from owseg.knowledge.load import load
from tests.support.service import photo, serving

playwright = pytest.importorskip(
    "playwright.sync_api", reason="a browser is driven by playwright: pip install playwright"
)

pytestmark = pytest.mark.skipif(not (chromium.SYSTEM or chromium.QT), reason=chromium.MISSING)

LOAD_FROM_ELSEWHERE = """new Promise((resolve) => {
    addEventListener("securitypolicyviolation", (event) => resolve(event.effectiveDirective));
    new Image().src = "http://127.0.0.1:9/x.png";
})"""
"""What a script that others had put into the page might do; the answer is the directive that forbids it."""

INLINE = """new Promise((resolve) => {
    addEventListener("securitypolicyviolation", (event) => resolve(event.effectiveDirective));
    document.body.insertAdjacentHTML("beforeend", "<img src=x onerror='window.broken = 1'>");
})"""

NAME = "<img src=x onerror=window.broken=1>.png"
"""Markup is text here."""


@pytest.fixture
def place(unsure_kb, tmp_path):
    replace(unsure_kb, threshold=replace(unsure_kb.threshold, regions=None)).save(tmp_path / "kb")
    return tmp_path / "kb"


def test_from_an_image_to_its_regions(place, tmp_path):
    expected = load(place).predict(photo(1))
    (tmp_path / "notes.png").write_text("no image")
    (tmp_path / NAME).write_bytes(photo(1))
    options = ("--host", "0.0.0.0", "--token", "s3cret-token")
    with (
        serving(place, *options, folder=tmp_path) as server,
        playwright.sync_playwright() as driver,
        chromium.open_page(driver) as page,
    ):
        wrong = []
        page.set_default_timeout(60_000)
        page.on("pageerror", lambda error: wrong.append(error))
        page.on("console", lambda m: m.type != "error" or wrong.append(m.text))
        server.url = f"http://127.0.0.1:{server.port}"
        page.goto(f"{server.url}/?token=s3cret-token")
        page.wait_for_function("document.querySelector('#model').textContent.includes('version 1: road, sky, tree')")
        assert page.url == f"{server.url}/"  # the token is not in the address any more
        page.set_input_files("#file", tmp_path / NAME)
        page.wait_for_selector("#result:not([hidden])")
        said = page.inner_text("#status")
        assert said == f"{NAME}: 64x48, {100 * expected.unknown:.1f} % unknown."
        buttons = page.locator("#list button")
        assert buttons.count() == len(expected.regions) > 0
        assert f"most like {expected.regions[0].nearest}" in buttons.first.inner_text()
        cells = page.locator("#classes td").all_inner_texts()
        assert dict(zip(cells[1::3], cells[2::3], strict=True)) == {
            name: f"{100 * share:.1f} %" for name, share in expected.shares().items()
        }
        assert page.evaluate("[...document.images].slice(0, 2).map((i) => [i.naturalWidth, i.naturalHeight])") == [
            [64, 48],
            [64, 48],
        ]
        buttons.first.click()
        box = page.locator("#regions .chosen rect.inner")
        assert [int(box.get_attribute(k)) for k in ("x", "y", "width", "height")] == list(expected.regions[0].box)
        page.locator("#boxes").uncheck()
        assert not page.locator("#regions").is_visible()
        page.screenshot(path=tmp_path / "page.png")
        assert page.evaluate("window.broken") is None and not wrong
        page.set_input_files("#file", tmp_path / "notes.png")
        page.wait_for_selector("#status.wrong")
        assert "cannot be read as an image" in page.inner_text("#status")
        assert not page.locator("#result").is_visible()
        assert page.evaluate(LOAD_FROM_ELSEWHERE) == "img-src"
        assert page.evaluate(INLINE).startswith("script-src") and page.evaluate("window.broken") is None
