import json
import os
from dataclasses import replace

import numpy as np
import pytest
import zstandard
from safetensors.numpy import load

from owseg import __version__
from owseg._files import MAX_TEXT
from owseg.errors import OwsegError
from owseg.evaluation.maps import IMAGES_KEY, MANIFEST, Manifest, MapFolder, Maps
from owseg.labels import IGNORE, UNKNOWN

OF = Manifest("kb0", "data0", "street", ("road", "sky"), ("msp", "joint"), ("a", "town/b 1", "c%20"))


def maps(seed=0, shape=(6, 7)):
    rng = np.random.default_rng(seed)
    score = rng.normal(0, 1, shape).astype(np.float32)
    score[0, :3] = -np.inf, np.finfo(np.float32).tiny / 2, -0.0
    target = rng.choice([0, 1, UNKNOWN, IGNORE], shape).astype(np.uint8)
    return Maps(rng.integers(0, 2, shape).astype(np.uint8), target, {"msp": score, "joint": score * 3})


def same(one, other):
    assert np.array_equal(one.labels, other.labels) and np.array_equal(one.target, other.target)
    assert list(one.scores) == list(other.scores)
    for name, score in one.scores.items():
        assert other.scores[name].dtype == np.float32
        assert np.array_equal(score.view(np.uint32), other.scores[name].view(np.uint32))  # to the last bit


def filled(path):
    folder = MapFolder.begin(path, OF)
    for number, image in enumerate(OF.images):
        folder.write(image, maps(number))
    return folder


def test_what_is_written_is_read_to_the_last_bit(tmp_path):
    filled(tmp_path / "maps")
    folder = MapFolder.open(tmp_path / "maps")
    assert folder.manifest == OF
    for number, image in enumerate(OF.images):
        same(maps(number), folder.read(image))
    assert list(folder.missing()) == []


@pytest.mark.parametrize("shape", [(0, 3), (1, 1), (3, 50), (64, 64)])
def test_any_32_bits_survive(tmp_path, shape):
    folder = MapFolder.begin(tmp_path, replace(OF, scores=("msp",)))
    score = np.random.default_rng(0).integers(0, 1 << 32, shape, np.uint32).view(np.float32)  # NaN and all
    written = Maps(np.zeros(shape, np.uint8), np.zeros(shape, np.uint8), {"msp": score})
    folder.write("a", written)
    same(written, folder.read("a"))


def test_a_file_is_a_safetensors_in_a_zstd_frame(tmp_path):
    file = filled(tmp_path).file("town/b 1")
    assert file.parent == tmp_path
    assert set(load(zstandard.decompress(file.read_bytes()))) == {"labels", "target", "score/msp", "score/joint"}


def test_a_file_that_was_cut_or_altered_anywhere_is_noticed(tmp_path):
    folder = filled(tmp_path)
    whole = folder.file("a").read_bytes()
    for length in range(len(whole)):
        folder.file("a").write_bytes(whole[:length])
        assert "a" in folder.missing(), length
        with pytest.raises(OwsegError, match="damaged"):
            folder.read("a")
    for at in range(0, len(whole), 3):
        folder.file("a").write_bytes(whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :])
        try:
            same(maps(0), folder.read("a"))  # a bit that means nothing
        except OwsegError as error:
            assert "damaged" in str(error)
    folder.file("a").write_bytes(whole[:-1])
    folder.file("c%20").unlink()
    assert list(folder.missing()) == ["a", "c%20"]
    with pytest.raises(OwsegError, match="missing"):
        folder.read("c%20")


def test_missing_decompresses_nothing(tmp_path, monkeypatch):
    folder = filled(tmp_path)
    folder.file("c%20").unlink()

    def refuse(*args, **options):
        raise AssertionError("decompressed")

    monkeypatch.setattr(zstandard, "ZstdDecompressor", refuse)
    assert list(folder.missing()) == ["c%20"]
    folder.file("a").write_bytes(b"")
    folder.file("town/b 1").write_bytes(bytes(5000))  # as a crash of the machine may leave it
    assert list(folder.missing()) == list(OF.images)
    assert list(MapFolder(tmp_path / "gone", OF).missing()) == list(OF.images)


