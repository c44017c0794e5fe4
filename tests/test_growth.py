"""Nothing grows faster than the images, outliers, regions or frames that it is for: counted, never timed."""

from __future__ import annotations

import pickle
import tracemalloc
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from owseg.data.outliers import Outlier, Outliers
from owseg.data.search import search_images
from owseg.discovery import discover
from owseg.discovery.clustering import cluster, find_duplicates, rank
from owseg.errors import OwsegError
from owseg.evaluation import outlier_audit, passes
from owseg.evaluation.histograms import ScoreHistogram
from owseg.evaluation.maps import Manifest, MapFolder, Maps
from owseg.evaluation.outlier_audit import Audit, Match, summary
from owseg.inference.predict import check_names
from owseg.metrics.false_positives import FalsePositives
from tests.support.counting import Elements, Name, Names, calls, compared, elements, grows_linearly


def names(count):
    return tuple(Name(f"town/frame_{i:04}") for i in range(count))


def manifest(images):
    return Manifest("k", "d", "set", ("road",), ("s",), images)


def outliers(categories):
    def read(i: int) -> Outlier:
        raise AssertionError("nothing is read")

    return Outliers("outliers", tuple(f"o{i}" for i in range(len(categories))), tuple(categories), read)


def points(count, seed=0):
    return np.random.default_rng(seed).normal(size=(count, 8)).astype(np.float32)


# Names


def test_names_are_compared_once():
    def asked(n):
        images = names(n)
        return compared(lambda: check_names(images, [Path(name) for name in images]))

    assert grows_linearly(asked, 200)


def test_files_are_searched_once(tmp_path):
    def called(n):
        folder = tmp_path / str(n)
        for i in range(n):
            (folder / str(i % 7)).mkdir(parents=True, exist_ok=True)
            (folder / str(i % 7) / f"{i}.png").touch()
        return calls(lambda: search_images([str(folder)], recursive=True))

    assert grows_linearly(called, 200)


@pytest.mark.parametrize("twice", [False, True])
def test_the_images_of_a_manifest_are_compared_once(tmp_path, twice):
    def begin(folder, images):
        try:
            MapFolder.begin(folder, manifest(images))
        except OwsegError as error:
            assert twice and repr(str(images[-1])) in str(error)

    def asked(n):
        images = (*names(n), *names(n)[-1:] * twice)
        return compared(lambda: begin(tmp_path / str(n), images))

    assert grows_linearly(asked, 200)


def test_an_image_is_found_in_a_manifest_without_a_search(tmp_path, monkeypatch):
    monkeypatch.setattr("owseg.evaluation.maps.write_whole", lambda path, data: path)
    plane = np.zeros((2, 3), np.uint8)

    def asked(n):
        folder = MapFolder(tmp_path, manifest(names(n)))
        maps = Maps(plane, plane, {"s": plane.astype(np.float32)})
        return compared(lambda: [folder.write(image, maps) for image in folder.manifest.images])

    assert grows_linearly(asked, 200)


def test_each_file_of_maps_is_looked_for_once(tmp_path):
    def called(n):
        folder = MapFolder(tmp_path, manifest(tuple(map(str, names(n)))))
        return calls(lambda: list(folder.missing()))

    assert grows_linearly(called, 100)


# Passes over stored maps


class Sums:
    """A state that adds up what it is given."""

    def __init__(self):
        self.images = []

    def update(self, score, labels, target, points):
        self.images.append(float(score.sum()))

    def __iadd__(self, other):
        self.images += other.images
        return self


def numbered(monkeypatch, count):
    """A folder whose maps are made when they are read, each of one pixel."""
    plane = np.zeros((1, 1), np.uint8)
    monkeypatch.setattr(
        MapFolder, "read", lambda self, image: Maps(plane, plane, {"s": np.full((1, 1), float(image), np.float32)})
    )
    return MapFolder(Path("maps"), manifest(tuple(map(str, range(count)))))


def test_a_process_is_sent_the_names_of_its_own_images(monkeypatch):
    sent = []

    @contextmanager
    def here(workers):
        def over(function, items):
            for item in items:
                sent.append(len(pickle.dumps((function, item))))
                yield function(item)

        yield over

    monkeypatch.setattr(passes, "_processes", here)

    def sizes(n):
        sent.clear()
        found = passes.one_pass(numbered(monkeypatch, n), {"s": Sums()}, "summing", workers=2)
        assert found["s"].images == [*range(n)]
        return sum(sent)

    assert grows_linearly(sizes, 400)


def test_no_more_is_handed_out_than_the_processes_need():
    """Results that wait are histograms of megabytes each."""
    waiting, most = [0], [0]

    class Future:
        def __init__(self, value):
            self.value = value

        def result(self):
            waiting[0] -= 1
            return self.value

    class Pool:
        def submit(self, function, item):
            waiting[0] += 1
            most[0] = max(most[0], waiting[0])
            return Future(function(item))

    assert list(passes._mapped(Pool(), 4, abs, range(-50, 0))) == [*range(50, 0, -1)]
    assert most[0] == 4 and waiting[0] == 0


