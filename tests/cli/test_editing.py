"""``owseg forget``, ``rename`` and ``merge``: a new version each, which rollback undoes."""

import json

import pytest

from owseg.knowledge.load import load
from owseg.knowledge.versions import version_history
from owseg.learners.learn import learn
from owseg.learners.npm import NPM
from tests.support.shots import corner_shot


@pytest.fixture
def taught(kb, tmp_path):
    for i, name in enumerate(("rock", "cow")):
        kb = learn(kb, name, [corner_shot(i)], method=NPM(4.0))
    kb.save(tmp_path / "kb")
    return tmp_path / "kb"


@pytest.mark.parametrize("line, names, message", [
    (("forget", "rock"), ("road", "sky", "tree", "cow"), "forgot rock"),
    (("rename", "rock", "stone"), ("road", "sky", "tree", "stone", "cow"), "renamed rock to stone"),
    (("rename", "sky", "heaven"), ("road", "heaven", "tree", "rock", "cow"), "renamed sky to heaven"),
    (("merge", "rock", "cow"), ("road", "sky", "tree", "cow"), "merged rock and cow"),
    (("merge", "rock", "sky", "--as", "grey"), ("road", "grey", "tree", "cow"), "merged rock and sky as grey"),
])  # fmt: skip
def test_it_is_a_version_that_can_be_undone(run_cli, taught, line, names, message):
    before = load(taught)
    command, *arguments = line
    code, out, err = run_cli(command, taught, *arguments)
    assert code == 0 and out.startswith(f"{taught} is at version 2: {message}.\nIt knows {', '.join(names)}.\n"), err
    after = load(taught)
    assert after.labels.names == names and after.history[-1].message == message
    assert version_history(taught)[-1].parent == 1 and "Next: owseg predict" in out
    assert ("The threshold was not changed" in out) == (command == "forget")
    assert run_cli("rollback", taught)[0] == 0 and load(taught).fingerprint() == before.fingerprint()


def test_elsewhere_it_can_be_undone_too(run_cli, taught, tmp_path):
    code, out, _ = run_cli("forget", taught, "cow", "-o", tmp_path / "new", "--json")
    assert code == 0 and json.loads(out)["version"] == 2 and json.loads(out)["classes"][-1] == "rock"
    assert run_cli("rollback", tmp_path / "new")[0] == 0 and load(tmp_path / "new").labels.names[-1] == "cow"


def test_on_what_another_stored_meanwhile(run_cli, fails, taught, monkeypatch):
    from owseg.knowledge import editing

    real, others = editing.forget, ["pig"]

    def overtaken(kb, name):
        if others:
            learn(load(taught), others.pop(), [corner_shot(7)], method=NPM(4.0)).save(taught)
        return real(kb, name)

    monkeypatch.setattr(editing, "forget", overtaken)
    assert "this was made from version 1" in fails("forget", taught, "rock", "--no-rebase")
    others.append("hen")
    code, _, err = run_cli("forget", taught, "rock")
    assert code == 0 and "done again" in err and load(taught).learned_classes == ("cow", "pig", "hen")


@pytest.mark.parametrize("line, why", [
    (("forget", "sky"), "'sky' is a class that the network was trained for, and cannot be forgotten"),
    (("forget", "pig"), "there is no class 'pig'"),
    (("rename", "rock", "cow"), "'cow' is another class; merge the two"),
    (("merge", "sky", "tree"), "cannot be merged"),
])  # fmt: skip
def test_mistakes_end_in_one_sentence_and_store_nothing(fails, taught, line, why):
    command, *arguments = line
    assert why in fails(command, taught, *arguments) and len(version_history(taught)) == 1


def test_a_shipped_knowledge_base_stays_as_it_is(fails):
    assert "give --out DIR" in fails("rename", "street", "road", "lane")
