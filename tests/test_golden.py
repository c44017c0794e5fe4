"""The shipped and some small stored knowledge bases predict for fixed images what they predicted before.

The small ones were stored by owseg 0.1.0: ``metric`` (prototypes; learned by probes, by prototypes, by heads on either;
knn and sml), ``linear`` (a class for everything else; heads after one another and alone), ``residual`` (a segmenter of
transformers with a residual pattern) and ``espnetv2``, with a review queue beside them.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tools.golden import queries
from tools.golden.cases import GOLDEN, SHIPPED, Case, Result, cases, find_camvid, one_thread, plain, run, small
from tools.golden.compare import MENDED, SCORES, differences, machine, unequal
from tools.golden.storage import copy_queue, golden, read_stored

CAMVID = find_camvid()


@pytest.fixture(autouse=True)
def alone() -> Iterator[None]:
    with one_thread():
        yield


@pytest.fixture(scope="module")
def exact() -> bool:
    """Whether this is the kind of machine that wrote the golden file."""
    return golden()[0] == machine()


def check(some: list[Case], exact: bool) -> None:
    expected = golden()[1]
    found = {case.name: run(case) for case in some}
    wrong = [text for name, result in found.items() for text in differences(name, expected[name], result, exact)]
    assert not wrong, "\n".join(wrong)
    if not any(expected[name].facts["images"] == result.facts["images"] for name, result in found.items()):
        pytest.skip("the images themselves are drawn otherwise on this machine")


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_knowledge_base_predicts_what_it_predicted(name: str, exact: bool) -> None:
    check(cases(name), exact)


@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.skipif(CAMVID is None, reason="no CamVid at hand; set OWSEG_CAMVID")
def test_a_shipped_knowledge_base_predicts_camvid_as_before(name: str, exact: bool) -> None:
    check(cases(name, CAMVID)[-1:], exact)


@pytest.mark.parametrize("name", small())
def test_every_stored_version_is_read_and_predicts_what_it_predicted(name: str, exact: bool) -> None:
    check(cases(name), exact)
    assert {case.name for case in cases(name)} == {key for key in golden()[1] if key.startswith(f"{name}/")}


def test_with_what_was_mended_put_back_every_bit_is_the_same(exact: bool) -> None:
    if not exact:
        pytest.skip("the golden file was written on another machine")
    touched: set[str] = set()
    for case in (*cases("metric"), *(case for case in cases("street") if case.name == "street/test")):
        with queries.unmended():
            found = run(case)
        touched |= found.mended
        assert differences(case.name, golden()[1][case.name], replace(found, mended=frozenset()), True) == []
    assert touched == set(MENDED)


def test_the_stored_queue_is_read(tmp_path: Path, exact: bool) -> None:
    assert not unequal(golden()[2], read_stored(tmp_path), 0.0 if exact else SCORES)


def test_discovery_finds_what_it_found(tmp_path: Path, exact: bool) -> None:
    if not exact:
        pytest.skip("the golden file was written on another machine")
    there = golden()[2]["queue"]
    paths = sorted((GOLDEN / "images").iterdir())
    queue = queries.discover(queries.load("synthetic@1"), paths, tmp_path / "queue", "synthetic")
    facts, arrays = queries.read_queue(queue)
    keys = ("about", "classes", "images", "groups")
    assert not unequal({k: there["facts"][k] for k in keys}, plain({k: facts[k] for k in keys}))
    assert len(arrays) > 20
    # The stored queue is older than the golden file, and of another machine.
    before = queries.read_queue(copy_queue(tmp_path / "stored"))[1]
    for name, value in arrays.items():
        np.testing.assert_allclose(value, before[name], rtol=SCORES, atol=SCORES, err_msg=name)


def test_a_stored_queue_goes_on(tmp_path: Path) -> None:
    before = copy_queue(tmp_path)
    paths = sorted((GOLDEN / "images").iterdir())
    after = queries.discover(queries.load("synthetic@1"), paths, tmp_path / "queue", "synthetic")
    assert plain(queries.read_queue(after)[0]) == plain(queries.read_queue(before)[0])


def changed(result: Result, change: str) -> Result:
    other, name = copy.deepcopy(result), "metric/6"
    if change == "threshold":
        other.facts["described"]["threshold"]["value"] += 1e-9
    elif change == "labels" and not result.mended:
        other.kept[f"{name}/labels"][0, :1, :20] = 99
        other.facts["labels"][0] = "0"
    elif change == "labels":
        rows, columns = np.nonzero(other.kept[f"{name}/labels"][0] == 0)
        assert len(rows) > 100
        other.kept[f"{name}/labels"][0, rows, columns] = 1
    else:
        used = other.facts["described"]["scorer"] if change == "score" else "msp"
        other.kept[f"{name}/scores"][0, sorted(other.facts["scores"]).index(used), 1, 1] += 0.1
        other.kept[f"{name}/score"][0, 3, 3] += 0.1
        other.facts["scores"][used] = "0"
    return other


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("mended", [frozenset(), frozenset(MENDED)])
@pytest.mark.parametrize("change", ["threshold", "labels", "score", "msp"])
def test_a_difference_is_found(exact: bool, mended: frozenset[str], change: str) -> None:
    expected = golden()[1]["metric/6"]
    result = replace(copy.deepcopy(expected), mended=mended)
    assert differences("metric/6", expected, result, exact) == []
    wrong = "\n".join(differences("metric/6", expected, changed(result, change), exact))
    assert (change if exact else change.replace("msp", "score")) in wrong
