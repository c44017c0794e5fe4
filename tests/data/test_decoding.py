"""Files that Pillow alone would take: other formats, bombs, and images that are cut off."""

import io
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from owseg.data.decoding import FORMATS, load_image
from owseg.data.images import as_image, read_image, read_mask
from owseg.data.masks import MAX_PIXELS
from owseg.errors import OwsegError
from owseg.exchange.shapes import open_mask_image

PIXELS = np.random.default_rng(0).integers(1, 256, (40, 48, 3), np.uint8)
IDS = PIXELS[..., 0] % 7


def encoded(values, kind="PNG", **options):
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(values, np.uint8)).save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, colour, rows, interlaced=0, parts=1):
    """Return a PNG of 8 bits a channel whose pixels are the bytes ``rows``, whatever its size asks for."""
    packed = zlib.compress(rows)
    step = -(-len(packed) // parts)
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, interlaced))
    body = b"".join(chunk(b"IDAT", packed[i : i + step]) for i in range(0, len(packed), step))
    return b"\x89PNG\r\n\x1a\n" + head + body + chunk(b"IEND", b"")


def passes(ids):
    """Return grey (H, W) uint8 as the rows of Adam7, each with filter 0."""
    starts = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
    return [b"\0" + row.tobytes() for x, y, dx, dy in starts for row in ids[y::dy, x::dx]]


@pytest.mark.parametrize("kind", FORMATS)
def test_each_format_of_the_list_is_read_whatever_its_name(tmp_path, kind):
    (tmp_path / "a.gif").write_bytes(encoded(PIXELS, kind, **({"lossless": True} if kind == "WEBP" else {})))
    difference = read_image(tmp_path / "a.gif").astype(int) - PIXELS.transpose(2, 0, 1)
    assert np.abs(difference).mean() < (60 if kind == "JPEG" else 1e-9)


@pytest.mark.parametrize("kind", ["GIF", "EPS", "ICO", "TGA", "PCX", "SGI"])
def test_no_other_format_is_read_whatever_its_name(tmp_path, kind):
    data = encoded(PIXELS, kind)
    (tmp_path / "a.png").write_bytes(data)
    for read in (read_image, read_mask, lambda path: as_image(path.read_bytes()), lambda _: open_mask_image(data)):
        with pytest.raises(OwsegError, match=r"cannot be read as an image \(it is no PNG, JPEG, .* or PPM\); convert"):
            read(tmp_path / "a.png")


@pytest.mark.parametrize(("width", "height"), [(MAX_PIXELS + 1, 1), (9500, 9500), (60_000, 60_000)])
def test_an_image_of_too_many_pixels_is_refused_by_its_header(tmp_path, width, height):
    (tmp_path / "a.png").write_bytes(png(width, height, 0, b""))  # without a pixel: decoding it would say so
    with warnings.catch_warnings(), pytest.raises(OwsegError, match=r"a\.png.* is larger than 67,108,864 pixels; cut"):
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        read_image(tmp_path / "a.png")


