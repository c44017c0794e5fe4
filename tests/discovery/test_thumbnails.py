import numpy as np
from PIL import Image

from owseg.data.masks import Rle
from owseg.data.render import encode_jpeg
from owseg.discovery.thumbnails import SIDE, overview, thumbnail
from tests.support.queues import make


def test_a_thumbnail_shows_the_region_with_its_outline():
    image = np.full((3, 100, 200), 90, np.uint8)
    image[1, 40:60, 150:170] = 250
    mask = np.zeros((100, 200), bool)
    mask[40:60, 150:170] = True
    tile = thumbnail(image, Rle.of(mask), (150, 40, 20, 20))
    pink = (tile == (255, 0, 200)).all(-1)
    rows, columns = np.nonzero(pink)
    assert tile.shape == (SIDE, SIDE, 3) and pink.any()
    inside = tile[rows.min() + 8 : rows.max() - 8, columns.min() + 8 : columns.max() - 8]
    assert (inside[..., 1] > 200).all()
    for box in ((0, 0, 5, 5), (195, 95, 5, 5), (0, 0, 200, 100)):  # at the border, and larger than the image is high
        assert thumbnail(image, Rle.of(np.ones((100, 200), bool)), box).shape == (SIDE, SIDE, 3)


def test_the_overview_has_a_row_for_each_group(tmp_path):
    queue = make(tmp_path)
    for path in (queue.folder / "thumbnails").iterdir():
        path.write_bytes(encode_jpeg(np.full((SIDE, SIDE, 3), (0, 160, 0), np.uint8)))
    sheet = overview(queue)
    green = (np.abs(sheet.astype(int) - (0, 160, 0)) < 9).all(-1)
    assert green.sum() == 4 * SIDE**2  # all regions of both groups
    queue.write_groups(queue.groups()[:1])
    assert overview(queue).shape[0] == (sheet.shape[0] + 6) // 2
    queue.write_groups([])
    assert overview(queue).shape[0] == overview(queue).shape[0] > SIDE


def test_a_thumbnail_is_made_of_what_it_shows(monkeypatch):
    image, mask = np.random.default_rng(0).integers(0, 255, (3, 200, 300), np.uint8), np.zeros((200, 300), bool)
    mask[190:200, 280:300] = True
    box, made, whole = (280, 190, 20, 10), [], Image.fromarray
    monkeypatch.setattr(Image, "fromarray", lambda array: made.append(array.shape[:2]) or whole(array))
    tile = thumbnail(image, Rle.of(mask), box)
    assert made == [(44, 44), (44, 44)]
    corner = np.s_[156:200, 256:300]
    alone = thumbnail(image[:, 156:, 256:], Rle.of(mask[corner]), (24, 34, 20, 10))
    assert np.array_equal(tile, alone)
