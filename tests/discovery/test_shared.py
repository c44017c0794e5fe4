"""Regions that the workers of a cluster find are those that this process finds; what cannot be read is named."""

from owseg._files import ERRORS
from owseg.discovery.discover import discover
from owseg.models import cluster
from tests.support import tiny
from tests.support.clusters import HereCluster
from tests.support.queues import holds


def test_a_cluster_fills_the_same_queue(unsure_kb, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "FEWEST", 2)
    paths = sorted(tiny.write_photos(tmp_path / "photos", 5).iterdir())
    paths[1].write_bytes(b"no image")
    here = HereCluster()
    _, alone = discover(unsure_kb, paths, tmp_path / "alone", "kb", min_area=20)
    _, shared = discover(unsure_kb, paths, tmp_path / "shared", "kb", min_area=20, cluster=here)
    assert here.sizes == [2, 2, 1]
    assert vars(shared) == vars(alone) and shared.images == 4 and shared.regions > 0
    assert holds(tmp_path / "shared") == holds(tmp_path / "alone")
    assert (tmp_path / "shared" / ERRORS).read_text().splitlines()[1].startswith(str(paths[1]))
    paths[1].write_bytes(paths[0].read_bytes())
    _, again = discover(unsure_kb, paths, tmp_path / "shared", "kb", min_area=20)
    assert again.images == 5 and not (tmp_path / "shared" / ERRORS).exists()
