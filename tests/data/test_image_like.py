"""One image as people have it: a path, bytes, a PIL image, an array, a tensor."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from owseg.data.images import as_image, image_name
from owseg.errors import OwsegError

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 9, 3), np.uint8)
PLANES = np.ascontiguousarray(PIXELS.transpose(2, 0, 1))


def png(image, **options):
    buffer = io.BytesIO()
    image.save(buffer, "PNG", **options)
    return buffer.getvalue()


def test_every_form_is_the_same_image(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(png(Image.fromarray(PIXELS)))
    forms = [path, str(path), path.read_bytes(), Image.fromarray(PIXELS), PIXELS, PLANES, PLANES[::-1][::-1]]
    forms += [torch.from_numpy(PLANES), torch.from_numpy(PIXELS), torch.from_numpy(PLANES).permute(0, 1, 2)]
    for form in forms:
        image = as_image(form)
        assert image.dtype == np.uint8 and image.flags["C_CONTIGUOUS"] and np.array_equal(image, PLANES)


@pytest.mark.parametrize("pixels", [PIXELS, PLANES], ids=["last", "first"])
def test_an_array_that_cannot_be_written_to_is_copied(pixels):
    """As torch warns of such arrays."""
    locked = np.frombuffer(pixels.tobytes(), np.uint8).reshape(pixels.shape)
    assert not locked.flags["WRITEABLE"] and as_image(locked).flags["WRITEABLE"]


def test_grey_is_repeated_and_transparency_dropped():
    grey = PIXELS[..., 0]
    for form in (grey, torch.from_numpy(grey), Image.fromarray(grey)):
        assert np.array_equal(as_image(form), np.stack([grey] * 3))
    assert np.array_equal(as_image(Image.fromarray(np.dstack([PIXELS, grey]), "RGBA")), PLANES)


def test_what_has_a_tag_is_turned_upright():
    exif = Image.Exif()
    exif[0x0112] = 3
    data = png(Image.fromarray(PIXELS[::-1, ::-1]), exif=exif)
    assert np.array_equal(as_image(data), PLANES)
    assert np.array_equal(as_image(Image.open(io.BytesIO(data))), PLANES)


@pytest.mark.parametrize(
    ("form", "message"),
    [
        (PIXELS.astype(np.float32), r"\(3, H, W\) or \(H, W, 3\) of uint8, RGB, not \(6, 9, 3\) float32"),
        (torch.zeros(3, 6, 9), r"not \(3, 6, 9\) float32"),
        (PLANES[None], r"not \(1, 3, 6, 9\) uint8; give a list of images"),
        (PIXELS[0, :, 0], r"not \(9,\) uint8"),
        (np.zeros((3, 9, 3), np.uint8), r"an array of \(3, 9, 3\) could be \(3, H, W\) or \(H, W, 3\)"),
        (np.zeros((6, 9, 4), np.uint8), r"an array of \(6, 9, 4\) is neither \(3, H, W\) nor \(H, W, 3\)"),
        ([PIXELS], "a path, a PIL image, an array or a tensor, not list"),
        (None, "not NoneType"),
        (b"no image", "the data cannot be read as an image"),
        (Image.fromarray(np.zeros((2, 2), np.float32)), "the image holds floats"),
        ("no/such/file.png", "no/such/file.png does not exist"),
    ],
)
def test_anything_else_is_refused(form, message):
    with pytest.raises(OwsegError, match=message):
        as_image(form)


def test_only_a_path_has_a_name(tmp_path):
    assert image_name("a/b.png") == image_name(tmp_path / "b.png") == "b.png"
    assert image_name(PIXELS) == image_name(b"") == ""
