import json

import pytest

from owseg.errors import OwsegError
from owseg.knowledge.calibration import calibrate, fit_scorers
from owseg.knowledge.load import load
from owseg.knowledge.pretrained import SHIPPED
from owseg.knowledge.versions import version_history
from owseg.report import demo
from tests.cli.test_cli import own, run  # noqa: F401
from tests.support import tiny


@pytest.fixture
def kb(tmp_path):
    data = tiny.dataset()
    calibrate(fit_scorers(tiny.knowledge_base(), data), data, scorer="joint").save(tmp_path / "kb")
    return tmp_path / "kb"


def test_the_circle_turns_on_a_folder(capsys, kb, own, tmp_path):  # noqa: F811
    out = tmp_path / "out"
    code, text, _ = run(capsys, "demo", "--data", f"folder:{own}", "--kb", kb, "--learn", "rock", "-o", out, "--json")
    assert code == 0
    result = json.loads(text)
    assert [v.message.split()[0] for v in version_history(out / "kb")] == ["calibrated", "learned"]
    assert load(out / "kb").labels.names[-1] == "rock"
    assert set(result["before"]["iou"]) == {"road", "sky", "tree"} and "rock" in result["after"]["iou"]
    page = (out / "report.html").read_text()
    for words in ("after learning rock", "Before and after", "history", "truth"):
        assert words in page
    assert page.count("data:image/") >= 5 * 5


def test_the_demo_asks_for_what_it_needs(kb, own, tmp_path):  # noqa: F811
    with pytest.raises(OwsegError, match="--learn"):
        demo.run(f"folder:{own}", str(kb), None, tmp_path / "out")
    with pytest.raises(OwsegError, match="still to be learned; those are: rock"):
        demo.run(f"folder:{own}", str(kb), "sky", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["synthetic", "street8", "street"])
def test_what_ships_loads_and_predicts(name):
    kb = load(name)
    prediction = kb.predict(tiny.image(size=(96, 128)))
    assert prediction.labels.max() < len(kb.labels)
    assert kb.scorer == "joint" and kb.threshold.target_fpr == 0.05
    assert sum(f.stat().st_size for f in (SHIPPED / name).rglob("*") if f.is_file()) < 10e6


def test_the_shipped_demo_finds_the_unknown_and_learns_it(monkeypatch, tmp_path):
    """The main job on few frames: far better than chance before, and the class is there after."""
    monkeypatch.setattr(demo, "_FRAMES", 12)
    result = demo.run("synthetic", None, None, tmp_path / "out")
    figures = result["before"]["scores"]["joint"]
    assert figures["auroc"] > 0.8
    assert figures["ap"] > 3 * figures["outliers"] / (figures["outliers"] + figures["inliers"])
    assert result["before"]["summary"]["miou"] > 0.6
    assert result["after"]["iou"]["animal"] > 0.1
    assert result["after"]["summary"]["miou_old"] > result["before"]["summary"]["miou"] - 0.05
