import json

import numpy as np
import pytest
from PIL import Image

from owseg.knowledge.adaptation import adapt
from owseg.knowledge.load import load


def test_the_estimate_is_stored_as_a_new_version_and_says_so_everywhere(run_cli, stored_kb, photos):
    before = load(stored_kb)
    code, out, _ = run_cli("adapt", stored_kb, photos)
    new = load(stored_kb).threshold
    assert (
        code == 0 and new == adapt(before, sorted(photos.iterdir())).threshold and new.value != before.threshold.value
    )
    words = "estimated; no rate is promised"
    assert "is at version 2: moved the threshold by" in out and "to 3 images" in out
    assert f"unknown where joint > {new.value:.4g} ({words})" in out
    assert out.endswith(f"Next: owseg predict --kb {stored_kb} IMAGES\n")
    lines = dict(line.split(maxsplit=1) for line in run_cli("info", stored_kb)[1].splitlines())
    assert lines["decision"] == f"unknown where joint > {new.value:.4g} ({words})"
    assert lines["calibration"].endswith("above the threshold, before it was moved")
    assert words in " ".join(run_cli("history", stored_kb)[1].replace("│", " ").split())
    value = json.loads(run_cli("info", stored_kb, "--json")[1])
    assert value["threshold"]["estimated"] is True and words in value["history"][-1]


def test_with_out_the_knowledge_base_stays(run_cli, stored_kb, photos, tmp_path):
    code, out, _ = run_cli("adapt", stored_kb, photos / "p1.png", "-o", tmp_path / "new", "--json")
    value = json.loads(out)
    assert code == 0 and value["threshold"] == load(tmp_path / "new").threshold.to_json()
    assert not load(stored_kb).threshold.estimated and value["threshold"]["reference"]["images"] == 1


@pytest.mark.parametrize("name, images, why", [
    ("kb", "none", "none does not exist"),
    ("kb", "grey.png", "more than one colour"),
    ("street", "photos", "--out"),
])  # fmt: skip
def test_mistakes_end_in_one_sentence(fails, stored_kb, photos, tmp_path, name, images, why):
    Image.fromarray(np.full((48, 64, 3), 90, np.uint8)).save(tmp_path / "grey.png")
    before = sorted(stored_kb.rglob("*"))
    assert why in fails("adapt", stored_kb if name == "kb" else name, tmp_path / images)
    assert sorted(stored_kb.rglob("*")) == before
