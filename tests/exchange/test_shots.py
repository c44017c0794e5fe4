"""From a labelling tool to a learned class, and from a prediction to a labelling tool."""

import json
import zipfile

import numpy as np
import pytest
from PIL import Image

from owseg.data.images import read_image
from owseg.errors import OwsegError
from owseg.exchange import WRITERS, read, write
from owseg.exchange.annotation import Annotation
from owseg.exchange.shots import find_picture, read_shots, shots_of
from owseg.knowledge.calibration import calibrate, fit_scorers
from owseg.knowledge.load import load
from owseg.labels import UNKNOWN
from tests.cli.test_cli import run
from tests.support import tiny

ROCK, COW = 3, 4


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for i, sample in enumerate(tiny.dataset(2, 5)):
        Image.fromarray(sample.image.transpose(1, 2, 0)).save(folder / f"f{i}.png")
    return folder


@pytest.fixture
def made():
    """Rocks and cows in two images, a cow beside them in a third that is not at hand, and void in the first."""
    annotations = []
    for i, sample in enumerate(tiny.dataset(2, 5)):
        for name, label in (("rock", ROCK), ("cow", COW), ("void", 0)):
            if name != "void" or i == 0:
                annotations.append(Annotation(name, sample.target == label, f"f{i}.png", (9 + label, 8, 7)))
    return [*annotations, Annotation("cow", np.ones((4, 4), bool), "elsewhere.png")]


@pytest.fixture
def kb(tmp_path):
    data = tiny.dataset()
    kb = calibrate(fit_scorers(tiny.knowledge_base(), data), data, scorer="joint")
    kb.save(tmp_path / "kb")
    return tmp_path / "kb"


@pytest.mark.parametrize("kind", WRITERS)
def test_shots_from_every_format(tmp_path, pictures, made, kind):
    path = write(made, tmp_path / "made", kind)
    shots = read_shots(path, "rock", pictures)
    truth = [sample.target for sample in tiny.dataset(2, 5)]
    assert [s.id.removesuffix(".png") for s in shots] == ["f0", "f1"]
    for i, (shot, target) in enumerate(zip(shots, truth, strict=True)):
        assert np.array_equal(shot.image, read_image(pictures / f"f{i}.png"))
        assert np.array_equal(shot.mask, target == ROCK)
        void = target == 0 if i == 0 else np.zeros_like(shot.mask)
        assert np.array_equal(shot.elsewhere, (target != ROCK) & ~void)  # cows are elsewhere, the unmarked as well


def test_a_folder_of_masks_is_read_as_before(tmp_path, pictures):
    (tmp_path / "old" / "masks").mkdir(parents=True)
    (tmp_path / "old" / "images").mkdir()
    for i, sample in enumerate(tiny.dataset(2, 5)):
        Image.fromarray((sample.target == ROCK).astype(np.uint8)).save(tmp_path / "old" / "masks" / f"f{i}.png")
        (tmp_path / "old" / "images" / f"f{i}.png").write_bytes((pictures / f"f{i}.png").read_bytes())
    (tmp_path / "old" / "notes.json").write_text("{")
    assert len(read_shots(tmp_path / "old", "rock")) == 2


def test_pictures_are_looked_for_beside_the_annotations(pictures, made):
    write(made, pictures, "coco")
    assert len(read_shots(pictures, "rock")) == len(read_shots(pictures / "annotations.json", "rock")) == 2


def test_labelme_files_beside_their_pictures(pictures):
    for i in range(2):
        shape = {"label": "rock", "shape_type": "polygon", "points": [[1, 1], [30, 1], [30, 20], [1, 20]]}
        value = {"shapes": [shape], "imagePath": f"f{i}.png", "imageHeight": 48, "imageWidth": 64}
        (pictures / f"f{i}.json").write_text(json.dumps(value))
    assert [s.mask.sum() for s in read_shots(pictures, "rock")] == [600, 600]


