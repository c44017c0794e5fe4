"""The recipes: all can be read and asked for help; those of synthetic scenes run, at a small scale."""

import importlib
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from transformers import AutoBackbone, AutoConfig

from owseg.data.synthetic.scene import SPLITS
from owseg.training import build
from owseg.training.config import NegativeConfig
from recipes import sequence
from tests.support import tiny


def test_table_4_on_synthetic_scenes(capsys, monkeypatch, half_size_here, few_shots):
    argv = ["sequence", "synthetic", "--classes", "1", "--draws", "1", "--most", "10", "--steps", "24"]
    monkeypatch.setattr(sys, "argv", argv)
    sequence.main()
    rows = [line.split("|")[1:-1] for line in capsys.readouterr().out.splitlines() if line.startswith("| ")][2:]
    metrics = {(row[0].strip(), row[1].strip()): [float(v) for v in row[2:]] for row in rows}
    assert set(metrics) == {(n, s) for n in ("FT", "PLM", "PLM latest", "NPM", "probe") for s in ("5", "1")}
    for old, novel, harmonic in metrics.values():
        assert harmonic == pytest.approx(2 * old * novel / max(old + novel, 1e-9), abs=2e-3)
    assert metrics["FT", "5"][0] < 0.75 * metrics["probe", "5"][0]  # it forgets
    assert metrics["probe", "5"][2] > metrics["NPM", "5"][2]


RECIPES = sorted(path.stem for path in (Path(__file__).parents[1] / "recipes").glob("*.py"))


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_imports_and_is_in_the_list(name):
    module = importlib.import_module(f"recipes.{name}")
    listed = (Path(module.__file__).parent / "README.md").read_text()
    assert hasattr(module, "main") == (f"recipes.{name}" in listed)


@pytest.mark.parametrize(
    "name",
    sorted(
        {*RECIPES}
        - {"tables", "ship", "overview", "towns", "froc", "region_images", "synthetic_drive", "video_metrics"}
    ),
)
def test_a_recipe_explains_its_steps(name, capsys, monkeypatch):
    module = importlib.import_module(f"recipes.{name}")
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    with pytest.raises(SystemExit) as ended:
        module.main()
    assert ended.value.code == 0 and f"python -m recipes.{name}" in capsys.readouterr().out


def test_the_contact_sheet_of_synthetic_scenes(tmp_path, monkeypatch):
    from recipes import outliers

    monkeypatch.setitem(SPLITS, "test", (SPLITS["test"][0], 16))  # objects are cut out of all that there are
    monkeypatch.setattr(sys, "argv", ["outliers", "sheet", "--synthetic", "--runs", str(tmp_path)])
    outliers.main()
    assert (tmp_path / "sheet.jpg").stat().st_size > 10_000


def test_shipping_keeps_one_version(kb, tmp_path, monkeypatch):
    from owseg.knowledge.load import load
    from owseg.knowledge.versions import version_numbers
    from recipes import ship

    for _ in range(2):
        kb.save(tmp_path / "kb")
    monkeypatch.setattr(ship, "SHIPPED", tmp_path / "shipped")
    monkeypatch.setattr(sys, "argv", ["ship", f"small={tmp_path / 'kb'}"])
    ship.main()
    assert version_numbers(tmp_path / "shipped" / "small") == [1]
    assert load(tmp_path / "shipped" / "small").fingerprint() == kb.fingerprint()


def write(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels).astype(np.uint8)).save(path)


def test_the_recipe_of_large_backbones_on_a_small_one(tmp_path, monkeypatch, capsys):
    """Every step of it, with a tiny DINOv2 on a tiny Cityscapes, and a negative class on views as small."""
    from recipes import large

    @dataclass(frozen=True)
    class SmallNegative(NegativeConfig):
        crop: tuple[int, int] = (56, 56)
        width: int = 8

    monkeypatch.setattr(build, "NegativeConfig", SmallNegative)
    rng = np.random.default_rng(0)
    for split, city, count in (("train", "aachen", 16), ("val", "frankfurt", 4)):
        for i in range(count):
            name = f"{split}/{city}/{city}_{i:06d}_000019"
            ids = np.repeat([23, 11, 7], 20)[:56, None] * np.ones((1, 112), int)  # sky, building, road
            write(tmp_path / f"data/cityscapes/leftImg8bit/{name}_leftImg8bit.png", 9 * ids[..., None] + [0, 20, 40])
            write(tmp_path / f"data/cityscapes/gtFine/{name}_gtFine_labelIds.png", ids)
    for i in range(4):
        write(tmp_path / f"things/cow_{i}.png", np.dstack([rng.integers(0, 255, (20, 20, 3)), np.full((20, 20), 255)]))
    AutoBackbone.from_config(AutoConfig.for_model("dinov2", **tiny.CONFIGS["dinov2"])).save_pretrained(
        tmp_path / "small"
    )
    things = tmp_path / "things"
    options = ["--data", tmp_path / "data", "--runs", tmp_path / "runs", "--size", 56, "--epochs", 1, "--batch", 2]
    options += ["--precision", "32-true", "--outliers", things, "--backbone", tmp_path / "small"]
    for step in ("train", "residual", "measure"):
        monkeypatch.setattr(sys, "argv", ["large", step, *map(str, options)])
        large.main()
    printed = capsys.readouterr().out
    assert "| small | Cityscapes |" in printed and "| small-residual | Cityscapes |" in printed


