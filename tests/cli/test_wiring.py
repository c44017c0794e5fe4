"""Every option of every command reaches the function where it acts: command lines, and the arguments that arrive.

All that commands call is replaced by a function of the same signature that notes its arguments.
"""

import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from owseg.knowledge.prediction import MAPS
from owseg.metrics.pixel import PerImage
from owseg.models.cluster import Cluster
from owseg.models.devices import choose_device
from owseg.training.config import NegativeConfig, ResidualConfig, TrainConfig
from owseg.training.presets import RESIDUAL as RESIDUAL_PRESETS
from owseg.training.presets import TRAIN as TRAIN_PRESETS
from tests.cli.rows_of_export import EXPORTING
from tests.cli.rows_of_learning import CORRECT, LEARNING
from tests.cli.rows_of_serve import SERVE
from tests.cli.rows_of_video import VIDEO
from tests.support.commands import (
    BASELINE,
    CALIBRATE,
    IMPORT,
    LEARN,
    NEGATIVE,
    RESIDUAL,
    TRAIN,
    FakeKB,
    calls,
    commands,
    replace_all,
)  # fmt: skip


@pytest.fixture(autouse=True)
def stubs(monkeypatch):
    replace_all(monkeypatch)


def forward(full_resolution=False, multi_scale=False, size=None, tile=False):
    return {"full_resolution": full_resolution, "multi_scale": multi_scale, "size": size, "tile": tile}


def measured(*options, window=None, sides=(), **named):
    return {**forward(*options, **named), "window": window, "sides": sides}


