import json

from owseg.exchange.formats import write


def test_annotations_are_taken_from_tool_to_tool(run_cli, tmp_path, made):
    first = write(made, tmp_path / "1", "cvat")
    second = tmp_path / "2" / "x.json"
    code, text, _ = run_cli("exchange", first, second, "--to", "labelstudio", "--url", "http://h/")
    assert code == 0 and "cow in 3" in text and "Next: in Label Studio" in text
    (task, *_) = json.loads(second.read_text())
    assert task["data"]["image"] == "http://h/f0.png" and "predictions" not in task
    code, text, _ = run_cli("exchange", second, tmp_path / "3", "--from", "labelstudio", "--to", "cvat", "--json")
    assert code == 0 and json.loads(text) == {
        "file": str(tmp_path / "3" / "annotations.xml"),
        "format": "cvat",
        "images": {"rock": 2, "cow": 3, "void": 1},
    }
    assert (tmp_path / "3" / "annotations.xml").read_bytes() == first.read_bytes()


def test_an_option_of_a_format_may_be_set(run_cli, tmp_path, made):
    first = write(made, tmp_path / "1", "cvat")
    texts = []
    for option in (("--url", "http://h/"), ("--set", "url=http://h/"), ()):
        code, _, err = run_cli("exchange", first, tmp_path / "2", "--to", "labelstudio", *option)
        assert code == 0, err
        texts.append((tmp_path / "2" / "annotations.json").read_text())
    assert texts[0] == texts[1] != texts[2] and "/data/local-files/?d=f0.png" in texts[2]


def test_mistakes_end_in_one_sentence(fails, tmp_path, made):
    path, out = write(made, tmp_path / "made", "coco"), tmp_path / "out"
    (tmp_path / "x.json").write_text("{}")
    cases = [
        ((path, out, "--to", "labelme"), "'labelme' cannot be written"),
        ((path, out, "--to", "cvat", "--from", "x"), "no format 'x'"),
        ((path, out, "--to", "coco", "--url", "x"), "coco has no option 'url'"),
        ((tmp_path / "x.json", out, "--to", "coco"), "x.json"),
        ((path, out, "--to", "coco", "--from", "cvat"), "annotations.json"),
        ((path, out, "--to", "magic"), "no format 'magic'"),
        ((path, out, "--to", "cvat", "--set", "url"), "sets nothing"),
    ]
    for args, why in cases:
        assert why in fails("exchange", *args)
    assert not out.exists()
