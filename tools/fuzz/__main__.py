"""Run cases of every kind for some time, and print how many there were and which failed."""

from __future__ import annotations

import argparse
import sys
from collections import Counter

from tools.fuzz.kinds import KINDS
from tools.fuzz.known import is_known
from tools.fuzz.run import Outcome, run_all, run_case


def main() -> int:
    """Print the counts by kind; return 1 if a case failed that is not known to fail."""
    parser = argparse.ArgumentParser(prog="python -m tools.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="a kind, or KIND:NUMBER to repeat one case")
    given = parser.parse_args()
    kind, _, number = given.only.partition(":")
    if kind and kind not in KINDS:
        parser.error(f"there is no kind {kind}; it is one of {', '.join(KINDS)}")
    if number:
        found = run_case(kind, int(number), given.seed)
        print(f"{found.what} in {found.seconds:.1f} s: {found.reason}")
        return int(found.what == "failed")
    counts: Counter[tuple[str, str]] = Counter()
    slowest: dict[str, float] = {}
    failed: dict[tuple[str, str], Outcome] = {}
    for found in run_all([kind] if kind else list(KINDS), given.seconds, given.seed):
        what = "known" if found.what == "failed" and is_known(found) else found.what
        counts[found.kind, what] += 1
        slowest[found.kind] = max(slowest.get(found.kind, 0.0), found.seconds)
        # Of many that fail alike, the first is printed.
        if what == "failed" and (found.kind, found.reason[:60]) not in failed:
            failed[found.kind, found.reason[:60]] = found
            print(f"failed: {found.kind}:{found.number} (seed {given.seed}): {found.reason!a}", flush=True)
    print(f"{'':14}{'cases':>8}{'read':>8}{'refused':>9}{'known':>8}{'failed':>8}{'slowest':>10}")
    for name in slowest:
        read, refused, known, bad = (counts[name, what] for what in ("read", "refused", "known", "failed"))
        total = read + refused + known + bad
        print(f"{name:14}{total:8}{read:8}{refused:9}{known:8}{bad:8}{slowest[name]:8.1f} s")
    print(f"{sum(counts.values())} cases, seed {given.seed}; {len(failed)} kinds of failure.")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
