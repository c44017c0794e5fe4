"""Configurations of transformers as plain JSON, and back from a file that anybody may have made."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from owseg.errors import OwsegError
from owseg.models.backbones import FAMILIES

WHOLE = ("segformer", "mobilenet_v2", "upernet", "mask2former", "oneformer", "eomt")
"""Types of model that owseg builds besides those that have an ``AutoBackbone``."""

OWN = ("size_multiple", "pyramid_strides")
"""What owseg adds to a configuration (see ``owseg.models.backbones.auto`` and ``vit``)."""

MOST, MOST_DEEP, MOST_PARTS = 1 << 16, 128, 1 << 10
"""The largest number in a configuration, the largest number of layers, and the most parts of a list or a mapping."""

DEEP = re.compile("layers|depth|blocks|convs|count")
"""What a number of layers has in its name."""

FETCHES = re.compile("_implementation|kernel_config|timm|pretrained_backbone|auto_map|remote_code")
"""What has in its name that weights or code are fetched, or a package of another is asked for them."""

LABELS = ("id2label", "label2id")
"""What has names of classes for keys, which may be any text."""

HARMLESS = (None, False, "", "eager", "sdpa")
DTYPES = (None, "float16", "bfloat16", "float32", "float64")


def config_of(config: Any) -> dict[str, Any]:
    """Return a configuration of transformers as plain JSON, without the path that the model was loaded from."""
    values = dict(config.to_dict())
    # A stored knowledge base must not name a folder of the machine that made it.
    values.pop("_name_or_path", None)
    return values


def stored_config(values: Mapping[str, Any]) -> Any:
    """Return the configuration of transformers of what ``config_of`` returned.

    Every stored one goes through here, so that no file decides what code runs or what is asked of a network: the type
    is one of ``model_types``, keys that its configuration does not have are left out, and so are those that begin with
    an underscore. Raises ``OwsegError`` for another type, for a key by which weights or code would be fetched, and for
    what ``check_bounds`` refuses.
    """
    from transformers import AutoConfig

    check_bounds(values, "config")
    known = _checked(values)
    return AutoConfig.for_model(known.pop("model_type"), **known)


def model_types() -> tuple[str, ...]:
    """Return the types of model that a stored configuration may have: of these and of families that are installed."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_BACKBONE_MAPPING_NAMES

    # A backbone of timm is code and weights of another package, chosen by a name in the configuration.
    return (*WHOLE, *(name for name in MODEL_FOR_BACKBONE_MAPPING_NAMES if "timm" not in name), *FAMILIES)


@cache
def _defaults(model_type: str) -> Mapping[str, Any]:
    from transformers import AutoConfig

    values = AutoConfig.for_model(model_type).to_dict()
    return {**dict.fromkeys(OWN), **{key: value for key, value in values.items() if not key.startswith("_")}}


def _checked(values: Mapping[str, Any], default: str | None = None) -> dict[str, Any]:
    """Return the known of ``values``, those of a configuration inside another one, of the type ``default``, as well."""
    kind = values.get("model_type")
    if kind is None or (kind not in model_types() and kind != default):
        raise OwsegError(f"the model_type {str(kind)[:40]!r} is none that a knowledge base can have.")
    _check_harmless(values)
    known = {key: value for key, value in values.items() if key in _defaults(kind)}
    for key, value in known.items():
        # Without a type of its own, transformers would take the default one and whatever keys there are.
        if isinstance(value, Mapping) and key.endswith("config"):
            known[key] = _checked(value, (_defaults(kind)[key] or {}).get("model_type"))
    return known


def _check_harmless(values: Mapping[str, Any]) -> None:
    for key, value in values.items():
        fetches = (FETCHES.search(key) and value not in HARMLESS) or (key == "backbone" and value is not None)
        if fetches or (key in ("dtype", "torch_dtype") and value not in DTYPES):
            raise OwsegError(f"the value {str(value)[:40]!r} of {key} is none that a knowledge base can have.")
        if isinstance(value, Mapping) and key not in LABELS:
            _check_harmless(value)


def check_bounds(value: Any, name: str) -> None:
    """Raise ``OwsegError`` for a number, a depth or a list, at ``name`` or inside it, that is larger than a network's.

    What is made from them is thus bounded in time; ``owseg.models.ops.filled`` bounds it in memory.
    """
    if isinstance(value, Mapping | list | tuple):
        if len(value) > MOST_PARTS:
            raise OwsegError(f"{name} has more than {MOST_PARTS} parts.")
        named = value.items() if isinstance(value, Mapping) else ((None, part) for part in value)
        for key, part in named:
            if key not in LABELS:
                check_bounds(part, name if key is None else f"{name}.{key}")
    elif isinstance(value, int | float):
        most = MOST_DEEP if DEEP.search(name.rpartition(".")[2]) else MOST
        if not abs(value) <= most:  # nor NaN
            raise OwsegError(f"{name} is a number up to {most}, not {str(value)[:40]}.")
