"""The page is read as a browser would: parsed, its images decoded, its references followed."""

import base64
import dataclasses
import io
import math
import re
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import Image

from owseg.errors import OwsegError
from owseg.labels import LabelSpace
from owseg.report.charts import Curve, HeatMap
from owseg.report.page import Report, Strip, Table, render, save
from tests.support.reports import EVIL, LABELS, Page, curve, full, strip_of


def images(page: Page) -> list[tuple[dict, Image.Image]]:
    found = []
    for attrs in page.all("img"):
        if "src" in attrs:
            head, data = attrs["src"].split(",", 1)
            assert head in ("data:image/png;base64", "data:image/jpeg;base64")
            found.append((attrs, Image.open(io.BytesIO(base64.b64decode(data, validate=True))).convert("RGB")))
    return found


def test_the_page_loads_nothing(html, page):
    for tag, attrs in page.tags:
        for key in ("src", "href", "xlink:href", "srcset", "poster", "data", "action", "background"):
            value = attrs.get(key)
            assert value is None or value.startswith(("data:", "#")) or tag == "a", (tag, key, value[:50])
    assert not re.findall(r"https?://", html)
    assert "@import" not in html
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", html))
    policies = [attrs["content"] for attrs in page.all("meta") if "http-equiv" in attrs]
    assert any("default-src 'none'" in policy for policy in policies)


def test_names_that_hold_markup_are_shown_as_text(html, page):
    assert EVIL not in html
    assert len(page.all("script")) == 1
    words = page.words()
    assert words.count(EVIL) >= 5  # title, heading, legend, chart or key, table, facts
    assert "closed: <b>no</b> way out" in words and "It learns <quickly>." in words


def test_control_characters_of_a_name_are_written_out():
    bad = "a\x00\x1b[31m\x07\x9b\u202eb"
    table = Table(bad, (bad,), ((bad,),), bad)
    strips = (Strip(bad, ((bad, np.zeros((4, 4, 3), np.uint8)),)),)
    html = render(Report(bad, bad, LABELS, strips, tables=(table,), facts=((bad, bad),), next_steps=((bad, bad),)))
    assert all(c.isprintable() or c == "\n" for c in html if c not in "\xa0\u200b")
    assert html.count("a\\x00\\x1b[31m\\x07\\x9b\\u202eb") >= 10


def test_every_image_comes_back(page):
    expected = [(s.title, caption, p) for s in full().strips for caption, p in s.images]
    found = images(page)
    assert len(found) == len(expected)
    for (title, caption, pixels), (attrs, image) in zip(expected, found, strict=True):
        assert (int(attrs["height"]), int(attrs["width"])) == pixels.shape[:2] == image.size[::-1]
        assert title in attrs["alt"] and caption in attrs["alt"]
        assert caption in page.words()
        if caption != "the input":
            np.testing.assert_array_equal(np.asarray(image), pixels)


def test_a_photo_survives_nearly():
    y, x = np.mgrid[:60, :80]
    photo = np.stack([3 * x, 4 * y, x + y], 2).astype(np.uint8)
    (_, image), *_ = images(Page(render(Report("t", "", LABELS, (Strip("s", (("c", photo),)),)))))
    assert np.abs(np.asarray(image).astype(int) - photo).mean() < 2


def test_the_legend_shows_the_unknown_and_void_where_it_is_seen(page):
    def legend(report):
        shown = Page(render(report))
        return [a["style"] for i, (t, a) in enumerate(shown.tags) if t == "i" and shown.tags[i - 1][0] == "li"]

    swatches = legend(full())
    for color in (*LABELS.colors, (255, 0, 200)):
        assert "background:#{:02x}{:02x}{:02x}".format(*color) in swatches
    assert "background:#000000" in swatches
    strip = strip_of()
    without = Strip(strip.title, strip.images[:4])  # all but the ground truth
    assert "background:#000000" not in legend(dataclasses.replace(full(), strips=(without,)))


def test_numbers(page):
    rows = " ".join(page.text).split("note")[0]
    assert "0.500" in rows and "0.250" in rows
    assert sum("undefined" in (attrs.get("title") or "") for attrs in page.all("abbr")) == 2
    assert "nan" not in page.words().lower() and "None" not in page.words()
    table = Table("t", ("n", "count", "change", "far"), (("a", 5, np.float32(-0.5), math.inf),))
    words = Page(render(Report("t", "", LABELS, tables=(table,)))).words()
    assert "a 5 −0.500 ∞" in words


def test_commands_can_be_copied(html, page):
    code = re.search(r"<code>(.*?)</code>", html, re.DOTALL).group(1)
    assert "".join(Page(f"<p>{code}</p>").text) == full().next_steps[0][1]
    (button,) = [a for a in page.all("button") if a.get("class") == "copy"]
    assert "hidden" in button  # shown by the script, for without it it does nothing


