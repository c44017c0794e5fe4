import numpy as np

from owseg.data import points as module
from owseg.data.dataset import DataSet, Source
from owseg.data.points import points_to_sample
from owseg.labels import IGNORE, KNOWN, LabelSpace


def data(count=3, size=(40, 50)):
    def read(i):
        ids = np.random.default_rng(i).choice([0, 1, KNOWN, IGNORE], size).astype(np.uint8)
        ids[0, 0] = 2 if i == 1 else 0
        return np.zeros((3, *size), np.uint8), ids

    source = Source("s", LabelSpace.of(["road", "sky", "cow"]), tuple(f"f{i}" for i in range(count)), read)
    return DataSet(source, LabelSpace.of(["road", "sky"]))


def test_points_are_of_their_class_each_once_and_the_same_for_a_seed():
    of = data()
    points = points_to_sample(of, 3)
    for number, image in enumerate(of.source.ids):
        flat = of.source.read(number)[1].ravel()
        found = points(image)
        assert set(found) == ({"road", "sky", "known", "cow"} if number == 1 else {"road", "sky", "known"})
        for name, at in found.items():
            label = KNOWN if name == "known" else of.source.classes.index(name)
            assert (flat[at] == label).all() and len(set(at.tolist())) == len(at) == min(400, (flat == label).sum())
    for image in of.source.ids:
        again, other = points_to_sample(of, 3)(image), points_to_sample(of, 4)(image)
        assert all(np.array_equal(again[name], at) for name, at in points(image).items())
        assert any(not np.array_equal(other[name], at) for name, at in points(image).items())


def test_many_images_are_sampled_sparsely(monkeypatch):
    monkeypatch.setattr(module, "ALL_SAMPLES", 30)
    assert {len(at) for at in points_to_sample(data(10))("f0").values()} == {3}
