import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from owseg._files import write_whole
from owseg.data.images import read_image
from owseg.errors import OwsegError
from owseg.inference.predict import names_of, predict_files
from owseg.models.network import to_tensor
from tests.support import tiny


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["a/p.png", "b/q.png"], ["p", "q"]),
        (["x/a/p.png", "x/b/p.png", "x/q.png"], ["a_p_png", "b_p_png", "q"]),
        (["a/x/p.png", "b/x/p.png"], ["a_x_p_png", "b_x_p_png"]),
        (["p.png", "p.jpg"], ["p_png", "p_jpg"]),
        (["a_b/c.png", "a/b_c.png"], ["c", "b_c"]),
    ],
)
def test_no_two_pictures_share_a_name(paths, names):
    assert names_of([Path(p) for p in paths]) == names


def test_names_stay_apart_even_where_folders_do_not_help():
    names = names_of([Path(p) for p in ("a_b/q.png", "a/b/q.png", "c/b/q.png")])
    assert names == ["a_b_q_png", "a_b_q_png_2", "c_b_q_png"]


def test_a_picture_that_is_too_much_is_reported_and_the_others_are_predicted(tmp_path):
    from owseg.knowledge.calibration import calibrate

    kb = calibrate(tiny.knowledge_base(), tiny.dataset())
    for i in range(3):
        Image.fromarray(tiny.image(i).transpose(1, 2, 0)).save(tmp_path / f"{i}.png")
    looks = []

    def forward(image):
        looks.append(1)
        if len(looks) == 2:
            raise RuntimeError("not enough memory: you tried to allocate 99 bytes\nmore")
        return kb.forward(image)

    results = predict_files(kb, sorted(tmp_path.glob("*.png")), tmp_path / "out", forward=forward)
    assert [r.error for r in results] == [None, "not enough memory: you tried to allocate 99 bytes", None]
    assert not list((tmp_path / "out").glob("1.*")) and len(list((tmp_path / "out").iterdir())) == 6


def test_a_16_bit_picture_keeps_its_upper_bits(tmp_path):
    grey = np.arange(0, 65536, 64, dtype=np.uint16).reshape(32, 32)
    Image.fromarray(grey).save(tmp_path / "a.png")
    assert np.array_equal(read_image(tmp_path / "a.png")[1], grey >> 8)
    Image.fromarray(grey.astype(np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(OwsegError, match="floats"):
        read_image(tmp_path / "a.tif")


def test_a_picture_is_three_planes_of_bytes_and_stays_as_it_was():
    picture = tiny.image()
    flipped = picture[::-1]
    assert np.array_equal(to_tensor(flipped)[0, 0].mul(255).round().byte().numpy(), picture[2])
    for wrong in (picture.astype(np.float32), picture.transpose(1, 2, 0), picture[0], "photo.jpg"):
        with pytest.raises(OwsegError, match="array"):
            to_tensor(wrong)


def test_a_file_is_there_whole_or_not_at_all(tmp_path, monkeypatch):
    path = write_whole(tmp_path / "deep" / "a.txt", b"one")
    monkeypatch.setattr(Path, "replace", lambda self, target: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(OwsegError, match="no space left"):
        write_whole(path, b"two")
    assert path.read_bytes() == b"one" and [p.name for p in path.parent.iterdir()] == ["a.txt"]


def test_public_names_stay_what_they_are():
    script = "import owseg\nfor _ in range(2):\n    assert callable(owseg.evaluate) and callable(owseg.learn)"
    subprocess.run([sys.executable, "-c", script], check=True)
