from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from owseg.data.images import read_image
from owseg.errors import OwsegError
from owseg.inference.predict import names_of, predict_files
from owseg.labels import UNKNOWN
from tests.reference.names import names_by_lists


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["a/p.png", "b/q.png"], ["p", "q"]),
        (["x/a/p.png", "x/b/p.png", "x/q.png"], ["a_p_png", "b_p_png", "q"]),
        (["a/x/p.png", "b/x/p.png"], ["a_x_p_png", "b_x_p_png"]),
        (["p.png", "p.jpg"], ["p_png", "p_jpg"]),
        (["a_b/c.png", "a/b_c.png"], ["c", "b_c"]),
        ([], []),
    ],
)
def test_no_two_images_share_a_name(paths, names):
    assert names_of([Path(p) for p in paths]) == names


def test_names_stay_apart_even_where_folders_do_not_help():
    names = names_of([Path(p) for p in ("a_b/q.png", "a/b/q.png", "c/b/q.png")])
    assert names == ["a_b_q_png", "a_b_q_png_2", "c_b_q_png"]


@pytest.mark.parametrize("seed", range(40))
def test_names_are_those_of_the_quadratic_form(seed):
    """On random paths of few and short parts, so that nearly all collide; some are given twice."""
    rng = np.random.default_rng(seed)
    parts, suffixes = ["a", "b", "a_b", "b_2", "a_png", "."], [".png", ".jpg", "_png.png", ""]

    def path():
        folders = [parts[i] for i in rng.integers(len(parts), size=rng.integers(4))]
        return Path(("/" if rng.random() < 0.3 else "") + "/".join([*folders, parts[rng.integers(5)]])
                    + suffixes[rng.integers(4)])  # fmt: skip

    paths = [path() for _ in range(60)]
    names = names_of(paths)
    assert names == names_by_lists(paths) and len(set(names)) == len(paths)


def test_many_images_of_one_name_are_named_in_linear_time():
    names = names_of([Path("a/p.png")] * 50_000)
    assert names[:3] == ["a_p_png", "a_p_png_2", "a_p_png_3"] and len(set(names)) == 50_000


def test_every_image_has_all_its_files_and_its_result_in_order(kb, photos, tmp_path):
    paths = sorted(photos.iterdir(), reverse=True)
    results = predict_files(kb, paths, tmp_path / "out")
    assert [r.path for r in results] == paths
    kinds = ("labels.png", "open.jpg", "regions.json", "score.png")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [f"p{i}.{kind}" for i in range(3) for kind in kinds]
    for result in results:
        prediction = kb.predict(read_image(result.path))
        assert result.unknown == (prediction.open_set == UNKNOWN).mean() and result.error is None
        with Image.open(tmp_path / "out" / f"{result.path.stem}.labels.png") as image:
            assert np.array_equal(np.asarray(image), prediction.labels)
    assert len({r.unknown for r in results}) > 1


def test_npy_keeps_every_bit_of_the_score(kb, photos, tmp_path):
    predict_files(kb, [photos / "p1.png"], tmp_path / "out", npy=True)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "p1.labels.png",
        "p1.open.jpg",
        "p1.regions.json",
        "p1.score.npy",
    ]
    assert np.array_equal(np.load(tmp_path / "out" / "p1.score.npy"), kb.predict(read_image(photos / "p1.png")).score)


def test_the_given_forward_is_used(kb, photos, tmp_path):
    forward = partial(kb.forward, full_resolution=True)
    predict_files(kb, [photos / "p0.png"], tmp_path, npy=True, forward=forward)
    score = np.load(tmp_path / "p0.score.npy")
    assert np.array_equal(score, kb.predict(read_image(photos / "p0.png"), forward).score)
    assert not np.array_equal(score, kb.predict(read_image(photos / "p0.png")).score)


def test_a_bad_file_is_reported_and_the_others_are_predicted(kb, photos, tmp_path):
    (photos / "p1.png").write_bytes(b"no image")
    results = predict_files(kb, sorted(photos.iterdir()), tmp_path / "out")
    assert [r.error is None for r in results] == [True, False, True]
    assert "p1.png" in results[1].error and results[1].unknown is None and "\n" not in results[1].error
    assert {p.name[:2] for p in (tmp_path / "out").iterdir()} == {"p0", "p2"}


def test_an_image_that_is_too_large_is_reported_and_the_others_are_predicted(kb, photos, tmp_path):
    passed = []

    def forward(image):
        passed.append(1)
        if len(passed) == 2:
            raise RuntimeError("not enough memory: you tried to allocate 99 bytes\nmore")
        if len(passed) == 3:
            raise MemoryError
        return kb.forward(image)

    results = predict_files(kb, sorted(photos.iterdir()), tmp_path / "out", forward=forward)
    expected = [None, "not enough memory: you tried to allocate 99 bytes", "there is not enough memory for it"]
    assert [r.error for r in results] == expected
    assert len(list((tmp_path / "out").glob("p0.*"))) == len(list((tmp_path / "out").iterdir())) == 4


def test_a_folder_that_cannot_be_written_stops_the_run(kb, photos, tmp_path):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(OwsegError, match="cannot be written"):
        predict_files(kb, [photos / "p0.png"], tmp_path / "out")


def test_a_threshold_is_needed(kb, photos, tmp_path):
    with pytest.raises(OwsegError, match="no threshold"):
        predict_files(replace(kb, threshold=None), [photos / "p0.png"], tmp_path / "out")
    assert not (tmp_path / "out").exists()