@pytest.mark.parametrize("size", [1, 300, 900])
def test_a_frame_of_any_number_and_kind_of_blocks_is_whole(tmp_path, size):
    """Blocks that are compressed, stored as they are, and one byte repeated."""
    folder = MapFolder.begin(tmp_path, replace(OF, scores=("msp",)))
    noise = np.random.default_rng(0).integers(0, 1 << 32, (size, size), np.uint32).view(np.float32)
    for score in (noise, np.zeros((size, size), np.float32)):
        file = folder.write(
            "a", Maps(np.zeros((size, size), np.uint8), np.zeros((size, size), np.uint8), {"msp": score})
        )
        whole = file.read_bytes()
        assert "a" not in folder.missing()
        for other in (whole[:-1], whole[:-5], whole[: len(whole) // 2], whole + b"x"):
            file.write_bytes(other)
            assert "a" in folder.missing()
        file.write_bytes(whole)


def test_a_folder_of_format_2_names_its_images_as_it_did(tmp_path):
    filled(tmp_path)
    kept = json.loads((tmp_path / MANIFEST).read_text())
    assert kept["format"] == 2 and kept[IMAGES_KEY] == kept["pictures"] == list(OF.images)
    assert Manifest.from_json(kept) == OF


def test_manifests_and_maps_can_be_compared_hashed_and_printed():
    assert len({OF, replace(OF, settings={"a": [1]})}) == 2 and replace(OF, name="other") != OF
    one = maps()
    assert one == one and one != maps() and len({one}) == 1 and repr(one) == "Maps(7x6: msp, joint)"


def test_going_on_keeps_what_is_there(tmp_path):
    filled(tmp_path).file("a").unlink()
    assert list(MapFolder.begin(tmp_path, OF).missing()) == ["a"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"knowledge": "kb1"}, "another knowledge base .kb0, not kb1"),
        ({"data": "data1"}, "another data set, or one that has changed"),
        ({"classes": ("road", "tree")}, "other classes"),
        ({"scores": ("msp",)}, "other scores"),
        ({"images": ("a",)}, "other images"),
        ({"settings": {"multi_scale": True}}, "other settings"),
        ({"version": "0.0.9"}, f"another version of owseg .{__version__}, not 0.0.9"),
    ],
)
def test_maps_of_anything_else_are_refused(tmp_path, change, words):
    filled(tmp_path)
    with pytest.raises(OwsegError, match=words):
        MapFolder.begin(tmp_path, replace(OF, **change))
    assert list(MapFolder.begin(tmp_path, OF).missing()) == []


def test_the_version_of_owseg_is_kept(tmp_path):
    """A scorer's code may change from one version to the next, and the fingerprints do not."""
    assert OF.version == __version__
    filled(tmp_path)
    kept = json.loads((tmp_path / MANIFEST).read_text())
    (tmp_path / MANIFEST).write_text(json.dumps({**kept, "version": "0.0.9"}))
    assert MapFolder.open(tmp_path).manifest == replace(OF, version="0.0.9")  # what is there can be measured
    with pytest.raises(OwsegError, match="another version of owseg"):
        MapFolder.begin(tmp_path, OF)
    del kept["version"]
    (tmp_path / MANIFEST).write_text(json.dumps({**kept, "format": 1}))  # as maps were written before
    with pytest.raises(OwsegError, match="damaged or of another version"):
        MapFolder.open(tmp_path)


def test_settings_are_compared_as_they_are_kept(tmp_path):
    """A tuple is a list in JSON, and a number as a key a text."""
    of = replace(OF, settings={"scales": (0.5, 1.0), "sizes": {1: (2, 3)}})
    MapFolder.begin(tmp_path, of).write("a", maps())
    assert list(MapFolder.begin(tmp_path, of).missing()) == ["town/b 1", "c%20"]
    with pytest.raises(OwsegError, match="other settings"):
        MapFolder.begin(tmp_path, replace(of, settings={**of.settings, "scales": (0.5, 2.0)}))


def test_a_folder_of_anything_else_is_refused(tmp_path):
    with pytest.raises(OwsegError, match="not a folder of maps"):
        MapFolder.open(tmp_path / "nowhere")
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(OwsegError, match="holds other files"):
        MapFolder.begin(tmp_path, OF)
    for bad in ("{", "[]", json.dumps({**OF.to_json(), "format": 99}), json.dumps({"format": 1}), "\xff"):
        (tmp_path / MANIFEST).write_text(bad, encoding="latin-1")
        with pytest.raises(OwsegError, match="damaged or of another version"):
            MapFolder.open(tmp_path)


@pytest.mark.parametrize("change", [
    {"classes": 1}, {"scores": [1]}, {"name": None}, {"settings": [1]}, {"version": 2}, {"data": ["x"]},
])  # fmt: skip
def test_a_manifest_of_other_types_is_refused(tmp_path, change):
    (tmp_path / MANIFEST).write_text(json.dumps({**OF.to_json(), **change}))
    with pytest.raises(OwsegError, match="damaged or of another version"):
        MapFolder.open(tmp_path)


def test_an_image_may_have_a_name_that_is_no_text(tmp_path):
    name = os.fsdecode(b"bad\xff.png")
    folder = MapFolder.begin(tmp_path, replace(OF, images=(name,)))
    folder.write(name, maps())
    assert MapFolder.open(tmp_path).read(name).labels.shape == maps().labels.shape


def test_maps_that_do_not_belong_are_refused(tmp_path):
    folder = MapFolder.begin(tmp_path, OF)
    with pytest.raises(OwsegError, match="not in the manifest"):
        folder.write("z", maps())
    with pytest.raises(OwsegError, match="not in the manifest"):
        folder.write("a", replace(maps(), scores={}))
    with pytest.raises(OwsegError, match="one size"):
        folder.write("a", replace(maps(), labels=np.zeros((2, 2), np.uint8)))
    assert [f.name for f in tmp_path.iterdir()] == [MANIFEST]


def test_two_images_of_one_name_are_refused(tmp_path):
    with pytest.raises(OwsegError, match=r"street has two images 'a', whose maps would be one file"):
        MapFolder.begin(tmp_path / "maps", replace(OF, images=("a", "b", "a")))
    assert not (tmp_path / "maps").exists()


def test_a_manifest_may_be_larger_than_other_files(tmp_path):
    """Else the maps of a million images, which take days, could be written and not be read."""
    MapFolder.begin(tmp_path, OF)
    with (tmp_path / MANIFEST).open("ab") as file:
        file.write(b" " * MAX_TEXT)
    assert MapFolder.open(tmp_path).manifest == OF
