"""What is decoded, and what is refused with which status."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("prometheus_client", reason="pip install 'owseg[serve]'")
from owseg.serve.images import decoded
from owseg.serve.refused import Refused
from tests.support import tiny
from tests.support.service import file_of, photo

BOMB = 20_000


def png_header(width, height):
    """A PNG that says that it is so large, and holds nothing."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def test_an_image_is_as_it_was_sent():
    image = tiny.image(3)
    assert (decoded(file_of(image), 48 * 64) == image).all()
    for kind in ("JPEG", "WEBP", "BMP", "TIFF", "PPM"):
        assert decoded(file_of(image, kind), 10**6).shape == (3, 48, 64)


def gif():
    file = io.BytesIO()
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(file, "GIF")
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "status", "says"),
    [
        (b"", 415, "no PNG"),
        (b"hello", 415, "no PNG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", 415, "no PNG"),
        (gif(), 415, "no PNG"),
        (photo(0, (48, 72)), 413, "72x48"),
        (png_header(1, 17), 422, "16 times"),
        (png_header(3000, 1), 422, "16 times"),
        (png_header(BOMB, BOMB), 413, "pixels"),
        (png_header(2**31 - 1, 2**31 - 1), 413, "pixels"),
        (photo()[:300], 422, "the data"),
        (file_of(tiny.image(), "JPEG")[:700], 422, "the data"),
        (photo().replace(b"IDAT", b"IDAX"), 415, ""),
        (png_header(8, 8), 422, ""),
    ],
)
def test_what_is_refused(data, status, says):
    with pytest.raises(Refused) as refused:
        decoded(data, 48 * 64)
    assert refused.value.status == status and says in str(refused.value)
    assert str(refused.value).endswith(".") and "\n" not in str(refused.value)


def test_one_that_is_too_large_is_not_decoded(monkeypatch):
    monkeypatch.setattr("owseg.serve.images.as_image", lambda data: pytest.fail("decoded"))
    with pytest.raises(Refused):
        decoded(photo(0, (48, 72)), 48 * 64)
