"""What is done with the names of images, apart from the images: ``python -m benchmarks.growth [--names N ...]``.

For ten thousand, a hundred thousand and a million empty files: `owseg predict` searches them and looks for two of one
name, `owseg benchmark` writes the manifest of their maps, reads it, and looks which maps are missing. Seconds of a
processor, which other work does not change much, and how many times those of the smallest number: where that grows with
the number and no faster, it is linear.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from owseg.data.search import search_images
from owseg.evaluation.maps import Manifest, MapFolder
from owseg.inference.predict import check_names

IN_FOLDER = 1000
"""The files in each folder."""


def make_files(root: Path, start: int, stop: int) -> None:
    for i in range(start, stop):
        path = root / f"{i // IN_FOLDER:04}" / f"frame_{i:07}_leftImg8bit.png"
        if i % IN_FOLDER == 0 or i == start:
            path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def steps(files: Path, maps: Path) -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield what is done, in order; each step reads what the ones before it left."""
    found = search_images([str(files)], recursive=True)
    manifest = Manifest("random", "random", "random", ("road",), ("score",), found.names)
    yield "search", lambda: search_images([str(files)], recursive=True)
    yield "names", lambda: check_names(found.names, found.paths)
    yield "manifest", lambda: MapFolder.begin(maps, manifest)
    yield "resumed", lambda: MapFolder.begin(maps, manifest)
    yield "missing", lambda: sum(1 for _ in MapFolder(maps, manifest).missing())


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--names", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    sizes, first, made = sorted(parser.parse_args(arguments).names), dict[str, float](), 0
    with tempfile.TemporaryDirectory() as place:
        for size in sizes:
            make_files(Path(place) / "files", made, size)
            made, taken = size, dict[str, float]()
            for name, act in steps(Path(place) / "files", Path(place) / f"maps-{size}"):
                start = time.process_time()
                act()
                taken[name] = time.process_time() - start
            taken["all"] = sum(taken.values())
            if not first:
                first = taken
                print(f"{'names':>9}" + "".join(f"{name + ', s':>18}" for name in taken))
            columns = (f"{seconds:9.2f} ({seconds / first[name]:5.1f}x)" for name, seconds in taken.items())
            print(f"{size:9}" + "".join(f"{column:>18}" for column in columns), flush=True)


if __name__ == "__main__":
    main()
