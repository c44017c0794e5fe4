import json
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from owseg.data.datasets import open_dataset, open_source
from owseg.data.images import by_stem, read_image, read_mask
from owseg.data.outliers import Outlier, open_outliers
from owseg.data.shots import read_shot_folder
from owseg.data.unlabeled import unlabeled_source
from owseg.errors import OwsegError
from owseg.labels import LabelSpace


def save(path, values, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(values, np.uint8)).save(path, **options)
    return path


@pytest.mark.parametrize(
    ("folders", "reader"),
    [
        (("images", "masks"), lambda place: open_source(f"folder:{place}", "test")),
        (("test", "testannot"), lambda place: open_source(f"camvid:{place}", "test")),
        (("images", "labels_masks"), lambda place: open_source(f"roadanomaly:{place}", "test")),
        (("images", "masks"), read_shot_folder),
        (("images", "masks"), open_outliers),
        ((".",), open_outliers),
        ((".",), lambda place: unlabeled_source(place, LabelSpace.of(["road"]))),
    ],
)
def test_two_files_of_one_name_are_refused(tmp_path, folders, reader):
    (tmp_path / "classes.json").write_text(json.dumps(["road", "car"]))
    for folder in folders:
        save(tmp_path / folder / "a.png", np.eye(6, 8))
    reader(tmp_path)
    save(tmp_path / folders[0] / "a.jpg", np.ones((6, 8)))
    with pytest.raises(
        OwsegError, match=r"a\.(jpg|png) and .*a\.(jpg|png) have the same name, 'a'; rename or remove one"
    ):
        reader(tmp_path)


def test_files_are_found_by_their_stems(tmp_path):
    for name in ("b.PNG", "a.1.jpg", ".hidden.png"):
        save(tmp_path / name, np.zeros((2, 2)))
    assert by_stem(tmp_path) == {"a.1": tmp_path / "a.1.jpg", "b": tmp_path / "b.PNG"}


SHAPE = np.zeros((12, 16), bool)
SHAPE[2:9, 3:12] = True


def marked(item):
    """The mask of an outlier, or of a shot."""
    return item.mask if isinstance(item, Outlier) else item.positives


def both(place, masks, mode="png"):
    """Save masks with images as (shots, outliers) are laid out, and return what both readers make of them."""
    for name, mask in masks.items():
        save(place / "images" / f"{name}.png", np.full((12, 16, 3), 90))
        save(place / "masks" / f"{name}.{mode}", mask)
    outliers = open_outliers(place)
    return read_shot_folder(place), [outliers.read(i) for i in range(len(outliers))]


@pytest.mark.parametrize(
    ("values", "void"), [((0, 255), False), ((0, 1), False), ((0, 127), False), ((0, 1, 255), True)]
)
def test_shots_and_outliers_read_a_mask_of_one_class_alike(tmp_path, values, void):
    mask = np.where(SHAPE, values[1], 0)
    mask[0] = values[-1] if void else 0
    for found in both(tmp_path, {"a": mask, "b": np.where(SHAPE[::-1], values[1], 0)}):
        assert np.array_equal(marked(found[0]), SHAPE) and np.array_equal(marked(found[1]), SHAPE[::-1])
        assert np.array_equal(found[0].void, (mask == 255) & void) and not found[1].void.any()


def test_a_mask_without_a_pixel_says_what_its_255_is(tmp_path):
    white, other = np.where(SHAPE, 255, 0), np.where(SHAPE, 1, 0)
    with pytest.raises(OwsegError, match=r"a\.png marks no pixel \(its 255 is void, as other masks"):
        both(tmp_path, {"a": white, "b": other})
    for mask, words in ((SHAPE * 0, r"no pixel;"), (SHAPE * 0 + 255, "it is all void")):
        save(tmp_path / "masks" / "a.png", mask)
        for read in (read_shot_folder, lambda place: open_outliers(place).read(0)):
            with pytest.raises(OwsegError, match=words):
                read(tmp_path)


