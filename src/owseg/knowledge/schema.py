"""What knowledge.json may hold: checked before anything is built from it, as anybody may have made the file."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from owseg.errors import OwsegError
from owseg.models.backbones.configs import check_bounds

Setting: TypeAlias = bool | int | float | str | list[float] | None
Mean: TypeAlias = Annotated[list[Annotated[float, Field(ge=-1e3, le=1e3)]], Field(min_length=3, max_length=3)]
Deviation: TypeAlias = Annotated[list[Annotated[float, Field(gt=1e-6, le=1e3)]], Field(min_length=3, max_length=3)]


class _Known(BaseModel):
    """Values of exactly these keys and types; numbers are finite."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class _Part(_Known):
    """A plug-in by its name ``kind`` and its options, which whoever makes it checks."""

    model_config = ConfigDict(extra="allow")
    kind: str


class _Increment(_Part):
    name: str


class _Backbone(_Known):
    config: dict[str, Any]
    mean: Mean
    std: Deviation


class _Network(_Known):
    classes: Annotated[int, Field(ge=1, le=253)]
    backbone: _Backbone
    decoder: _Part
    classifier: _Part
    size: Annotated[int, Field(ge=1, le=4096)] | None = None
    scales: Annotated[list[Annotated[float, Field(ge=0.1, le=8)]], Field(min_length=1, max_length=8)] = [1.0]
    negative: _Part | None = None
    squares: bool = False


class _Joint(_Known):
    channels: int
    num_classes: int
    level: int
    shrinkage: float
    relative: bool
    compress: bool = False
    rectify: bool = False
    weights: Annotated[list[float], Field(min_length=4, max_length=4)] = []


class _Residual(_Known):
    skip: int
    width: int
    rates: list[Annotated[int, Field(ge=1, le=64)]]
    contrast: int
    place: str = ""
    form: str = ""
    align_corners: bool = False


class _Reference(_Known):
    name: str
    sha256: str


class _Event(_Known):
    action: str
    message: str
    details: dict[str, Any]
    when: str


class _Knowledge(_Known):
    format: Literal[2]
    classes: list[Any]
    increments: list[_Increment]
    prototypes: Any
    scorer: str
    threshold: dict[str, Any] | None
    obstacles: dict[str, Any] | None = None
    fitted: _Joint | None
    residual: _Residual | None = None
    extra: dict[str, dict[str, Setting]] = {}
    network: _Network
    backbone: _Reference | None = None
    history: list[_Event]


def check_knowledge(value: Any, where: str) -> None:
    """Raise ``OwsegError`` where ``value`` is not what knowledge.json holds; it names ``where`` and the key.

    What it does not check are the options of parts, which whoever makes them does, but for their sizes.
    """
    try:
        _Knowledge.model_validate(value)
        for key in ("network", "residual"):
            check_bounds(value.get(key), key)
        for increment in value["increments"]:
            check_bounds(increment.get("decoder"), "increments.decoder")
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        key = ".".join(map(str, first["loc"])) or "the whole"
        raise _other(where, f"{key}: {first['msg'][0].lower()}{first['msg'][1:]}") from None
    except OwsegError as error:
        raise _other(where, str(error).rstrip(".")) from None


def _other(where: str, reason: str) -> OwsegError:
    return OwsegError(f"{where} does not describe a knowledge base ({reason}).")
