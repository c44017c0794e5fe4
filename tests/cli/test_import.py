import json
import os

import numpy as np
import pytest
import torch
from PIL import Image

from owseg.data.datasets.cityscapes import CITYSCAPES
from owseg.knowledge.load import load
from tests.support.published_files import psp_files, rpl_file


class Code:
    def __reduce__(self):
        return os.system, ("true",)


@pytest.fixture
def rpl(tmp_path):
    rpl_file(tmp_path / "rpl.pth")
    return f"rpl:{tmp_path / 'rpl.pth'}"


@pytest.fixture
def scenes(tmp_path):
    """A folder with train/ and val/ of two images each, in three of Cityscapes' classes, and a fourth."""
    names = ("road", "sky", "car", "cow")
    for split in ("train", "val"):
        for i in range(2):
            rng = np.random.default_rng([i, len(split)])
            ids = np.kron(rng.permutation(12).reshape(3, 4) % 4, np.ones((16, 16))).astype(np.uint8)
            image = (60 * ids[..., None] + rng.integers(0, 40, (48, 64, 3))).astype(np.uint8)
            for kind, array in (("images", image), ("masks", ids)):
                (tmp_path / "scenes" / split / kind).mkdir(parents=True, exist_ok=True)
                Image.fromarray(array).save(tmp_path / "scenes" / split / kind / f"f{i}.png")
    (tmp_path / "scenes" / "classes.json").write_text(json.dumps(names))
    return tmp_path / "scenes"


def test_a_file_becomes_a_knowledge_base_that_is_calibrated_and_predicts(run_cli, rpl, scenes, photos, tmp_path):
    code, out, err = run_cli("import", rpl, "-o", tmp_path / "kb")
    assert code == 0 and "is at version 1: imported rpl.pth (rpl)" in out, err
    assert f"Next: owseg calibrate {tmp_path / 'kb'} --data SET" in out
    assert run_cli("calibrate", tmp_path / "kb", "--data", scenes)[0] == 0
    code, _, err = run_cli("predict", photos, "--kb", tmp_path / "kb", "-o", tmp_path / "out")
    assert code == 0 and (tmp_path / "out" / "p0.labels.png").exists(), err
    kb = load(tmp_path / "kb")
    assert (kb.scorer, kb.threshold.target_fpr, kb.labels) == ("rpl:smooth=7", 0.05, CITYSCAPES)


def test_with_data_it_is_fitted_and_calibrated_at_once(run_cli, rpl, scenes, tmp_path):
    options = ("--data", scenes, "--scorers", "sml,joint", "--fpr", "0.2", "--json")
    code, out, err = run_cli("import", rpl, "-o", tmp_path / "kb", *options)
    assert code == 0, err
    printed, kb = json.loads(out), load(tmp_path / "kb")
    assert [event.action for event in kb.history] == ["import", "fit", "calibrate"]
    assert printed["did"] == [event.message for event in kb.history]
    assert set(kb.fitted) == {"sml", "joint"} and kb.feature_space is not None
    assert (kb.scorer, kb.threshold.target_fpr) == ("rpl:smooth=7", 0.2)
    assert kb.history[1].details["data"].endswith("train") and kb.history[2].details["data"].endswith("val")
    code, _, err = run_cli("import", rpl, "-o", tmp_path / "other", "--data", scenes, "--scorer", "joint")
    assert code == 0 and load(tmp_path / "other").scorer == "joint", err


def test_classes_are_named_by_a_file(run_cli, fails, tmp_path):
    psp_files(tmp_path, 3)
    (tmp_path / "names.json").write_text('["road", "sky", "cow"]')
    code, _, err = run_cli("import", f"dmlnet:{tmp_path}", "-o", tmp_path / "kb", "--classes", tmp_path / "names.json")
    assert code == 0 and load(tmp_path / "kb").labels.names == ("road", "sky", "cow"), err
    (tmp_path / "names.json").write_text('["road", "sky"]')
    why = fails("import", f"dmlnet:{tmp_path}", "-o", tmp_path / "new", "--classes", tmp_path / "names.json")
    assert "the network has 3 classes, not 2" in why
    assert "has 3 classes, not one of" in fails("import", f"dmlnet:{tmp_path}", "-o", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_mistakes_end_in_one_sentence_and_leave_nothing(fails, rpl, scenes, tmp_path):
    torch.save({"model": Code()}, tmp_path / "code.pth")
    kb = tmp_path / "kb"
    assert "asks for code" in fails("import", f"rpl:{tmp_path / 'code.pth'}", "-o", kb)
    assert "is missing" in fails("import", f"dmlnet:{tmp_path / 'rpl.pth'}", "-o", kb)
    assert "names no network" in fails("import", "street", "-o", kb)
    assert "has no scorer 'magic'" in fails("import", rpl, "-o", kb, "--data", scenes, "--scorer", "magic")
    assert "no fitted scorer 'svm'" in fails("import", rpl, "-o", kb, "--data", scenes, "--scorers", "svm")
    mask = scenes / "train" / "masks" / "f0.png"
    Image.fromarray(np.full((48, 64), 77, np.uint8)).save(mask)
    assert "77" in fails("import", rpl, "-o", kb, "--data", scenes)  # an id of no class
    (scenes / "val").rename(scenes / "other")
    assert "no split 'val'" in fails("import", rpl, "-o", kb, "--data", scenes)
    assert not kb.exists()
    photo = tmp_path / "photo.png"
    photo.touch()
    assert "photo.png" in fails("import", rpl, "-o", photo)


def test_weights_that_are_not_finite_are_not_stored(fails, rpl, tmp_path):
    value = torch.load(tmp_path / "rpl.pth")
    value["model"]["branch1.final.0.weight"][0, 0] = torch.nan
    torch.save(value, tmp_path / "rpl.pth")
    assert "holds NaN or infinite values" in fails("import", rpl, "-o", tmp_path / "kb")
    assert not (tmp_path / "kb").exists()
    assert not (tmp_path / "kb").exists()
