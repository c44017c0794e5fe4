"""A report with names that hold markup, and a parser that raises for what is not well-formed HTML."""

import math
from html.parser import HTMLParser

import numpy as np

from owseg.labels import IGNORE, UNKNOWN, LabelSpace
from owseg.report.charts import Curve
from owseg.report.page import Report, Strip, Table

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