BUILD, TRAIN_RESIDUAL = "training.build:build_knowledge_base", "training.residual:train_residual"
TRAIN_NEGATIVE, FIT_BASELINE = "training.negative:train_negative", "training.baselines:fit_baseline"
EVALUATE, FIND = "evaluation.evaluate:evaluate", "discovery.discover:discover"
CROSSWISE, FIT = "evaluation.crosswise:evaluate_crosswise", "knowledge.calibration:fit_scorers"
SEARCH = "data.search:search_images"
COMPUTE = {"device": "cpu", "batch": 4, "workers": 3, "precision": "bf16"}
ROWS = [
    ("predict a b", SEARCH, {"names": ["a", "b"], "recursive": False, "apart": "predictions"}),
    *((f"{line} --recursive", SEARCH, {"names": ["a"], "recursive": True, "apart": apart}) for line, apart in (
        ("predict a -o O", "O"), ("discover K a -o O", "O"), ("submit K a --format smiyc -o O", "O"),
        ("annotate K a --format cvat -o O", None), ("adapt K a", None), (f"{TRAIN} --unlabeled a", None),
        ("fit K a", None), ("fit K --data folder:D --unlabeled a", None))),
    *((f"{line} -o O", "_files:check_writable", {"folder": "O"}) for line in (
        "predict a", "annotate K a --format cvat", "submit K a --format smiyc", "discover K a", "benchmark R")),
    ("predict a --jsonl --kb K", "knowledge.pretrained:stored_version", {"kb": "K"}),
    ("predict a", "inference.predict:predict_files",
     {"kb": "street", "paths": ["a"], "out": "predictions", "npy": False, "forward": forward(),
      "names": ["name of a"]}),
    ("predict a --kb K -o O --npy", "inference.predict:predict_files", {"kb": "K", "out": "O", "npy": True}),
    ("predict a --out O --full-resolution", "inference.predict:predict_files", {"out": "O", "forward": forward(True)}),
    *((f"predict a {option}", "inference.predict:predict_files", {"forward": given}) for option, given in (
        ("--size 720", forward(size=720)), ("--tile", forward(tile=True)), ("--multi-scale", forward(False, True)))),
    ("predict a --adapt --tile", "knowledge.adaptation:adapt_to_some", {"paths": ["a"], "forward": forward(tile=True)}),
    *((f"predict a{more}", "inference.predict:predict_files", given) for more, given in (
        ("", {"write": [*MAPS], "overwrite": False}), (" --write none", {"write": []}),
        (" --write score,labels --overwrite", {"write": ["score", "labels"], "overwrite": True}),
        (" --kb K --adapt", {"kb": "K adapted"}),
        (" --kb K --task obstacles --adapt", {"kb": "K for obstacles adapted"}))),
    ("predict a --kb K --adapt", "inference.predict:shift_of", {"kb": "K adapted"}),
    *VIDEO,
    *EXPORTING,
    ("adapt K a b", "knowledge.adaptation:adapt", {"kb": "K", "images": ["a", "b"], "forward": None}),
    ("adapt K a --out O --slim", "save", {"kb": "K adapted", "directory": "O", "slim": True}),
    (TRAIN, BUILD, {"data": "folder:D", "backbone": "B", "unknown": [], "config": TrainConfig(), "decoder": "pyramid",
                    "width": 128, "members": 3, "classifier": "prototype", "scale": 3.0, "size": None,
                    "scales": [1.0, 0.667], "fpr": 0.05, "outliers": None, "background": False, "resume": False,
                    "val_share": None, "run": str(Path("K.run").resolve())}),
    (TRAIN, "knowledge.commit:check_place", {"directory": "K"}), (TRAIN, "save", {"kb": "trained", "directory": "K"}),
    (f"{TRAIN} --unknown car,cow --decoder psp --classifier linear", BUILD,
     {"unknown": ["car", "cow"], "decoder": "psp", "classifier": "linear"}),
    (f"{TRAIN} --scale 2", BUILD, {"scale": 2.0}), (f"{TRAIN} --val 0.25", BUILD, {"val_share": 0.25}),
    ("train K --data folder:D --from B --unknown car --fpr 0.2 --val 0.5 --outliers O --unlabeled P --mode tuned "
     "--resume", "training.consolidate:consolidate",
     {"kb": "B", "data": "folder:D", "config": TrainConfig(mode="tuned"), "fpr": 0.2, "unknown": ["car"],
      "outliers": "outliers in O", "unlabeled": ["P"], "resume": True, "val_share": 0.5}),
    (f"{TRAIN} --val 0.5", "cli._training:enough_epochs", {"images": 1}),
    (f"{TRAIN} --val 0.5 --seed 3", "training.build:train_and_val", {"val_share": 0.5, "seed": 3}),
    (f"{TRAIN} --size 540 --scales 1,0.5", BUILD, {"size": 540, "scales": [1.0, 0.5]}),
    (f"{TRAIN} --width 32 --members 2", BUILD, {"width": 32, "members": 2}),
    (f"{TRAIN} --outliers O", BUILD, {"outliers": "outliers in O"}),
    (f"{TRAIN} --outliers O --exclude cow,hen", "data.outliers:leave_out",
     {"names": ["cow", "hen"], "objects": "outliers in O"}),
    *((f"{TRAIN}{more}", BUILD, {"unlabeled": photos}) for more, photos in (("", []), (" --unlabeled P", ["P"]))),
    (TRAIN, "cli._training:enough_epochs", {"config": TrainConfig(), "images": 2}),
    (f"{NEGATIVE} --batch 2", "cli._training:enough_epochs", {"config": NegativeConfig(batch=2)}),
    (RESIDUAL, "cli._training:enough_epochs", {"config": ResidualConfig(), "images": len("most of folder:I/train")}),
    (f"{TRAIN} --mode tuned", BUILD, {"config": TrainConfig(mode="tuned")}),
    ("train K --data folder:D", BUILD, {"backbone": "efficientnet-lite0"}),
    (f"{TRAIN} --epochs 3 --batch 2 --crop 64x96 --seed 5 --precision bf16-mixed --devices 2", BUILD,
     {"config": TrainConfig(epochs=3, batch=2, crop=(64, 96), seed=5, precision="bf16-mixed", devices=2)}),
    (f"{TRAIN} --preset dmlnet-streethazards", BUILD,
     {"config": TRAIN_PRESETS["dmlnet-streethazards"].config, "decoder": "pspnet", "width": 512, "members": 1,
      "scales": [1.0], "scale": 3.0, "classifier": "prototype"}),
    (f"{TRAIN} --preset dmlnet-cityscapes --epochs 3 --width 64 --decoder pyramid --members 2 --scales 1,0.5 "
     "--set variance_weight=0 --set lr=0.5", BUILD,
     {"config": replace(TRAIN_PRESETS["dmlnet-cityscapes"].config, epochs=3, variance_weight=0.0, lr=0.5),
      "decoder": "pyramid", "width": 64, "members": 2, "scales": [1.0, 0.5]}),
    (f"{RESIDUAL} --preset paper --batch 2 --set form=light --set rates=1,2", TRAIN_RESIDUAL,
     {"config": replace(RESIDUAL_PRESETS["paper"], batch=2, form="light", rates=(1, 2))}),
    (f"{NEGATIVE} --set optimizer=sgd --set schedule=poly --set lr=0.5", TRAIN_NEGATIVE,
     {"config": NegativeConfig(optimizer="sgd", schedule="poly", lr=0.5)}),
    (f"{TRAIN} --fpr 0.2 --background --resume", BUILD, {"fpr": 0.2, "background": True, "resume": True}),
    *((f"{line}{option}", f"cli.{file}:check_run", {"run": str(Path(run).resolve()), "result": run[0], "exists": there,
       "overwrite": "over" in option, "resume": "resume" in option})
      for line, file, run, there in ((TRAIN, "train", "K.run", True), (RESIDUAL, "train_residual", "K.residual.run",
      False), (NEGATIVE, "train_negative", "K.negative.run", False), (BASELINE, "fit_baseline", "O.run", False))
      for option in ("", " --overwrite", " --resume")),
    ("train new --data folder:D --backbone B", "cli.train:check_run", {"exists": False}),
    *((f"{line}{option}", f"cli.{line.split()[0]}:on_newest", {"kb": "K", "target": "K", "base": "K", "rebase": wanted})
      for line in ("calibrate K --data folder:D", LEARN, CORRECT)
      for option, wanted in (("", True), (" --rebase", True), (" --no-rebase", False))),
    ("import rpl:F --out P", "knowledge.commit:check_place", {"directory": "P"}),
    (f"{IMPORT} --classes C", "knowledge.imported:import_network", {"spec": "rpl:F", "classes": FakeKB.labels}),
    (f"{IMPORT} --scorers knn,sml", FIT, {"kb": "imported rpl:F", "data": "folder:D/train, to train",
                                          "names": ["knn", "sml"], "held_out": "half of folder:D/val"}),
    (f"{IMPORT} --scorer knn --fpr .2", CALIBRATE, {"data": "other half of folder:D/val", "scorer": "knn", "fpr": 0.2}),
    (RESIDUAL, TRAIN_RESIDUAL, {"kb": "K", "inliers": "most of folder:I/train", "val": "half of rest of folder:I/train",
      "outliers": "outliers in O", "context": "outliers in O", "config": ResidualConfig(), "resume": False,
      "run": str(Path("K.residual.run").resolve())}),
    (RESIDUAL, CALIBRATE, {"kb": "K with a residual", "data": "other half of rest of folder:I/train", "fpr": 0.05}),
    (f"{RESIDUAL} --fpr 0.2", CALIBRATE, {"fpr": 0.2}),
    (f"{RESIDUAL} --val folder:V", TRAIN_RESIDUAL, {"inliers": "folder:I/train", "val": "half of folder:V/val"}),
    (f"{RESIDUAL} --val folder:V", CALIBRATE, {"data": "other half of folder:V/val"}),
    (f"{RESIDUAL} --context C --exclude cow,hen", "data.outliers:leave_out",
     {"names": ["cow", "hen"], "objects": "outliers in O", "context": "outliers in C"}),
    ("train-residual K --inliers folder:I --outliers cutouts", TRAIN_RESIDUAL, {"context": None}),
    (f"{RESIDUAL} --epochs 3 --batch 2 --crop 64x96 --seed 5 --precision bf16-mixed --devices 2 --resume",
     TRAIN_RESIDUAL, {"config": ResidualConfig(epochs=3, batch=2, crop=(64, 96), seed=5, precision="bf16-mixed",
                                               devices=2), "resume": True}),
    (f"{RESIDUAL} --out new", "save", {"kb": "K", "directory": "new"}),  # as it was, so that it can be undone
    (f"{RESIDUAL} --out new", TRAIN_RESIDUAL, {"run": str(Path("new.residual.run").resolve())}),
    (NEGATIVE, TRAIN_NEGATIVE, {"kb": "K", "inliers": "most of folder:I/train", "val": "half of rest of folder:I/train",
      "outliers": "outliers in O", "config": NegativeConfig(), "resume": False,
      "run": str(Path("K.negative.run").resolve())}),
    (NEGATIVE, CALIBRATE, {"kb": "K with a negative class", "data": "other half of rest of folder:I/train"}),
    (f"{NEGATIVE} --fpr 0.2", CALIBRATE, {"fpr": 0.2}),
    (f"{NEGATIVE} --val folder:V", TRAIN_NEGATIVE, {"inliers": "folder:I/train", "val": "half of folder:V/val"}),
    (f"{NEGATIVE} --exclude cow,hen", "data.outliers:leave_out", {"names": ["cow", "hen"], "objects": "outliers in O"}),
    (f"{NEGATIVE} --epochs 5 --batch 2 --crop 64x96 --seed 5 --precision bf16-mixed --devices 2 --resume",
     TRAIN_NEGATIVE, {"config": NegativeConfig(epochs=5, batch=2, crop=(64, 96), seed=5, precision="bf16-mixed",
                                               devices=2), "resume": True}),
    (f"{NEGATIVE} --members 2", TRAIN_NEGATIVE, {"config": NegativeConfig(members=2)}),
    (f"{NEGATIVE} --out new", TRAIN_NEGATIVE, {"run": str(Path("new.negative.run").resolve())}),
    (f"{NEGATIVE} --slim", "save", {"slim": True}),
    ("audit K O --data folder:D", "evaluation.outlier_audit:audit",
     {"outliers": "outliers in O", "data": "folder:D/test", "forward": "runs the backbone of K"}),
    ("audit K O --data folder:D --split val --backbone B", "evaluation.outlier_audit:audit",
     {"data": "folder:D/val", "forward": "runs backbone B of K"}),
    ("fit K --data folder:D", FIT,
     {"kb": "K", "data": "folder:D/train, to train", "names": ["knn", "sml"], "held_out": None}),
    ("fit K --data folder:D --scorers joint,sml --split all --out O", FIT,
     {"data": "folder:D/all, to train", "names": ["joint", "sml"], "held_out": "folder:D/val, to train"}),
    ("fit K --data folder:D --out O", "save", {"kb": "fitted K", "directory": "O"}),
    ("calibrate K --data folder:D", CALIBRATE,
     {"kb": "K", "data": "folder:D/val", "fpr": 0.05, "method": "quantile", "scorer": None, "task": "unknown",
      "marked": None}),
    ("calibrate K --data D:D --task obstacles --queue Q", CALIBRATE, {"task": "obstacles", "marked": "regions of Q"}),
    ("calibrate K --data folder:D --split test --fpr 0.2 --false-alarms 0.1 --method conformal --scorer sml", CALIBRATE,
     {"data": "folder:D/test", "fpr": 0.2, "false_alarms": 0.1, "method": "conformal", "scorer": "sml"}),
    ("calibrate K --data folder:D", "save", {"kb": "calibrated K", "directory": "K"}),
    *((f"calibrate K --data folder:D {option}", "save", {"directory": place, "slim": slim}) for option, place, slim in (
        ("-o O", "O", False), ("--slim", "K", True))),
    ("fit K --data folder:D --unlabeled P", FIT, {"data": "folder:D/train, to train", "unlabeled": "photos ['P']"}),
    ("fit K --data folder:D", FIT, {"unlabeled": None}), ("fit K --data folder:D --slim", "save", {"slim": True}),
    (BASELINE, "training.baselines:open_known", {"spec": "folder:D", "kb": "K"}),
    (BASELINE, FIT_BASELINE, {"name": "duir", "kb": "K", "data": "folder:D/train", "val": "folder:D/val", "out": "O",
                              "preset": "light", "settings": {}, "seed": 0, "resume": False}),
    (f"{BASELINE} --preset paper --seed 5 --resume", FIT_BASELINE, {"preset": "paper", "seed": 5, "resume": True}),
    (f"{BASELINE} --set lr=2 --set generator=none", FIT_BASELINE, {"settings": {"lr": "2", "generator": "none"}}),
    ("fit-baseline rbm K --data folder:D --out P", FIT_BASELINE, {"name": "rbm", "out": "P"}),
    ("learn K cow,hen --data folder:D --slim", "save", {"slim": True}), (f"{TRAIN} --slim", "save", {"slim": True}),
    (f"{TRAIN} --slim", "models.backbones.base:from_pretrained", {"name": "B"}),
    (f"{RESIDUAL} --slim", "save", {"slim": True}),
    *LEARNING,
    ("review K Q", "review.serve:serve",
     {"kb": "K", "target": "K", "queue": "Q", "host": "127.0.0.1", "port": 8765, "open_browser": True}),
    ("review K Q --out O --port 5 --host h --no-browser", "review.serve:serve",
     {"target": "O", "port": 5, "host": "h", "open_browser": False}),
    ("review K Q --browser", "review.serve:serve", {"open_browser": True}),
    *((f"annotate K a --format cvat {options}", "inference.annotate:predicted_annotations", given)
      for options, given in (("--out O", {"kb": "K", "paths": ["a"], "forward": forward()}),
      ("-o O --full-resolution", {"forward": forward(True)}),
      ("-o O --multi-scale --size 720 --tile", {"forward": forward(False, True, 720, True)}))),
    *((f"annotate K a -o O --format {options}", "exchange.formats:write", given) for options, given in (
        ("cvat", {"place": "O", "format": "cvat", "predicted": True, "options": {}}),
        ("labelstudio --url U --set a=b", {"options": {"url": "U", "a": "b"}}))),
    ("exchange S D --to coco", "exchange.formats:read", {"path": "S", "format": None}),
    ("exchange S D --to coco --from labelme", "exchange.formats:read", {"format": "labelme"}),
    ("exchange S D --to coco", "exchange.formats:write",
     {"place": "D", "format": "coco", "predicted": False, "options": {}}),
    ("exchange S D --to labelstudio --url U --set a=b", "exchange.formats:write", {"options": {"url": "U", "a": "b"}}),
    ("evaluate K --data folder:D", EVALUATE,
     {"kb": "K", "data": "folder:D/test", "scorers": ["joint"], "metric": None, "forward": measured()}),
    ("evaluate K --data folder:D --split val --scorers a,b", EVALUATE, {"data": "folder:D/val", "scorers": ["a", "b"]}),
    ("evaluate K --data folder:D --scorers all", EVALUATE, {"scorers": ["msp", "joint"]}),
    ("evaluate K --data folder:D --per-image --full-resolution", EVALUATE,
     {"metric": PerImage, "forward": measured(True)}),
    ("evaluate K --data folder:D --multi-scale --size 720", EVALUATE, {"forward": measured(False, True, 720)}),
    ("evaluate K --data folder:D --tile", EVALUATE, {"forward": measured(tile=True)}),
    ("evaluate K --data folder:D --window 1024", EVALUATE, {"forward": measured(window=1024)}),
    ("evaluate K --data folder:D --sides 300,375", EVALUATE, {"forward": measured(sides=(300, 375))}),
    ("evaluate K --data folder:D --scorers mixture:beta=7:gamma=0.5,b", EVALUATE,
     {"scorers": ["mixture:beta=7:gamma=0.5", "b"]}),
    ("evaluate K --data folder:D --crosswise a,b", CROSSWISE,
     {"kb": "K", "first": "folder:D/a", "second": "folder:D/b", "scorer": None, "forward": measured()}),
    ("evaluate K --data folder:D --crosswise a,b --scorers msp --size 720", CROSSWISE,
     {"scorer": "msp", "forward": measured(size=720)}),
    ("evaluate K --data folder:D --sequence --split val", "evaluation.sequence:evaluate_sequence",
     {"stages": ["stage of K"], "data": "folder:D/val"}),
    ("evaluate K --data folder:D --sequence --report R", "report.sequence:write_sequence_report",
     {"stages": ["stage of K"], "data": "folder:D/test", "path": "R"}),
    ("benchmark R --out O", "benchmark.run:run", {"recipe": "recipe R", "out": "O", "workers": 1}),
    ("benchmark R -o O --workers 3", "benchmark.run:run", {"workers": 3}),
    ("submit K a b --format smiyc --out O", "inference.submit:submit",
     {"kb": "K", "paths": ["a", "b"], "out": "O", "format": "smiyc", "options": {}, "run": forward()}),
    ("submit K a --format fishyscapes -o O --set dataset=D --set method=m --full-resolution --tile",
     "inference.submit:submit",
     {"format": "fishyscapes", "options": {"dataset": "D", "method": "m"}, "run": forward(True, tile=True)}),
    ("submit K a --format smiyc -o O --multi-scale --size 720", "inference.submit:submit",
     {"run": forward(False, True, 720)}),
    ("discover K a b --out O", FIND,
     {"kb": "K", "paths": ["a", "b"], "folder": "O", "name": "K", "min_area": 0.002, "split_at": 0.5}),
    ("discover K a -o O --min-area 20 --split-at -1", FIND, {"min_area": 20, "split_at": -1}),
    *((f"{line} --ray A --ray-workers 2,5 --device cuda --workers 3", target,
       {"cluster": Cluster("A", 2, 5, 3, "cuda")} | more) for line, target, more in (
        ("predict a", "inference.predict:predict_files", {}), ("discover K a -o O", FIND, {}),
        ("evaluate K --data folder:D --out P", EVALUATE, {"parts": "P"}))),
    *SERVE,
    ("history K", "knowledge.versions:version_history", {"directory": "place of/K"}),
    *((line, "knowledge.commit:rollback_version", {"directory": ".", "version": number})
      for line, number in (("rollback . 3", 3), ("rollback . --to 3", 3), ("rollback .", None))),
    *((f"demo{options}", "report.demo:run", dict(zip(("data", "kb", "name", "out", "seed"), given, strict=True)))
      for options, given in (("", ("synthetic", None, None, "owseg-demo", 0)),
      (" --data folder:D --kb K --learn cow --out O --seed 5", ("folder:D", "K", "cow", "O", 5)))),
    *((f"{line} --device cpu --batch 4 --workers 3 --precision bf16", "to", {"kb": kb, **COMPUTE}) for line, kb in (
        ("predict a", "street"), ("video K a -o O.mp4", "K"),
        ("annotate K a --format cvat -o O", "K"), ("submit K a --format smiyc -o O", "K"),
        ("discover K a -o O", "K"), ("evaluate K --data folder:D", "K"), ("evaluate K --data folder:D --sequence",
        "stage of K"), ("calibrate K --data folder:D", "K"), (LEARN, "K"), (CORRECT, "K"), ("fit K a", "K"),
        ("adapt K a", "K"), ("audit K O --data folder:D", "K"))),
    *((f"{line} --device cpu --batch 4 --workers 3 --precision bf16", target, {"load": COMPUTE}) for line, target in (
        ("demo", "report.demo:run"), ("benchmark R -o O", "benchmark.run:run"), ("review K Q", "review.serve:serve"),
        ("calibrate K --data folder:D", "cli.calibrate:on_newest"), (LEARN, "cli.learn:on_newest"),
        (CORRECT, "cli.correct:on_newest"))),
    ("adapt K a", "to", {"kb": "K", "device": str(choose_device()), "batch": None, "workers": None, "precision": "32"}),
    *((f"data check folder:D{o}", "data.check:check", {"split": s}) for o, s in (("", None), (" --split v", "v"))),
]  # fmt: skip


@pytest.mark.parametrize("line, target, expected", ROWS, ids=[f"{line} -> {target}" for line, target, _ in ROWS])
def test_an_option_reaches_where_it_acts(run_cli, line, target, expected):
    code, _, err = run_cli(*shlex.split(line))
    assert code == 0, err
    arguments = calls(target)[0]
    assert {name: arguments[name] for name in expected} == expected


JSON_ONLY = {("info",), ("list",), ("doctor",), ("data", "list")}
"""Commands without an option but --json; their real runs are in the files of tests that have their names."""

SHARED = ("--json", "--help", "--quiet", "--verbose", "--log-file", "--config")  # see test_log.py, test_config.py


def test_every_option_of_every_command_has_a_row():
    lines = [shlex.split(line) for line, _, _ in ROWS]
    missing = []
    for path, command in commands():
        own = [line for line in lines if tuple(line[: len(path)]) == path]
        if not own and path not in JSON_ONLY:
            missing.append(path)
        for parameter in command.params:
            for names in filter(None, (parameter.opts, parameter.secondary_opts)):
                option = names[0].startswith("-") and names[0] not in SHARED
                if option and path not in JSON_ONLY and not any(name in line for line in own for name in names):
                    missing.append((*path, names))
    assert not missing
