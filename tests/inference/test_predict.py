import copy
import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from owseg.data.images import read_image
from owseg.data.render import encode_legend
from owseg.errors import OwsegError
from owseg.inference.predict import predict_files
from owseg.labels import UNKNOWN, LabelSpace
from owseg.models.engine import Engine

KINDS = ("labels.png", "open.jpg", "regions.json", "score.png")
OF_ALL = {"classes.json", "legend.png", "results.jsonl", "errors.csv"}


def written(folder):
    """The files of images in a folder, those beside them left out."""
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file() and p.name not in OF_ALL)


def test_the_name_of_an_image_is_that_of_its_files_folders_included(kb, photos, tmp_path):
    paths = [photos / "p0.png", photos / "p1.png"]
    for names, found in ((None, ["p0", "p1"]), (["trip1/b", "b"], ["trip1/b", "b"])):
        results = predict_files(kb, paths, tmp_path / found[0], names=names)
        assert written(tmp_path / found[0]) == sorted(f"{name}.{kind}" for name in found for kind in KINDS)
        for result, name in zip(results, found, strict=True):
            assert {str(p) for p in result.files} == {str(tmp_path / found[0] / f"{name}.{kind}") for kind in KINDS}


def test_two_images_of_one_name_are_refused_before_anything_is_written(kb, photos, tmp_path):
    (photos / "p0.jpg").write_bytes((photos / "p0.png").read_bytes())
    for names in (None, ["a", "b", "a"]):
        paths = [photos / "p0.png", photos / "p1.png", photos / "p0.jpg"]
        sentence = r"p0\.png and .*p0\.jpg would both become (p0|a)\.labels\.png; rename one\.$"
        with pytest.raises(OwsegError, match=sentence):
            predict_files(kb, paths, tmp_path / "out", names=names)
    assert not (tmp_path / "out").exists()


def test_the_classes_are_beside_the_maps(kb, photos, tmp_path):
    predict_files(kb, [photos / "p0.png"], tmp_path)
    classes = json.loads((tmp_path / "classes.json").read_text())
    assert [c["id"] for c in classes] == list(range(len(kb.labels)))
    assert LabelSpace.from_json(classes) == kb.labels  # it may be the classes.json of a data set
    assert (tmp_path / "legend.png").read_bytes() == encode_legend(kb.labels)
    fewer = replace(kb, labels=LabelSpace.of(["a", "b", "c"]))
    predict_files(fewer, [photos / "p0.png"], tmp_path)
    assert [c["name"] for c in json.loads((tmp_path / "classes.json").read_text())] == ["a", "b", "c"]


@pytest.mark.parametrize(
    "text", ['["road", "sky"]', '{"a": 1}', '[{"name": "road", "color": [1, 2, 3]}]', '[{"id": 1}]']
)
def test_the_classes_of_a_data_set_are_not_replaced(kb, photos, tmp_path, text):
    (tmp_path / "classes.json").write_text(text)
    with pytest.raises(OwsegError, match=r"classes\.json is not from an earlier owseg predict and would be lost"):
        predict_files(kb, [photos / "p0.png"], tmp_path)
    assert (tmp_path / "classes.json").read_text() == text and not (tmp_path / "p0.labels.png").exists()


def test_a_legend_of_something_else_is_not_replaced(kb, photos, tmp_path):
    (tmp_path / "legend.png").write_bytes(b"of a map")
    with pytest.raises(OwsegError, match=r"legend\.png is not from an earlier owseg predict and would be lost"):
        predict_files(kb, [photos / "p0.png"], tmp_path)
    assert [path.name for path in tmp_path.iterdir() if path != photos] == ["legend.png"]


def test_each_result_is_given_when_its_files_are_there(unsure_kb, photos, tmp_path):
    (photos / "p1.png").write_bytes(b"no image")
    given = []

    def tell(result):
        assert all(path.is_file() for path in result.files) and len(list(tmp_path.glob("*.labels.png"))) == len(
            [r for r in (*given, result) if not r.error]
        )
        given.append(result)

    results = predict_files(unsure_kb, sorted(photos.iterdir()), tmp_path, on_result=tell)
    assert given == results and [r.error is None for r in given] == [True, False, True]
    stored = json.loads((tmp_path / "p0.regions.json").read_text())["regions"]
    assert stored and given[0].to_json()["regions"] == [
        {k: v for k, v in region.items() if k not in ("mask", "image")} for region in stored
    ]


