"""The command line: thin shells around what Python can call. torch is imported only by a command that needs it."""

from __future__ import annotations

import sys

import typer

from owseg.cli import (
    annotate,
    audit,
    benchmark,
    calibrate,
    data,
    demo,
    discover,
    evaluate,
    exchange,
    fit,
    history,
    learn,
    predict,
    review,
    rollback,
    train,
    train_residual,
)
from owseg.cli._printing import complain
from owseg.errors import OwsegError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="""Open-world segmentation: label every pixel, say which ones are unknown, learn them from five images.

    A [bold]knowledge base[/bold] (KB) is a directory: a network, its classes, what it learned since, and the threshold
    above which a pixel is unknown. Every change is a new version; nothing is lost. Begin with [bold]owseg demo[/bold].
    """,
    epilog="Data sets are named [bold]folder:DIR[/bold] (images/, masks/, classes.json), [bold]synthetic[/bold] or "
    "[bold]KIND:DIR[/bold]; [bold]owseg data list[/bold] names the kinds. Shipped knowledge bases: street, street8, "
    "synthetic. Others load as "
    "[bold]espnetv2-cityscapes:FILE[/bold] or [bold]hf:NAME[/bold] (SegFormer, UperNet, MobileNetV2-DeepLab).",
)


for command in (  # in the order of `owseg --help`
    predict.predict,
    train.train,
    train_residual.train_residual,
    audit.audit,
    fit.fit,
    calibrate.calibrate,
    learn.learn,
    review.review,
    annotate.annotate,
    exchange.exchange,
    evaluate.evaluate,
    benchmark.benchmark,
    discover.discover,
    history.history,
    rollback.rollback,
    demo.demo,
):
    app.command()(command)


app.add_typer(data.app, name="data")


def main() -> None:
    """Run the command line; what a user can mend ends in one sentence on standard error and exit code 1."""
    try:
        app()
    except OwsegError as error:
        complain(f"error: {error}")
        sys.exit(1)
    except BrokenPipeError:
        sys.exit(1)
    except OSError as error:
        complain(f"error: {error.filename or 'the disk'}: {error.strerror or error}.")
        sys.exit(1)
