"""The tables of the papers: what they name is there, the published metrics agree with each other, and they run."""

import re
import sys
from pathlib import Path

import pytest
import torch

from owseg.errors import OwsegError
from owseg.image_scorers import IMAGE_SCORERS
from owseg.learners.auto import learner_named
from owseg.metrics.pixel import PerImage
from owseg.models.backbones.base import Backbone, build
from owseg.models.published import resnet, wide_resnet
from owseg.scorers import SCORERS
from owseg.training.presets import RESIDUAL, TRAIN, configured
from recipes.papers import __main__ as command
from recipes.papers import run as module
from recipes.papers.run import Run, lines, published_text
from recipes.papers.table import Data, Model, Row, Table, read_table, table_names
from recipes.papers.trees import TREES, write_trees
from tests.support import tiny
from tests.support.pages import ROOT

TABLES = {name: read_table(name) for name in table_names()}


ENCODERS = {**resnet.VARIANTS, **wide_resnet.VARIANTS}
PUBLISHED = {"PSPNet": "dilated-resnet50", "ResNet-101": "dilated-resnet101", "WideResNet": "wide-resnet38"}
DECODER = {"PSPNet": "pspnet", "ResNet-101": "deeplabv3plus", "WideResNet": "deeplabv3plus_wide"}


def texts(settings):
    return module._texts(settings)


def test_the_tables_are_those_of_both_papers():
    assert set(TABLES) == {"dmlnet-1", "dmlnet-2", "dmlnet-3", "dmlnet-4", "open", "open-val", "rpl", "rpl-ablation"}


@pytest.mark.parametrize("name", TABLES)
def test_what_a_table_names_is_there(name):
    table = TABLES[name]
    assert (
        table.gpu_hours + table.core_hours > 0
        and table.disk_gb > 0
        and table.expected.endswith(".")
        and table.network.published
    )
    for model in table.models.values():
        presets = RESIDUAL if model.base else {n: p.config for n, p in TRAIN.items()}
        configured(presets[model.preset], texts(model.settings))
    for row in table.rows:
        if row.learn:
            learner_named(row.method, texts(row.options))
        elif row.model:
            assert row.scorer.split(":")[0] in SCORERS or row.scorer in IMAGE_SCORERS
            assert set(row.options) <= set(IMAGE_SCORERS.entries[row.scorer].options) if row.options else True
            assert row.fit == ("weights" in IMAGE_SCORERS.entries[row.scorer].facts.get("required", ())
                               if row.scorer in IMAGE_SCORERS else False)  # fmt: skip
    assert set(Run(table, Path())._variables()) <= set(TREES)


@pytest.mark.parametrize("name", [name for name in TABLES if not name.startswith("open")])
def test_networks_are_the_published_ones_and_so_are_their_stand_ins(name):
    """In small the same encoder at the same strides, and the same decoder."""
    table = TABLES[name]
    network = table.network
    (key,) = (key for key in PUBLISHED if key in network.published.replace("WideResNet-38", "WideResNet"))
    with torch.device("meta"):
        encoder = ENCODERS[PUBLISHED[key]]()
        full = Backbone(encoder)
    stand_in = build({"config": dict(network.stand_in), "mean": [0.5] * 3, "std": [0.5] * 3})
    assert (stand_in.kind, stand_in.strides) == (full.kind, full.strides)
    assert stand_in.model.options.get("deep_stem") == encoder.options.get("deep_stem")
    presets = {model.preset for model in table.models.values() if not model.base}
    assert {network.decoder or TRAIN[preset].decoder for preset in presets} == {DECODER[key]}
    if any(not model.kb and not model.base for model in table.models.values()):
        assert network.backbone.partition(":")[0] == PUBLISHED[key]


def test_published_means_agree_with_their_parts():
    """Of Table 4: mIoU is the mean over 16 old and the novel classes, harmonic 2 a b / (a + b)."""
    checked = 0
    for row in TABLES["dmlnet-4"].rows:
        metrics = row.published["Cityscapes"]
        if row.learn:
            old, novel, count = metrics["miou_old"], metrics["miou_novel"], len(row.learn)
            assert metrics["miou"] == pytest.approx((16 * old + count * novel) / (16 + count), abs=0.11), row.name
            assert metrics["miou_harmonic"] == pytest.approx(2 * old * novel / (old + novel or 1), abs=0.11), row.name
            checked += 1
    assert checked == 14
    last = {row.name: row.published for row in TABLES["dmlnet-3"].rows}["VL + DCE: EDS"]
    assert last == {row.name: row.published for row in TABLES["dmlnet-1"].rows}["DML"]


