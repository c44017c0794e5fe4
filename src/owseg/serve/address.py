"""The address of a server: a socket that listens, and what a browser is to open."""

from __future__ import annotations

import socket

from owseg.errors import OwsegError


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens at the address; raise ``OwsegError`` if that is not possible."""
    if not 0 <= port <= 65535:
        raise OwsegError(f"a port is 0 to 65535, not {port}.")
    try:
        family, kind, number, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, number)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen()  # from now on a client waits for the first answer instead of being refused
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise OwsegError(f"{host}:{port} cannot be served at ({reason}); give another --port or --host.") from None
    return listener


def url_of(host: str, listener: socket.socket, token: str | None) -> str:
    """Return the address of the page that is served at ``listener``, with the token if there is one."""
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{listener.getsockname()[1]}/" + (f"?token={token}" if token else "")
