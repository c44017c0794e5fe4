"""Knowledge bases on the Hugging Face hub, a repository each: ``hub:OWNER/NAME`` is the name of one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from owseg.errors import OwsegError
from owseg.knowledge.versions import CURRENT, has_version

PREFIX = "hub:"
"""What the name of a knowledge base on the hub begins with."""

FILES = (CURRENT, "[0-9]*/*")
"""What of a repository is a knowledge base; whatever else is there is not fetched."""


def download(name: str) -> Path:
    """Return the folder of the knowledge base ``hub:OWNER/NAME`` or ``hub:OWNER/NAME@REVISION``, fetched or cached.

    With HF_HUB_OFFLINE=1 the hub is not asked, and what is in its cache is taken. Raises ``OwsegError`` for a name that
    is none, a repository that cannot be fetched, and one that holds no knowledge base.
    """
    from huggingface_hub import snapshot_download

    repository, _, revision = name.removeprefix(PREFIX).partition("@")
    check_repository(repository)
    with explained(repository, "fetched", "check the name, the network, and `hf auth login` if it is private"):
        folder = Path(snapshot_download(repository, revision=revision or None, allow_patterns=list(FILES)))
    if not has_version(folder):
        raise OwsegError(f"{name} holds no knowledge base of owseg; `hf:{repository}` loads a network of transformers.")
    return folder


def check_repository(name: str) -> None:
    """Raise ``OwsegError`` where ``name`` is not OWNER/NAME, as the hub has it."""
    if not re.fullmatch(r"[\w.-]{1,96}/[\w.-]{1,96}", name, re.ASCII) or ".." in name:
        raise OwsegError(f"{name!r} is no repository of the hub; it is OWNER/NAME, such as me/street.")


@contextmanager
def explained(repository: str, what: str, advice: str) -> Iterator[None]:
    """Turn whatever the hub's library raises into one sentence."""
    try:
        yield
    except OwsegError:
        raise
    except Exception as error:  # of HTTP, of the connection, of its cache: it has dozens
        reason = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
        raise OwsegError(f"{repository} cannot be {what} ({reason:.200}); {advice}.") from error
