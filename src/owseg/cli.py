"""The command line: thin shells around what Python can call. torch is imported only by a command that needs it."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from owseg.errors import OwsegError
from owseg.files import write_whole

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="""Open-world segmentation: label every pixel, say which ones are unknown, learn them from five pictures.

    A [bold]knowledge base[/bold] (KB) is a directory: a network, its classes, what it learned since, and the threshold
    above which a pixel is unknown. Every change is a new version; nothing is lost. Begin with [bold]owseg demo[/bold].
    """,
    epilog="Data sets are named [bold]folder:DIR[/bold] (images/, masks/, classes.json), [bold]synthetic[/bold] or "
    "[bold]KIND:DIR[/bold]; [bold]owseg data list[/bold] names the kinds. Shipped knowledge bases: street, street8, "
    "synthetic. Others load as "
    "[bold]espnetv2-cityscapes:FILE[/bold] or [bold]hf:NAME[/bold] (SegFormer, UperNet, MobileNetV2-DeepLab).",
)

KB = Annotated[
    str, typer.Argument(metavar="KB", help="A knowledge base directory, or a shipped one: street, street8, synthetic.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
Out = Annotated[str | None, typer.Option("--out", "-o", help="Store the new version here instead of in KB.")]
FullResolution = Annotated[
    bool, typer.Option("--full-resolution", help="Score every pixel of the picture: slower, seldom better.")
]
MultiScale = Annotated[
    bool,
    typer.Option("--multi-scale", help="Look in three sizes and in the mirror: eight times slower, a bit better."),
]
Data = Annotated[str, typer.Option("--data", help="KIND:DIR or synthetic; owseg data list names the kinds.")]
Url = Annotated[
    str,
    typer.Option(help="Label Studio: what stands before a picture's name; by default /data/local-files/?d="),
]


@app.command()
def predict(
    pictures: Annotated[list[str], typer.Argument(help="Pictures, folders or quoted patterns such as 'a/*.jpg'.")],
    kb: Annotated[str, typer.Option("--kb", help="The knowledge base to ask.")] = "street",
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the maps.")] = Path("predictions"),
    npy: Annotated[bool, typer.Option("--npy", help="Write scores as float32 .npy instead of 16-bit PNG.")] = False,
    full_resolution: FullResolution = False,
    multi_scale: MultiScale = False,
    as_json: Json = False,
) -> None:
    """Label pictures and say what in them is unknown.

    Writes, for each NAME: NAME.labels.png (class ids, palette), NAME.score.png (anomaly score) and NAME.open.jpg (the
    picture with its classes tinted and the unknown in magenta). Exit code 1 if any picture could not be read.
    """
    from owseg.knowledge import load
    from owseg.predict import find, predict_files

    base = load(kb)
    look = partial(base.forward, full_resolution=full_resolution, multi_scale=multi_scale)
    results = predict_files(base, find(pictures), out, npy, look)
    failed = [r for r in results if r.error]
    if as_json:
        _print_json(
            {
                "out": str(out),
                "results": [{"path": str(r.path), "unknown": r.unknown, "error": r.error} for r in results],
            }
        )
    else:
        for result in failed:
            _complain(f"skipped: {result.error}")
        print(f"{len(results) - len(failed)} of {len(results)} pictures labelled; the maps are in {out}/.")
        if done := [r for r in results if r.unknown is not None]:
            most = max(done, key=lambda r: r.unknown or 0.0)
            print(f"Most unknown: {most.path} ({most.unknown:.1%} of its pixels); look at its .open.jpg.")
    if failed:
        raise typer.Exit(1)


@app.command()
def train(
    out: Annotated[Path, typer.Argument(metavar="KB", help="Directory for the new knowledge base.")],
    data: Data,
    backbone: Annotated[str, typer.Option(help="A transformers backbone: hub name or local path.")],
    unknown: Annotated[str, typer.Option(help="Classes to leave out, by name: car,pedestrian.")] = "",
    decoder: Annotated[str, typer.Option(help="aspp or psp.")] = "aspp",
    classifier: Annotated[str, typer.Option(help="prototype (DMLNet) or linear.")] = "prototype",
    scale: Annotated[float, typer.Option(help="T, how far prototypes are from the origin (3 in DMLNet).")] = 3.0,
    epochs: Annotated[int, typer.Option(help="Passes over the training frames.")] = 60,
    batch: Annotated[int, typer.Option(help="Pictures a step.")] = 8,
    crop: Annotated[str, typer.Option(help="Height x width of a training view.")] = "256x352",
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    precision: Annotated[str, typer.Option(help="32-true, or bf16-mixed where the machine has bfloat16.")] = "32-true",
    devices: Annotated[int, typer.Option(help="GPUs or processes.")] = 1,
    fpr: Annotated[float, typer.Option(help="Share of known pixels that may be called unknown.")] = 0.05,
    background: Annotated[
        bool, typer.Option("--background", help="A baseline: train void as a class; its probability is the score.")
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the run's last checkpoint.")] = False,
    as_json: Json = False,
) -> None:
    """Train a network on a data set's train split, choose on val, calibrate on val, store a knowledge base.

    Logs (CSV, TensorBoard) and the checkpoint for --resume are kept in KB.run beside it.
    """
    from owseg import store
    from owseg.build import build_knowledge_base
    from owseg.data import open_source
    from owseg.train import TrainConfig

    config = TrainConfig(epochs=epochs, batch=batch, crop=_size(crop), seed=seed, precision=precision, devices=devices)
    store.check_place(out)
    run = out.resolve().with_name(out.resolve().name + ".run")
    kb = build_knowledge_base(
        data, backbone, _names(unknown), config, run, decoder, classifier, fpr, False, resume, scale, background
    )
    hint = f"Next: owseg evaluate {out} --data {data}"
    if open_source(data, "train").name == open_source(data, "val").name:
        hint = f"Note: {data} has no val/, so the pictures that it was trained on also chose and calibrated it.\n{hint}"
    _done(kb, kb.save(out), str(out), as_json, hint)


@app.command("train-residual")
def train_residual(
    kb: KB,
    inliers: Annotated[
        str, typer.Option(help="Streets as the network knows them: a folder of pictures, or a data set (KIND:DIR).")
    ],
    outliers: Annotated[
        Path,
        typer.Option(help="Folder of things that are none of the classes: RGBA cut-outs, images/ + masks/, or COCO."),
    ],
    context: Annotated[
        Path | None,
        typer.Option(help="The same as they were photographed (images/ + masks/), for CoroCL; by default --outliers."),
    ] = None,
    val: Annotated[
        str | None, typer.Option(help="Streets to validate and calibrate on; by default an eighth of --inliers.")
    ] = None,
    exclude: Annotated[str, typer.Option(help="Categories to leave out besides the known classes: cow,sheep.")] = "",
    epochs: Annotated[int, typer.Option(help="Passes over the streets.")] = 20,
    batch: Annotated[int, typer.Option(help="Pictures a step.")] = 8,
    crop: Annotated[str, typer.Option(help="Height x width of a training view.")] = "384x512",
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    precision: Annotated[str, typer.Option(help="32-true, or bf16-mixed where the machine has bfloat16.")] = "32-true",
    devices: Annotated[int, typer.Option(help="GPUs or processes.")] = 1,
    fpr: Annotated[float, typer.Option(help="Share of known pixels that may be called unknown.")] = 0.05,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the run's last checkpoint.")] = False,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Teach a frozen network to see outliers (RPL + CoroCL). Needs no labels; its classes stay as they are.

    What it labels does not change by a bit; only the score does. Undo with owseg rollback.
    """
    from owseg import store
    from owseg.calibration import with_threshold
    from owseg.data.outliers import leave_out, open_outliers
    from owseg.data.pictures import divided, streets
    from owseg.knowledge import load
    from owseg.train_residual import ResidualConfig
    from owseg.train_residual import train_residual as learn_residual

    config = ResidualConfig(
        epochs=epochs, batch=batch, crop=_size(crop), seed=seed, precision=precision, devices=devices
    )
    target, base = _writable(kb, out), load(kb)
    store.check_place(target)
    objects = open_outliers(outliers).unknown_to(base.labels)
    around = open_outliers(context).unknown_to(base.labels) if context else (objects if objects.in_context else None)
    if exclude:
        objects, around = leave_out(_names(exclude), objects, around)
    if val is None:
        known, held_out = divided(streets(inliers, "train", base.labels))
    else:
        known, held_out = streets(inliers, "train", base.labels), streets(val, "val", base.labels)
    place = Path(target).resolve()
    run = place.with_name(place.name + ".residual.run")
    new = learn_residual(base, known, held_out, objects, around, config, run, resume)
    new = with_threshold(new, held_out, fpr)
    if out is not None and not (Path(out) / store.CURRENT).exists():
        base.save(out)  # so that it can be undone there, too
    _done(new, new.save(target), target, as_json, f"Next: owseg predict --kb {target} PICTURES")


