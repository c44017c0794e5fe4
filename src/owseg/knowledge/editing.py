"""Forgetting, renaming and merging classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from owseg.errors import OwsegError
from owseg.increments.base import Increment
from owseg.increments.head import Head
from owseg.knowledge.base import KnowledgeBase
from owseg.knowledge.event import Event, user_name
from owseg.labels import LabelSpace, check_class_names


def forget(kb: KnowledgeBase, name: str) -> KnowledgeBase:
    """Return ``kb`` without the learned class ``name``, as if it had not been learned; the threshold stays.

    Other classes no longer compete with it; a head that was trained after it still knows it, and where it predicts it,
    the classes before are predicted. Raises ``OwsegError`` for a class of the network, one that is not there, and where
    a later head labels every pixel.
    """
    label = kb.labels.index(name)
    if label < len(kb.base_classes):
        raise OwsegError(f"{name!r} is a class that the network was trained for, and cannot be forgotten.")
    _check_heads(kb, label, "forgotten")
    gone = [i for i in kb.increments if i.name == name]
    increments = tuple(i.without(gone) for i in kb.increments if i.name != name)
    labels = kb.labels.without([name])
    return _edited(kb, "forget", f"forgot {name}", {"class": name}, labels, increments)


def rename(kb: KnowledgeBase, old: str, new: str) -> KnowledgeBase:
    """Return ``kb`` with the class ``old``, of the network or learned, called ``new``; its colour stays.

    Raises ``OwsegError`` for a class that is not there, and a name that is taken or reserved.
    """
    label = kb.labels.index(old)
    if new in kb.labels:
        which = "its name already" if new == old else "another class; merge the two, or give another name"
        raise OwsegError(f"{new!r} is {which}.")
    check_class_names([new])
    labels, details = _named(kb.labels, label, new), {"class": old, "name": new}
    return _edited(kb, "rename", f"renamed {old} to {new}", details, labels, kb.increments, {old: new})


def merge(kb: KnowledgeBase, a: str, b: str, name: str | None = None) -> KnowledgeBase:
    """Return ``kb`` with the classes ``a`` and ``b`` as one, called ``name``, by default ``b``; it has the colour of b.

    At least one of them was learned. What was predicted as either is predicted as the one. Raises ``OwsegError`` for
    two classes of the network, one that is not there, one and the same, a name that is taken or reserved, and where a
    head that labels every pixel knows both.
    """
    name = b if name is None else name
    first, second = sorted((kb.labels.index(a), kb.labels.index(b)))
    if first == second:
        raise OwsegError(f"{a!r} and {b!r} are one class; name another.")
    if second < len(kb.base_classes):
        raise OwsegError(f"{a!r} and {b!r} are both classes that the network was trained for, and cannot be merged.")
    if name not in (a, b):
        if name in kb.labels:
            raise OwsegError(f"{name!r} is another class; give the merged one another name.")
        check_class_names([name])
    _check_heads(kb, second, "merged")
    color = kb.labels.colors[kb.labels.index(b)]
    rest = kb.labels.without([kb.labels.names[second]])
    labels = _named(rest, first, name)
    labels = replace(labels, colors=(*labels.colors[:first], color, *labels.colors[first + 1 :]))
    message = f"merged {a} and {b}" + (f" as {name}" if name != b else "")
    names = {a: name, b: name}
    return _edited(kb, "merge", message, {"classes": [a, b], "name": name}, labels, kb.increments, names)


def _check_heads(kb: KnowledgeBase, label: int, what: str) -> None:
    """Raise ``OwsegError`` where a head of another class than ``label`` labels every pixel and knows that one."""
    alone = (i for i in kb.increments if isinstance(i, Head) and i.alone and i.last > label)
    if head := next(alone, None):
        raise OwsegError(
            f"{kb.labels.names[label]!r} cannot be {what}, as the head of {head.name!r} labels every pixel and knows "
            "it; roll back instead."
        )


def _named(labels: LabelSpace, label: int, name: str) -> LabelSpace:
    return replace(labels, names=(*labels.names[:label], name, *labels.names[label + 1 :]))


def _edited(
    kb: KnowledgeBase, action: str, message: str, details: Mapping[str, Any], labels: LabelSpace,
    increments: Sequence[Increment], names: Mapping[str, str] | None = None,
) -> KnowledgeBase:  # fmt: skip
    event = Event(action, message, {**details, "user": user_name()})
    return kb.after(event, labels=labels, increments=tuple(i.renamed(names or {}) for i in increments))
