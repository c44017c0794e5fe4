"""From the annotations of a labelling tool to shots: which pixels are the class, and where the images are."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from owseg.data.images import read_image
from owseg.errors import OwsegError
from owseg.exchange import FORMATS
from owseg.exchange.annotation import Annotation
from owseg.exchange.formats import write
from owseg.exchange.shots import find_annotated, read_shots, shots_of
from tests.support import tiny
from tests.support.annotated import ROCK

WRITERS = [name for name, entry in FORMATS.entries.items() if "suffix" in entry.facts]


@pytest.mark.parametrize("kind", WRITERS)
def test_shots_from_every_format(tmp_path, images, made, kind):
    path = write(made, tmp_path / "made", kind)
    shots = read_shots(path, "rock", images)
    targets = [sample.target for sample in tiny.dataset(2, 5)]
    assert [s.id.removesuffix(".png") for s in shots] == ["f0", "f1"]
    for i, (shot, target) in enumerate(zip(shots, targets, strict=True)):
        assert np.array_equal(shot.image, read_image(images / f"f{i}.png"))
        assert np.array_equal(shot.positives, target == ROCK)
        void = target == 0 if i == 0 else np.zeros_like(shot.positives)
        assert np.array_equal(shot.negatives, (target != ROCK) & ~void)  # cows, and what nobody marked


def test_a_folder_of_masks_is_read_whatever_else_is_in_it(tmp_path, images):
    (tmp_path / "old" / "masks").mkdir(parents=True)
    (tmp_path / "old" / "images").mkdir()
    for i, sample in enumerate(tiny.dataset(2, 5)):
        Image.fromarray((sample.target == ROCK).astype(np.uint8)).save(tmp_path / "old" / "masks" / f"f{i}.png")
        (tmp_path / "old" / "images" / f"f{i}.png").write_bytes((images / f"f{i}.png").read_bytes())
    (tmp_path / "old" / "notes.json").write_text("{")
    assert len(read_shots(tmp_path / "old", "rock")) == 2


def test_images_are_looked_for_beside_the_annotations(images, made):
    write(made, images, "coco")
    assert len(read_shots(images, "rock")) == len(read_shots(images / "annotations.json", "rock")) == 2


def test_labelme_files_beside_their_images(images):
    for i in range(2):
        shape = {"label": "rock", "shape_type": "polygon", "points": [[1, 1], [30, 1], [30, 20], [1, 20]]}
        value = {"shapes": [shape], "imagePath": f"f{i}.png", "imageHeight": 48, "imageWidth": 64}
        (images / f"f{i}.json").write_text(json.dumps(value))
    assert [s.positives.sum() for s in read_shots(images, "rock")] == [600, 600]


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
        ("/", None),
        (".", None),
    ],
)
def test_an_image_is_found_under_the_names_that_tools_give_it(tmp_path, image, found):
    folder = tmp_path / "images"
    for name in ("a.png", "sub/b.jpg", "images/c.png", "street.01.jpg", "../secret.png", "../images.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    if found is None:
        with pytest.raises(OwsegError, match=r"there is no image .* name the folder"):
            find_annotated(image, folder)
    else:
        assert find_annotated(image, folder) == folder / found
    (folder / "sub" / "b.png").write_bytes(b"")
    with pytest.raises(OwsegError, match=r"may be b\.jpg or b\.png; keep one"):
        find_annotated("sub/b", folder)


def test_what_cannot_be_a_shot(tmp_path, images, made):
    with pytest.raises(OwsegError, match="no image is annotated with 'tree'; the classes are rock, cow, void"):
        shots_of(made, images, "tree")
    with pytest.raises(OwsegError, match=r"there is no image elsewhere\.png"):
        shots_of(made, images, "cow")
    with pytest.raises(OwsegError, match=r"f0\.png is 64x48 and was annotated as 48x64"):
        list(shots_of([Annotation("rock", np.ones((64, 48), bool), "f0.png")], images, "rock"))
    with pytest.raises(OwsegError, match="no image is annotated"):
        shots_of([Annotation("rock", np.zeros((48, 64), bool), "f0.png")], images, "rock")
    with pytest.raises(OwsegError, match=r"images holds neither images/ and masks/ nor annotations of a known format"):
        read_shots(images, "rock")
    (tmp_path / "masks").mkdir()
    with pytest.raises(OwsegError, match=f"of a known format; give its parent, {tmp_path}"):
        read_shots(images, "rock")
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(OwsegError, match=r"x\.json holds no annotations of a known format"):
        read_shots(tmp_path / "x.json", "rock")


def test_a_zip_as_cvat_makes_it(tmp_path, images, made):
    """With the images in it, which are left alone."""
    xml = write(made, tmp_path, "cvat").read_bytes()
    with zipfile.ZipFile(tmp_path / "task.zip", "w") as archive:
        archive.writestr("images/f0.png", (images / "f0.png").read_bytes())
        archive.writestr("annotations.xml", xml)
    assert len(read_shots(tmp_path / "task.zip", "rock", images)) == 2


def test_any_number_of_shots_is_read_each_when_it_is_asked_for(images, monkeypatch):
    monkeypatch.setattr("owseg.exchange.shots.read_image", None)  # an export may hold any number of them
    for i in range(300):
        (images / f"f{i}.png").touch()
    assert (
        len(shots_of([Annotation("rock", np.ones((48, 64), bool), f"f{i}.png") for i in range(300)], images, "rock"))
        == 300
    )


def test_what_two_files_mark_in_an_image_is_joined(tmp_path, images):
    left, right = (np.zeros((48, 64), bool) for _ in range(2))
    left[:, :10], right[:, 50:] = True, True
    for file, mask in (("one", left), ("two", right)):
        both = [Annotation("rock", mask, "f0.png"), Annotation("void", ~mask, "f0.png")]
        write(both, tmp_path / "two" / file, "coco")
    (shot,) = read_shots(tmp_path / "two", "rock", images)
    assert np.array_equal(shot.positives, left | right) and not shot.negatives.any()
    with pytest.raises(OwsegError, match=r"f0\.png has masks of two sizes"):
        shots_of([Annotation("rock", mask, "f0.png") for mask in (left, left.T)], images, "rock")


def test_a_folder_is_listed_once_for_images_without_suffix(images, monkeypatch):
    for i in range(100):
        (images / f"f{i}.png").touch()
    lists, iterdir = [], Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda path: lists.append(path) or iterdir(path))
    made = [Annotation("rock", np.ones((48, 64), bool), f"f{i}") for i in range(100)]
    assert len(shots_of(made, images, "rock")) == 100 and len(lists) == 1
