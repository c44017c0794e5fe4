"""Serving until Ctrl-C or SIGTERM."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from contextlib import suppress
from math import ceil
from typing import TYPE_CHECKING

from owseg.errors import OwsegError

if TYPE_CHECKING:
    from owseg.knowledge.model import Model
    from owseg.serve.settings import Limits

GRACE = 60
"""Beside the time to send a request, so many seconds may pass until what was begun is answered, once it is stopped."""


def serve(
    kb: str,
    host: str = "127.0.0.1",
    port: int = 8000,
    token: str | None = None,
    limits: Limits | None = None,
    load: Callable[[str], Model] | None = None,
) -> None:
    """Serve the knowledge base, or the export, that the name ``kb`` means at ``host`` and ``port`` (0: any free one).

    Whatever becomes its current version is served from then on. Every request must bring the ``token``; without one,
    nobody is asked for it on loopback, and elsewhere one is made and printed. ``load`` loads a knowledge base, or what
    was exported of one, by its name. Raises ``OwsegError`` where the extra is not installed, for an address that cannot
    be served at, and as ``load`` does.
    """
    check_installed()
    import uvicorn

    from owseg.knowledge.load import load as load_stored
    from owseg.serve.address import listen, url_of
    from owseg.serve.app import application
    from owseg.serve.guard import is_loopback
    from owseg.serve.limits import bounded_config
    from owseg.serve.model import Current, pointer_of, served
    from owseg.serve.service import Service
    from owseg.serve.settings import Limits

    limits, loaded = limits or Limits(), load or load_stored
    if token == "":
        raise OwsegError("an empty token would let everybody in; give one, or none.")
    with listen(host, port) as listener:  # before the network is loaded: a port that is taken is reported at once
        current = Current(lambda: served(loaded(kb), kb), pointer_of(kb))
        local = is_loopback(host) and token is None
        made = None if token or local else secrets.token_urlsafe(24)
        print(f"Serving {kb}, version {current.model.version}: {url_of(host, listener, made)}", flush=True)
        if made:
            print(f"Every request needs the token: Authorization: Bearer {made}", flush=True)
        if not is_loopback(host):
            print("The connection is not encrypted; put a proxy that speaks TLS in front of it.", flush=True)
        logging.getLogger("python_multipart").setLevel(logging.CRITICAL)  # any client can send what is no form
        service = Service(current, limits)
        config = bounded_config(
            application(service, token or made, local),
            limits.seconds,
            ceil(limits.seconds) + GRACE,
            service.metrics.refused,
        )
        with suppress(KeyboardInterrupt):  # of the signal, which uvicorn raises again once all is answered
            uvicorn.Server(config).run([listener])
    print("Stopped; what was begun is answered.")


def check_installed() -> None:
    """Raise ``OwsegError`` where what the service needs is not installed."""
    try:
        import fastapi  # noqa: F401
        import prometheus_client  # noqa: F401
        import python_multipart  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise OwsegError(f"serving needs {error.name}; install it with `pip install 'owseg[serve]'`.") from None
