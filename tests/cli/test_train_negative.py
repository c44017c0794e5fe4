"""A real run of ``owseg train-negative``; test_wiring.py has its options."""

import numpy as np
from PIL import Image

from owseg.knowledge.load import load
from owseg.knowledge.versions import current_version
from tests.support import tiny
from tests.support.mask_models import mask2former


def command(kb, place):
    """The command line of a short training, whose two folders it writes."""
    (place / "objects").mkdir()
    tiny.write_photos(place / "inliers", 10)
    for i in range(10):
        rgba = np.zeros((40, 40, 4), np.uint8)
        rgba[4:36, 6:34, 3], rgba[4:36, 6:34:4, 0], rgba[4:36, 8:34:4, 1] = 255, 255, 40 * (i % 3)
        Image.fromarray(rgba).save(place / "objects" / f"mattress_{i}.png")
    return ("train-negative", kb, "--inliers", place / "inliers", "--outliers", place / "objects", "--epochs", "1",
            "--batch", "2", "--crop", "48x64")  # fmt: skip


def test_a_class_is_trained_from_two_folders_and_can_be_undone(run_cli, tmp_path):
    kb, image = tmp_path / "kb", tiny.image(3)
    before = tiny.calibrated(classifier="linear")
    before.save(kb)
    asked = command(kb, tmp_path)
    code, out, err = run_cli(*asked, "--fpr", "0.2")
    assert code == 0, err
    assert "version 2" in out and out.endswith(f"Next: owseg predict --kb {kb} IMAGES\n")
    new = load(kb)
    assert new.scorer == "joint@segments" and new.threshold.target_fpr == 0.2 and "negative" in new.scorers
    assert [e.action for e in new.history][-2:] == ["train-negative", "calibrate"]
    one, two = (k.assess(k.forward(image), image.shape[1:]).labels for k in (before, new))
    assert np.array_equal(one, two)
    assert run_cli(*asked, "--seed", "1", "--overwrite")[0] == 0 and current_version(kb) == 3
    assert "another negative class" in load(kb).history[-2].message
    assert all(run_cli("rollback", kb)[0] == 0 for _ in range(2)) and not load(kb).network.negative


def test_a_mask_classifier_by_name_is_fitted_given_a_class_and_used(run_cli, tmp_path):
    mask2former().save_pretrained(tmp_path / "m")
    asked = command(tmp_path / "kb", tmp_path)
    for words in (
        ("fit", f"hf:{tmp_path / 'm'}", tmp_path / "inliers", "-o", tmp_path / "kb"),
        (*asked, "--members", "1", "--fpr", "0.1"),
        ("info", tmp_path / "kb"),
        ("predict", tmp_path / "inliers", "--kb", tmp_path / "kb", "-o", tmp_path / "out"),
    ):
        code, _, err = run_cli(*words)
        assert code == 0, (words, err)
    kb = load(tmp_path / "kb")
    assert kb.scorer == "joint@segments" and "uno" in kb.scorers and kb.threshold.achieved_fpr <= 0.11
    assert list((tmp_path / "out").iterdir())
