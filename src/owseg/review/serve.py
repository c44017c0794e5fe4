"""Serving the pages until Ctrl-C."""

from __future__ import annotations

import secrets
import webbrowser
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Timer
from typing import TYPE_CHECKING

from owseg._files import locked
from owseg.discovery.queue import Queue
from owseg.errors import OwsegError

if TYPE_CHECKING:
    from owseg.knowledge.base import KnowledgeBase


def serve(
    kb: str,
    target: str,
    queue: str | Path,
    host: str = "127.0.0.1",
    port: int = 8765,
    open_browser: bool = True,
    load: Callable[..., KnowledgeBase] | None = None,
) -> None:
    """Serve the pages of ``queue`` at ``host`` and ``port`` (0: any free one); versions learned go to ``target``.

    ``load`` loads a knowledge base by its name, or by directory and version. Every request must bring a random token,
    which the address that is printed and opened has. Raises ``OwsegError`` if NiceGUI is not installed, for a queue
    that ``kb`` did not make or that is served already, and for an address that cannot be served at.
    """
    try:
        import nicegui  # noqa: F401
        import uvicorn
    except ImportError:
        raise OwsegError("the page needs NiceGUI; install it with `pip install 'owseg[review]'`.") from None
    from owseg.knowledge.load import load as load_stored
    from owseg.review.pages import application
    from owseg.review.session import LearningSession
    from owseg.review.state import ReviewState
    from owseg.serve.address import listen, url_of
    from owseg.serve.guard import is_loopback
    from owseg.serve.limits import bounded_config

    state = ReviewState(Queue.open(queue))
    state.groups()  # damaged groups are reported here, not on the page
    # Before the knowledge base is loaded: a port that is taken is reported at once.
    listener = listen(host, port)
    busy = f"{queue} is open in another `owseg review`; go on in its page, or stop it first."
    with listener, locked(state.queue.folder / ".review.lock", busy):
        session = LearningSession(state, kb, target, load or load_stored)
        token, local = secrets.token_urlsafe(24), is_loopback(host)
        url = url_of(host, listener, token)
        print(f"Reviewing {queue}: open {url}", flush=True)
        if not local:
            print("Anyone with this address can decide and learn; the connection is not encrypted.", flush=True)
        print(
            f"A class that is learned becomes a new version of {target}. Press ? there for the keys, Ctrl-C here to "
            "stop.",
            flush=True,
        )
        if open_browser:
            # Later, since run() does not return; the socket listens already, so a browser that is early waits.
            Timer(1.0, webbrowser.open, (url,)).start()
        with suppress(KeyboardInterrupt), state.queue.storage.kept_open():
            uvicorn.Server(bounded_config(application(state, session, token, local))).run([listener])
    print(f"Stopped. All decisions are in {queue}; the same command goes on from there.")
