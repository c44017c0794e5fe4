"""The documentation's pages: all are in the navigation, every public name is on one, the questions are answered."""

from __future__ import annotations

import posixpath
import re
from collections import Counter

import pytest

import owseg
from tests.support.pages import ROOT
from tools import commands
from tools.links import CODE
from tools.site import MOVED, linked

DOCS = ROOT / "docs"
NAV = (ROOT / "mkdocs.yml").read_text().split("\nnav:\n")[1]
LISTED = re.findall(r"^[^#\n]*?([\w/-]+\.md)$", NAV, re.M)
OTHER_PAGE = {"_registry": "cards"}
"""The page of a room that is not called after it."""


def test_every_page_is_in_the_navigation_once():
    there = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}
    assert Counter(LISTED) == Counter({*there, *MOVED.values()})
    assert not there & set(MOVED.values())


@pytest.mark.parametrize("name", [*(f"docs/{page}" for page in LISTED if (DOCS / page).exists()), *MOVED])
def test_a_link_leads_to_a_page_of_the_site(name):
    """As mkdocs, which no test needs, is strict about it."""
    if name == "examples":
        return
    there = MOVED.get(name, name.removeprefix("docs/"))
    text = CODE.sub("", linked((ROOT / name).read_text(), there))
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if not re.match(r"[a-z][a-z+.-]*:|#", link):
            found = posixpath.normpath(posixpath.join(posixpath.dirname(there), link.partition("#")[0]))
            assert found in MOVED.values() or (DOCS / found).is_file(), link


def test_a_file_that_the_site_lacks_is_named_and_not_linked():
    text = "[Dockerfile](../Dockerfile), ![drawn](tutorial.jpg), [x](../examples/evaluate.py), [y](https://a.b/c)"
    assert linked(text, "serve.md") == (
        "Dockerfile, ![drawn](tutorial.jpg), [x](examples.md#evaluatepy), [y](https://a.b/c)"
    )


def test_the_page_of_the_command_line_is_up_to_date():
    written = commands.PAGE.read_text()
    assert written == commands.page(), "help has changed: write the page anew (python -m tools.commands)"
    assert written.count("\n## owseg ") >= 30


@pytest.mark.parametrize("name", owseg.__all__)
def test_a_public_name_is_on_the_page_of_its_room(name):
    pages = [page.stem for page in (DOCS / "api").glob("*.md") if f"\n::: owseg.{name}\n" in page.read_text()]
    room = owseg._HOMES[name].split(".")[1]
    assert pages == [OTHER_PAGE.get(room, room)]
    rows = [
        row
        for row in (DOCS / "api" / "index.md").read_text().splitlines()
        if f"| `{name}`" in row or f", `{name}`" in row
    ]
    assert len(rows) == 1 and f"]({pages[0]}.md)" in rows[0]


QUESTIONS = re.findall(r"^### (.+)\n\n((?:.+\n)+)", (DOCS / "faq.md").read_text(), re.M)


@pytest.mark.parametrize(("question", "answer"), QUESTIONS, ids=[question for question, _ in QUESTIONS])
def test_a_question_has_a_short_answer_and_a_link(question, answer):
    assert question.endswith("?")
    words = re.sub(r"`[^`]*`|\]\([^)]*\)", "", answer)
    assert 2 <= len(re.findall(r"[.?:!](?=\s|$)", words)) <= 7
    assert "](" in answer


def test_every_question_is_read():
    assert len(QUESTIONS) == (DOCS / "faq.md").read_text().count("\n### ") >= 18


def test_the_site_is_no_part_of_what_the_tests_need():
    extras = (ROOT / "pyproject.toml").read_text().split("[project.optional-dependencies]")[1].split("\n[")[0]
    (line,) = re.findall(r"^docs = \[(.+)\]", extras, re.M)
    names = re.findall(r'"([\w-]+)', line)
    pinned = (ROOT / "constraints.txt").read_text()
    assert "mkdocs-material" in names and all(re.search(rf"^{name}==", pinned, re.M) for name in names)
    assert "mkdocs" not in extras.split("\ndev = [")[1]
