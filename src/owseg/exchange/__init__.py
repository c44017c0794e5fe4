"""Annotations to and from labelling tools: one file a format; ``formats.py`` reads and writes them by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from owseg._registry import Registry

if TYPE_CHECKING:
    from owseg.exchange.base import Format

FORMATS: Registry[Format] = Registry("format", "owseg.exchange")
"""Formats of annotations by name; ``make()`` returns a ``Format``.

``facts`` has what ``docs/exchange.md`` says of it: what it ``reads``, ``writes`` and ``loses``. A format that can be
written has two more: the ``suffix`` of its file, and a ``hint`` on how to open the file in the tool, in which
``{path}`` stands for the file and ``{stem}`` for the same without its suffix.
"""
