from itertools import pairwise

import numpy as np
import pytest

from owseg.data.synthetic.canvas import CLASSES
from owseg.data.synthetic.scene import SPLITS, render, scene
from owseg.errors import OwsegError

KNOWN = ("road", "pavement", "building", "sky", "tree", "pole", "vehicle", "person")
ANOMALIES = ("animal", "mattress", "boulder", "balloon")


@pytest.fixture(scope="module")
def scenes() -> list[tuple[np.ndarray, np.ndarray]]:
    return [render(seed) for seed in range(24)]


def test_classes_are_the_known_then_the_anomalies():
    assert CLASSES.names == KNOWN + ANOMALIES
    assert len(set(CLASSES.colors)) == len(CLASSES)


def test_a_seed_is_an_image():
    image, labels = render(7, (96, 128), ANOMALIES)
    np.random.seed(0)
    render(8, (64, 64))
    again = render(7, (96, 128), ANOMALIES)
    np.testing.assert_array_equal(image, again[0])
    np.testing.assert_array_equal(labels, again[1])


def test_seeds_give_different_scenes(scenes):
    for (image, labels), (other_image, other_labels) in pairwise(scenes):
        assert (image != other_image).mean() > 0.5
        assert (labels != other_labels).mean() > 0.05


@pytest.mark.parametrize("size", [(192, 256), (64, 64), (33, 121), (150, 90)])
def test_image_and_labels_have_the_asked_size(size):
    image, labels = render(3, size, ANOMALIES)
    assert image.shape == (*size, 3) and image.dtype == np.uint8
    assert labels.shape == size and labels.dtype == np.uint8
    assert labels.max() < len(CLASSES)


def test_most_scenes_show_every_known_class(scenes):
    shown = np.array([[(labels == i).sum() > 20 for i in range(len(KNOWN))] for _, labels in scenes])
    assert (shown.mean(axis=0) > 0.8).all(), dict(zip(KNOWN, shown.mean(axis=0), strict=True))


def test_scenes_are_well_exposed_and_varied(scenes):
    means = np.array([image.mean() for image, _ in scenes])
    assert ((means > 40) & (means < 215)).all()
    assert means.std() > 5
    assert all(image.std() > 25 for image, _ in scenes)


def test_sky_is_above_the_road(scenes):
    for _, labels in scenes:
        rows = {name: np.nonzero(labels == CLASSES.index(name))[0] for name in ("sky", "road")}
        assert rows["sky"].mean() < rows["road"].mean()


def test_no_anomaly_unless_asked(scenes):
    assert all(labels.max() < len(KNOWN) for _, labels in scenes)


@pytest.mark.parametrize("kind", ANOMALIES)
def test_one_anomaly_is_there_within_its_bounds(kind):
    for seed in range(20):
        _, labels = render(seed, (192, 256), (kind,), count=(1, 1))
        assert 0.005 <= (labels == CLASSES.index(kind)).mean() <= 0.08
        assert set(np.unique(labels[labels >= len(KNOWN)])) == {CLASSES.index(kind)}


@pytest.mark.parametrize("seed", range(8))
def test_an_anomaly_stands_in_the_scene_of_its_seed(seed):
    _, bare = render(seed)
    _, labels = render(seed, anomalies=("boulder",), count=(1, 1))
    rest = labels < len(KNOWN)
    assert (bare[rest] == labels[rest]).mean() > 0.8


def test_anomalies_stay_on_the_ground():
    for seed in range(12):
        _, labels = render(seed, anomalies=("boulder",), count=(1, 1))
        rows, columns = np.nonzero(labels == CLASSES.index("boulder"))
        foot = rows.argmax()
        below = labels[min(rows[foot] + 2, 191), columns[foot]]
        assert CLASSES.names[below] in ("road", "pavement", "pole", "boulder")


def test_the_image_changes_where_the_labels_do(scenes):
    """Neighbours of different labels differ far more in colour than neighbours of one label."""
    across, within = [], []
    for image, labels in scenes:
        step = np.abs(np.diff(image.astype(float), axis=1)).mean(axis=-1)
        border = np.diff(labels.astype(int), axis=1) != 0
        across.append(step[border].mean())
        within.append(step[~border].mean())
    assert np.mean(across) > 3.0 * np.mean(within)


@pytest.mark.parametrize("shift", [(0, 2), (0, -2), (2, 0), (-2, 0)])
def test_the_labels_fit_best_where_they_lie(scenes, shift):
    def misfit(dy: int, dx: int) -> float:
        """Mean distance of a pixel's grey from the mean grey of its label in the 9x9 pixels around."""
        total = 0.0
        for image, labels in scenes[:6]:
            moved = np.roll(labels, (dy, dx), (0, 1))[8:-8, 8:-8]
            grey = image.astype(float).mean(axis=-1)[8:-8, 8:-8]
            sums, counts = np.zeros_like(grey), np.zeros_like(grey)
            for y in range(-4, 5):
                for x in range(-4, 5):
                    same = np.roll(moved, (y, x), (0, 1)) == moved
                    sums += same * np.roll(grey, (y, x), (0, 1))
                    counts += same
            total += np.abs(grey - sums / counts).mean()
        return total

    assert misfit(0, 0) < misfit(*shift)


def test_splits_share_no_seed():
    seeds = [seed for first, count in SPLITS.values() for seed in range(first, first + count)]
    assert len(seeds) == len(set(seeds)) == 640
    assert {name: count for name, (_, count) in SPLITS.items()} == {
        "train": 400,
        "val": 60,
        "test": 100,
        "shots": 80,
    }


@pytest.mark.parametrize("split", ["train", "val"])
def test_train_and_val_hold_known_classes_only(split):
    for i in range(0, SPLITS[split][1], 20):
        assert scene(split, i)[1].max() < len(KNOWN)


def test_test_holds_all_anomalies_and_one_in_every_scene():
    anomalies = [set(np.unique(scene("test", i, (96, 128))[1])) - set(range(len(KNOWN))) for i in range(40)]
    assert all(anomalies)
    assert set.union(*anomalies) == {CLASSES.index(name) for name in ANOMALIES}


def test_shots_hold_one_big_anomaly_of_each_kind_in_turn():
    for i in range(0, 80, 3):
        _, labels = scene("shots", i)
        kind = CLASSES.index(tuple(ANOMALIES)[i // 20])
        assert set(np.unique(labels[labels >= len(KNOWN)])) == {kind}
        assert 0.02 <= (labels == kind).mean() <= 0.08


def test_bad_requests_say_what_there_is():
    with pytest.raises(OwsegError, match=r"unicorn.*animal, mattress, boulder, balloon"):
        render(0, anomalies=("unicorn",))
    with pytest.raises(OwsegError, match="at least 32"):
        render(0, (16, 256))
    with pytest.raises(OwsegError, match="train, val, test, shots"):
        scene("holdout", 0)
    for i in (-1, 60):
        with pytest.raises(OwsegError, match="0 to 59"):
            scene("val", i)
