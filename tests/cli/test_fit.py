import json

from owseg.knowledge.load import load


def test_further_scorers_are_fitted_compared_and_taken(run_cli, fails, stored_kb, own_data):
    data = ("--data", f"folder:{own_data}")
    code, out, _ = run_cli("fit", stored_kb, *data)
    assert code == 0 and "fitted knn, sml on" in out
    assert f"Next: owseg evaluate {stored_kb} --data folder:{own_data} --scorers all" in out
    code, out, _ = run_cli("evaluate", stored_kb, *data, "--scorers", "knn,sml,msp", "--json")
    assert code == 0 and set(json.loads(out)["scores"]) == {"knn", "sml", "msp"}
    code, out, _ = run_cli("calibrate", stored_kb, *data, "--scorer", "sml")
    assert code == 0 and "unknown where sml > " in out and load(stored_kb).scorer == "sml"
    assert "no fitted scorer 'svm'" in fails("fit", stored_kb, *data, "--scorers", "svm")
