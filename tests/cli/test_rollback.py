import json

from owseg.knowledge.load import load
from owseg.knowledge.versions import current_version
from owseg.learners.learn import learn
from owseg.learners.npm import NPM
from tests.support.shots import corner_shot


def test_back_and_forward_again(run_cli, stored_kb):
    load(stored_kb).save(stored_kb)
    code, out, _ = run_cli("rollback", stored_kb)
    assert code == 0 and current_version(stored_kb) == 1
    assert out.startswith(f"{stored_kb} is at version 1 now: made for a test; fitted joint on tiny; calibrated joint")
    assert out.endswith(".\nIt knows road, sky, tree.\n")
    value = json.loads(run_cli("rollback", stored_kb, "2", "--json")[1])
    assert value["version"] == current_version(stored_kb) == 2 and value["message"].startswith("calibrated")
    assert value["classes"] == ["road", "sky", "tree"]
    assert run_cli("rollback", stored_kb, "--to", 1)[0] == 0 and current_version(stored_kb) == 1  # as many type it


def test_the_classes_are_those_of_the_version(run_cli, stored_kb):
    learn(load(stored_kb), "rock", [corner_shot()], method=NPM(1.0)).save(stored_kb)
    assert run_cli("rollback", stored_kb)[1].endswith("It knows road, sky, tree.\n")
    assert run_cli("rollback", stored_kb, 2)[1].endswith("It knows road, sky, tree, rock.\n")


def test_mistakes_end_in_one_sentence(fails, stored_kb):
    assert "7" in fails("rollback", stored_kb, "7")
    assert "before" in fails("rollback", stored_kb)
    assert "name the version once" in fails("rollback", stored_kb, "1", "--to", "1")
    assert "of your own" in fails("rollback", "street")
    assert current_version(stored_kb) == 1
