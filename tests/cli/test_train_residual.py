import numpy as np
import pytest
from PIL import Image

from owseg.knowledge.load import load
from owseg.knowledge.versions import current_version
from tests.support import tiny


@pytest.fixture
def command(tmp_path):
    """A command that trains on ten images and ten cut-outs of mattresses."""
    tiny.knowledge_base(classifier="linear").save(tmp_path / "kb")
    (tmp_path / "objects").mkdir()
    tiny.write_photos(tmp_path / "inliers", 10)
    for i in range(10):
        rgba = np.zeros((40, 40, 4), np.uint8)
        rgba[4:36, 6:34, 3] = 255
        rgba[4:36, 6:34:4, 0] = 255
        rgba[4:36, 8:34:4, 1] = 40 * (i % 3)
        Image.fromarray(rgba).save(tmp_path / "objects" / f"mattress_{i}.png")
    return ("train-residual", tmp_path / "kb", "--inliers", tmp_path / "inliers", "--outliers", tmp_path / "objects",
            "--epochs", "1", "--batch", "2", "--crop", "48x64")  # fmt: skip


def test_a_residual_is_trained_from_two_folders_and_can_be_undone(run_cli, fails, command, tmp_path):
    before = load(tmp_path / "kb")
    code, out, err = run_cli(*command, "--fpr", "0.2")
    assert code == 0, err
    assert "version 2" in out and out.endswith(f"Next: owseg predict --kb {tmp_path / 'kb'} IMAGES\n")
    kb = load(tmp_path / "kb")
    assert kb.residual is not None and kb.scorer == "rpl" and kb.threshold.target_fpr == 0.2
    assert kb.history[-2].details["categories"] == {"mattress": 10}
    image = tiny.image(3)
    size = image.shape[1:]
    assert np.array_equal(kb.assess(kb.forward(image), size).labels, before.assess(before.forward(image), size).labels)
    assert "kb.residual.run holds the checkpoint of a run already; give --overwrite" in fails(*command)
    assert "give others" in fails(*command, "--exclude", "mattress")
    for i in range(10):
        (tmp_path / "objects" / f"mattress_{i}.png").rename(tmp_path / "objects" / f"tree_{i}.png")
    assert "known" in fails(*command)
    assert current_version(tmp_path / "kb") == 2
    assert run_cli("rollback", tmp_path / "kb")[0] == 0 and load(tmp_path / "kb").residual is None


@pytest.mark.parametrize("options, why", [
    (("--epochs", "0"), "epochs"), (("--crop", "x"), "not a size"), (("--precision", "8"), "precision '8'"),
    (("--preset", "heavy"), "no preset 'heavy'; it is one of light, paper"), (("--set", "form=round"), "not 'round'"),
    (("--inliers", "none"), "none"), (("--outliers", "none"), "none"), (("--val", "none"), "none"),
])  # fmt: skip
def test_mistakes_end_in_one_sentence(fails, command, tmp_path, options, why):
    assert why in fails(*command, *options)
    assert current_version(tmp_path / "kb") == 1
