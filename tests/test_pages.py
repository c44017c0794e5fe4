"""The tutorial, the how-to pages and the notebook are run, and print what they show."""

from __future__ import annotations

import json

import pytest

from owseg.data.synthetic.canvas import CLASSES
from owseg.knowledge.load import load
from tests.support.own_folders import write_more_folders, write_own_folders
from tests.support.pages import ROOT
from tests.support.run_pages import Block, differs, read_blocks, run_blocks

DOCS = ROOT / "docs"
HOWTO = sorted((DOCS / "howto").glob("*.md"))
RUN = (DOCS / "tutorial.md", *HOWTO)
MOST_NOT_RUN = 5


def run(page):
    """Run a page here, and compare the outputs that it shows."""
    for block, printed in run_blocks(page.read_text()):
        if block.output is not None:
            assert (wrong := differs(block.output, printed)) is None, f"{page.name}, line {block.line}: {wrong}"


def test_the_tutorial(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run(DOCS / "tutorial.md")


@pytest.fixture(scope="module")
def folders(tmp_path_factory, half_size):
    kb, small = load(half_size), tmp_path_factory.mktemp("small") / "kb"
    kb.network.size, kb.network.scales = 96, (1.0,)
    kb.save(small)
    place = write_own_folders(tmp_path_factory.mktemp("howto"), small)
    write_more_folders(place)
    return place


@pytest.mark.parametrize("page", HOWTO, ids=lambda page: page.stem)
def test_a_how_to_page(page, folders, tmp_path, monkeypatch):
    """Each in a folder of its own, with the same data."""
    monkeypatch.setattr("owseg.scorers.segments.ROWS", 72)
    for path in folders.iterdir():
        (tmp_path / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    run(page)


def test_few_blocks_are_not_run_and_each_says_why():
    reasons = [block.reason for page in RUN for block in read_blocks(page.read_text()) if block.reason is not None]
    assert len(reasons) <= MOST_NOT_RUN and all(len(reason.split()) > 1 for reason in reasons)


def test_every_page_of_these_has_a_block_that_is_run_and_an_output():
    for page in RUN:
        blocks = [block for block in read_blocks(page.read_text()) if block.reason is None]
        assert blocks, page.name
    shown = sum(block.output is not None for page in RUN for block in read_blocks(page.read_text()))
    assert shown >= 14


def test_the_notebook(tmp_path, monkeypatch, capsys):
    """Its cells, one after another in one namespace; the outputs that it holds are those that are printed."""
    monkeypatch.chdir(tmp_path)
    notebook = json.loads((ROOT / "examples" / "quickstart.ipynb").read_text())
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    names: dict[str, object] = {}
    for number, cell in enumerate(cells):
        exec(compile("".join(cell["source"]), f"cell {number}", "exec"), names)
        shown = "".join("".join(output.get("text", ())) for output in cell["outputs"])
        assert (wrong := differs(shown, capsys.readouterr().out)) is None, f"cell {number}: {wrong}"
    assert names["updated"].learned_classes == ("animal",) and "animal" in CLASSES
    assert notebook["nbformat"] == 4 and len(json.dumps(notebook)) < 20_000


PAGE = (
    "a\n```python\nprint(1)\n```\n\n```text\n1\n```\n"
    "<!-- not run: no net -->\n```sh\nowseg x\n```\n```text\nfree\n```\n"
)


def test_blocks_are_read_with_their_output_and_why_they_are_not_run():
    first, second = read_blocks(PAGE)
    assert first == Block("python", "print(1)\n", 2, None, "1\n")
    assert (second.language, second.reason) == ("sh", "no net")
    ((block, printed),) = run_blocks(PAGE)
    assert block == first and printed == "1\n"


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        ("miou 0.82 at (51, 8)", "miou 0.83 at  (52, 8)\n", True),
        ("miou 0.82", "miou 0.90", False),
        ("version 1", "version 2", False),
        ("a … z", "a b c z", True),
        ("a … z", "a b c", False),
        ("two words", "two  words more", False),
        ("", "something", False),
        ("nan 1.5%", "nan 1.5%", True),
    ],
)
def test_an_output_may_differ_in_last_digits_alone(shown, printed, same):
    assert (differs(shown, printed) is None) is same


@pytest.mark.parametrize("line", ["rm -rf out", "owseg info no-such-knowledge-base"])
def test_a_command_that_fails_or_is_another_programs_fails_the_page(line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(AssertionError):
        list(run_blocks(f"```sh\n{line}\n```\n"))


def test_an_output_before_all_code_is_of_no_block():
    (block,) = read_blocks("```text\nx\n```\n```python\n1\n```\n")
    assert block.output is None