def test_the_limit_itself_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr("owseg.data.masks.MAX_PIXELS", PIXELS.shape[0] * PIXELS.shape[1])
    (tmp_path / "a.png").write_bytes(encoded(PIXELS))
    assert np.array_equal(read_image(tmp_path / "a.png"), PIXELS.transpose(2, 0, 1))
    (tmp_path / "a.png").write_bytes(encoded(np.vstack([PIXELS, PIXELS[:1]])))
    with pytest.raises(OwsegError, match="an image of 48x41 is larger than"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("rows", [1, 12, 39])
@pytest.mark.parametrize("colour", [0, 2])
def test_a_png_without_all_of_its_rows_is_refused(tmp_path, rows, colour):
    values = IDS if colour == 0 else PIXELS
    whole = [b"\0" + row.tobytes() for row in values]
    (tmp_path / "a.png").write_bytes(png(48, 40, colour, b"".join(whole), parts=5))
    assert np.array_equal(np.asarray(load_image(tmp_path / "a.png")), values)
    (tmp_path / "a.png").write_bytes(png(48, 40, colour, b"".join(whole[:rows]), parts=2))
    with pytest.raises(OwsegError, match=rf"a\.png: it is cut off \({rows / 40:.0%} of its pixels are there"):
        read_image(tmp_path / "a.png")
    with pytest.raises(OwsegError, match="a mask: it is cut off"):
        open_mask_image((tmp_path / "a.png").read_bytes())


def test_an_interlaced_png_without_all_of_its_rows_is_refused(tmp_path):
    for height, width in ((40, 48), (5, 3), (2, 1)):
        ids, rows = IDS[:height, :width], [row for row in passes(IDS[:height, :width]) if len(row) > 1]
        (tmp_path / "a.png").write_bytes(png(width, height, 0, b"".join(rows), 1))
        assert np.array_equal(read_mask(tmp_path / "a.png"), ids)
        (tmp_path / "a.png").write_bytes(png(width, height, 0, b"".join(rows[:-1]), 1))
        with pytest.raises(OwsegError, match="cut off"):
            read_mask(tmp_path / "a.png")


def test_a_png_whose_last_rows_are_0_is_whole(tmp_path):
    ids = IDS.copy()
    ids[20:] = 0
    for mode in ("L", "P", "1"):
        Image.fromarray(ids).convert(mode).save(tmp_path / "a.png")
        assert not read_mask(tmp_path / "a.png")[20:].any()
    Image.fromarray(np.uint16(ids) * 8192).save(tmp_path / "b.png")
    assert np.array_equal(read_image(tmp_path / "b.png")[0], ids * 32)


SMOOTH = np.add.outer(np.arange(96), np.arange(64))[..., None].repeat(3, 2).astype(np.uint8)


@pytest.mark.parametrize("height", [96, 90, 89])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_jpeg_that_is_cut_off_is_said(tmp_path, height, mode):
    buffer = io.BytesIO()
    Image.fromarray(SMOOTH[:height]).convert(mode).save(buffer, "JPEG", quality=95)
    data = buffer.getvalue()
    (tmp_path / "a.jpg").write_bytes(data)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_image(tmp_path / "a.jpg")
    (tmp_path / "a.jpg").write_bytes(data[: len(data) * 3 // 4] + b"\xff\xd9")
    with pytest.warns(UserWarning, match=r"a\.jpg ends in plain grey, as a JPEG that is cut off does"):
        read_image(tmp_path / "a.jpg")


def test_a_jpeg_of_one_grey_is_whole(tmp_path):
    (tmp_path / "a.jpg").write_bytes(encoded(np.full((40, 48, 3), 128), "JPEG"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert (read_image(tmp_path / "a.jpg") == 128).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (5, 1), (3, 4)])
def test_pixels_can_be_written_to(tmp_path, shape):
    """As torch warns of arrays that cannot."""
    for values in (np.ones(shape), np.ones((*shape, 3))):
        (tmp_path / "a.png").write_bytes(encoded(values))
        image = read_image(tmp_path / "a.png")
        assert image.flags["WRITEABLE"] and image.flags["C_CONTIGUOUS"] and image.shape == (3, *shape)


@pytest.mark.parametrize(("highest", "bits"), [(4095, 12), (1000, 10), (1, 1), (4096, None), (65535, None), (0, None)])
def test_a_16_bit_image_that_uses_few_of_its_bits_is_said(tmp_path, highest, bits):
    values = np.zeros((4, 5), np.uint16)
    values[1:3] = highest // 2, highest // 3, highest // 4, highest // 5, highest
    Image.fromarray(values).save(tmp_path / "a.png")
    if bits is None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            image = read_image(tmp_path / "a.png")
    else:
        with pytest.warns(UserWarning, match=rf"a\.png uses {bits} of its 16 .* by {2 ** (16 - bits)}\."):
            image = read_image(tmp_path / "a.png")
    assert np.array_equal(image[0], values >> 8)