def test_what_is_kept_of_each_image_is_not_copied_when_states_are_joined():
    joined, one = ScoreHistogram.empty(10), ScoreHistogram.empty(10)
    for state in (joined, one):
        state.update(np.zeros((1, 1)), np.zeros((1, 1)), np.zeros((1, 1), np.uint8), {"road": np.array([0])})
    images, sampled = joined.images, joined.sampled["road"]
    joined += one
    assert joined.images is images and joined.sampled["road"] is sampled and len(images) == len(sampled) == 2
    assert joined.binned.compute().inliers == 2
    rates, other = FalsePositives(0.1), FalsePositives(0.1)
    rates.update(np.ones((1, 2), bool), np.zeros((1, 2), np.uint8))
    other.update(np.zeros((1, 2), bool), np.zeros((1, 2), np.uint8))
    counts = rates._counts
    both = rates + other
    assert rates._counts is counts and len(counts) == 1 and both.compute().images == 2
    rates += other
    assert rates._counts is counts and rates.compute() == both.compute()


# Outliers


def test_categories_are_counted_once():
    categories = [Names({Name(f"thing {i}"), Name(f"thing {i // 2}")}) for i in range(800)]
    assert grows_linearly(lambda n: compared(outliers(categories[:n]).counts), 400)
    assert outliers([{"b", "a"}, {"b"}, {"c"}]).counts() == {"b": 2, "a": 1, "c": 1}


def test_a_summary_reads_each_match_once():
    def asked(n):
        matches = tuple(Match("i", 1, Names({f"thing {i // 2}"}), i / n) for i in range(n))
        return compared(lambda: summary(Audit((), matches, 0.5)))

    assert grows_linearly(asked, 400)
    one, other = frozenset({"a", "b"}), frozenset({"c"})
    matches = (Match("i", 3, other, 0.5), Match("i", 1, one, 0.25), Match("j", 2, one, 0.75))
    assert summary(Audit((), matches, 0.5)) == [("a+b", "2", "3", "0.50"), ("c", "1", "3", "0.50")]


def test_outliers_are_compared_in_bounded_memory(monkeypatch):
    features = points(400)
    categories = [frozenset({str(i % 3)}) for i in range(400)]
    whole = outlier_audit._precision_at_1(features, outliers(categories))
    monkeypatch.setattr(outlier_audit, "ROWS", 8)

    def most(n):
        some = outliers(categories[:n])
        tracemalloc.start()
        assert n < 400 or outlier_audit._precision_at_1(features[:n], some) == whole
        outlier_audit._precision_at_1(features[:n], some)
        held = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return held

    assert grows_linearly(most, 200)


# Regions


def test_duplicates_are_sought_in_neighbouring_frames_alone():
    def seen(n):
        frames, boxes = np.arange(n).view(Elements), np.random.default_rng(0).random((n, 4))
        return elements(lambda: find_duplicates(frames, boxes, points(n), np.ones(n)))

    assert grows_linearly(seen, 200)


def test_groups_are_ranked_from_their_members_alone():
    def seen(n):
        groups = (np.arange(n) // 2).view(Elements)
        return elements(lambda: rank(groups, np.ones(n), points(n)))

    assert grows_linearly(seen, 200)


def test_regions_join_groups_a_part_at_a_time():
    z = points(900).view(Elements)
    elements(lambda: cluster(z, 0.9, max_pairwise=30))
    assert Elements.largest <= z.size  # not the regions that are left times the groups
    assert np.array_equal(cluster(np.asarray(z), 0.9, max_pairwise=30), cluster(z, 0.9, max_pairwise=30))


def test_a_queue_is_grouped_from_the_members_of_its_groups_alone(monkeypatch):
    """Of n regions none of which is a copy of another: each is its own representative."""
    monkeypatch.setattr(discover, "find_duplicates", lambda frames, *rest: np.arange(len(frames)).view(Elements))
    monkeypatch.setattr(discover, "cluster", lambda low: (np.arange(len(low)) // 2).view(Elements))
    kb = SimpleNamespace(threshold=SimpleNamespace(value=1.0, unit=1.0))

    def seen(n):
        def entry(i):
            region = SimpleNamespace(embedding=points(n)[i], mean=2.0, distance=1.0, share=0.1, box=(1, 2, 3, 4))
            return SimpleNamespace(name=f"{i}.png", size=(9, 9), ids=(f"{i}-1",), regions=(region,))

        written = []
        queue = SimpleNamespace(image_ids=lambda: range(n), entry=entry, write_groups=written.extend)
        count = elements(lambda: discover.group_queue(queue, kb))
        assert sorted(r for g in written for r in g.regions) == sorted(f"{i}-1" for i in range(n))
        assert not any(g.copies for g in written)
        return count

    assert grows_linearly(seen, 100)
