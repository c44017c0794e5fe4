"""What the shipped and some small stored knowledge bases say of fixed images is what they said before.

The small ones were stored by owseg 0.1.0: ``metric`` (prototypes; learned by probes, by prototypes, by heads on either;
knn and sml), ``linear`` (a class for everything else; heads that claim and that stand alone), ``residual`` (a segmenter
of transformers with a residual pattern) and ``espnetv2``, with a review queue and a folder of maps beside them.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tools import golden

SHARED = golden.camvid_at()


@pytest.fixture(autouse=True)
def alone() -> Iterator[None]:
    with golden.one_thread():
        yield


@pytest.fixture(scope="module")
def exact() -> bool:
    """Whether this is the kind of machine that wrote the golden file."""
    return golden.golden()[0] == golden.machine()


def check(cases: list[golden.Case], exact: bool) -> None:
    expected = golden.golden()[1]
    found = {case.name: golden.run(case) for case in cases}
    wrong = [text for name, result in found.items() for text in golden.differences(name, expected[name], result, exact)]
    assert not wrong, "\n".join(wrong)
    if not any(expected[name].facts["images"] == result.facts["images"] for name, result in found.items()):
        pytest.skip("the images themselves are drawn otherwise on this machine")


@pytest.mark.parametrize("name", golden.SHIPPED)
def test_a_shipped_knowledge_base_says_what_it_said(name: str, exact: bool) -> None:
    check(golden.cases(name), exact)


@pytest.mark.parametrize("name", golden.SHIPPED)
@pytest.mark.skipif(SHARED is None, reason="no CamVid at hand; set OWSEG_CAMVID")
def test_a_shipped_knowledge_base_says_of_camvid_what_it_said(name: str, exact: bool) -> None:
    check(golden.cases(name, SHARED)[-1:], exact)


@pytest.mark.parametrize("name", golden.small())
def test_every_stored_version_is_read_and_says_what_it_said(name: str, exact: bool) -> None:
    cases = golden.cases(name)
    check(cases, exact)
    assert {case.name for case in cases} == {key for key in golden.golden()[1] if key.startswith(f"{name}/")}


def test_a_stored_queue_and_stored_maps_are_read(tmp_path: Path, exact: bool) -> None:
    there = golden.golden()[2]
    assert not golden.unequal(there, golden.stored_things(tmp_path), 0.0 if exact else golden.SCORES)


def test_discovery_finds_what_it_found(tmp_path: Path, exact: bool) -> None:
    if not exact:
        pytest.skip("the golden file was written on another machine")
    there = golden.golden()[2]["queue"]
    paths = sorted((golden.GOLDEN / "images").iterdir())
    queue = golden.discovered(golden.load("synthetic"), paths, tmp_path / "queue", "synthetic")
    says, arrays = golden.of_queue(queue)
    told = ("about", "classes", "images", "groups")
    assert not golden.unequal({k: there["says"][k] for k in told}, golden.plain({k: says[k] for k in told}))
    assert len(arrays) > 20
    assert {name: golden.sha256(value) for name, value in arrays.items()}.items() <= there["arrays"].items()


def test_a_stored_queue_goes_on(tmp_path: Path) -> None:
    before = golden.copied_queue(tmp_path)
    paths = sorted((golden.GOLDEN / "images").iterdir())
    after = golden.discovered(golden.load("synthetic"), paths, tmp_path / "queue", "synthetic")
    assert golden.plain(golden.of_queue(after)[0]) == golden.plain(golden.of_queue(before)[0])


def test_maps_are_what_they_were_and_go_on(tmp_path: Path) -> None:
    kb = golden.load(golden.GOLDEN / "kb" / "metric", 3)
    data, scorers = golden.tiny((100, 101), kb), ("joint", "eds")
    golden.mapped(kb, data, tmp_path / "new", scorers)
    for path in (golden.GOLDEN / "maps").iterdir():
        (tmp_path / "old").mkdir(exist_ok=True)
        (tmp_path / "old" / path.name).write_bytes(path.read_bytes())
    golden.mapped(kb, data, tmp_path / "old", scorers)
    (says, old), (again, new) = (golden.of_maps(tmp_path / name) for name in ("old", "new"))
    assert says["manifest"] == again["manifest"] and old.keys() == new.keys()
    for name, value in old.items():
        if "/labels" in name or "/target" in name:
            assert (new[name] == value).mean() >= golden.LABELS
        else:
            np.testing.assert_allclose(new[name], value, rtol=golden.SCORES, atol=golden.SCORES)


@pytest.mark.parametrize("exact", [True, False])
def test_a_difference_is_found(exact: bool) -> None:
    expected = golden.golden()[1]["street/test"]
    assert golden.differences("street/test", expected, copy.deepcopy(expected), exact) == []

    def found(change: str) -> str:
        other = copy.deepcopy(expected)
        if change == "threshold":
            other.facts["described"]["threshold"]["value"] += 1e-9
        elif change == "labels":
            other.kept["street/test/labels"][0, :1, :200] = 99
            other.facts["labels"][0] = "0"
        else:
            other.kept["street/test/score"][0, 3, 3] += 0.1
            other.facts["scores"]["joint"] = "0"
        return "\n".join(golden.differences("street/test", expected, other, exact))

    assert all(change in found(change) for change in ("threshold", "labels", "score"))
