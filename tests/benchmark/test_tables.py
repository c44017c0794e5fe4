import csv
import io

from owseg.benchmark.tables import COLUMNS, Published, Row, to_csv, to_latex, to_markdown

STRANGE = "a_b 50% | x & $y #1 {z} ~^\\ <b>"


def strange_row():
    figures = {column.key: i / 100 for i, column in enumerate(COLUMNS)} | {"miou": None}
    other = Published(STRANGE, STRANGE, STRANGE, f'{STRANGE}, "Table" 1', {"ap": 0.5})
    return Row(STRANGE, STRANGE, STRANGE, 3, figures, (other,))


def test_names_are_escaped_in_every_table():
    row = strange_row()
    (line,) = csv.DictReader(io.StringIO(to_csv([row])))
    assert line["data"] == line["model"] == line["scorer"] == STRANGE
    assert line["source"] == row.published[0].source and line["published"] == "ap=0.5" and line["miou"] == ""
    about = {"left_out": [STRANGE], "data": {STRANGE: {"name": STRANGE, "images": 3, "resize": None}}}
    page = to_markdown([row], about, {STRANGE: ["images/a b%/x.png"]})
    from markdown_it import MarkdownIt

    tokens = MarkdownIt("commonmark").enable("table").parse(page)
    cells = [t.content for t in tokens if t.type == "inline"]
    texts = ["".join(c.content for c in t.children if c.type == "text") for t in tokens if t.type == "inline"]
    assert texts.count(STRANGE) == 3 and len(cells) > len(COLUMNS)  # the heading, the model, the score
    body = next(i for i, t in enumerate(tokens) if t.type == "tbody_open")
    assert sum(t.type == "td_open" for t in tokens[body:]) == len(COLUMNS) + 3
    tex = to_latex([row])
    escaped = r"a\_b 50\% \textbar{} x \& \$y \#1 \{z\} \textasciitilde{}\textasciicircum{}\textbackslash{}"
    assert tex.count(escaped) == 4 and "--" in tex  # caption, model, score, source
    body = tex.split(r"\midrule")[1].split(r"\bottomrule")[0]
    assert len(body.replace(r"\&", "").split("&")) == len(COLUMNS) + 3
