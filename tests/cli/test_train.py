import json

import pytest
from transformers import AutoBackbone, AutoConfig

from owseg.cli._training import check_run
from owseg.errors import OwsegError
from owseg.knowledge.load import load
from owseg.knowledge.versions import version_history
from tests.support import tiny
from tests.support.folders import contents


def test_a_network_is_trained_stored_and_evaluated(run_cli, fails, own_data, tmp_path, monkeypatch):
    monkeypatch.setattr("owseg.training.build.from_pretrained", lambda name: tiny.backbone())
    options = ("--backbone", "tiny", "--unknown", "rock", "--epochs", 1, "--batch", 2, "--crop", "32x32", "--fpr", 0.2,
               "--members", 1)  # fmt: skip
    code, out, err = run_cli("train", tmp_path / "new", "--data", own_data, *options)
    assert code == 0, err
    assert "is at version 1: calibrated joint@segments at 20.0% false positives" in out and "Note: " in out
    assert f"Next: owseg evaluate {tmp_path / 'new'} --data folder:{own_data}" in out
    kb = load(tmp_path / "new")
    assert kb.labels.names == ("road", "sky", "tree") and kb.threshold.target_fpr == 0.2
    assert (tmp_path / "new.run").is_dir()
    code, out, err = run_cli("evaluate", tmp_path / "new", "--data", own_data, "--split", "train", "--json")
    assert code == 0 and set(json.loads(out)["iou"]) == {"road", "sky", "tree"}, err
    assert version_history(tmp_path / "new")[0].message.startswith("trained on folder:own with 3 classes; ")

    before = contents(tmp_path)
    train = ("train", tmp_path / "new", "--data", own_data, *options)
    assert "new is there already; give --overwrite to train anew, --resume to go on with the run" in fails(*train)
    assert contents(tmp_path) == before
    assert run_cli(*train, "--resume")[0] == 0  # the run is complete: what it made is stored once more
    code, _, err = run_cli(*train, "--overwrite", "--seed", 1)
    assert code == 0, err
    assert [v.parent for v in version_history(tmp_path / "new")] == [None, None, None]


def test_from_train_to_learn_on_a_plain_transformer_from_a_folder(run_cli, own_data, tmp_path):
    """DINOv2, tiny and with random weights: a new network of three classes, and a fourth from two images."""
    config = AutoConfig.for_model("dinov2", **tiny.CONFIGS["dinov2"])
    AutoBackbone.from_config(config).save_pretrained(tmp_path / "dino")
    kb, data = tmp_path / "new", ("--data", own_data)
    options = ("--backbone", tmp_path / "dino", "--unknown", "rock", "--epochs", 1, "--batch", 2, "--crop", "32x32",
               "--members", 1)  # fmt: skip
    for command in (
        ("train", kb, *data, *options),
        ("learn", kb, "rock", *data, "--count", 2),
        ("evaluate", kb, *data, "--split", "train"),
        ("predict", own_data / "images", "--kb", kb, "--out", tmp_path / "maps"),
    ):
        code, _, err = run_cli(*command)
        assert code == 0, err
    learned = load(kb)
    assert learned.network.backbone.kind == "dinov2" and learned.network.scales == (1.0, 0.667)
    assert learned.labels.names == ("road", "sky", "tree", "rock") and learned.base_classes == ("road", "sky", "tree")


@pytest.mark.parametrize("options, why", [
    ((), "cannot be loaded"),
    (("--unknown", "x"), "no class 'x'"),
    (("--crop", "x"), "not a size"),
    (("--crop", "16x64"), "at least 32x32"),
    (("--batch", 0), "batch must be 1"),
    (("--epochs", 0), "epochs must be 1"),
    (("--devices", 0), "devices must be 1"),
    (("--seed", -1), "seed must be 0"),
    (("--slim", "--mode", "tuned"), "with --mode tuned it does not"),
    (("--slim",), "cannot be loaded"),
    (("--mode", "free"), "no mode 'free'; it is frozen or tuned"),
    (("--precision", "8"), "precision '8'"),
    (("--preset", "paper"), "no preset 'paper'; it is one of light, dmlnet-streethazards"),
    (("--set", "lr"), "sets nothing"),
    (("--set", "lr=fast"), "lr is a number, not 'fast'"),
    (("--set", "rate=1"), "no option 'rate'; it has epochs"),
    (("--epochs", 1, "--set", "epochs=2"), "epochs is given twice; give --epochs, or --set epochs=VALUE"),
    (("--decoder", "none"), "no decoder 'none' to train; it is one of aspp, psp, pspnet, deeplabv3plus"),
    (("--decoder", "transformers"), "no decoder 'transformers' to train"),
    (("--from", "synthetic"), "the network is that of --from synthetic; leave --backbone out"),
    (("--recursive",), "--recursive is for the images of --unlabeled FOLDER"),
    (("--classifier", "linear", "--scale", "2"), "--scale is that of prototypes; a linear classifier has none"),
])  # fmt: skip
def test_mistakes_end_in_one_sentence(fails, own_data, tmp_path, options, why):
    err = fails("train", tmp_path / "new", "--data", f"folder:{own_data}", "--backbone", "./none", *options)
    assert why in err and not (tmp_path / "new").exists() and not (tmp_path / "new.run").exists()


def test_a_folder_of_other_files_is_refused(fails, own_data):
    assert "holds other files" in fails("train", own_data, "--data", f"folder:{own_data}", "--backbone", "./none")


def test_a_training_replaces_another_only_if_asked(tmp_path):
    run, result = tmp_path / "kb.run", tmp_path / "kb"
    check_run(run, result, False, False, False)
    (run / "1").mkdir(parents=True)
    (run / "metrics.csv").write_text("epoch\n")
    check_run(run, result, False, False, False)  # a run that was stopped before its first checkpoint
    check_run(run, result, True, True, False)
    with pytest.raises(OwsegError, match=r"kb\.run holds no checkpoint to go on from; leave --resume out"):
        check_run(run, result, True, False, True)
    with pytest.raises(OwsegError, match=r"kb is there already; give --overwrite .*, --resume .*, or another"):
        check_run(run, result, True, False, False)
    (run / "1" / "last.ckpt").write_bytes(b"state")
    with pytest.raises(OwsegError, match=r"kb\.run holds the checkpoint of a run already; give --overwrite"):
        check_run(run, result, False, False, False)
    check_run(run, result, True, False, True)
    with pytest.raises(OwsegError, match="give one of them"):
        check_run(run, result, True, True, True)
