import json

from owseg.knowledge.load import load
from owseg.knowledge.versions import current_version


def test_back_and_forward_again(run_cli, stored_kb):
    load(stored_kb).save(stored_kb)
    code, out, _ = run_cli("rollback", stored_kb)
    assert code == 0 and current_version(stored_kb) == 1
    assert out.startswith(f"{stored_kb} is at version 1 now: calibrated joint at")
    value = json.loads(run_cli("rollback", stored_kb, "2", "--json")[1])
    assert value["version"] == current_version(stored_kb) == 2 and value["message"].startswith("calibrated")


def test_mistakes_end_in_one_sentence(fails, stored_kb):
    assert "7" in fails("rollback", stored_kb, "7")
    assert "before" in fails("rollback", stored_kb)
    assert "of your own" in fails("rollback", "street")
    assert current_version(stored_kb) == 1
