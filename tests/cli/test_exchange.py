import json

from owseg.exchange.formats import read


def test_predictions_become_annotations_of_another_tool(run_cli, fails, unsure_kb, photos, tmp_path):
    unsure_kb.save(tmp_path / "kb")
    code, out, err = run_cli("annotate", tmp_path / "kb", photos, "--format", "coco", "-o", tmp_path / "coco")
    assert code == 0 and f"{tmp_path / 'coco' / 'annotations.json'} has annotations of" in out and "unknown in" in out
    assert "Next: " in out, err
    found = list(read(tmp_path / "coco"))
    args = ("exchange", tmp_path / "coco", tmp_path / "ls", "--to", "labelstudio", "--url", "http://host/")
    value = json.loads(run_cli(*args, "--json")[1])
    assert value["format"] == "labelstudio" and sum(value["images"].values()) == len(found)
    assert "http://host/p0.png" in (tmp_path / "ls" / "annotations.json").read_text()
    assert run_cli("exchange", tmp_path / "ls", tmp_path / "x.xml", "--to", "cvat", "--from", "labelstudio")[0] == 0
    for args, why in (
        ((tmp_path / "coco", tmp_path / "y", "--to", "labelme"), "cannot be written"),
        ((tmp_path / "coco", tmp_path / "y", "--to", "magic"), "no format 'magic'"),
        ((tmp_path / "coco", tmp_path / "y", "--to", "cvat", "--url", "http://host/"), "cvat has no option 'url'"),
        ((photos, tmp_path / "y", "--to", "cvat"), "no annotations"),
    ):
        assert why in fails("exchange", *args)
    assert not (tmp_path / "y").exists()
