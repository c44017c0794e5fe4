"""A real run of ``owseg train-negative``; test_wiring.py has its options."""

import numpy as np
from PIL import Image

from owseg.knowledge.load import load
from owseg.knowledge.versions import current_version
from tests.support import tiny


def test_a_class_is_trained_from_two_folders_and_can_be_undone(run_cli, tmp_path):
    kb, image = tmp_path / "kb", tiny.image(3)
    before = tiny.calibrated(classifier="linear")
    before.save(kb)
    (tmp_path / "objects").mkdir()
    tiny.write_photos(tmp_path / "inliers", 10)
    for i in range(10):
        rgba = np.zeros((40, 40, 4), np.uint8)
        rgba[4:36, 6:34, 3], rgba[4:36, 6:34:4, 0], rgba[4:36, 8:34:4, 1] = 255, 255, 40 * (i % 3)
        Image.fromarray(rgba).save(tmp_path / "objects" / f"mattress_{i}.png")
    command = ("train-negative", kb, "--inliers", tmp_path / "inliers", "--outliers", tmp_path / "objects", "--epochs",
               "1", "--batch", "2", "--crop", "48x64")  # fmt: skip
    code, out, err = run_cli(*command, "--fpr", "0.2")
    assert code == 0, err
    assert "version 2" in out and out.endswith(f"Next: owseg predict --kb {kb} IMAGES\n")
    new = load(kb)
    assert new.scorer == "joint" and new.threshold.target_fpr == 0.2 and "negative" in new.scorers
    assert [e.action for e in new.history][-2:] == ["train-negative", "calibrate"]
    one, two = (k.assess(k.forward(image), image.shape[1:]).labels for k in (before, new))
    assert np.array_equal(one, two)
    assert run_cli(*command, "--seed", "1")[0] == 0 and current_version(kb) == 3
    assert "another negative class" in load(kb).history[-2].message
    assert all(run_cli("rollback", kb)[0] == 0 for _ in range(2)) and not load(kb).network.negative
