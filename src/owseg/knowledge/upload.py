"""Uploading a knowledge base to the Hugging Face hub, with a model card."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from owseg._files import write_whole
from owseg.errors import OwsegError
from owseg.knowledge.base import KnowledgeBase
from owseg.knowledge.model_card import model_card
from owseg.knowledge.repository import FILES, check_repository, explained
from owseg.knowledge.versions import has_version


def push(kb: KnowledgeBase, repository: str, licence: str = "other", private: bool = True, slim: bool = False) -> str:
    """Upload ``kb`` to the repository OWNER/NAME of the hub, made where there is none, and return its address.

    It replaces the knowledge base that was there; the hub keeps earlier ones by their revisions. Beside it is a model
    card (see ``model_card``). ``slim`` is as for ``save``. Raises ``OwsegError`` for a name that is none, and where the
    hub refuses or cannot be reached.
    """
    from huggingface_hub import HfApi

    check_repository(repository)
    api = HfApi()
    with tempfile.TemporaryDirectory() as place:
        write(kb, place, repository, licence, slim)
        with explained(repository, "uploaded", "check the name, the network, and that `hf auth login` has been done"):
            made = api.create_repo(repository, private=private, exist_ok=True)
            message = kb.history[-1].message if kb.history else "a knowledge base of owseg"
            # The numbers of versions are those of this upload, so what was there before goes.
            api.upload_folder(
                repo_id=repository, folder_path=place, commit_message=message, delete_patterns=list(FILES)
            )
    return str(made)


def write(kb: KnowledgeBase, folder: str | Path, repository: str, licence: str = "other", slim: bool = False) -> None:
    """Write what ``push`` uploads into ``folder``: one version of ``kb``, and README.md, its model card."""
    folder = Path(folder)
    if not re.fullmatch(r"[\w.-]{1,60}", licence, re.ASCII):
        raise OwsegError(f"{licence!r} is no identifier of a licence; give one of the hub, such as apache-2.0.")
    if has_version(folder):
        raise OwsegError(f"{folder} holds a knowledge base already; give another folder.")
    kb.save(folder, slim)
    write_whole(folder / "README.md", model_card(kb, repository, licence).encode())