def test_no_town_is_shown_and_chosen_by(tmp_path):
    """Every second town, from that of most photos down, is shown; the others are what choices and tables see."""
    from owseg.labels import IGNORE, LabelSpace
    from recipes.towns import open_towns, shown_photos

    towns = {"big": 4, "middle": 3, "small": 2, "alone": 1}
    rows, names = ["name,place"], []
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
    for town, count in towns.items():
        for i in range(count):
            names.append(f"{town}.{i}")  # a name may have dots in it
            rows.append(f"{names[-1]},{town}")
            Image.fromarray(tiny.image(i).transpose(1, 2, 0)).save(tmp_path / "images" / f"{names[-1]}.png")
            Image.fromarray(np.full((48, 64), 1, np.uint8)).save(tmp_path / "masks" / f"{names[-1]}.png")
    (tmp_path / "list.csv").write_text("\n".join(rows))
    (tmp_path / "classes.json").write_text('["building", "car", "door"]')
    shown = {path.stem for path in shown_photos(tmp_path)}
    assert shown == {f"big.{i}" for i in range(4)} | {f"small.{i}" for i in range(2)}
    kept = open_towns(tmp_path, LabelSpace.of(("car", "building")), LabelSpace.of(("building",)))
    assert {*kept.source.ids} == {*names} - shown
    assert (kept[0].target != IGNORE).all() and (kept[0].target != 0).all()  # a car, which is not known


def test_the_field_is_divided_by_its_own_lists(tmp_path):
    """An image in both lists is of test alone; every fifth of the others is val; links lead to the files."""
    from recipes.field import divided

    for kind, suffix in (("images", "jpg"), ("masks", "png")):
        (tmp_path / "cwfid" / kind).mkdir(parents=True)
        for number in range(1, 15):
            (tmp_path / "cwfid" / kind / f"{number:03d}.{suffix}").write_text(f"{kind} {number}")
    (tmp_path / "cwfid" / "classes.json").write_text('["soil", "crop", "weed"]')
    lists = "train: [1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12]\ntest: [4, 5, 13, 14]"
    (tmp_path / "cwfid" / "train_test_split.yaml").write_text(lists)
    for _ in range(2):  # what an earlier run wrote is replaced
        place = divided(tmp_path / "cwfid", tmp_path / "data")
    found = {split: [int(p.stem) for p in sorted((place / split / "images").iterdir())] for split in ("train", "val")}
    assert found == {"train": [1, 2, 3, 6, 8, 9, 10, 11], "val": [7, 12]}
    assert (place / "test" / "masks" / "005.png").read_text() == "masks 5" and (place / "classes.json").exists()


@pytest.mark.parametrize("photos", [True, False])
def test_photos_of_other_towns_are_shown_where_they_are_asked_for(tmp_path, monkeypatch, photos, kb):
    from recipes import backbones

    given, calibrated = [], []
    monkeypatch.setattr(backbones, "build_knowledge_base", lambda *a, **more: given.append(more) or kb)
    monkeypatch.setattr(backbones, "shown_photos", lambda place: [place / "a.jpg"])
    monkeypatch.setattr(backbones, "open_dataset", lambda spec, split, labels: tiny.dataset(12))
    monkeypatch.setattr(backbones, "calibrate", lambda kb, data, task: calibrated.append((data.source.ids, task)) or kb)
    option = ["--photos"] if photos else []
    argv = ["backbones", "train", "--classes", "11", "--runs", str(tmp_path), "--data", "D", *option]
    monkeypatch.setattr(sys, "argv", argv)
    backbones.main()
    assert list(given[0]["unlabeled"]) == ([Path("D/labelmefacade/a.jpg")] if photos else [])
    assert calibrated == [(tuple(f"f{i}" for i in range(1, 12, 2)), "obstacles")]  # the half that calibrates
    assert any("-photos-" in path.name for path in tmp_path.iterdir()) == photos
    monkeypatch.setattr(sys, "argv", [*argv[:3], "8", *argv[4:], "--photos"])
    with pytest.raises(SystemExit):  # the photos show what it must not know
        backbones.main()
