"""What the service answers, as the OpenAPI page describes it, with examples."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from owseg.serve.images import TYPES


class Exact(BaseModel):
    """A value without further keys."""

    model_config = ConfigDict(extra="forbid")


class Error(Exact):
    """Why a request was not answered."""

    error: str = Field(
        description="One sentence.", examples=["the image has 9000x9000, more than 16,000,000 pixels; ..."]
    )


class Mask(Exact):
    """COCO's uncompressed run lengths."""

    size: tuple[int, int] = Field(description="Height and width in pixels.", examples=[(2, 3)])
    counts: list[int] = Field(description="Off, on, off, ..., column by column.", examples=[[1, 3, 2]])


class Region(Exact):
    """A connected unknown region."""

    box: tuple[int, int, int, int] = Field(description="x, y, width, height in pixels.", examples=[(0, 0, 2, 2)])
    area: int = Field(description="Pixels.", examples=[3])
    share: float = Field(description="Its share of the image.", examples=[0.5])
    mean: float = Field(description="Its mean score.", examples=[4.1])
    peak: float = Field(description="Its highest score.", examples=[5.3])
    nearest: str = Field(description="The known class that is most like it.", examples=["car"])
    distance: float | None = Field(description="How far that class is in feature space.", examples=[12.5])
    mask: Mask


class Shift(Exact):
    """How the scores of the image differ from those that the threshold is for."""

    score: float = Field(description="By how much the median is higher.", examples=[0.4])
    critical: float | None = Field(description="How large that may be by chance; null if not known.", examples=[1.2])
    lost: float = Field(description="Estimated share of known pixels that are called unknown.", examples=[0.06])
    images: int = Field(description="The number of images that were compared.", examples=[1])
    significant: bool = Field(description="Whether the image is of another place.", examples=[False])


class Prediction(Exact):
    """What is known of an image, and what is not."""

    image: str = Field(description="The name of the file, if it was sent.", examples=["photo.jpg"])
    version: int | None = Field(description="The version that predicted it.", examples=[3])
    size: tuple[int, int] = Field(description="Height and width in pixels.", examples=[(2, 3)])
    threshold: float = Field(description="The score above which a pixel is unknown.", examples=[3.2])
    unknown: float = Field(description="The share of pixels that are unknown.", examples=[0.5])
    classes: dict[str, float] = Field(description="Shares by class.", examples=[{"road": 0.5, "unknown": 0.5}])
    regions: list[Region] = Field(description="The unknown regions, the largest first.")
    shift: Shift | None
    warnings: list[str] = Field(description="Sentences, such as that the image is of another place.", examples=[[]])
    maps: dict[str, str] = Field(
        default_factory=dict, description="The maps that were asked for, PNGs in base64.",
        examples=[{"labels": "iVBORw0KGgo..."}],
    )  # fmt: skip


class Failed(Error):
    """An image of a batch that could not be predicted."""

    image: str = Field(description="The name of the file.", examples=["notes.txt"])


class Batch(Exact):
    """The answers for several images, in their order."""

    results: list[Prediction | Failed]


class NamedClass(Exact):
    """A class that is known."""

    id: int = Field(description="Its pixel value in the maps.", examples=[0])
    name: str = Field(examples=["road"])
    color: tuple[int, int, int] = Field(description="Red, green, blue.", examples=[(128, 64, 128)])
    learned: bool = Field(description="Whether it was learned from a few images.", examples=[False])


class ModelInfo(Exact):
    """The version in use."""

    name: str = Field(examples=["street"])
    version: int | None = Field(examples=[3])
    fingerprint: str = Field(description="Equal where labels and scores are equal.", examples=["0123456789abcdef"])
    classes: list[NamedClass]
    scorer: str = Field(examples=["joint"])
    threshold: dict[str, Any] = Field(examples=[{"value": 3.2, "method": "quantile", "target_fpr": 0.05}])
    calibration: dict[str, Any] | None = Field(
        description="How the threshold was found.", examples=[{"data": "camvid"}]
    )
    last_change: str | None = Field(examples=["2025-01-31T12:00:00.000+00:00 learned scooter from 5 images"])
    loaded: str = Field(description="When it was loaded (UTC).", examples=["2025-01-31T12:00:01+00:00"])
    failure: str | None = Field(description="Why a newer version is not in use; null where it is.", examples=[None])


_FILE = {"type": "string", "format": "binary"}

IMAGE_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            **{kind: {"schema": _FILE} for kind in ("image/jpeg", "image/png", TYPES[1])},
            "multipart/form-data": {"schema": {"type": "object", "properties": {"image": _FILE}}},
        },
    }
}
"""The body of a request with one image."""

FILES_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {"type": "object", "properties": {"images": {"type": "array", "items": _FILE}}}
            }
        },
    }
}
"""The body of a request with several."""

REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": Error, "description": text}
    for status, text in (
        (401, "The token is missing or wrong."),
        (403, "Of a page of another site, or for another host."),
        (408, "The request took too long to arrive."),
        (413, "Too many bytes, pixels or images."),
        (415, "No image."),
        (422, "A damaged image, or a query that cannot be read."),
        (429, "Too many images wait; Retry-After says when to try again."),
        (503, "The service is ending, or too many connections are open."),
    )
}
