import numpy as np
import pytest
from PIL import Image

from owseg.data.shots import read_shot_folder
from owseg.errors import OwsegError
from owseg.learners.learn import learn
from owseg.types import Shot
from tests.learners.test_heads import red_shot
from tests.support import tiny


def test_a_mirror_twice_is_the_shot():
    shot = red_shot(3)
    again = shot.mirrored().mirrored()
    assert again.fingerprint() == shot.fingerprint() != shot.mirrored().fingerprint()
    assert np.array_equal(shot.mirrored().mask[:, ::-1], shot.mask)


@pytest.mark.parametrize("factor", [0.5, 0.7, 1.4, 2.0])
def test_a_scaled_shot_shows_the_same_share(factor):
    shot = red_shot(3)
    scaled = shot.scaled(factor)
    assert scaled.size == (round(96 * factor), round(128 * factor)) == scaled.image.shape[1:]
    assert scaled.mask.mean() == pytest.approx(shot.mask.mean(), rel=0.06)
    assert scaled.void.mean() == pytest.approx(shot.void.mean(), rel=0.15)
    inside = scaled.image[:, scaled.mask].mean(1)
    assert np.allclose(inside, [255, 0, 0], atol=12)
    assert shot.scaled(1) is shot


def test_void_is_neither_the_class_nor_elsewhere():
    shot = red_shot(1)
    assert not (shot.elsewhere & shot.void).any() and not (shot.elsewhere & shot.mask).any()
    assert (shot.elsewhere | shot.void | shot.mask).all()
    assert Shot(shot.image, shot.mask, "s").elsewhere.sum() == (~shot.mask).sum()


def test_masks_in_a_folder_may_hold_void(tmp_path):
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
    mask = np.zeros((48, 64), np.uint8)
    mask[:9], mask[20:30] = 255, 1
    Image.fromarray(tiny.image().transpose(1, 2, 0)).save(tmp_path / "images" / "a.png")
    Image.fromarray(mask).save(tmp_path / "masks" / "a.png")
    (shot,) = read_shot_folder(tmp_path)
    assert np.array_equal(shot.void, mask == 255) and np.array_equal(shot.mask, mask == 1)
    Image.fromarray(np.where(mask == 1, 255, 0).astype(np.uint8)).save(tmp_path / "masks" / "a.png")
    (shot,) = read_shot_folder(tmp_path)  # of two values the other is the class
    assert not shot.void.any() and np.array_equal(shot.mask, mask == 1)
    Image.fromarray(np.full((48, 64), 255, np.uint8)).save(tmp_path / "masks" / "a.png")
    with pytest.raises(OwsegError, match="it is all void"):
        learn(tiny.knowledge_base(), "rock", read_shot_folder(tmp_path))
    Image.fromarray(np.zeros((48, 64), np.uint8)).save(tmp_path / "masks" / "a.png")
    with pytest.raises(OwsegError, match=r"a\.png marks no pixel; mark"):
        learn(tiny.knowledge_base(), "rock", read_shot_folder(tmp_path))


def test_a_class_is_learned_once():
    updated = learn(tiny.knowledge_base(), "rock", [red_shot()])
    with pytest.raises(OwsegError, match="known already"):
        learn(updated, "rock", [red_shot(1)])
    with pytest.raises(OwsegError, match="1 to 5 shots, not 6"):
        learn(updated, "cow", [red_shot(i) for i in range(6)])
    for name in ("unknown", "void", " Void"):
        with pytest.raises(OwsegError, match=f"no class can be taught as '{name}'"):
            learn(updated, name, [red_shot(1)])