@app.command()
def audit(
    kb: KB,
    outliers: Annotated[Path, typer.Argument(help="The folder of outliers that train-residual was given.")],
    data: Data,
    split: Annotated[str, typer.Option(help="Which split.")] = "test",
    backbone: Annotated[
        str | None,
        typer.Option(help="A transformers backbone to compare looks by: hub name or local path; by default KB's own."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Ask which outliers have something in common with what is unknown in a test set: by name, and by looks.

    A figure on anomalies means little if what they show was pasted into the streets that taught the network.
    """
    from owseg.audit import audit as compare
    from owseg.audit import summary
    from owseg.data import open_dataset
    from owseg.data.outliers import open_outliers
    from owseg.knowledge import load
    from owseg.models.backbones import from_pretrained

    base = load(kb)
    eyes = from_pretrained(backbone).eval() if backbone else base.network.backbone
    shown = open_outliers(outliers).unknown_to(base.labels)
    found = compare(shown, open_dataset(data, split, base.labels), eyes)
    if as_json:
        _print_json(found.to_json())
        return
    _print_table("What the anomalies look most like", ("category", "anomalies", "pixels", "similarity"), summary(found))
    print(found.words())


@app.command()
def fit(
    kb: KB,
    data: Data,
    scorers: Annotated[str, typer.Option(help="Which: knn, sml, or both with a comma.")] = "knn,sml",
    split: Annotated[str, typer.Option(help="The split that the network was trained on.")] = "train",
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Fit further scorers on labelled pictures: knn (k nearest features), sml (standardised max logits).

    The score in use stays; take one of these with owseg calibrate --scorer NAME, or compare with owseg evaluate.
    """
    from owseg.calibration import with_baselines
    from owseg.data import open_dataset
    from owseg.knowledge import load

    target, base = _writable(kb, out), load(kb)
    new = with_baselines(base, open_dataset(data, split, base.labels, train=True), _names(scorers))
    _done(new, new.save(target), target, as_json, f"Next: owseg evaluate {target} --data {data} --scorers all")


@app.command()
def calibrate(
    kb: KB,
    data: Data,
    split: Annotated[str, typer.Option(help="A split that was not trained on.")] = "val",
    fpr: Annotated[float, typer.Option(help="Share of known pixels that may be called unknown.")] = 0.05,
    method: Annotated[
        str, typer.Option(help="quantile (pooled pixels) or conformal (a bound that holds per image).")
    ] = "quantile",
    scorer: Annotated[str | None, typer.Option(help="Change the score, too.")] = None,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Find the threshold above which a pixel is unknown, from pictures whose known pixels are labelled."""
    from owseg.calibration import with_threshold
    from owseg.data import open_dataset
    from owseg.knowledge import load

    target = _writable(kb, out)
    base = load(kb)
    new = with_threshold(base, open_dataset(data, split, base.labels), fpr, method, scorer)
    _done(new, new.save(target), target, as_json, f"Next: owseg predict --kb {target} PICTURES")


@app.command()
def learn(
    kb: KB,
    name: Annotated[
        str, typer.Argument(help="The new class; of several with commas, each is learned in its turn and stored.")
    ],
    shots: Annotated[
        Path | None,
        typer.Option(
            help="Folder with images/ and masks/ of the same names (0 in a mask is off the class); "
            "or annotations: COCO, CVAT, Label Studio, LabelMe."
        ),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(help="Where the annotated pictures are; by default beside the annotations."),
    ] = None,
    data: Annotated[str | None, typer.Option("--data", help="Or draw the shots from a labelled data set.")] = None,
    split: Annotated[
        str, typer.Option(help="Which split to draw from; the synthetic streets have one named shots.")
    ] = "train",
    count: Annotated[int, typer.Option(help="How many to draw (1 to 5).")] = 5,
    seed: Annotated[int, typer.Option(help="Seed of the draw.")] = 0,
    top: Annotated[float, typer.Option(help="Draw among this share of the frames: those that show it best.")] = 0.2,
    manifest: Annotated[
        Path | None,
        typer.Option(help="Write down here which frames were drawn; if the file exists, learn from those again."),
    ] = None,
    method: Annotated[
        str,
        typer.Option(help="probe (the default), npm or plm (DMLNet's), or finetune (the baseline that forgets)."),
    ] = "",
    radius: Annotated[
        float | None, typer.Option(help="npm: lambda_novel, a squared distance; by default from the shots.")
    ] = None,
    heads: Annotated[str, typer.Option(help="plm: all heads answer, or only the latest.")] = "all",
    known: Annotated[
        str | None,
        typer.Option(help="Labelled data set whose val split re-calibrates the threshold; by default that of --data."),
    ] = None,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Learn a class from one to five annotated pictures, without forgetting the others. Undo with owseg rollback."""
    from owseg.data import open_dataset
    from owseg.exchange import shots_at
    from owseg.knowledge import load
    from owseg.learners.stream import Lesson, draw, from_manifest, learn_stream
    from owseg.learners.stream import manifest as described
    from owseg.store import CURRENT

    if (shots is None) == (data is None):
        raise OwsegError("give either --shots FOLDER or --data SET, so that there are pictures to learn from.")
    if images is not None and shots is None:
        raise OwsegError("--images says where the pictures of --shots are; with --data leave it out.")
    target, base, names = _writable(kb, out), load(kb), _names(name)
    how = _learner(method, radius, heads)
    if not names:
        raise OwsegError("name the class to learn, or several with commas.")
    if taken := sorted(set(names) & set(base.labels.names)):
        raise OwsegError(f"{taken[0]!r} is known already; give the new class another name, or roll back first.")
    if shots is not None:
        if manifest is not None or (len(names) != 1 and (shots / "masks").is_dir()):
            raise OwsegError("a folder of masks teaches one class; for a stream or a manifest give --data SET.")
        lessons = [Lesson(n, tuple(shots_at(shots, n, images))) for n in names]
    else:
        source = open_dataset(data or "", split)
        if manifest is not None and manifest.exists():
            lessons = from_manifest(manifest, source)
            if (told := tuple(lesson.name for lesson in lessons)) != names:
                raise OwsegError(f"{manifest} teaches {','.join(told)}, not {name}; name those, or another file.")
        else:
            lessons = draw(source, names, count, seed, top)
    calibration = open_dataset(known or data or "", "val", base.labels) if known or data else None
    stages = learn_stream(base, lessons, calibration, how)
    if manifest is not None and not manifest.exists():
        rule = {"count": count, "seed": seed, "top": top}
        write_whole(manifest, json.dumps(described(lessons, source, **rule), indent=1).encode() + b"\n")
    if out is not None and not (Path(out) / CURRENT).exists():
        base.save(out)  # so that what was learned can be undone there, too
    for stage in stages:
        version = stage.save(target)
    hint = f"Next: owseg predict --kb {target} PICTURES"
    if calibration is None and base.threshold:
        hint = f"The threshold stayed as it was; --known SET would re-calibrate it.\n{hint}"
    _done(stages[-1], version, target, as_json, hint)


@app.command()
def review(
    kb: KB,
    queue: Annotated[Path, typer.Argument(metavar="QUEUE", help="The folder that owseg discover made.")],
    out: Out = None,
    port: Annotated[int, typer.Option(help="Where the page is served.")] = 8765,
    host: Annotated[
        str, typer.Option(help="The address to serve at; any but this computer's own makes a token part of the URL.")
    ] = "127.0.0.1",
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page.")] = True,
) -> None:
    """Decide about the unknown regions in a browser: accept, reject, correct, name them, and learn the class.

    Every action is on the disk at once; stop with Ctrl-C, and go on later where you were.
    """
    from owseg.review.serve import serve

    serve(kb, _writable(kb, out), queue, host, port, browser)


@app.command()
def export(
    kb: KB,
    pictures: Annotated[list[str], typer.Argument(help="Pictures, folders or quoted patterns such as 'a/*.jpg'.")],
    kind: Annotated[str, typer.Option("--format", help="coco, cvat, cvat-masks or labelstudio.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the annotations, or their file.")],
    url: Url = "",
    full_resolution: FullResolution = False,
    multi_scale: MultiScale = False,
    as_json: Json = False,
) -> None:
    """Label pictures for people to correct in CVAT or Label Studio: classes by name and colour, and the unknown.

    Correct them there, name what was unknown, export, and give the export to owseg learn --shots.
    """
    from owseg.knowledge import load
    from owseg.predict import find, predicted

    base = load(kb)
    look = partial(base.forward, full_resolution=full_resolution, multi_scale=multi_scale)
    _exchanged(predicted(base, find(pictures), look), out, kind, url, as_json, predicted=True)


@app.command()
def exchange(
    source: Annotated[Path, typer.Argument(metavar="SRC", help="Annotations: a file, a folder or a zip.")],
    target: Annotated[Path, typer.Argument(metavar="DST", help="Folder for the same in another format, or its file.")],
    to: Annotated[str, typer.Option("--to", help="coco, cvat, cvat-masks or labelstudio.")],
    of: Annotated[
        str | None,
        typer.Option("--from", help="The same, or labelme; by default what the annotations are recognised as."),
    ] = None,
    url: Url = "",
    as_json: Json = False,
) -> None:
    """Take annotations from one labelling tool to another: masks to the pixel, names and colours as they are."""
    from owseg.exchange import read

    _exchanged(read(source, of), target, to, url, as_json)


@app.command()
def evaluate(
    kb: KB,
    data: Data,
    split: Annotated[str, typer.Option(help="Which split.")] = "test",
    scorers: Annotated[str, typer.Option(help="Which scores: names with commas, or all.")] = "",
    per_image: Annotated[
        bool,
        typer.Option("--per-image", help="Mean over pictures, FPR95 at the recall nearest to .95: DMLNet's protocol."),
    ] = False,
    full_resolution: FullResolution = False,
    multi_scale: MultiScale = False,
    stream: Annotated[
        bool, typer.Option("--stream", help="Measure every stage of learning, and what was forgotten.")
    ] = False,
    report: Annotated[
        Path | None, typer.Option(help="With --stream: tell it as a page, with pictures, in this file.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure it: IoU per class, and how well the unknown is found. Classes that KB does not know are the unknown."""
    from owseg.data import open_dataset
    from owseg.evaluation import Evaluation, Stream, evaluate_stream
    from owseg.evaluation import evaluate as measure
    from owseg.knowledge import load, load_stages
    from owseg.metrics.pixel import Exact, PerImage

    if report is not None and not stream:
        raise OwsegError("--report tells the story of a stream; add --stream.")
    if stream and (scorers or per_image or full_resolution or multi_scale):
        raise OwsegError("--stream measures each stage with its own score, pixels pooled; leave the other options out.")
    base = load(kb)
    frames = open_dataset(data, split, base.labels)
    if stream:
        stages = load_stages(kb)
        told = evaluate_stream(stages, frames)
        result: Evaluation | Stream = told
    else:
        names = tuple(base.scorers()) if scorers == "all" else _names(scorers) or (base.scorer,)
        look = partial(base.forward, full_resolution=full_resolution, multi_scale=multi_scale)
        result = measure(base, frames, names, PerImage if per_image else Exact, look)
    if as_json:
        _print_json(result.to_json())
    else:
        for table in result.tables():
            _print_table(*table)
    if report is not None:
        from owseg.story import tell

        _complain(f"The story is in {tell(stages, frames, told, report)}; open it in a browser.")


@app.command()
def benchmark(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE.toml", help="What to measure.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for maps, results and pictures; go on with it.")],
    workers: Annotated[int, typer.Option(help="Processes that take the metrics.")] = 1,
    as_json: Json = False,
) -> None:
    """Measure models x scorers x data sets: tables (Markdown, LaTeX, CSV, JSON) and pictures.

    A run that was stopped goes on where it was: give it the same folder. The least that a recipe says:

    \b
        models.mine.kb = "street8"
        data.camvid.spec = "camvid:$OWSEG_DATA/camvid"
        data.camvid.split = "test"

    docs/benchmark.md has the rest.
    """
    from owseg.benchmark import read_recipe, run

    told = read_recipe(recipe)
    for line in told.left_out:
        _complain(f"left out: {line}")
    results = run(told, out, workers, _complain)
    if as_json:
        _print_json(results.to_json())
        return
    keys = {"auroc": "AUROC", "ap": "AP", "fpr95": "FPR95", "f1": "F1", "open_miou_calibrated": "open-mIoU, calibrated"}
    for name in dict.fromkeys(row.data for row in results.rows):
        rows = [
            (row.model, row.scorer, *("–" if (v := row.figures[key]) is None else f"{v:.3f}" for key in keys))
            for row in results.rows
            if row.data == name and row.pictures
        ]
        _print_table(name, ("model", "scorer", *keys.values()), rows)
    print(f"All figures are in {out}/results.md, .tex, .csv and .json; pictures are in {out}/pictures/.")


data_app = typer.Typer(no_args_is_help=True, help="Data sets: which ones can be opened, and whether yours is whole.")
app.add_typer(data_app, name="data")


@data_app.command("list")
def data_list(as_json: Json = False) -> None:
    """List the data sets that can be opened: what each is, how it must lie on disk, where it is from."""
    from owseg.catalogue import CARDS

    if as_json:
        _print_json({kind: vars(card) for kind, card in CARDS.items()})
        return
    for kind, card in CARDS.items():
        print(f"{kind if kind == 'synthetic' else f'{kind}:DIR'}  {card.what}")
        print(f"    classes  {card.classes}\n    layout   {card.layout}\n    splits   {', '.join(card.splits)}")
        print(f"    from     {card.origin} (licence: {card.licence})")
    print("Next: owseg data check KIND:DIR")


@data_app.command("check")
def data_check(
    spec: Annotated[str, typer.Argument(metavar="SPEC", help="The data set: KIND:DIR or synthetic.")],
    split: Annotated[str | None, typer.Option(help="One split; by default every split there is.")] = None,
    as_json: Json = False,
) -> None:
    """Read every picture and mask of a data set, and say what is in it and what is wrong. Exit code 1 if anything is.

    The fingerprint is the same wherever the same pictures and masks are opened.
    """
    from owseg.catalogue import check

    found = check(spec, split)
    if as_json:
        _print_json({"spec": spec, "splits": [checked.to_json() for checked in found]})
    else:
        for checked in found:
            rows = [(n, f"{checked.pixels[n]:,}", f"{share:.3%}") for n, share in checked.shares().items()]
            sizes = "; ".join(f"{count} of {size}" for size, count in checked.sizes.items())
            print(f"{checked.name}: {checked.frames} pictures; {sizes or 'none could be read'}.")
            print(f"Without truth: {checked.without_truth}. Fingerprint: {checked.fingerprint or 'none, see below'}.")
            _print_table("", ("class", "pixels", "share"), rows)
            for line in checked.wrong:
                _complain(f"wrong: {line}")
    if any(checked.wrong for checked in found):
        raise typer.Exit(1)


@app.command()
def discover(
    kb: KB,
    pictures: Annotated[list[str], typer.Argument(help="Pictures, folders or quoted patterns such as 'a/*.jpg'.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the queue; where there is one, go on with it.")],
    min_area: Annotated[
        float, typer.Option(help="The smallest region: below 1 a share of the picture, from 1 on pixels.")
    ] = 0.002,
    split_at: Annotated[
        float, typer.Option(help="Touching things are told apart below this cosine, from -1 (never) to 1.")
    ] = 0.5,
    as_json: Json = False,
) -> None:
    """Find what is unknown in many pictures and put it into groups: a queue to decide about.

    Writes a folder with every unknown region, the groups in the order in which to look at them, and an overview,
    groups.jpg. A run that was stopped goes on where it was. Exit code 1 if any picture could not be read.
    """
    from owseg.discover import discover as look_for
    from owseg.knowledge import load
    from owseg.predict import find

    queue, found = look_for(load(kb), find(pictures), out, kb, min_area, split_at)
    if as_json:
        _print_json({"queue": str(queue.folder), **vars(found)})
    else:
        for reason in found.skipped:
            _complain(f"skipped: {reason}")
        copies = f" ({found.copies} of them repeat others)" if found.copies else ""
        print(f"{found.regions} unknown regions{copies} in {found.groups} groups, from {found.pictures} pictures.")
        print(f"Look at {out / 'groups.jpg'}. Next: owseg review {kb} {out}")
    if found.skipped:
        raise typer.Exit(1)


@app.command()
def history(kb: KB, as_json: Json = False) -> None:
    """List the versions of a knowledge base: what was done, when, and which one is in use."""
    from owseg import store
    from owseg.shipped import resolve

    lines = store.history(resolve(kb))
    if as_json:
        _print_json({"versions": [vars(line) for line in lines]})
        return
    rows = [
        (
            "→" if v.current else "",
            str(v.number),
            "" if v.parent is None else str(v.parent),
            v.written,
            v.message,
        )
        for v in lines
    ]
    _print_table(f"History of {kb}", ("", "version", "from", "written (UTC)", "what"), rows)


@app.command()
def rollback(
    kb: KB,
    version: Annotated[int | None, typer.Argument(help="The version to use; by default the one before.")] = None,
    as_json: Json = False,
) -> None:
    """Use an earlier version again. Nothing is deleted: name a later one to go forward."""
    from owseg import store

    if not Path(kb).exists():
        raise OwsegError(f"{kb} is no directory; name a knowledge base of your own.")
    number = store.rollback(kb, version)
    if as_json:
        _print_json({"version": number})
    else:
        print(f"{kb} is at version {number} now.")


@app.command()
def demo(
    data: Annotated[str, typer.Option("--data", help="synthetic, camvid:DIR or another KIND:DIR.")] = "synthetic",
    kb: Annotated[
        str | None, typer.Option("--kb", help="A knowledge base that knows all but the class to learn.")
    ] = None,
    learn: Annotated[str | None, typer.Option("--learn", help="The class to learn.")] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the report.")] = Path("owseg-demo"),
    seed: Annotated[int, typer.Option(help="Seed of the draw of shots.")] = 0,
    as_json: Json = False,
) -> None:
    """Watch the whole circle turn: predict, find the unknown, learn it from five pictures, predict again."""
    from owseg.demo import run

    result = run(data, kb, learn, out, seed)
    if as_json:
        _print_json(result)
    else:
        print(result["summary"])


def main() -> None:
    """Run the command line; what a user can mend ends in one sentence on standard error and exit code 1."""
    try:
        app()
    except OwsegError as error:
        _complain(f"error: {error}")
        sys.exit(1)
    except BrokenPipeError:
        sys.exit(1)
    except OSError as error:
        _complain(f"error: {error.filename or 'the disk'}: {error.strerror or error}.")
        sys.exit(1)


def _done(kb: Any, version: int, target: str, as_json: bool, hint: str) -> None:
    event = kb.history[-1]
    threshold = kb.threshold.to_json() if kb.threshold else None
    if as_json:
        _print_json({"kb": target, "version": version, "classes": list(kb.labels.names), "scorer": kb.scorer,
                     "threshold": threshold, "did": [e.message for e in kb.history]})  # fmt: skip
        return
    print(f"{target} is at version {version}: {event.message}.")
    print(f"It knows {', '.join(kb.labels.names)}.")
    if threshold:
        print(f"Above {kb.scorer} = {kb.threshold.value:.4g} a pixel is unknown.")
    print(hint)


def _exchanged(
    annotations: Iterable[Any], out: Path, kind: str, url: str, as_json: bool, predicted: bool = False
) -> None:
    """Write annotations, and say how to open them in the tool."""
    from owseg.exchange import write
    from owseg.exchange.labelstudio import LOCAL

    if url and kind != "labelstudio":
        raise OwsegError("--url is Label Studio's; leave it out.")
    counts: Counter[str] = Counter()

    def counted() -> Iterator[Any]:
        for a in annotations:
            counts[a.name] += 1
            yield a

    path = write(counted(), out, kind, predicted, url or LOCAL)
    if as_json:
        _print_json({"file": str(path), "format": kind, "pictures": dict(counts)})
        return
    print(f"{path} marks {', '.join(f'{n} in {k}' for n, k in counts.most_common()) or 'nothing'}.")
    print(HINTS[kind].format(path=path, labels=path.with_suffix("")))


_CVAT = (
    "Next: in CVAT, make a task of the pictures with the labels in {labels}.labels.json (Raw); then Upload annotations"
)
HINTS = {
    "coco": "Next: open it in any tool that reads COCO.",
    "cvat": f"{_CVAT}, CVAT 1.1.",
    "cvat-masks": f"{_CVAT}, Segmentation mask 1.1.",
    "labelstudio": "Next: in Label Studio make a project with the interface of {labels}.labels.xml (Code), and import "
    "{path}.",
}
"""What to do with annotations in each format."""


def _writable(kb: str, out: str | None) -> str:
    """Return where to store: ``out``, or ``kb`` itself unless it came with the package."""
    from owseg.shipped import resolve

    if out is not None:
        return out
    if Path(kb).exists():
        return kb
    if resolve(kb).exists():
        raise OwsegError(f"{kb} came with owseg and stays as it is; give --out DIR.")
    raise OwsegError(f"{kb} does not exist; name the directory of a knowledge base.")


def _learner(method: str, radius: float | None, heads: str) -> Any:
    """Return the learner that the options describe; None leaves the choice to the knowledge base."""
    from owseg.learners import METHODS, NPM, PLM

    method = method or ("npm" if radius is not None else "")
    if radius is not None and method != "npm":
        raise OwsegError("--radius is npm's; leave it out, or give --method npm.")
    if heads != "all" and method != "plm":
        raise OwsegError("--heads is plm's; leave it out, or give --method plm.")
    if method and method not in METHODS:
        raise OwsegError(f"there is no method {method!r}; it is one of {', '.join(METHODS)}.")
    if method == "npm":
        return NPM(radius)
    if method == "plm":
        return PLM(heads)
    return METHODS[method]() if method else None


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _size(text: str) -> tuple[int, int]:
    try:
        height, width = (int(v) for v in text.lower().split("x"))
    except ValueError:
        raise OwsegError(f"{text!r} is no size; write height x width, such as 256x352.") from None
    return height, width


def _print_json(value: object) -> None:
    print(json.dumps(value, indent=1, default=str))


def _print_table(title: str, header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    table = Table(title=escape(title), title_justify="left")  # a class may be called [car]
    for i, name in enumerate(header):
        table.add_column(escape(name), justify="left" if i == 0 or name == "what" else "right")
    for row in rows:
        table.add_row(*map(escape, row))
    Console().print(table)


def _complain(message: str) -> None:
    print(message, file=sys.stderr)
