"""``owseg export``: a knowledge base as one file for ONNX Runtime, OpenVINO or torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from owseg.cli._compute import EXPORTS
from owseg.cli._images import given_images
from owseg.cli._options import KB, Json, Recursive, Tile, parse_size
from owseg.cli._printing import command, print_json, print_note, print_table, say

if TYPE_CHECKING:
    from owseg.inference.export import Exported

Size = Annotated[
    str, typer.Option(metavar="HxW|dynamic", help="The size of the images that it takes, such as 512x1024, or any.")
]

Format = Annotated[
    str, typer.Option("--format", help="onnx, openvino or torch; by default by the name of the file: .onnx, .xml, .pt.")
]

Precision = Annotated[
    str,
    typer.Option(
        help="fp32; fp16, weights of 16 bits, which are computed with as a runtime likes; or int8, convolutions of 8 "
        "bits, for which --images must be given."
    ),
]

Score = Annotated[
    str | None,
    typer.Option("--scorer", help="Another score than the one in use: joint, for one, is faster without @segments."),
]

WorkingSize = Annotated[
    int | None,
    typer.Option(min=32, help="The shorter side to which images are resized, if not that of KB: smaller is faster."),
]

GivenImages = Annotated[
    list[str] | None,
    typer.Option(
        "--images",
        help="Images or folders to compare on, and to find threshold and ranges of 8 bits; else drawn.",
    ),
]

Licence = Annotated[str | None, typer.Option(help="What the file says of its licence.")]


def export(
    kb: KB,
    out: Annotated[Path, typer.Option("--out", "-o", help="The file, such as model.onnx, model.xml or model.pt.")],
    format: Format = "",
    precision: Precision = "fp32",
    size: Size = "dynamic",
    tile: Tile = False,
    scorer: Score = None,
    working_size: WorkingSize = None,
    images: GivenImages = None,
    recursive: Recursive = False,
    licence: Licence = None,
    as_json: Json = False,
) -> None:
    """Write the whole decision as one graph, which runs without owseg; owseg predict --kb FILE runs it, too.

    In goes an image (B, 3, H, W) of bytes, RGB; out come labels, score and open_set, (B, H, W) each, at the size of the
    image, and learned, where a class is that was learned. Resizing, normalising and all classes learned are in it. The
    threshold is an input with a default (in OpenVINO and torch without one), so it may be moved. The file says which
    classes it has, how its threshold was found, and which knowledge base it is of.

    A score NAME@segments is pooled over segments of the image after the graph, which owseg does; the graph itself has
    it without. int8, --scorer and --working-size change the scores: the threshold is then found anew, so that as much
    of --images is unknown as before, and as many regions. Before the file has its name it is run on images of three
    sizes and compared with the knowledge base: where labels or scores differ, nothing is written. docs/export.md runs a
    file in ten lines.

    Needs pip install 'owseg\\[export]'.
    """
    from owseg.inference.export import changes_scores, check_asked, read_some
    from owseg.inference.export import export as write
    from owseg.inference.graph import LICENCE
    from owseg.knowledge.load import load

    named = dict(zip(EXPORTS, ("onnx", "openvino", "torch"), strict=True))
    wanted = format or named.get(out.suffix, "onnx")
    asked = None if size == "dynamic" else parse_size(size)
    is_other = changes_scores(precision, scorer, working_size)
    check_asked(out, wanted, precision, bool(images) or not is_other)
    shown = read_some(given_images(images, recursive).paths) if images else []
    options: dict[str, Any] = {"tile": True} if tile else {}
    how = licence or LICENCE, scorer, working_size
    done = write(load(kb), out, wanted, precision, asked, shown, *how, **options)
    if as_json:
        print_json({"kb": kb, "format": wanted, "precision": precision, "size": size, **done.to_json()})
        return
    _print(done, is_other)
    say(f"Next: {command('predict', 'IMAGES', '--kb', str(out))}")


def _print(done: Exported, found_anew: bool) -> None:
    rows = [
        (f"{one.size[1]}x{one.size[0]}", str(one.batch), f"{one.labels:.3%}", f"{one.open_set:.3%}", f"{one.score:.2g}")
        for one in done.compared
    ]
    header = ("image", "batch", "labels equal", "open set equal", "score differs by")
    print_table("Compared with the knowledge base (score in units of the threshold)", header, rows)
    before, after = done.thresholds
    if found_anew:
        print_note(f"The threshold was found anew on these images: {after:.4g}, {before:.4g} before.")
    say(f"{done.path} is written ({done.bytes / 1e6:.1f} MB).")
