"""A request that is refused: its status, and one sentence for whoever sent it."""

from __future__ import annotations

from collections.abc import Mapping

from owseg.errors import OwsegError

LEFT = "the client left before it was answered."
"""Why a request has the status 499, which nobody receives; it is counted."""


class Refused(OwsegError):
    """A request is answered by ``status``, the message as the sentence, and ``headers``."""

    def __init__(self, status: int, why: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(why)
        self.status, self.headers = status, dict(headers or {})
