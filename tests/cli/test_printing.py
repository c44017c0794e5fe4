import json
from dataclasses import replace

from owseg.cli._log import logged
from owseg.cli._printing import next_command, print_json, print_note, print_table, save_version, say


def test_a_next_command_can_be_pasted_into_a_shell():
    assert next_command("predict", "--kb", "my kb", "IMAGES") == "Next: owseg predict --kb 'my kb' IMAGES"


def test_tables_show_markup_as_text_and_align_numbers_right(capsys):
    print_table("[car]", ("class", "what", "IoU"), (("[b]", "x", "1"), ("b", "yy", "22")))
    lines = [line for line in capsys.readouterr().out.splitlines() if "│" in line]
    cells = [line.split("│")[1:-1] for line in lines]
    assert cells == [[" [b]   ", " x    ", "   1 "], [" b     ", " yy   ", "  22 "]]


def test_a_title_is_a_line_of_its_own(capsys):
    title = "a title that is longer than the table"
    print_table(title, ("", ""), [("a", "1")])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == title and len(lines) == 4 and "a" in lines[2]  # no header where the names are empty
    print_table("", ("class",), [("a",)])
    assert capsys.readouterr().out.startswith("┏")


def test_notes_go_to_standard_error_and_json_to_standard_output(capsys, tmp_path):
    with logged():
        print_note("note")
    print_json({"path": tmp_path})
    out, err = capsys.readouterr()
    assert err == "note\n" and json.loads(out) == {"path": str(tmp_path)}


def test_a_stored_version_is_described(kb, tmp_path, capsys):
    save_version(kb, str(tmp_path / "kb"), False, "Next: x")
    out = capsys.readouterr().out
    assert out.startswith(f"{tmp_path / 'kb'} is at version 1: calibrated joint") and out.endswith("Next: x\n")
    assert "road, sky, tree" in out and f"joint > {kb.threshold.value:.4g}" in out
    save_version(replace(kb, threshold=None), str(tmp_path / "kb"), True, "Next: x")
    value = json.loads(capsys.readouterr().out)
    assert value["version"] == 2 and value["threshold"] is None and value["scorer"] == "joint"
    assert value["classes"] == ["road", "sky", "tree"] and value["did"][-1].startswith("calibrated")


def test_nothing_that_is_printed_moves_the_cursor(capsys):
    """Names and messages come from files of others."""
    print_table("h\x1b[2J", ("a",), (("b\x1b]0;x\x07",),))
    with logged():
        print_note("c\x1b[31m")
    say("d\x1b[31m\ne\udcff")
    out, err = capsys.readouterr()
    assert not {"\x1b", "\x07", "\udcff"} & set(out + err)
    assert err == "c\\x1b[31m\n" and out.endswith("d\\x1b[31m\ne\\udcff\n") and r"h\x1b[2J" in out
