"""The page is read as a browser would: parsed, its images decoded, its references followed."""

import base64
import dataclasses
import io
import math
import re
import subprocess
import sys
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import Image

from owseg.errors import OwsegError
from owseg.labels import IGNORE, UNKNOWN, LabelSpace
from owseg.report.charts import Curve, HeatMap, Scatter
from owseg.report.page import Report, Strip, Table, render, save

EVIL = "<script>alert(1)</script>"
LABELS = LabelSpace.of(["sky", "road", EVIL])
VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}


class Page(HTMLParser):
    """What a page holds; raises if a tag is closed that is not open, or an attribute is given twice."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs, closed=False):
        assert len(dict(attrs)) == len(attrs)
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID and not closed:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs, closed=True)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] not in (["script"], ["style"]):
            self.text.append(data)

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]

    def words(self):
        return " ".join(" ".join(self.text).split())


def strip_of(seed: int = 0, height: int = 48, width: int = 64) -> Strip:
    rng = np.random.default_rng(seed)
    photo = rng.integers(0, 256, (height, width, 3), np.uint8)
    ids = rng.choice(np.array([0, 1, 2, UNKNOWN, IGNORE], np.uint8), (height, width))
    colors = LABELS.palette()
    return Strip(
        f"Image {seed} & co.",
        (
            ("the input", photo),
            ("closed: <b>no</b> way out", colors[np.minimum(ids, 2)]),
            ("open", colors[np.where(ids == IGNORE, 0, ids)]),
            ("after learning", colors[np.minimum(ids, 1)]),
            ('"the" ground truth', colors[ids]),
        ),
    )


def curve(name: str = "energy", n: int = 50) -> Curve:
    x = np.linspace(0, 1, n)
    return Curve(name, x, 1 - 0.5 * x, x**2, x, 0.75, 0.625, 0.875)


def full() -> Report:
    rng = np.random.default_rng(1)
    return Report(
        title=f"A street {EVIL}",
        lead="It learns <quickly>.",
        legend=LABELS,
        strips=(strip_of(0), strip_of(1)),
        histogram={"sky": rng.normal(0, 1, 200), "road": rng.normal(1, 1, 200), EVIL: rng.normal(5, 1, 200)},
        threshold=3.0,
        unknown=(EVIL,),
        curves=(curve(), curve(EVIL)),
        prevalence=0.125,
        tables=(
            Table("Then & now", ("", "then", "now"), (("sky", 0.5, 0.25), (EVIL, None, math.nan)), "note"),
        ),
        facts=(("seed", "0"), (EVIL, "<i>")),
        next_steps=(("Try <it>.", "owseg  predict 'a b' > out && echo \"$HOME\""),),
    )  # fmt: skip


@pytest.fixture(scope="module")
def html() -> str:
    return render(full())


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


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


def test_the_chart_says_how_much_of_each_class_is_called_unknown():
    scores = {"sky": np.arange(100.0), "road": np.r_[np.arange(50.0), np.nan, np.inf]}
    words = Page(render(Report("t", "", LABELS, histogram=scores, threshold=89.5))).words()
    assert "10 %" in words and "0 %" in words
    assert " %" not in Page(render(Report("t", "", LABELS, histogram=scores))).words()


def test_curves_run_through_their_points():
    html = render(Report("t", "", LABELS, curves=(curve(),), prevalence=0.25))
    chart = html[html.index('aria-label="Precision over recall') :]
    drawn = [
        np.array(re.findall(r"[ML] ([\d.]+) ([\d.]+)", path), float)
        for path, color in re.findall(r'<path d="([^"]*)"[^>]*stroke: (#\w+)', chart[: chart.index("</svg>")])
        if color == "#d6249f"
    ]
    (line,) = drawn  # from (0, 1) to (1, 0.5) in a box with its origin at the bottom left
    frame = np.array([0.84 * 4.3, -0.865 * 3.7 / 1.005]) * 72
    np.testing.assert_allclose(line[-1] - line[0], frame * [1, -0.5], atol=0.01)


def test_a_point_per_pixel_does_not_swell_the_page():
    n = 100_000
    jagged = 0.9 - 0.3 * np.linspace(0, 1, n) + np.random.default_rng(0).normal(0, 0.0003, n)
    long = dataclasses.replace(curve(n=n), precision=jagged)
    assert len(render(Report("t", "", LABELS, curves=(long,)))) < 200_000


def test_ids_are_unique_and_references_lead_somewhere(html, page):
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    wanted = {attrs["xlink:href"][1:] for attrs in page.all("use")} | set(re.findall(r"url\(#([^)]*)\)", html))
    wanted |= {attrs["aria-labelledby"] for _, attrs in page.tags if "aria-labelledby" in attrs}
    assert wanted and wanted <= set(ids)


def test_charts_take_the_colours_of_the_page_and_are_described(page, html):
    charts = [attrs for attrs in page.all("svg") if "role" in attrs]
    assert len(charts) == 3 and all(attrs["role"] == "img" and attrs["aria-label"] for attrs in charts)
    assert "currentColor" in html and "#010203" not in html
    assert "#000000" not in re.sub(r"background:#000000", "", html)
    assert "prefers-color-scheme: dark" in html and "@media print" in html
    assert page.all("html")[0]["lang"] == "en"


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
        "t", "", LabelSpace.of(["街", "$x^2$", "@1", "name " * 20]),
        strips=(Strip("one", (("a", np.zeros((1, 1, 3), np.uint8)),)),),
        histogram={"街": np.zeros(3), "$x^2$": np.zeros(1), "@1": np.zeros(2), "name " * 20: np.zeros(2)},
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


def test_a_heat_map_has_a_cell_for_every_value():
    values = np.array([[0.25, 0.5], [math.nan, 0.75]])
    report = Report("t", "", LABELS, heat_map=HeatMap(("sky", EVIL), ("before", "+ cow"), values))
    page = Page(render(report))
    assert [t for t in page.text if re.fullmatch(r"0\.\d\d", t)] == ["0.25", "0.50", "0.75"]
    assert page.text.count("+ cow") == 1 and "IoU as classes are learned" in page.words()
    (chart,) = [attrs for attrs in page.all("svg") if "role" in attrs]
    assert "sky 0.25, 0.50" in chart["aria-label"] and f"{EVIL} none yet, 0.75" in chart["aria-label"]
    with pytest.raises(OwsegError, match="a heat map of 2x1 needs as many values, not"):
        render(dataclasses.replace(report, heat_map=HeatMap(("sky", "road"), ("before",), values)))


def test_a_scatter_plot_has_a_dot_for_every_point_and_a_ring():
    points = np.random.default_rng(0).normal(size=(40, 2))
    names = np.array(["sky"] * 15 + [EVIL] * 25)

    def dots(**options):
        html = render(Report("t", "", LABELS, scatter=Scatter(points, names, **options)))
        return html.count("<use "), html.count("stroke: #d6249f"), Page(html)

    plain, ringed = dots(), dots(ringed=(EVIL,))
    assert plain[0] == ringed[0] == 40 and ringed[1] == plain[1] + 1
    assert plain[2].text.count("sky") == 1 and "Embedding of the classes" in plain[2].words()
    with pytest.raises(OwsegError, match="40 points need as many names, not 3"):
        render(Report("t", "", LABELS, scatter=Scatter(points, names[:3])))


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
