"""``owseg doctor`` prints what was found, and its exit code says whether something is wrong."""

import json

from owseg.report import environment
from owseg.report.environment import Check


def test_it_prints_all_and_ends_with_1_where_something_is_wrong(monkeypatch, run_cli):
    monkeypatch.setattr(environment, "checks", lambda: iter([Check("a", "1"), Check("b", "2", "note", "do this")]))
    code, out, _ = run_cli("doctor")
    lines = out.splitlines()
    assert code == 0 and lines[0].split() == ["a", "1"] and lines[1].split() == ["!", "b", "2"]
    assert lines[2].strip() == "do this" and lines[-1] == "Next: owseg demo"
    monkeypatch.setattr(environment, "checks", lambda: iter([Check("a", "1"), Check("b", "2", "wrong", "do that")]))
    code, out, _ = run_cli("doctor", "--json")
    value = json.loads(out)
    assert code == 1 and value["ok"] is False and value["checks"][1]["advice"] == "do that"
    code, out, _ = run_cli("doctor")
    assert code == 1 and "x b" in out and "Next" not in out
