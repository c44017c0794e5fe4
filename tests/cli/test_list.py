import json

from owseg.knowledge.load import load
from owseg.knowledge.pretrained import CARDS, SHIPPED, shipped_names


def test_every_shipped_knowledge_base_is_listed_as_it_is(run_cli):
    code, out, _ = run_cli("list", "--json")
    value = json.loads(out)
    assert code == 0 and tuple(sorted(value)) == tuple(sorted(CARDS)) == shipped_names()
    for name in ("synthetic", "street8"):
        kb, card = load(name), value[name]
        assert tuple(card["classes"]) == kb.labels.names and card["size"] == kb.network.size
        assert card["stored_bytes"] == sum(p.stat().st_size for p in (SHIPPED / name / "0001").iterdir())


def test_the_list_for_people(run_cli):
    code, out, err = run_cli("list")
    assert code == 0 and err == "" and out.endswith("Next: owseg predict --kb street IMAGES\n")
    for name, text in CARDS.items():
        assert f"{name}  {text}\n" in out
    assert "classes  road, pavement, building, sky, tree, pole, vehicle, person\n" in out and " MB; " in out
