"""Splits that a protocol defines by rule: which images they have, and what each pixel of them counts as."""

import numpy as np
import pytest
from PIL import Image

from owseg.data.datasets import open_dataset, open_source
from owseg.data.datasets.cityscapes import CITYSCAPES
from owseg.errors import NoSuchSplit, OwsegError
from owseg.labels import IGNORE, KNOWN, UNKNOWN
from tests.reference import protocols as reference
from tests.support import trees
from tests.support.trees import save

KINDS = {"bdd-anomaly": 2, "bdd-anomaly-void": 2, "bdd-anomaly1": 1, "bdd-anomaly1-void": 1}


@pytest.fixture
def bdd(tmp_path):
    """Masks of BDD100K (train ids), some of which have one pixel of an anomalous class, and their ids."""
    rng, ids = np.random.default_rng(0), {"train": {}, "val": {}}
    for part, number in (("train", 12), ("val", 6)):
        for i in range(number):
            mask = rng.choice([*range(16), 255], trees.SIZE)
            for value in (16, 17, 18):
                if rng.random() < 0.3:
                    mask[tuple(rng.integers(0, trees.SIZE))] = value
            save(tmp_path / f"images/10k/{part}/{i:02d}.jpg", rng.integers(0, 256, (*trees.SIZE, 3)))
            save(tmp_path / f"labels/sem_seg/masks/{part}/{i:02d}.png", mask)
            ids[part][f"{i:02d}"] = mask.tolist()
    return tmp_path, ids


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_with_any_anomalous_pixel_is_one_of_test_and_all_others_stay(bdd, kind):
    root, ids = bdd
    expected = reference.bdd_anomaly_splits(ids, KINDS[kind])
    assert all(expected.values())
    found = {split: list(open_source(f"{kind}:{root}", split).ids) for split in expected}
    assert found == expected
    assert sorted(id for ids_ in found.values() for id in ids_) == sorted(
        f"{part}/{name}" for part in ids for name in ids[part]
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_network_of_the_known_classes_does_not_know_the_anomalies(bdd, kind):
    (root, ids), anomalies = bdd, reference.ANOMALIES[KINDS[kind]]
    known = open_source(f"{kind}:{root}", "train").classes
    assert len(known) == 19 - len(anomalies) and known.names == open_source(f"{kind}:{root}", "val").classes.names
    void = KNOWN if kind.endswith("void") else IGNORE
    for split in ("train", "test"):
        for sample in open_dataset(f"{kind}:{root}", split, known):
            part, name = sample.id.split("/")
            for y, row in enumerate(ids[part][name]):
                for x, value in enumerate(row):
                    expected = UNKNOWN if value in anomalies else void if value == 255 else None
                    expected = known.index(CITYSCAPES.names[value]) if expected is None else expected
                    assert sample.target[y, x] == expected
    # To train it is void, whatever it counts as: no class of the network.
    assert all(KNOWN not in sample.target for sample in open_dataset(f"{kind}:{root}", "train", known, train=True))


def test_a_mask_that_changes_is_read_again(bdd):
    root, _ = bdd
    name = open_source(f"bdd-anomaly:{root}", "train").ids[0]
    path = root / f"labels/sem_seg/masks/{name}.png"
    save(path, np.full(trees.SIZE, 16))
    assert name not in open_source(f"bdd-anomaly:{root}", "train").ids
    assert name in open_source(f"bdd-anomaly:{root}", "test").ids


def test_a_tree_without_what_a_split_is_made_of_is_one_sentence(tmp_path):
    trees.bdd_anomaly(tmp_path)
    (tmp_path / "images/10k/val").rename(tmp_path / "elsewhere")
    with pytest.raises(NoSuchSplit, match="has no split 'val'; it has train"):
        open_source(f"bdd-anomaly:{tmp_path}", "test")
    for name in ("01-train", "02-motorcycle", "03-bicycle"):
        (tmp_path / f"images/10k/train/{name}.jpg").unlink()
    (tmp_path / "elsewhere").rename(tmp_path / "images/10k/val")
    for name in ("11-bicycle", "12-all"):
        (tmp_path / f"images/10k/val/{name}.jpg").unlink()
    with pytest.raises(OwsegError, match=r"the split test of .* is empty: no image shows train, motorcycle, bicycle"):
        open_source(f"bdd-anomaly:{tmp_path}", "test")


def test_the_two_towns_are_splits_whose_images_have_the_names_that_they_have_in_test(tmp_path):
    trees.streethazards(tmp_path)
    ids = {split: open_source(f"streethazards12:{tmp_path}", split).ids for split in ("test", "test-t5", "test-t6")}
    assert ids == {"test": ("t5/300", "t5/301", "t6/1"), "test-t5": ("t5/300", "t5/301"), "test-t6": ("t6/1",)}
    # The same pixels, whichever split they are read from.
    whole, town = (
        open_source(f"streethazards12:{tmp_path}", split).read(i)[1] for split, i in (("test", 2), ("test-t6", 0))
    )
    assert np.array_equal(whole, town)


@pytest.mark.parametrize("kind, void", [("streethazards", ()), ("streethazards12", (4,)), ("streethazards11", (1, 4))])
def test_three_protocols_of_streethazards_differ_in_what_is_void(tmp_path, kind, void):
    tree = trees.streethazards(tmp_path)
    known = open_source(f"{kind}:{tmp_path}", "train").classes
    assert len(known) == 13 - len(void) and "anomaly" not in known
    sample = open_dataset(f"{kind}:{tmp_path}", "test", known)[0]
    raw = np.asarray(Image.open(tree.frames["test"]["t5/300"][1]))
    assert np.array_equal(sample.target == IGNORE, np.isin(raw, void))
    assert np.array_equal(sample.target == UNKNOWN, raw == 14)
    assert len(np.unique(sample.target[(raw != 14) & ~np.isin(raw, void)])) == len(known)


@pytest.fixture
def sequences(tmp_path):
    """Frames of Lost and Found, some of them without a label, and the region of interest."""
    rng, frames = np.random.default_rng(3), {}
    scene = "06_Galgenbergstr_25"
    for sequence in range(5):
        for time in sorted(rng.choice(200, 4, replace=False).tolist()):
            ids = rng.choice([0, 1, 2, 31, 43], trees.SIZE)
            if rng.random() < 0.4:
                ids[:] = 0
            id = f"{scene}/{scene}_{sequence:06d}_{time:06d}"
            save(tmp_path / f"leftImg8bit/test/{id}_leftImg8bit.png", rng.integers(0, 256, (*trees.SIZE, 3)))
            save(tmp_path / f"gtCoarse/test/{id}_gtCoarse_labelIds.png", ids)
            frames[scene, sequence, time] = ids.tolist()
    region = rng.choice([0, 1, 255], trees.SIZE)
    save(tmp_path / "LAF_roi.png", region)
    return tmp_path, frames, region


def test_the_last_labelled_frame_of_each_sequence_is_evaluated_in_the_region_of_interest(sequences):
    root, frames, region = sequences
    data = open_dataset(f"lostandfound-last:{root}", "test", CITYSCAPES)
    expected = reference.last_frames(frames)
    assert [s.id for s in data] == [f"{scene}/{scene}_{seq:06d}_{time:06d}" for scene, seq, time in expected]
    assert max(time for *_, time in frames) not in {time for *_, time in expected} or len(expected) < len(frames)
    for sample, key in zip(data, expected, strict=True):
        for y, row in enumerate(frames[key]):
            for x, value in enumerate(row):
                count = IGNORE if region[y, x] == 0 else UNKNOWN if value >= 2 else KNOWN
                assert sample.target[y, x] == count


def test_a_sequence_without_any_label_is_left_out(sequences):
    root, frames, _ = sequences
    first = sorted(k for k in frames if k[1] == 0)
    for scene, sequence, time in first:
        save(
            root / f"gtCoarse/test/{scene}/{scene}_{sequence:06d}_{time:06d}_gtCoarse_labelIds.png",
            np.zeros(trees.SIZE),
        )
    ids = open_source(f"lostandfound-last:{root}", "test").ids
    assert len(ids) == 4 and not any("_000000_" in id for id in ids)


def test_a_region_that_is_missing_or_of_another_size_is_one_sentence(sequences):
    root, _, region = sequences
    save(root / "LAF_roi.png", region[:-1])
    with pytest.raises(OwsegError, match=r"LAF_roi.png is 9x5, but .* is 9x6; they must be of one size") as caught:
        open_dataset(f"lostandfound-last:{root}", "test")[0]
    assert "\n" not in str(caught.value)
    (root / "LAF_roi.png").unlink()
    with pytest.raises(OwsegError, match=r"has no LAF_roi.png") as caught:
        open_source(f"lostandfound-last:{root}", "test")
    assert "\n" not in str(caught.value)
    (root / "cityscapes").mkdir()
    save(root / "cityscapes/roi.png", region)
    assert open_source(f"lostandfound-last:{root}", "test").ids
    with pytest.raises(NoSuchSplit, match="has no split 'train'; it has test"):
        open_source(f"lostandfound-last:{root}", "train")
