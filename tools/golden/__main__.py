"""Compare with the golden file or write it."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tools.golden.cases import all_names, cases, find_camvid, one_thread, run
from tools.golden.compare import MENDED, SCORES, differences, machine, unequal
from tools.golden.storage import golden, read_stored, write


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare with the golden file or write it; return 1 where something differs."""
    parser = argparse.ArgumentParser(description="Compare predictions with the golden ones, or write these anew.")
    parser.add_argument("--out", type=Path, help="write the golden file in this folder, instead of comparing")
    parser.add_argument("--camvid", type=Path, help="where CamVid lies, by default $OWSEG_CAMVID")
    parser.add_argument("--only", nargs="*", help="only these knowledge bases")
    chosen = parser.parse_args(arguments)
    camvid = find_camvid(chosen.camvid)
    with one_thread(), tempfile.TemporaryDirectory() as place:
        results = {case.name: run(case) for name in all_names(chosen.only) for case in cases(name, camvid)}
        stored = read_stored(Path(place))
    if chosen.out:
        write(chosen.out, results, stored)
        return 0
    where, expected, there = golden()
    exact = where == machine()
    wrong = [text for name, found in results.items() for text in differences(name, expected[name], found, exact)]
    wrong += [f"stored: {text}" for text in unequal(there, stored, 0.0 if exact else SCORES)]
    sys.stdout.write("".join(f"{text}\n" for text in wrong))
    for key, reason in MENDED.items():
        touched = sum(key in result.mended for result in results.values())
        sys.stdout.write(f"{touched} cases within a tolerance ({key}): {reason}\n")
    how = "bit by bit" if exact else "within tolerance, as this is another machine"
    sys.stdout.write(f"{len(results)} cases compared, else {how}: {len(wrong)} differences\n")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
