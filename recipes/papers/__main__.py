"""The command line of the tables."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from owseg.errors import OwsegError
from recipes import papers
from recipes.papers.run import Run, lines
from recipes.papers.sheet import draw_sheet
from recipes.papers.stored import read_metrics, read_minutes, side_by_side
from recipes.papers.table import read_table, table_names
from recipes.tables import markdown


def run(name: str, runs: Path, args: argparse.Namespace) -> None:
    """Train, measure and print a table; or print what was measured, or draw what its rows find on an image."""
    table = read_table(name)
    if args.measured:
        found = [(row, read_metrics(args.measured, row)) for row in table.rows]
    else:
        if not args.dry:
            hours = f"{table.gpu_hours:g} GPU hours" if table.gpu_hours else f"{table.core_hours:g} core hours"
            print(f"{table.title}: {hours}, {table.disk_gb:g} GB. {table.expected}", flush=True)
        of = Run(table, runs, args.dry, args.seed)
        if args.sheet:
            print(draw_sheet(of, args.sheet, next(iter(table.data)), args.image))
            return
        found = of.rows()
    header, rows = (lines if any(row.published for row in table.rows) else side_by_side)(table, found)
    what = (
        f"in small, with a stand-in for {table.network.published}"
        if args.dry
        else table.network.published or table.network.backbone
    )
    markdown(f"{table.title} ({table.source}; {what})", header, rows)
    if minutes := read_minutes((args.measured or runs / "metrics") / "trained"):
        markdown("Trained", ("what", "core-minutes"), minutes)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m recipes.papers",
        description=papers.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("table", nargs="*", help=f"{', '.join(table_names())}; with --dry all by default")
    parser.add_argument("--dry", action="store_true", help="two steps of each training, on a tiny tree")
    parser.add_argument("--list", action="store_true", help="print the tables, with what they need")
    parser.add_argument("--runs", type=Path, help="where runs are kept; runs/papers by default, of --dry nowhere")
    parser.add_argument("--measured", type=Path, help="a folder of metrics: print the table of these, train nothing")
    parser.add_argument("--sheet", type=Path, help="draw the score map of each row on one image into this file")
    parser.add_argument("--image", type=int, default=0, help="--sheet: the number of the image in the first data set")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if args.list or not (args.table or args.dry):
        tables = [(name, read_table(name)) for name in table_names()]
        rows = [
            (name, t.title, f"{t.gpu_hours:g}", f"{t.core_hours:g}", f"{t.disk_gb:g}", t.network.published)
            for name, t in tables
        ]
        markdown("Tables", ("name", "table", "GPU hours", "core hours", "GB of disk", "network"), rows)
        return
    with tempfile.TemporaryDirectory() as scratch:
        for name in args.table or table_names():
            started = time.perf_counter()
            runs = (args.runs or (Path(scratch) if args.dry else Path("runs/papers"))) / name
            try:
                run(name, runs, args)
            except OwsegError as error:
                sys.exit(f"error: {error}")
            print(f"{name}: {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
