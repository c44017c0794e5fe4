import json
from dataclasses import replace

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


def test_without_labels_it_fits_to_those_of_the_network_itself(run_cli, fails, kb, photos, tmp_path):
    replace(kb, fitted={}, scorer="msp", threshold=None).save(tmp_path / "bare")
    code, out, err = run_cli("fit", tmp_path / "bare", photos)
    assert code == 0 and "fitted joint on images" in out and "owseg calibrate" in out, err
    fitted = load(tmp_path / "bare")
    assert fitted.feature_space is not None and fitted.scorer == "msp"
    code, out, _ = run_cli("fit", tmp_path / "bare", photos / "p0.png", "--scorers", "sml")
    assert code == 0 and set(load(tmp_path / "bare").fitted) == {"joint", "sml"}
    assert "give either" in fails("fit", tmp_path / "bare")
    assert "give either" in fails("fit", tmp_path / "bare", photos, "--data", "synthetic")
    assert "--recursive is for images without labels" in fails(
        "fit", tmp_path / "bare", "--data", "synthetic", "--recursive"
    )
    assert "--unlabeled adds" in fails("fit", tmp_path / "bare", photos, "--unlabeled", photos)


def test_photos_are_added_to_labelled_images(run_cli, stored_kb, own_data, photos):
    data = ("--data", f"folder:{own_data}", "--scorers", "joint")
    code, out, _ = run_cli("fit", stored_kb, *data, "--unlabeled", photos)
    assert code == 0 and f"and {len(list(photos.iterdir()))} images without labels" in out
