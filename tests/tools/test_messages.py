"""docs/messages.md is what owseg answers; every answer to a mistake is one sentence, and nothing is left behind."""

from pathlib import Path

import pytest

from tests.support.commands import commands
from tools.messages.answers import Answer, Case, answers, read_cases
from tools.messages.page import PAGE, page
from tools.messages.scene import write_scene

CASES = read_cases()


def test_the_page_has_what_owseg_answers(tmp_path: Path) -> None:
    found = list(answers(CASES, write_scene(tmp_path / "scene")))
    assert [line for answer in found for line in answer.wrong()] == []
    assert PAGE.read_text() == page(found), "a message has changed: write the page anew (python -m tools.messages)"


def test_every_command_is_on_the_page() -> None:
    assert list(dict.fromkeys(case.command for case in CASES)) == [" ".join(path) for path, _ in commands()]
    for case in CASES:
        assert f"owseg {case.command}" in case.line, case


@pytest.mark.parametrize(
    ("answer", "wrong"),
    [
        (Answer(Case("info", "", "owseg info x"), "error: x does not exist; give another.", 1), ""),
        (Answer(Case("info", "", "owseg info x"), "error: x does not exist; give another.", 0), "exit status 0"),
        (Answer(Case("info", "", "owseg info x"), "Traceback (most recent call last):\nx.", 1), "not one line"),
        (Answer(Case("info", "", "owseg info x"), "error: no", 1), "not one line"),
        (Answer(Case("info", "", "owseg info x"), "error: no.", 1, "KB"), "prints 'KB'"),
        (Answer(Case("info", "", "owseg info x"), "error: no.", 1, left=("out",)), "leaves or changes out"),
    ],
)
def test_what_is_wrong_with_an_answer_is_found(answer: Answer, wrong: str) -> None:
    assert wrong in "".join(answer.wrong()) and bool(wrong) == any(answer.wrong())


def test_what_a_command_leaves_is_found(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("buy milk")
    (tmp_path / "labels.json").write_text('{"images": [], "annotations": [], "categories": []}')
    case = Case("exchange", "", "owseg exchange labels.json notes --to coco")
    (answer,) = answers([case], tmp_path)
    assert answer.status == 0 and "notes/annotations.json" in answer.left
