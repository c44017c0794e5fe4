"""Plant the mutants that are named, by default all, and print which are caught."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

from tools.mutants.plant import SECONDS, Mutant, Outcome, copy_repository, plant, read_mutants, unfit

WANTED = 0.95
"""The share of mutants to be caught."""


def chosen(mutants: Sequence[Mutant], only: Sequence[str]) -> list[Mutant]:
    """Return the mutants of exactly these names, or else whose names contain one of them."""
    names = {mutant.name for mutant in mutants}
    return [m for m in mutants if not only or any(m.name == o or (o not in names and o in m.name) for o in only)]


def plant_all(mutants: Sequence[Mutant], jobs: int, seconds: float) -> Iterator[Outcome]:
    """Plant each mutant in one of ``jobs`` copies of the repository, and yield the outcomes in their order."""
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(jobs) as threads:
        copies: SimpleQueue[Path] = SimpleQueue()
        for number in range(jobs):
            copies.put(copy_repository(Path(folder, str(number))))

        def work(mutant: Mutant) -> Outcome:
            copy = copies.get()
            try:
                return plant(mutant, copy, seconds)
            finally:
                copies.put(copy)

        yield from threads.map(work, mutants)


def main(arguments: Sequence[str] | None = None) -> int:
    """Plant mutants; return 1 where one is stale, a test fails without a fault, or too few are caught."""
    parser = argparse.ArgumentParser(prog="python -m tools.mutants", description="Plant faults; see which are caught.")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="only mutants of these names")
    parser.add_argument("--jobs", type=int, default=1, help="how many at a time (1)")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="time for the tests of a mutant (%(default)g)")
    parser.add_argument("--list", action="store_true", help="print the names, and plant nothing")
    options = parser.parse_args(arguments)
    mutants = chosen(read_mutants(), options.only)
    if options.list:
        print(*(f"{m.name:40} {m.file}" for m in mutants), f"{len(mutants)} mutants", sep="\n")
        return 0
    stale = {m.name: reason for m in mutants if (reason := m.stale())}
    for name, reason in stale.items():
        print(f"stale     {name}: {reason}")
    mutants = [m for m in mutants if m.name not in stale]
    with tempfile.TemporaryDirectory() as folder:
        failing = unfit(mutants, copy_repository(Path(folder))) if mutants else {}
    for name, tests in failing.items():
        print(f"unfit     {name}: {tests[0]} fails without it")
    mutants = [m for m in mutants if m.name not in failing]
    caught = 0
    for outcome in plant_all(mutants, options.jobs, options.seconds):
        caught += outcome.kind == "caught"
        print(f"{outcome.kind:9} {outcome.mutant.name} ({outcome.seconds:.0f} s) {outcome.test}".rstrip(), flush=True)
    total = len(mutants) + len(stale) + len(failing)
    share = caught / total if total else 0.0
    print(f"{caught} of {total} mutants are caught: {share:.1%}")
    return int(share < WANTED or bool(stale) or bool(failing))


if __name__ == "__main__":
    sys.exit(main())
