"""Serving the page until Ctrl-C."""

from __future__ import annotations

import secrets
import socket
import webbrowser
from contextlib import suppress
from pathlib import Path
from threading import Timer

from owseg.discovery.queue import Queue
from owseg.errors import OwsegError


def serve(
    kb: str, target: str, queue: str | Path, host: str = "127.0.0.1", port: int = 8765, open_browser: bool = True
) -> None:
    """Serve the page of ``queue`` at ``host`` and ``port`` (0: any that is free); what is learned goes to ``target``.

    Anything but loopback gets a random token, without which nothing is answered. Raises ``OwsegError`` where NiceGUI is
    missing, for a queue of another knowledge base, and for an address that cannot be had.
    """
    try:
        import nicegui  # noqa: F401
        import uvicorn
    except ImportError:
        raise OwsegError("the page needs NiceGUI; install it with `pip install nicegui`.") from None
    from owseg.review.pages import application
    from owseg.review.session import LearningSession
    from owseg.review.state import ReviewState
    from owseg.serve.guard import is_loopback

    desk = ReviewState(Queue.open(queue))
    desk.groups()
    place = _listen(host, port)
    with place:
        lessons = LearningSession(desk, kb, target)
        token = "" if is_loopback(host) else secrets.token_urlsafe(24)
        shown = f"[{host}]" if ":" in host else host
        url = f"http://{shown}:{place.getsockname()[1]}/{f'?token={token}' if token else ''}"
        print(f"Reviewing {queue}: open {url}", flush=True)
        if token:
            print("Whoever has this address may decide and learn; it is not encrypted.", flush=True)
        print(
            f"What is learned becomes a new version of {target}. Press ? there for the keys, Ctrl-C here to stop.",
            flush=True,
        )
        if open_browser:
            Timer(1.0, webbrowser.open, (url,)).start()
        config = uvicorn.Config(
            application(desk, lessons, token), log_level="warning", timeout_graceful_shutdown=1, ws_max_size=1 << 20,
            proxy_headers=False, server_header=False,
        )  # fmt: skip
        with suppress(KeyboardInterrupt):
            uvicorn.Server(config).run([place])
    print(f"Stopped. Everything is in {queue}; the same command goes on from there.")


def _listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens at the address; raise ``OwsegError`` if it cannot be had."""
    if not 0 <= port <= 65535:
        raise OwsegError(f"a port is 0 to 65535, not {port}.")
    try:
        family, kind, number, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        place = socket.socket(family, kind, number)
        place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        place.bind(address)
        place.listen()  # who opens the page at once waits for it
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise OwsegError(f"{host}:{port} cannot be served at ({reason}); give another --port or --host.") from None
    return place
