import csv
import io

from owseg.benchmark.tables import COLUMNS, Published, Row, bounds_of, cells, columns_of, to_csv, to_latex, to_markdown

ODD = "a_b 50% | x & $y #1 {z} ~^\\ <b>"


def odd_row():
    metrics = {column.key: i / 100 for i, column in enumerate(COLUMNS)} | {"miou": None}
    other = Published(ODD, ODD, ODD, f'{ODD}, "Table" 1', {"ap": 0.5})
    return Row(ODD, ODD, ODD, 3, metrics, (other,))


def test_names_are_escaped_in_every_table():
    row = odd_row()
    (line,) = csv.DictReader(io.StringIO(to_csv([row])))
    assert line["data"] == line["model"] == line["scorer"] == ODD
    assert line["source"] == row.published[0].source and line["published"] == "ap=0.5" and line["miou"] == ""
    about = {"left_out": [ODD], "data": {ODD: {"name": ODD, "images": 3, "skipped": {"b": "torn"}, "resize": None}}}
    page = to_markdown([row], about, {ODD: ["images/a b%/x.png"]})
    from markdown_it import MarkdownIt

    tokens = MarkdownIt("commonmark").enable("table").parse(page)
    cells = [t.content for t in tokens if t.type == "inline"]
    texts = ["".join(c.content for c in t.children if c.type == "text") for t in tokens if t.type == "inline"]
    assert texts.count(ODD) == 3 and len(cells) > len(COLUMNS)  # the heading, the model, the score
    body = next(i for i, t in enumerate(tokens) if t.type == "tbody_open")
    assert sum(t.type == "td_open" for t in tokens[body:]) == len(COLUMNS) + 3
    tex = to_latex([row])
    escaped = r"a\_b 50\% \textbar{} x \& \$y \#1 \{z\} \textasciitilde{}\textasciicircum{}\textbackslash{}"
    assert tex.count(escaped) == 4 and "--" in tex  # caption, model, score, source
    body = tex.split(r"\midrule")[1].split(r"\bottomrule")[0]
    assert len(body.replace(r"\&", "").split("&")) == len(COLUMNS) + 3


def test_no_cell_of_csv_is_taken_for_a_formula():
    metrics = {column.key: -0.5 for column in COLUMNS}
    names = ("=cmd|calc!A1", "@SUM(1)", "+1")
    published = (Published(*names, "-1+2", {"ap": 0.5}),)
    (line,) = csv.reader(io.StringIO(to_csv([Row(*names, 3, metrics, published)]).split("\n", 1)[1]))
    assert line[:3] == ["'=cmd|calc!A1", "'@SUM(1)", "'+1"] and line[-1] == "'-1+2"
    assert line[4] == "-0.5"  # a number stays one
    (line,) = csv.reader(io.StringIO(to_csv([Row("\ta", "-b", "a=b", 3, metrics)]).split("\n", 1)[1]))
    assert line[:3] == ["'\ta", "'-b", "a=b"] and line[-1] == ""


def test_a_metric_that_is_not_known_to_three_decimals_is_shown_as_its_interval():
    metrics = {column.key: 0.5 for column in COLUMNS}
    row = Row("d", "m", "s", 3, metrics, bounds={"ap": (0.25, 0.75), "auroc": (0.4999, 0.5001), "fpr95": (0.5, 0.5)})
    assert cells(row, ("auroc", "ap", "fpr95", "f1")) == ["0.500", "0.250 to 0.750", "0.500", "0.500"]
    assert "0.250 to 0.750" in to_latex([row])


def test_every_column_is_read_from_its_place():
    """Each metric has a number of its own, so that none can be mistaken for another."""
    numbers = iter(range(1, 100))

    def pixel():
        return {"auroc": next(numbers), "ap": next(numbers), "fpr95": next(numbers), "bounds": {"ap": [0, 1]}}

    score = {
        "pixel": pixel(),
        "images": [{"pixel": pixel()}, {"pixel": dict.fromkeys(("auroc", "ap", "fpr95"))}],
        "components": {"best_f1": {name: next(numbers) for name in ("siou", "ppv", "f1")}},
        "open": {p: {"miou": next(numbers)} for p in ("tpr95", "fpr5", "best_f1", "calibrated")},
        "achieved": {"asked": next(numbers), "pooled": next(numbers)},
    }
    metrics = {"closed_miou": next(numbers), "scores": {"msp": score}}
    assert columns_of(metrics, "msp") == {
        "auroc": 1, "ap": 2, "fpr95": 3, "image_auroc": 4, "image_ap": 5, "image_fpr95": 6, "siou": 7, "ppv": 8,
        "f1": 9, "open_miou_tpr95": 10, "open_miou_fpr5": 11, "open_miou_best_f1": 12, "open_miou_calibrated": 13,
        "fpr_asked": 14, "fpr_achieved": 15, "miou": 16,
    }  # fmt: skip
    assert bounds_of(metrics, "msp") == {"ap": [0, 1]}
    bare = {**score, "open": {}, "components": {}, "achieved": None, "images": []}
    undefined = columns_of({**metrics, "scores": {"msp": bare}}, "msp")
    assert [key for key, value in undefined.items() if value is not None] == ["auroc", "ap", "fpr95", "miou"]
