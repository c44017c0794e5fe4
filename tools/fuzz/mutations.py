"""Seeded changes of JSON values, of text and of bytes."""

from __future__ import annotations

import copy
import json
from random import Random
from typing import Any

ODD: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 3, 255, 4096, 2**16, 2**31, 2**63, 10**30, 0.5, -0.5, 1e-30, 1e308, float("nan"),
    float("inf"), "", "x", "unknown", "../../etc/passwd", "a/b", "\x1b[31m", "\u202e", "\ud800", "é" * 300, "bad\udcff",
    [], {}, [[]], [None], ["x"], [-1, 2**40], {"x": 1}, {"kind": "x"}, {"size": [10**5, 10**5], "counts": [1]},
    [[0, 0, 1e9, 0, 1e9, 1e9]], "os.system", "evil/kernel", "resnet", "timm_backbone", "eager", "float16",
)  # fmt: skip
"""What a value is replaced by."""

KEYS: tuple[str, ...] = (
    "kind", "name", "size", "model_type", "_attn_implementation", "attn_implementation", "use_timm_backbone",
    "use_pretrained_backbone", "backbone", "backbone_config", "dtype", "auto_map", "level", "negative", "of", "x",
)  # fmt: skip
"""What is added to a mapping, or what a key becomes."""


def changed_json(value: Any, random: Random) -> Any:
    """Return a copy of a JSON value with 1 to 3 of its parts replaced, removed, repeated, added or exchanged."""
    value = [copy.deepcopy(value)]
    for _ in range(random.choice((1, 1, 2, 3))):
        _change(value, random)
    return value[0]


def _change(whole: list[Any], random: Random) -> None:
    places = list(_places(whole))
    holder, key = random.choice(places[1:] or places)
    step = random.randrange(6)
    if step == 0 and len(places) > 1:
        del holder[key]
    elif step == 1:
        other, there = random.choice(places)
        holder[key] = copy.deepcopy(other[there])
    elif step == 2 and isinstance(holder, dict):
        holder[random.choice(KEYS)] = holder[key] if random.random() < 0.5 else random.choice(ODD)
    elif step == 3 and isinstance(holder[key], int | float) and not isinstance(holder[key], bool):
        holder[key] = random.choice((-holder[key], holder[key] * 1000, holder[key] + 1, holder[key] / 7, [holder[key]]))
    elif step == 4 and isinstance(holder[key], list) and holder[key]:
        holder[key] = holder[key] * random.choice((2, 50))
    else:
        holder[key] = copy.deepcopy(random.choice(ODD))
    if not whole:
        whole.append(None)


def _places(holder: Any) -> Any:
    keys = holder if isinstance(holder, dict) else range(len(holder))
    for key in list(keys):
        yield holder, key
        if isinstance(holder[key], dict | list):
            yield from _places(holder[key])


def as_json(value: Any) -> bytes:
    """Return the text of a JSON value; it may have NaN."""
    return json.dumps(value).encode()


TOKENS = (b"0", b"9" * 30, b"-", b'"', b"[", b"]", b"{", b"}", b",", b".", b"e9", b"<", b">", b"&", b"/", b"\\",
          b"\x00", b"\xff", b"\r\n", b"&x;", b"<!--", b"NaN", b"1e999", b"=", b"[[", b"\x1b[2J")  # fmt: skip


def changed_bytes(data: bytes, random: Random) -> bytes:
    """Return ``data`` with 1 to 8 places overwritten, removed, repeated, or cut off."""
    found = bytearray(data)
    for _ in range(random.randint(1, 8)):
        at, step, length = random.randrange(len(found) + 1), random.randrange(6), random.choice((1, 2, 4, 16, 200))
        if step == 0:
            found[at : at + 1] = random.choice(TOKENS)
        elif step == 1:
            found[at : at + length] = random.randbytes(length)
        elif step == 2:
            del found[at : at + length]
        elif step == 3:
            found[at:at] = found[at : at + length] * random.choice((1, 3, 40))
        elif step == 4 and random.random() < 0.2:
            del found[at:]
        else:
            found[at : at + 1] = bytes([random.randrange(256)])
    return bytes(found)


def changed_text(data: bytes, random: Random) -> bytes:
    """Return ``data`` changed as bytes, or with a word of it replaced by another one or by an odd value."""
    words = data.split(b'"')
    if random.random() < 0.4 or len(words) < 4:
        return changed_bytes(data, random)
    for _ in range(random.randint(1, 3)):
        odd = str(random.choice(ODD)).encode(errors="surrogatepass")
        words[random.randrange(len(words))] = random.choice((odd, random.choice(words), b"1e9", b"-1", b"99999999"))
    return b'"'.join(words)
