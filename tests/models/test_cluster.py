"""A real Ray with two workers on this machine, started once; what commands hand to it is in the tests of each."""

import os
import pickle
import re
import sys
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest

from owseg.cli._config import SETTINGS
from owseg.errors import OwsegError
from owseg.inference.done import RESULTS
from owseg.models import cluster as module
from owseg.models.cluster import ATTEMPTS, FEWEST, MOST, SHARDS, Cluster, _Result, _Worker, shards_of
from tests.support import tiny
from tests.support.folders import contents

ray = pytest.importorskip("ray", reason="the extra ray is not installed")
pytest.importorskip("ray.data")


@pytest.fixture(scope="module")
def here():
    """A Ray on this machine, to which every ``Cluster`` of this process is then connected."""
    # Ray makes its workers nice to all other processes, and the other tests would have them wait for ever.
    os.environ.update(RAY_USAGE_STATS_ENABLED="0", RAY_BACKEND_LOG_LEVEL="fatal", RAY_worker_niceness="0")
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


class Squares:
    """Squares of numbers; the first worker that is given ``deadly`` dies of it, and ``bad`` raises."""

    def __init__(self, folder: Path, deadly: int = -1, bad: int = -1) -> None:
        self.folder, self.deadly, self.bad = folder, deadly, bad

    def to(self, device):
        return self

    def __call__(self, numbers):
        (self.folder / f"{numbers[0]}-{os.getpid()}").touch()
        if self.deadly in numbers and len([*self.folder.glob(f"{numbers[0]}-*")]) == 1:
            os._exit(9)
        if self.bad in numbers:
            raise OwsegError("this image cannot be read.")
        return [number * number for number in numbers]


def test_results_come_in_order_though_a_worker_dies(here, tmp_path):
    """Nothing is lost and nothing comes twice; an error of the work is raised where its images are due."""
    found = []
    with pytest.raises(OwsegError, match=r"^this image cannot be read\.$"):
        for squares in Cluster(most=1).over(Squares(tmp_path, deadly=12, bad=35), shards_of(44)):
            found += squares
    assert found == [number * number for number in range(32)]
    assert len([*tmp_path.glob("8-*")]) == 2


def test_images_over_which_every_worker_dies_end_the_run(monkeypatch):
    """Ray would start workers for ever; the counter outlives them."""
    monkeypatch.setattr(ray, "get", lambda given: given)
    for begun, error in ((ATTEMPTS, None), (ATTEMPTS + 1, f"{ATTEMPTS} workers died over images 9 to 16 of the list")):
        attempts = SimpleNamespace(begin=SimpleNamespace(remote=lambda shard, begun=begun: begun))
        worker = _Worker(pickle.dumps(_Double()), "cpu", attempts)
        result = pickle.loads(worker({"part": [pickle.dumps(range(8, 16))], "first": [8], "end": [16]})["result"][0])
        assert (result.error is None) == (error is None) and str(result.error or "").startswith(error or "")
        assert result.value == (None if error else [16, 18, 20, 22, 24, 26, 28, 30])


class _Double:
    def to(self, device):
        assert str(device) == "cpu"
        return self

    def __call__(self, numbers):
        return [2 * number for number in numbers]


def test_predict_writes_what_it_writes_without_a_cluster(here, run_cli, light_kb, tmp_path):
    light_kb.save(tmp_path / "kb")
    photos = tiny.write_photos(tmp_path / "photos", 10)
    (photos / "p3.png").write_bytes(b"no image")
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    given = ("predict", photos, "--kb", tmp_path / "kb", "--out")
    assert run_cli(*given, alone)[0] == 3
    code, out, err = run_cli(*given, shared, "--ray", "local", "--ray-workers", "2")
    assert code == 3, err
    assert "9 of 10 images labelled" in out and "p3.png" in err
    same, ours = contents(alone), contents(shared)
    assert ours.pop(SETTINGS) != same.pop(SETTINGS)
    assert ours == same and (shared / RESULTS).read_text().count("\n") == 9