def test_smoothed_masks_are_refused(tmp_path):
    image = Image.fromarray(np.where(SHAPE, 255, 0).astype(np.uint8))
    smooth = np.asarray(image.resize((32, 24), Image.Resampling.BILINEAR).resize((16, 12), Image.Resampling.BOX))
    assert len(np.unique(smooth)) > 3
    with pytest.raises(OwsegError, match=r"a\.png holds \d+ values besides 0 and 255 .* is anti-aliased"):
        both(tmp_path, {"a": smooth})
    with pytest.raises(OwsegError, match="anti-aliased"):
        open_outliers(tmp_path).read(0)
    (tmp_path / "masks" / "a.png").unlink()
    with pytest.raises(OwsegError, match=r"a\.jpg is a JPEG.*as PNG"):
        both(tmp_path, {"a": np.where(SHAPE, 255, 0)}, "jpg")
    with pytest.raises(OwsegError, match=r"a\.jpg is a JPEG"):
        open_outliers(tmp_path)


def grey_png(path, bits, values):
    """Write a grey PNG of ``bits`` bits a pixel, one row, by hand."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    row = "".join(f"{v:0{bits}b}" for v in values)
    data = bytes(int(row[i : i + 8].ljust(8, "0"), 2) for i in range(0, len(row), 8))
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", len(values), 1, bits, 0, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(b"\0" + data))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + head + body + chunk(b"IEND", b""))
    return path


def test_greys_of_a_few_bits_are_no_ids(tmp_path):
    for bits, values in ((1, [0, 1, 1, 0]), (8, [0, 1, 2, 3])):
        assert read_mask(grey_png(tmp_path / "a.png", bits, values)).tolist() == [values]
    for bits in (2, 4):
        with pytest.raises(OwsegError, match=r"a\.png has greys of 2 or 4 bits.*with 8 bits"):
            read_mask(grey_png(tmp_path / "a.png", bits, [0, 1, 2, 3]))
        palette = Image.fromarray(np.array([[0, 1, 2, 3]], np.uint8))
        palette.putpalette(range(12))
        palette.save(tmp_path / "b.png", bits=bits)
        assert read_mask(tmp_path / "b.png").tolist() == [[0, 1, 2, 3]]


def turned(path, image, orientation):
    """Save ``image`` (H, W, 3) as a camera does that was held otherwise: turned, with a tag that says so."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = {
        1: image,
        3: image[::-1, ::-1],
        6: image.transpose(1, 0, 2)[::-1],
        8: image.transpose(1, 0, 2)[:, ::-1],
    }
    return save(path, np.ascontiguousarray(stored[orientation]), exif=exif)


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_an_image_is_turned_upright_unless_it_has_a_mask(tmp_path, orientation):
    image = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)
    for name in "ab":
        path = turned(tmp_path / "images" / f"{name}.png", image, orientation)
    stored = np.asarray(Image.open(path)).transpose(2, 0, 1)
    assert np.array_equal(read_image(path), image.transpose(2, 0, 1))
    assert np.array_equal(read_image(path, upright=False), stored)
    save(tmp_path / "masks" / "a.png", np.eye(*stored.shape[1:]))
    (tmp_path / "classes.json").write_text(json.dumps(["road", "car"]))
    data = open_dataset(f"folder:{tmp_path}", "test")
    assert np.array_equal(data[0].image, stored) and np.array_equal(data[1].image, read_image(path))
    (tmp_path / "images" / "b.png").unlink()
    assert np.array_equal(read_shot_folder(tmp_path)[0].image, stored)
    assert np.array_equal(open_outliers(tmp_path).read(0).image, stored)
    unlabeled = unlabeled_source(tmp_path / "images", data.labels)
    assert np.array_equal(unlabeled.read(0)[0], read_image(tmp_path / "images" / "a.png"))


def test_a_16_bit_image_keeps_its_upper_bits(tmp_path):
    grey = np.arange(0, 65536, 64, dtype=np.uint16).reshape(32, 32)
    Image.fromarray(grey).save(tmp_path / "a.png")
    assert np.array_equal(read_image(tmp_path / "a.png")[1], grey >> 8)
    Image.fromarray(grey.astype(np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(OwsegError, match="floats"):
        read_image(tmp_path / "a.tif")
