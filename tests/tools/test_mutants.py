"""The faults of tools/mutants can all be planted, every room has some, and the harness tells caught from survived."""

from pathlib import Path

import pytest

from tools.mutants.__main__ import chosen
from tools.mutants.plant import ROOT, Mutant, copy_repository, plant, read_mutants, unfit

MUTANTS = read_mutants()


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_no_mutant_is_stale(mutant: Mutant) -> None:
    assert not mutant.stale()


def test_every_room_has_mutants() -> None:
    package = ROOT / "src" / "owseg"
    rooms = {path.parent.name for path in package.glob("*/__init__.py") if any(path.parent.glob("[a-z]*.py"))}
    assert not rooms - {mutant.room for mutant in MUTANTS}
    assert {"labels.py", "openset.py", "types.py", "_files.py", "_registry.py"} <= {mutant.room for mutant in MUTANTS}
    assert len(MUTANTS) >= 60


def test_mutants_are_chosen_by_name() -> None:
    names = ["a", "ab", "abc", "c"]
    mutants = [Mutant(name, "f.py", "1", "2", ("t.py",)) for name in names]
    assert [m.name for m in chosen(mutants, [])] == names
    assert [m.name for m in chosen(mutants, ["ab"])] == ["ab"]  # a whole name means that one alone
    assert [m.name for m in chosen(mutants, ["b"])] == ["ab", "abc"]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository of one function and three tests, one of which always fails."""
    (tmp_path / "src" / "owseg").mkdir(parents=True)
    (tmp_path / "tests").mkdir()
    (tmp_path / "src" / "owseg" / "__init__.py").write_text("def double(x):\n    return 2 * x\n")
    for name, text in (
        ("strong", "assert owseg.double(3) == 6"), ("weak", "assert owseg.double(0) == 0"), ("red", "assert False"),
    ):  # fmt: skip
        (tmp_path / "tests" / f"test_{name}.py").write_text(f"import owseg\n\ndef test_{name}():\n    {text}\n")
    return tmp_path


@pytest.mark.parametrize(
    ("new", "tests", "kind", "test"),
    [
        ("3 * x", ("test_weak.py", "test_strong.py"), "caught", "test_strong.py::test_strong"),
        ("3 * x", ("test_weak.py::test_weak",), "survived", ""),
        ("3 *", ("test_strong.py",), "broken", ""),
        ("3 * x", ("test_strong.py::test_gone",), "broken", ""),
        ("[x for x in iter(int, 1)]", ("test_strong.py",), "late", ""),
    ],
)
def test_a_mutant_is_caught_or_not(
    repository: Path, tmp_path: Path, new: str, tests: tuple[str, ...], kind: str, test: str
) -> None:
    mutant, sound = Mutant("m", "__init__.py", "2 * x", new, tests), (repository / "src/owseg/__init__.py").read_text()
    copy = copy_repository(tmp_path / "copy", repository)
    outcome = plant(mutant, copy, seconds=2 if kind == "late" else 60)
    assert (outcome.kind, outcome.test) == (kind, test)
    assert (copy / "src/owseg/__init__.py").read_text() == sound == (repository / "src/owseg/__init__.py").read_text()


def test_tests_that_fail_without_a_fault_are_named(repository: Path) -> None:
    mutants = [Mutant(n, "__init__.py", "2 * x", "3 * x", (f"test_{n}.py",)) for n in ("strong", "red")]
    assert unfit(mutants, repository) == {"red": ["test_red.py::test_red"]}


def test_a_stale_mutant_says_why(repository: Path) -> None:
    fits = Mutant("m", "__init__.py", "2 * x", "3 * x", ("test_weak.py",))
    assert fits.stale(repository) == ""
    assert "is not there" in Mutant("m", "gone.py", "2 * x", "3 * x", ("test_weak.py",)).stale(repository)
    assert "0 times" in Mutant("m", "__init__.py", "4 * x", "3 * x", ("test_weak.py",)).stale(repository)
    assert "2 times" in Mutant("m", "__init__.py", "x", "y", ("test_weak.py",)).stale(repository)
    assert "nothing" in Mutant("m", "__init__.py", "2 * x", "2 * x", ("test_weak.py",)).stale(repository)
    assert "no test" in Mutant("m", "__init__.py", "2 * x", "3 * x", ()).stale(repository)
    for gone in ("test_gone.py", "test_weak.py::test_gone"):
        assert f"tests/{gone} is not there" in Mutant("m", "__init__.py", "2 * x", "3 * x", (gone,)).stale(repository)