def test_ids_are_unique_and_references_lead_somewhere(html, page):
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    wanted = {attrs["xlink:href"][1:] for attrs in page.all("use")} | set(re.findall(r"url\(#([^)]*)\)", html))
    wanted |= {attrs["aria-labelledby"] for _, attrs in page.tags if "aria-labelledby" in attrs}
    assert wanted and wanted <= set(ids)


def test_same_report_same_bytes(html):
    assert render(full()) == html
    with matplotlib.rc_context({"font.size": 30, "path.simplify": False, "svg.fonttype": "path"}):
        before = dict(matplotlib.rcParams)
        assert render(full()) == html
        assert dict(matplotlib.rcParams) == before


def test_what_is_empty_is_left_out():
    empty = Report("Title", "Lead.", LABELS)
    page = Page(render(empty))
    assert len(page.all("h1")) == 1 and not page.all("h2") and not page.all("svg") and not page.all("table")
    hollow = dataclasses.replace(
        empty,
        strips=(Strip("none", ()),),
        histogram={"sky": np.array([]), "road": np.array([np.nan])},
        threshold=math.nan,
        tables=(Table("none", ("a",), ()),),
    )
    assert not Page(render(hollow)).all("h2")


@pytest.mark.filterwarnings("error")
def test_odd_but_lawful_data():
    none, nan = np.array([]), math.nan
    report = Report(
        "t", "", LabelSpace.of(["街", "$x^2$", "@1", "name " * 11 + "name"]),
        strips=(Strip("one", (("a", np.zeros((1, 1, 3), np.uint8)),)),),
        histogram={"街": np.zeros(3), "$x^2$": np.zeros(1), "@1": np.zeros(2), "name " * 11 + "name": np.zeros(2)},
        threshold=0.0,
        curves=(Curve("nothing", none, none, none, none, nan, nan, nan), curve("one point", 1)),
        prevalence=nan,
    )  # fmt: skip
    page = Page(render(report))
    assert page.text.count("街") == 2 and page.text.count("$x^2$") == 2 and page.text.count("@1") == 2


@pytest.mark.parametrize(
    "bad",
    [np.zeros((4, 4)), np.zeros((4, 4, 3)), np.zeros((4, 4, 4), np.uint8), np.zeros((0, 4, 3), np.uint8)],
)
def test_what_is_not_an_image_is_refused(bad):
    with pytest.raises(OwsegError, match=r"give \(H, W, 3\) uint8"):
        render(Report("t", "", LABELS, (Strip("s", (("c", bad),)),)))


def test_parts_that_do_not_fit_are_refused():
    with pytest.raises(OwsegError, match="'t' has 2 columns"):
        render(Report("t", "", LABELS, tables=(Table("t", ("a", "b"), (("x",),)),)))
    with pytest.raises(OwsegError, match="'energy' has 50 and 3 coordinates"):
        render(Report("t", "", LABELS, curves=(dataclasses.replace(curve(), precision=np.zeros(3)),)))


def test_the_style_sheet_is_part_of_the_page(html):
    style = files("owseg.report").joinpath("page.css").read_text("utf-8")
    assert len(style) > 3000 and html.count("<style>") == 1
    assert html.split("<style>")[1].split("</style>")[0].strip() == style.strip()
    classes = set(re.findall(r"[.]([a-z]+)", re.sub(r"\{[^}]*\}", "", style)))
    used = {name for value in re.findall(r'class="([^"]*)"', html) for name in value.split()}
    assert used - classes == {"copy"}  # which is for the script


def test_reports_and_their_parts_can_be_compared_and_hashed():
    report = full()
    for value in (report, *report.strips, *report.curves, HeatMap(("a",), ("b",), np.ones((1, 1)))):
        assert value == value and value != dataclasses.replace(value) and len({value}) == 1


def test_save_writes_all_or_nothing(tmp_path, html, monkeypatch):
    path = tmp_path / "new" / "report.html"
    assert save(full(), path) == path and path.read_text("utf-8") == html
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]

    def refuse(self, target):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(OwsegError, match="permission denied"):
        save(Report("other", "", LABELS), path)
    assert path.read_text("utf-8") == html
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]


def test_save_says_where_it_could_not(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OwsegError, match="cannot be written"):
        save(Report("t", "", LABELS), tmp_path / "file" / "report.html")
    with pytest.raises(OwsegError, match="cannot be written"):
        save(Report("t", "", LABELS), tmp_path)


def test_torch_is_not_needed():
    code = "import sys, owseg.report.page; assert not {'torch', 'matplotlib.pyplot'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
