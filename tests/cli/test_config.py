"""``--config FILE.toml``: options from a file, and the file of those that a run was made with."""

import pytest

from owseg._files import read_toml
from owseg.cli._config import FOLDERS
from owseg.training.config import TrainConfig
from tests.support.commands import calls, replace_all

BUILD = "training.build:build_knowledge_base"


@pytest.fixture
def stubs(monkeypatch):
    replace_all(monkeypatch)


@pytest.fixture
def config(tmp_path):
    def write(text):
        (tmp_path / "c.toml").write_text(text)
        return tmp_path / "c.toml"

    return write


def test_options_come_from_the_file(run_cli, stubs, config):
    text = """
        kb = "K"
        data = "folder:D"
        unknown = ["car", "cow"]
        epochs = 3
        set = ["lr=0.5", "jitter=0"]
        background = true
        fpr = 0.1
        """
    code, _, err = run_cli("train", "--config", config(text))
    assert code == 0, err
    (given,) = calls(BUILD)
    wanted = {"data": "folder:D", "unknown": ["car", "cow"], "background": True, "fpr": 0.1}
    assert {name: given[name] for name in wanted} == wanted
    assert given["config"] == TrainConfig(epochs=3, lr=0.5, jitter=0.0)


def test_the_command_line_wins(run_cli, stubs, config):
    file = config('data = "folder:D"\nepochs = 3\nfull = 1'.replace("\nfull = 1", ""))
    assert run_cli("train", "K", "--epochs", 5, "--config", file)[0] == 0
    assert calls(BUILD)[0]["config"].epochs == 5


def test_names_are_those_of_the_command_line(run_cli, stubs, config):
    file = config('images = ["a", "b"]\nfull-resolution = true\nsize = 720')
    assert run_cli("predict", "--config", file)[0] == 0
    assert calls("data.search:search_images")[0]["names"] == ["a", "b"]
    forward = calls("inference.predict:predict_files")[0]["forward"]
    assert forward["full_resolution"] and forward["size"] == 720


@pytest.mark.parametrize("text, said", [
    ("epoch = 3", "sets 'epoch', which owseg train does not have; did you mean epochs?"),
    ("zzz = 3", "does not have; it has kb, data,"),
    ("config = 'a'", "does not have"),
    ("epochs = true", "sets epochs to True; write text or a number"),
    ("resume = 1", "sets resume to 1; write true or false"),
    ("[epochs]\na = 1", "write text or a number"),
    ("epochs = ", "is not TOML"),
])  # fmt: skip
def test_mistakes_end_in_one_sentence(fails, stubs, config, text, said):
    assert said in fails("train", "K", "--data", "folder:D", "--config", config(text))


def test_a_file_that_is_not_there(fails, tmp_path):
    assert "c.toml does not exist; --config takes a TOML file" in fails("train", "--config", tmp_path / "c.toml")


def test_a_value_is_checked_as_on_the_command_line(run_cli, stubs, config):
    assert run_cli("train", "K", "--data", "folder:D", "--config", config("epochs = 2.5"))[0] == 2
    assert run_cli("train", "K", "--data", "folder:D", "--config", config('epochs = "five"'))[0] == 2


def test_the_options_of_a_run_are_stored_and_run_again(run_cli, stored_kb, photos, tmp_path):
    out = tmp_path / 'a "quoted" name'
    assert run_cli("predict", photos, "--kb", stored_kb, "-o", out, "--npy", "--quiet")[0] == 0
    stored = read_toml(out / "settings.toml")
    assert stored == {"images": [str(photos)], "kb": str(stored_kb), "out": str(out), "npy": True, "adapt": False,
                      "overwrite": False, "write": "labels,score,overlay,regions",
                      "full-resolution": False, "multi-scale": False, "tile": False, "task": "unknown",
                      "recursive": False, "jsonl": False, "ray": "", "ray-workers": "", "device": "auto",
                      "precision": "32"}  # fmt: skip
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    for path in out.glob("p*"):
        path.unlink()
    assert run_cli("predict", "--config", out / "settings.toml")[0] == 0
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_settings_of_another_program_stay(run_cli, stored_kb, photos, tmp_path):
    (tmp_path / "settings.toml").write_text("mine = 1\n")
    code, _, err = run_cli("predict", photos, "--kb", stored_kb, "-o", tmp_path)
    assert code == 0 and "settings.toml is of another program and stays" in err
    assert (tmp_path / "settings.toml").read_text() == "mine = 1\n"


def test_a_command_that_fails_stores_nothing(fails, stored_kb, tmp_path):
    (tmp_path / "out").mkdir()
    fails("predict", tmp_path / "none.png", "--kb", stored_kb, "-o", tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("line, folder", [
    ("train new --data folder:D", "new.run"),
    ("train-residual K --inliers folder:I --outliers O", "K.residual.run"),
    ("train-residual K --inliers folder:I --outliers O --out new", "new.residual.run"),
    ("train-negative K --inliers folder:I --outliers O --out new", "new.negative.run"),
    ("fit-baseline rbm K --data folder:D --out F", "F.run"),
    ("discover K a --out Q", "Q"),
    ("predict a --out O", "O"),
])  # fmt: skip
def test_they_are_stored_beside_the_result(run_cli, stubs, monkeypatch, tmp_path, line, folder):
    monkeypatch.chdir(tmp_path)
    assert run_cli(*line.split())[0] == 0 and not list(tmp_path.iterdir())  # the stubs make no folder
    (tmp_path / folder).mkdir()
    assert run_cli(*line.split())[0] == 0
    text = (tmp_path / folder / "settings.toml").read_text()
    assert text.startswith(f"# The options of owseg {line.split()[0]}, version")
    assert read_toml(tmp_path / folder / "settings.toml")
    assert line.split()[0] in FOLDERS
