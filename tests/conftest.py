"""Fixtures that several rooms use: the tiny knowledge base, calibrated or stored, data on disk, the command line.

The process that hands tests out to workers reads this file and runs no test, so torch is imported where it is used.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import sys
from collections.abc import Callable, Generator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

# Each core has a worker. Set before NumPy and torch are imported, and for the processes that tests start.
os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1", OMP_WAIT_POLICY="PASSIVE")
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # before transformers is imported: it reads this once

import pytest

if TYPE_CHECKING:
    from owseg.knowledge.base import KnowledgeBase


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    """What is imported and collected, a million objects, stays to the end: the collector need not go through it."""
    gc.disable()
    if os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:] in "13579" and session.config.args == ["tests"]:
        _import_from_the_end()
    result = yield
    gc.freeze()
    gc.enable()
    gc.set_threshold(50_000, 20, 50)
    return result


def _import_from_the_end() -> None:
    """Import all tests from the last to the first, before they are collected from the first to the last.

    pytest compiles a file that it did not compile before, ten seconds of them on a fresh clone. Of two workers that
    begin at one end each compiles all; from two ends each compiles a half.
    """
    root = Path(__file__).parents[1]
    for path in sorted(Path(__file__).parent.rglob("test_*.py"), reverse=True):
        with suppress(Exception, pytest.skip.Exception):
            importlib.import_module(".".join(path.relative_to(root).with_suffix("").parts))


SMALL = (
    "cli", "training", "benchmark", "test_batches.py", "test_benchmarks.py", "test_demo.py", "test_devices.py",
    "test_examples.py", "test_readme.py", "test_recipe_regions.py", "test_recipes.py", "test_video.py",
)  # fmt: skip
"""Rooms and files whose images are tiny, and whose tests do not ask for the scores that users get."""


@pytest.fixture(autouse=True)
def _small_segments(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images of 48 rows stay small for ``joint@segments``: enlarged to 270 rows each takes a fifth of a second."""
    if request.path.parent.name in SMALL or request.path.name in SMALL:
        monkeypatch.setattr("owseg.scorers.segments.ROWS", 72)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The real data, where it is at hand: $OWSEG_DATA, or ../shared/data beside the checkout."""
    place = Path(os.environ.get("OWSEG_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not (place / "camvid" / "test").is_dir():
        pytest.skip(f"no CamVid in {place}; set OWSEG_DATA")
    return place


@pytest.fixture(scope="session")
def kb() -> KnowledgeBase:
    """A tiny knowledge base of three classes with the fitted scorer joint, calibrated at 5 %."""
    from tests.support import tiny

    return tiny.calibrated()


@pytest.fixture(scope="session")
def unsure_kb() -> KnowledgeBase:
    """The same, calibrated so that a third of what is known is predicted unknown: every image has unknown regions."""
    from tests.support import tiny

    return tiny.calibrated(0.3)


@pytest.fixture(scope="session")
def light_kb() -> KnowledgeBase:
    """One that a new process loads without transformers; all is unknown to it but in images of ``tiny.dataset``."""
    from tests.support import tiny

    return tiny.calibrated(data=tiny.dataset(), kind="efficientnet_lite")


@pytest.fixture(scope="session")
def half_size(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of ``synthetic`` at half its working size, which finds the same in a quarter of the time."""
    from owseg.knowledge.load import load

    kb, place = load("synthetic"), tmp_path_factory.mktemp("half_size") / "kb"
    kb.network.size = 144
    kb.save(place)
    return place


@pytest.fixture
def half_size_here(half_size: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The working directory is ``tmp_path``, where it hides the shipped ``synthetic`` and ``street``."""
    monkeypatch.chdir(tmp_path)
    for name in ("synthetic", "street"):
        (tmp_path / name).symlink_to(half_size)


@pytest.fixture
def few_shots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the synthetic scenes to learn from there are those that show animals alone: 80 take seconds to draw."""
    from owseg.data.synthetic.scene import SPLITS

    monkeypatch.setitem(SPLITS, "shots", (SPLITS["shots"][0], 20))


@pytest.fixture
def stored_kb(kb: KnowledgeBase, tmp_path: Path) -> Path:
    """The folder in which ``kb`` is stored, fresh for each test."""
    kb.save(tmp_path / "kb")
    return tmp_path / "kb"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of three images, p0.png to p2.png."""
    from tests.support import tiny

    return tiny.write_photos(tmp_path / "photos", 3)


@pytest.fixture
def own_data(tmp_path: Path) -> Path:
    """A labelled folder in the classes of the tiny knowledge base, with one class more: rock."""
    from PIL import Image

    from tests.support import tiny

    data = tiny.dataset(8, 4)
    for i, sample in enumerate(data):
        for kind, array in (("images", sample.image.transpose(1, 2, 0)), ("masks", sample.target)):
            (tmp_path / "own" / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(tmp_path / "own" / kind / f"f{i}.png")
    (tmp_path / "own" / "classes.json").write_text(json.dumps(list(data.labels.names)))
    return tmp_path / "own"


@pytest.fixture
def quick_tsne(monkeypatch: pytest.MonkeyPatch) -> None:
    """t-SNE takes a quarter of its usual steps."""
    from owseg.report import sequence

    monkeypatch.setattr(sequence, "TSNE", partial(sequence.TSNE, max_iter=250))


@pytest.fixture
def run_cli(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """``run_cli("predict", path, ...) -> (exit code, standard output, standard error)``, in this process."""
    from owseg import cli

    def run(*args: object) -> tuple[int, str, str]:
        old, sys.argv = sys.argv, ["owseg", *map(str, args)]
        try:
            cli.main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        finally:
            sys.argv = old
        return code, *capsys.readouterr()

    return run
