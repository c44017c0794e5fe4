"""The command line: one file a command, each a thin shell around a function that Python can call.

torch is imported only by a command that needs it, inside its function, so that help and errors come at once.
"""

from __future__ import annotations

import errno
import os
import sys
import warnings
from collections.abc import Callable
from io import TextIOWrapper
from typing import Annotated, NoReturn

import typer

from owseg import __version__
from owseg._progress import logger
from owseg.cli import (
    adapt,
    annotate,
    audit,
    benchmark,
    calibrate,
    correct,
    data,
    demo,
    discover,
    doctor,
    evaluate,
    exchange,
    export,
    fit,
    fit_baseline,
    forget,
    history,
    import_,
    info,
    learn,
    list_,
    merge,
    predict,
    push,
    rename,
    review,
    rollback,
    serve,
    submit,
    train,
    train_negative,
    train_residual,
    video,
)
from owseg.cli._help import Command, Group
from owseg.cli._log import logged
from owseg.cli._printing import print_error, print_note
from owseg.cli._running import command_name, runnable
from owseg.cli._stopping import Stopped, stoppable
from owseg.cli._usage import UsageError, usage_sentence
from owseg.errors import OwsegError

app = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Open-world semantic segmentation: label every pixel, say which are unknown, learn them from five images.\n\n"
    "A [bold]knowledge base[/bold] (KB) is a directory: a network, its classes, the classes learned since, and the "
    "threshold above which a pixel is unknown. Every change is a new version; nothing is lost. Begin with "
    "[bold]owseg demo[/bold].",
    epilog="Data sets are named [bold]folder:DIR[/bold] (images/, masks/, classes.json), [bold]synthetic[/bold] or "
    "[bold]KIND:DIR[/bold]; [bold]owseg data list[/bold] describes the kinds. Shipped knowledge bases: {shipped}. "
    "Published networks load as [bold]KIND:PLACE[/bold], where KIND is one of {networks}; [bold]hf:NAME[/bold] takes "
    "a SegFormer, UperNet or MobileNetV2-DeepLab of transformers.",
)


COMMANDS: dict[str, tuple[Callable[..., None], ...]] = {  # in the order of `owseg --help`
    "Start": (demo.demo, list_.list_, doctor.doctor),
    "Predict": (predict.predict, video.video, serve.serve, calibrate.calibrate, adapt.adapt, export.export),
    "Learn from people": (discover.discover, review.review, learn.learn, correct.correct, annotate.annotate),
    "Train": (
        train.train,
        train_negative.train_negative,
        train_residual.train_residual,
        fit.fit,
        fit_baseline.fit_baseline,
        import_.import_,
    ),
    "Measure": (evaluate.evaluate, benchmark.benchmark, submit.submit, audit.audit),
    "Data": (exchange.exchange,),
    "Versions": (info.info, history.history, rollback.rollback, forget.forget, rename.rename, merge.merge, push.push),
}
"""The commands by the title under which help lists them."""

for title, commands in COMMANDS.items():
    for command in commands:
        app.command(cls=Command, name=command_name(command), rich_help_panel=title)(runnable(command))

app.add_typer(data.app, name="data", rich_help_panel="Data")


def print_version(wanted: bool) -> None:
    """Print the version and end."""
    if wanted:
        print(f"owseg {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=print_version, help="Print the version.")
    ] = False,
) -> None:
    """Nothing but the options that stand before a command."""


def main() -> None:
    """Run the command line; an error that the user can mend is one sentence on standard error and exit code 1.

    The code is 2 where the command line cannot be read.
    """
    # Maps of images in large pages of memory (Linux): a forward pass on a CPU takes less time (docs/performance.md).
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    for output in (sys.stdout, sys.stderr):
        if isinstance(output, TextIOWrapper):
            output.reconfigure(errors="backslashreplace")  # a terminal may have ASCII alone
    with logged(), stoppable(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Image size .* exceeds limit")  # Pillow's; an error of ours follows
        warnings.showwarning = lambda message, *_: print_note(f"warning: {message}")  # not where, and in which file
        try:
            code = app(standalone_mode=False)
        except UsageError as error:
            _fail(usage_sentence(error), 2)
        except OwsegError as error:
            _fail(str(error))
        except Stopped as stop:  # before a command began
            sys.exit(stop.exit_code)
        # As in ``owseg ... | head``: nobody reads on.
        except BrokenPipeError:
            sys.exit(1)
        except OSError as error:
            _fail(_said_of(error))
        else:
            if code:
                sys.exit(code)


def _said_of(error: OSError) -> str:
    """Return the sentence about what a command did not foresee; the system does not always name the file."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{error.filename or 'the result'} cannot be written (the disk is full); free some space and try again."
    return f"{error.filename or 'the disk'}: {error.strerror or error}."


def _fail(sentence: str, code: int = 1) -> NoReturn:
    if sentence:
        print_error(f"error: {sentence}")
        logger.debug("it was raised here:", exc_info=True)
    sys.exit(code)
