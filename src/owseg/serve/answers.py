"""A prediction as the service answers it: JSON, or one of its maps as a PNG."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from owseg._files import json_ready
from owseg.data.render import encode_labels, encode_png, encode_score
from owseg.knowledge.adaptation import Shift
from owseg.knowledge.prediction import Prediction
from owseg.openset import Threshold
from owseg.serve.model import Answer
from owseg.serve.refused import Refused

PNG: Mapping[str, Callable[[Prediction], bytes]] = {
    "labels": lambda p: encode_labels(p.labels, p.classes),
    "score": lambda p: encode_score(p.score, p.threshold),
    "open_set": lambda p: encode_labels(p.open_set, p.classes),
    "overlay": lambda p: encode_png(p.overlay()),
}
"""The maps by name: class ids in a palette, the score in 16 bits, ids with 254 for the unknown, the tinted image."""


def map_names(text: str) -> tuple[str, ...]:
    """Return the maps that a query names, with commas; raise ``Refused`` for one that there is not."""
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if wrong := [name for name in names if name not in PNG]:
        raise Refused(422, f"there is no map {wrong[0]!r:.60}; there are {', '.join(PNG)}.")
    return names


def wants_png(accept: str, form: str) -> bool:
    """Return whether a map is asked for in place of JSON, by ``form`` (json or png) or else by the header Accept.

    Raises ``Refused`` for any other form, and with 406 for a header that has neither.
    """
    if form:
        if form not in ("json", "png"):
            raise Refused(422, f"format is json or png, not {form!r:.60}.")
        return form == "png"
    kinds = [part.partition(";")[0].strip().lower() for part in accept.split(",") if part.strip()]
    for kind in kinds or ["*/*"]:
        if kind in ("application/json", "application/*", "*/*"):
            return False
        if kind in ("image/png", "image/*"):
            return True
    raise Refused(406, "there is application/json and image/png; accept one of these.")


def as_json(answer: Answer, name: str, maps: Sequence[str]) -> dict[str, Any]:
    """Return an answer as plain JSON; each of ``maps`` is a PNG in base64."""
    p = answer.prediction
    regions = [{k: v for k, v in region.to_json().items() if k != "image"} for region in p.regions]
    found = {
        **p.to_json(),
        "image": name,
        "version": answer.version,
        "regions": regions,
        "shift": answer.shift and answer.shift.to_json(),
        "warnings": warnings_of(answer.shift, p.threshold),
    }
    if maps:
        found["maps"] = {name: base64.b64encode(PNG[name](p)).decode() for name in maps}
    ready: dict[str, Any] = json_ready(found)
    return ready


def encoded(value: Any) -> bytes:
    """Return plain JSON as bytes."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()


def warnings_of(shift: Shift | None, threshold: Threshold) -> list[str]:
    """Return what is to be said of an image: that it is of another place, if it is."""
    if shift is None or not shift.significant:
        return []
    return [
        "this image differs from those that the threshold is for: an estimated "
        f"{shift.lost:.0%} of its known pixels are called unknown ({threshold.target_fpr:.0%} asked); "
        "owseg adapt moves the threshold to a new place."
    ]