def test_every_image_has_all_its_files_and_its_result_in_order(kb, photos, tmp_path):
    paths = sorted(photos.iterdir(), reverse=True)
    results = predict_files(kb, paths, tmp_path / "out")
    assert [r.path for r in results] == paths
    assert written(tmp_path / "out") == [f"p{i}.{kind}" for i in range(3) for kind in KINDS]
    for result in results:
        prediction = kb.predict(read_image(result.path))
        assert result.unknown == (prediction.open_set == UNKNOWN).mean() and result.error is None
        with Image.open(tmp_path / "out" / f"{result.path.stem}.labels.png") as image:
            assert np.array_equal(np.asarray(image), prediction.labels)
    assert len({r.unknown for r in results}) > 1


def test_npy_keeps_every_bit_of_the_score(kb, photos, tmp_path):
    predict_files(kb, [photos / "p1.png"], tmp_path / "out", npy=True)
    assert written(tmp_path / "out") == [
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
    assert {name[:2] for name in written(tmp_path / "out")} == {"p0", "p2"}


@pytest.mark.parametrize(("working", "ways"), [(None, "--size N or --tile takes less, or "), (48, "")])
def test_an_image_that_is_too_large_is_reported_and_the_others_are_predicted(kb, photos, tmp_path, working, ways):
    network = copy.deepcopy(kb.network)
    network.size = working
    problems = [
        None,
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: not enough memory\nmore"),
        RuntimeError("CUDA out of memory. Tried to allocate 99 GiB"),
        RuntimeError("the sizes of tensors\ndo not match"),
    ]
    paths = [photos / "p0.png"] * len(problems)
    left = iter(problems)

    def forward(image):
        if (problem := next(left)) is not None:
            raise problem
        return kb.forward(image)

    names = [f"n{i}" for i in range(len(problems))]
    results = predict_files(replace(kb, network=network), paths, tmp_path / "out", forward=forward, names=names)
    memory = f"{photos / 'p0.png'} needs more memory than there is (64x48); {ways}make it smaller."
    expected = [None, memory, memory, memory, f"{photos / 'p0.png'}: the sizes of tensors"]
    assert [r.error for r in results] == expected and len(written(tmp_path / "out")) == 4


def test_where_a_size_that_was_asked_for_needs_too_much_memory_a_smaller_one_is_named(
    kb, photos, tmp_path, monkeypatch
):
    def run(engine, images):
        raise MemoryError

    monkeypatch.setattr(Engine, "run", run)
    for size, way in ((96, "a smaller --size than 96 takes less"), (None, "--size N or --tile takes less")):
        found = predict_files(kb, [photos / "p0.png"], tmp_path / "out", forward=kb.engine(size=size))
        assert way in found[0].error


def test_a_name_that_is_too_long_for_its_maps_is_reported_and_the_others_are_predicted(kb, photos, tmp_path):
    """255 bytes is what file systems take; NAME.png fits into it where NAME.regions.json does not."""
    for length in (255 - len(".regions.json"), 255 - len(".regions.json") + 1, 255 - len(".png")):
        (photos / ("x" * length + ".png")).write_bytes((photos / "p0.png").read_bytes())
    paths = sorted(photos.iterdir())
    results = predict_files(kb, paths, tmp_path / "out", names=[f"{i}/{path.stem}" for i, path in enumerate(paths)])
    given = {len(r.path.stem): r.error for r in results}
    assert given[2] is None and given[242] is None and len(written(tmp_path / "out")) == 4 * 4
    assert all("its name is too long for that of its maps" in given[n] and "xxx.png: " in given[n] for n in (243, 251))


def test_where_writing_stops_it_is_said_how_many_are_done(kb, photos, tmp_path, monkeypatch):
    write = Path.write_bytes

    def full(path, data):
        if len(written(tmp_path / "out")) >= 5:
            raise OSError(28, "No space left on device")
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OwsegError, match=r"p1\..* \(no space left .*\); make room, .*; 1 of 3 images are done\.$"):
        predict_files(kb, sorted(photos.iterdir()), tmp_path / "out")


def test_a_folder_that_cannot_be_written_stops_the_run(kb, photos, tmp_path):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(OwsegError, match="cannot be written"):
        predict_files(kb, [photos / "p0.png"], tmp_path / "out")


def test_a_threshold_is_needed(kb, photos, tmp_path):
    with pytest.raises(OwsegError, match="no threshold"):
        predict_files(replace(kb, threshold=None), [photos / "p0.png"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_nothing_is_left_where_no_image_could_be_read(kb, photos, tmp_path):
    (tmp_path / "notes.txt").write_text("buy milk")
    (failed,) = predict_files(kb, [tmp_path / "notes.txt"], tmp_path / "out")
    assert failed.error and not (tmp_path / "out").exists()
    predict_files(kb, [tmp_path / "notes.txt", photos / "p0.png"], tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} > OF_ALL - {"errors.csv"}