def test_what_is_not_there_is_said(here, monkeypatch, tmp_path):
    assert [*Cluster(most=1).over(Squares(tmp_path), [])] == []
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda address, **how: _no_answer(address))
    for address in ("auto", "127.0.0.1:1", "ray://127.0.0.1:1", "[::1]:1", "no.such.host.invalid:6379"):
        with pytest.raises(OwsegError, match=f"^no Ray cluster answers at {re.escape(address)}; start it with `ray"):
            [*Cluster(address).over(Squares(tmp_path), [range(4)])]
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(OwsegError, match=r"a cluster needs Ray; install it with `pip install 'owseg\[ray\]'`\.$"):
        [*Cluster(most=1).over(Squares(tmp_path), [range(4)])]


def _no_answer(address):
    assert address == "auto"  # the others are found to be silent before Ray tries them for minutes
    raise ConnectionError("Could not find any running Ray instance\nand more")


@pytest.mark.parametrize("cluster, gpus, wants", [
    (Cluster(cores=3), 0, "3 cores"), (Cluster(), 1, "1 cores and a GPU"), (Cluster(cores=9), 1, "9 cores and a GPU"),
])  # fmt: skip
def test_a_worker_that_fits_on_no_machine_is_not_waited_for(cluster, gpus, wants):
    nodes = [{"Alive": True, "Resources": {"CPU": 2.0}}, {"Alive": False, "Resources": {"CPU": 64.0, "GPU": 8.0}}]
    with pytest.raises(OwsegError, match=f"^no machine of the cluster has {wants} for a worker; the largest has 2 "):
        cluster._require(SimpleNamespace(nodes=lambda: nodes), gpus)
    nodes[1]["Alive"] = True
    cluster._require(SimpleNamespace(nodes=lambda: nodes), gpus)


@pytest.mark.parametrize("device, has, gpus, most", [
    ("auto", {"CPU": 9.0}, 0, 4), ("auto", {"CPU": 9.0, "GPU": 3.0}, 1, 3), ("cpu", {"CPU": 9.0, "GPU": 3.0}, 0, 4),
    ("cuda", {"CPU": 9.0, "GPU": 1.0}, 1, 1),
])  # fmt: skip
def test_ray_is_asked_for_what_each_worker_needs_and_to_keep_the_order(monkeypatch, device, has, gpus, most):
    asked = {}

    class Rows:
        def map_batches(self, worker, **given):
            asked.update(given, worker=worker)
            return self

        def iter_rows(self):
            return iter([{"result": pickle.dumps(_Result(7))}])

    context = ray.data.DataContext.get_current()
    monkeypatch.setattr(context.execution_options, "preserve_order", False)
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    monkeypatch.setattr(ray, "put", lambda value: value)
    monkeypatch.setattr(ray, "cluster_resources", lambda: has)
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True, "Resources": has}])
    monkeypatch.setattr(module, "_attempts", lambda ray: "attempts")
    monkeypatch.setattr(ray.data, "from_items", lambda items, override_num_blocks: asked.update(items=items) or Rows())
    assert [*Cluster(cores=2, device=device).over(_Double(), [range(3, 5), range(5, 9)])] == [7]
    assert asked["worker"] is _Worker and asked["fn_constructor_args"][1:] == ("cuda" if gpus else "cpu", "attempts")
    assert (asked["num_cpus"], asked["num_gpus"], asked["batch_size"]) == (2, gpus, 1)
    assert (asked["compute"].min_size, asked["compute"].max_size) == (1, most)
    assert context.execution_options.preserve_order and not context.enable_progress_bars
    assert [(item["first"], item["end"]) for item in asked["items"]] == [(0, 2), (2, 6)]
    assert [pickle.loads(item["part"]) for item in asked["items"]] == [range(3, 5), range(5, 9)]


@pytest.mark.parametrize("given", [{"least": 0}, {"least": 3, "most": 2}, {"device": "mps"}, {"device": "cuda:1"}])
def test_a_cluster_that_cannot_be_is_refused(given):
    with pytest.raises(OwsegError):
        Cluster(**given)


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 100, FEWEST * SHARDS + 1, 10**6, 10**7])
def test_shards_are_all_images_once_and_not_too_many(count):
    shards = shards_of(count)
    assert sum(map(len, shards)) == count
    assert all(a.stop == b.start for a, b in pairwise(shards))
    assert all(len(shard) <= MOST for shard in shards)
    assert len(shards) <= max(SHARDS, -(-count // MOST))
