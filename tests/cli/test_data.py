import json
import subprocess
import sys

from owseg.data.datasets import DATASETS


def test_every_kind_is_listed(run_cli):
    code, out, _ = run_cli("data", "list")
    assert code == 0 and out.endswith("Next: owseg data check KIND:DIR\n")
    for kind, entry in DATASETS.entries.items():
        first = kind if entry.facts.get("generated") else f"{kind}:DIR"
        assert (
            f"{first}  {entry.help}\n" in out
            and str(entry.facts["layout"]) in out
            and entry.facts["licence"] in out
            and entry.source in out
        )
    value = json.loads(run_cli("data", "list", "--json")[1])
    assert list(value) == list(DATASETS)
    assert all(value[kind]["what"] == entry.help for kind, entry in DATASETS.entries.items())


def test_the_list_needs_no_torch():
    script = (
        "import sys, owseg.cli as c; sys.argv = ['owseg', 'data', 'list']\n"
        "try: c.main()\nexcept SystemExit: pass\nprint('torch' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert out.strip().endswith("False")


def test_a_data_set_is_checked(run_cli, own_data):
    code, out, err = run_cli("data", "check", own_data)  # folder: is guessed
    assert code == 0 and "8 images" in out and "rock" in out and err == ""
    (own_data / "classes.json").write_text('["road", "sky", "tree", "rock", "cow"]')
    assert "folder:own has no pixel of cow" in run_cli("data", "check", own_data)[2]
    assert "cow" in json.loads(run_cli("data", "check", own_data, "--json")[1])["notes"][0]
    (own_data / "classes.json").write_text('["road", "sky", "tree", "rock"]')
    (own_data / "masks" / "f3.png").write_bytes(b"no image")
    code, out, err = run_cli("data", "check", f"folder:{own_data}", "--split", "train")
    assert code == 1 and err.startswith("error: ") and "f3.png" in err and "because of the errors below" in out
    code, out, err = run_cli("data", "check", f"folder:{own_data}", "--json")
    assert code == 1 and "f3.png" in json.loads(out)["splits"][0]["errors"][0] and err == ""
    (own_data / "masks" / "f3.png").unlink()
    assert "Without ground truth: 1 (f3).\n" in run_cli("data", "check", own_data)[1]