def test_docs_have_every_published_metric():
    """A row of docs/papers.md for each row of each table, with its metrics in order."""
    page = (ROOT / "docs" / "papers.md").read_text()
    for name, table in TABLES.items():
        section = page.split(f"`{name}`")[1].split("\n## ")[0]
        for row in table.rows:
            for data in table.data:
                shown = [published_text(row, data, metric) for metric in table.metrics]
                start = f"| {row.name} | {data} |" if len(table.data) > 1 else f"| {row.name} |"
                if set(shown) == {"–"} and (len(table.data) > 1 or name == "open-val"):
                    continue
                line = next(line for line in section.splitlines() if line.startswith(start))
                cells = [cell.strip() for cell in line.split("|")[2 + (len(table.data) > 1) : -1]]
                assert cells[::2][: len(shown)] == shown, (name, row.name)


def test_the_smallest_table_runs_in_small(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "argv", ["papers", "rpl", "--dry", "--runs", str(tmp_path)])
    command.main()
    out = capsys.readouterr().out
    found = [line.split(" | ") for line in out.splitlines() if line.startswith("| RPL + CoroCL | Road Anomaly |")]
    assert len(found) == 1 and re.fullmatch(r"\d+\.\d", found[0][2]) and found[0][3] == "71.61"
    assert "stand-in for DeepLabV3+ on a WideResNet-38" in out
    # What is there is not made again: neither trained nor measured.
    for name in ("build_knowledge_base", "train_residual", "evaluate"):
        monkeypatch.setattr(module, name, lambda *a, **k: pytest.fail("made again"))
    again = lines(TABLES["rpl"], Run(TABLES["rpl"], tmp_path / "rpl", dry=True).rows())[1]
    assert [cell for line in again for cell in line] and [found[0][2]] == [
        line[2] for line in again if line[:2] == ["RPL + CoroCL", "Road Anomaly"]
    ]


def test_the_list_names_hours_and_disk(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["papers", "--list"])
    command.main()
    out = capsys.readouterr().out
    assert all(f"| {name} | {table.title} | {table.gpu_hours:g} |" in out for name, table in TABLES.items())


class Reached(Exception):
    """Raised in place of a training, with what it was given."""


def small(**changes):
    network = TABLES["dmlnet-1"].network
    model = Model("folder:$STREETHAZARDS", ("car",), "dmlnet-streethazards", "linear", {"dce_weight": 0.5})
    return Table(**{
        "title": "t", "source": "s", "expected": "e", "gpu_hours": 1, "disk_gb": 1, "network": network,
        "models": {"m": model}, "data": {"d": Data("folder:$STREETHAZARDS")}, "rows": (Row("r", "m", "msp"),),
        **changes,
    })  # fmt: skip


def test_a_full_run_trains_at_the_scale_of_the_paper(monkeypatch, tmp_path):
    def stop(*arguments, **options):
        raise Reached(arguments, options)

    monkeypatch.setattr(module, "build_knowledge_base", stop)
    monkeypatch.setenv("STREETHAZARDS", "/data")
    monkeypatch.delenv("RESNET50", raising=False)
    with pytest.raises(OwsegError, match="variable RESNET50 is not set; export the folder of that data set, or the"):
        Run(small(), tmp_path, seed=3).rows()
    monkeypatch.setenv("RESNET50", "/weights.pth")
    with pytest.raises(Reached) as reached:
        Run(small(), tmp_path, seed=3).rows()
    (data, backbone, unknown, config, _), options = reached.value.args
    assert (data, backbone, unknown) == ("folder:/data", "dilated-resnet50:/weights.pth", ("car",))
    assert config == configured(TRAIN["dmlnet-streethazards"].config, {"dce_weight": "0.5", "seed": "3"})
    names = ("decoder", "width", "members", "classifier")
    assert tuple(options[name] for name in names) == ("pspnet", 512, 1, "linear")
    assert options["scales"] == (1.0,) and options["resume"] is False


