import json

from owseg.discovery.queue import Queue


def test_regions_are_found_and_a_run_goes_on(run_cli, fails, unsure_kb, photos, tmp_path):
    unsure_kb.save(tmp_path / "kb")
    args = ("discover", tmp_path / "kb", photos, "--out", tmp_path / "q", "--min-area", 20)
    code, out, _ = run_cli(*args)
    assert code == 0 and "from 3 images" in out
    assert out.endswith(
        f"An overview is in {tmp_path / 'q' / 'groups.jpg'}. Next: owseg review {tmp_path / 'kb'} {tmp_path / 'q'}\n"
    )
    (photos / "p9.png").write_bytes(b"no image")
    code, out, err = run_cli(*args, "--json")
    value = json.loads(out)
    assert code == 3 and value["images"] == 3 and len(value["skipped"]) == 1 and "p9.png" in value["skipped"][0]
    assert value["groups"] == len(Queue.open(tmp_path / "q").groups()) and value["queue"] == str(tmp_path / "q")
    code, out, err = run_cli(*args)
    assert code == 3 and err.startswith("skipped: ") and "p9.png" in err and "from 3 images" in out
    assert "another least area" in fails(*args[:-1], 30)


def test_the_next_command_of_a_shipped_knowledge_base_says_where_to_store(run_cli, photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, _ = run_cli("discover", "synthetic", photos, "-o", "q")
    assert code == 0 and out.endswith("Next: owseg review synthetic q --out NEW_KB\n")