@pytest.mark.parametrize(
    ("image", "found"),
    [
        ("a.png", "a.png"),
        ("sub/b.jpg", "sub/b.jpg"),
        ("there/sub/a.png", "a.png"),
        ("/home/x/a.png", "a.png"),
        ("C:\\x\\a.png", "a.png"),
        ("0a1b2c3d-a.png", "a.png"),
        ("sub/b", "sub/b.jpg"),
        ("c.png", "images/c.png"),
        ("street.01", "street.01.jpg"),
        ("../a.png", "a.png"),
        ("../secret.png", None),
        ("none.png", None),
        ("x0a1b2c3d-a.png", None),
    ],
)
def test_a_picture_is_found_under_the_names_that_tools_give_it(tmp_path, image, found):
    folder = tmp_path / "images"
    for name in ("a.png", "sub/b.jpg", "images/c.png", "street.01.jpg", "../secret.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    if found is None:
        with pytest.raises(OwsegError, match=r"there is no image .* name the folder"):
            find_picture(image, folder)
    else:
        assert find_picture(image, folder) == folder / found
    (folder / "sub" / "b.png").write_bytes(b"")
    with pytest.raises(OwsegError, match=r"may be b\.jpg or b\.png; keep one"):
        find_picture("sub/b", folder)


def test_what_cannot_be_a_shot(tmp_path, pictures, made):
    with pytest.raises(OwsegError, match="no image is annotated with 'tree'; there is rock, cow, void"):
        shots_of(made, pictures, "tree")
    with pytest.raises(OwsegError, match=r"there is no image elsewhere\.png"):
        shots_of(made, pictures, "cow")
    with pytest.raises(OwsegError, match=r"f0\.png is 64x48 and was annotated as 48x64"):
        shots_of([Annotation("rock", np.ones((64, 48), bool), "f0.png")], pictures, "rock")
    with pytest.raises(OwsegError, match="no image is annotated"):
        shots_of([Annotation("rock", np.zeros((48, 64), bool), "f0.png")], pictures, "rock")


@pytest.mark.parametrize("kind", WRITERS)
def test_classes_are_learned_from_an_export(capsys, tmp_path, kb, pictures, made, kind):
    path = write([a for a in made if a.image != "elsewhere.png"], tmp_path / "made", kind)
    code, out, err = run(
        capsys, "learn", kb, "rock,cow", "--shots", path, "--images", pictures, "-o", tmp_path / kind, "--json"
    )
    assert code == 0, err
    assert json.loads(out)["classes"] == ["road", "sky", "tree", "rock", "cow"]
    truth = next(iter(tiny.dataset(1, 5))).target
    labels = load(tmp_path / kind).predict(pictures / "f0.png").labels
    assert np.isin(labels[np.isin(truth, [ROCK, COW])], [ROCK, COW]).mean() > 0.3


@pytest.mark.parametrize("kind", WRITERS)
def test_a_prediction_is_exported_class_by_class(capsys, tmp_path, kb, pictures, kind):
    (pictures / "deep").mkdir()
    (pictures / "f1.png").rename(pictures / "deep" / "f1.png")
    out = tmp_path / "out"
    code, text, err = run(
        capsys, "export", kb, pictures, pictures / "deep", "--format", kind, "-o", out, *(["--json"] * (kind == "coco"))
    )
    assert code == 0, err
    base, seen = load(kb), {}
    names = {**dict(enumerate(base.labels.names)), UNKNOWN: "unknown"}
    for a in read(out / f"annotations{WRITERS[kind]}"):
        label = next(k for k, n in names.items() if n == a.name)
        assert a.color == tuple(base.labels.palette()[label].tolist())
        seen.setdefault(a.image.removesuffix(".png"), np.full(a.mask.shape, 7, np.uint8))[a.mask] = label
    assert seen.keys() == {"f0", "deep/f1"}
    for name, labels in seen.items():
        assert np.array_equal(labels, base.predict(pictures / f"{name}.png").open_set)
    if kind == "coco":
        assert json.loads(text)["file"] == str(out / "annotations.json")
    else:
        assert "Next:" in text and f"{out}/annotations.labels." in text


def test_annotations_are_taken_from_tool_to_tool(capsys, tmp_path, made):
    first = write(made, tmp_path / "1", "cvat")
    code, text, _ = run(
        capsys, "exchange", first, tmp_path / "2" / "x.json", "--to", "labelstudio", "--url", "http://h/"
    )
    assert code == 0 and "cow in 3" in text
    (task, *_) = json.loads((tmp_path / "2" / "x.json").read_text())
    assert task["data"]["image"] == "http://h/f0.png" and "predictions" not in task
    code, _, _ = run(
        capsys, "exchange", tmp_path / "2" / "x.json", tmp_path / "3", "--from", "labelstudio", "--to", "cvat"
    )
    assert code == 0
    assert (tmp_path / "3" / "annotations.xml").read_bytes() == first.read_bytes()


def test_a_zip_as_cvat_makes_it(tmp_path, pictures, made):
    """With the images in it, which are left alone."""
    xml = write(made, tmp_path, "cvat").read_bytes()
    with zipfile.ZipFile(tmp_path / "task.zip", "w") as archive:
        archive.writestr("images/f0.png", (pictures / "f0.png").read_bytes())
        archive.writestr("annotations.xml", xml)
    assert len(read_shots(tmp_path / "task.zip", "rock", pictures)) == 2


def test_mistakes_end_in_one_sentence(capsys, tmp_path, kb, pictures, made):
    path = write(made, tmp_path / "made", "coco")
    (tmp_path / "x.json").write_text("{}")
    (tmp_path / "uncalibrated").mkdir()
    tiny.knowledge_base().save(tmp_path / "uncalibrated")
    cases = [
        (["learn", kb, "tree2", "--shots", path, "--images", pictures], "no image is annotated with 'tree2'"),
        (["learn", kb, "rock", "--shots", path], "there is no image f0.png"),
        (["learn", kb, "rock", "--shots", tmp_path / "x.json"], "x.json holds no annotations"),
        (["learn", kb, "rock", "--shots", tmp_path / "none.zip"], "none.zip does not exist"),
        (["learn", kb, "rock", "--data", "synthetic", "--images", pictures], "--images"),
        (["exchange", path, tmp_path / "out", "--to", "labelme"], "'labelme' cannot be written"),
        (["exchange", path, tmp_path / "out", "--to", "cvat", "--from", "x"], "no format 'x'"),
        (["exchange", path, tmp_path / "out", "--to", "coco", "--url", "x"], "--url"),
        (["exchange", tmp_path / "x.json", tmp_path / "out", "--to", "coco"], "x.json"),
        (["exchange", path, tmp_path / "out", "--to", "coco", "--from", "cvat"], "annotations.json"),
        (["export", kb, tmp_path / "none", "--format", "coco", "-o", tmp_path / "out"], "is no image"),
        (
            ["export", tmp_path / "uncalibrated", pictures, "--format", "coco", "-o", tmp_path / "out"],
            "owseg calibrate",
        ),
    ]
    for args, message in cases:
        code, out, err = run(capsys, *args)
        assert code == 1 and message in err and err.count("\n") == 1 and out == "", (args, err)
    (pictures / "broken.png").write_bytes(b"no")
    code, _, err = run(capsys, "export", kb, pictures, "--format", "cvat", "-o", tmp_path / "out")
    assert code == 1 and "broken.png" in err
    assert not (tmp_path / "out").exists()