def test_a_row_is_measured_by_the_protocol_of_its_table(monkeypatch, tmp_path):
    given = {}

    def noted(kb, data, scorers, metric, forward):
        given.update(data=data.source.name, scorers=scorers, metric=metric, forward=forward.keywords)
        raise Reached

    write_trees(["CITYSCAPES"], tmp_path)
    monkeypatch.setattr(module, "evaluate", noted)
    monkeypatch.setenv("CITYSCAPES", str(tmp_path / "CITYSCAPES"))
    data = {"d": Data("cityscapes:$CITYSCAPES", "val")}
    for per_image, sides in ((True, (300, 600)), (False, ())):
        run = Run(small(data=data, per_image=per_image, sides=sides), tmp_path / "runs")
        run._made["m"] = tiny.knowledge_base()
        with pytest.raises(Reached):
            run.rows()
        assert "val" in given["data"] and given["scorers"] == ["msp"] and given["forward"] == {"sides": sides}
        assert given["metric"] is (PerImage if per_image else None)


def test_a_given_knowledge_base_is_loaded_but_in_small(kb, monkeypatch, tmp_path):
    kb.save(tmp_path / "given")
    monkeypatch.setenv("GIVEN", str(tmp_path / "given"))
    table = small(models={"m": Model("cityscapes:$CITYSCAPES", kb="$GIVEN")})
    assert Run(table, tmp_path).kb("m").fingerprint() == kb.fingerprint()
    monkeypatch.setattr(module, "build_knowledge_base", lambda *a, **k: (_ for _ in ()).throw(Reached))
    with pytest.raises(Reached):
        Run(table, tmp_path / "other", dry=True, trees={"CITYSCAPES": "x"}).kb("m")


def test_a_dry_run_draws_the_same_twice(tmp_path):
    table = TABLES["dmlnet-3"]
    states = []
    for i in range(2):
        torch.rand(i)
        run = Run(table, tmp_path / str(i), dry=True)
        run.trees = write_trees(run._variables(), tmp_path / "trees")
        states.append(run.kb("vl").fingerprint())
    assert states[0] == states[1]


@pytest.mark.parametrize(("text", "message"), [
    ("rows = 3", "rows is a section of its own, not 3"), ("size = 3", "the table has no key 'size'"),
    ("[[rows]]\nname = 'x'\nmodel = 'n'", "the row x names no model of the table: 'n'"),
    ("[[rows]]\nname = 'x'\nscore = 'n'", "rows.0. has no key 'score'"),
    ("[[rows]]\nname = 'x'\npublished = {D = {ap = 1}}", "metrics that the table does not: D"),
    ("[models.m]\nbase = 'n'", "the model m is of none of the table: 'n'"),
    ("[models.m.settings]\n[[rows]]\nmodel = 'm'", "rows.0. has no name; add it"),
    ("metrics = ['f1']", "there is no metric 'f1'"),
])  # fmt: skip
def test_mistakes_in_a_table_end_in_one_sentence(text, message, monkeypatch, tmp_path):
    head = "title = 't'\nsource = 's'\nexpected = 'e'\ngpu_hours = 1\ndisk_gb = 1\n"
    parts = "[network]\npublished = 'p'\nbackbone = 'b'\nstand_in = {}\n"
    above, tables = (text, "") if not text.startswith("[") else ("", text)
    (tmp_path / "mine.toml").write_text(f"{head}{above}\n{parts}{tables}\n")
    monkeypatch.setattr("recipes.papers.table.FOLDER", tmp_path)
    with pytest.raises(OwsegError, match=message):
        read_table("mine")


def test_a_table_and_a_folder_that_are_not_there(monkeypatch, tmp_path, capsys):
    with pytest.raises(OwsegError, match="no table 'dmlnet-5'; it is one of dmlnet-1"):
        read_table("dmlnet-5")
    monkeypatch.delenv("STREETHAZARDS", raising=False)
    monkeypatch.setenv("RESNET50", "resnet50.pth")
    monkeypatch.setattr(sys, "argv", ["papers", "dmlnet-1", "--runs", str(tmp_path)])
    with pytest.raises(SystemExit, match="error: the variable STREETHAZARDS is not set"):
        command.main()
