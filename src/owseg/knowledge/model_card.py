"""The model card of a knowledge base, as Markdown with the hub's header: a pure function."""

from __future__ import annotations

import re

from owseg import __version__
from owseg.knowledge.base import KnowledgeBase

PAGE = """---
license: {licence}
library_name: owseg
pipeline_tag: image-segmentation
tags:
- semantic-segmentation
- open-world
- anomaly-segmentation
- out-of-distribution-detection
---

# {name}

An open-world semantic segmenter: it labels every pixel of an image as one of {count} classes, says which pixels are
of none of them, and learns such a class from a few annotated images.

```python
import owseg

kb = owseg.load("hub:{name}")
kb.predict("photo.jpg").save("out")
```

`pip install owseg`; on the command line `owseg predict photos/ --kb hub:{name}`. It was written by owseg {version}.

## Classes

| id | class | colour | |
|---|---|---|---|
{classes}

## What is unknown

{decision}

## Network

{network}

## What was done

{history}

## Limits

The rates above hold on images like those named there, on average. Elsewhere calibrate on images of your own
(`owseg calibrate`), or estimate the threshold without labels (`owseg adapt`). Do not use it where an error endangers
people without checks of your own.
"""


def model_card(kb: KnowledgeBase, name: str, licence: str = "other") -> str:
    """Return the card of ``kb``, called ``name``, whose weights are under ``licence``, an identifier of the hub.

    All that it says is from ``kb``: classes, how it was calibrated, the network, and its history with the data.
    """
    learned = set(kb.learned_classes)
    rows = (
        f"| {i} | {_text(name)} | #{bytes(color).hex()} | {'learned' if name in learned else ''} |"
        for i, (name, color) in enumerate(zip(kb.labels.names, kb.labels.colors, strict=True))
    )
    return PAGE.format(
        licence=licence,
        name=name,
        count=len(kb.labels),
        version=__version__,
        classes="\n".join(rows),
        decision=_decision(kb),
        network=_network(kb),
        history="\n".join(f"- {_text(e.when)} {_text(e.message)}" for e in kb.history) or "Nothing is known of it.",
    )


def _decision(kb: KnowledgeBase) -> str:
    threshold = kb.threshold
    if threshold is None:
        return f"It is not calibrated: the score is `{kb.scorer}`, and `owseg calibrate` finds its threshold."
    said = (
        f"A pixel is unknown where the score `{kb.scorer}` is above {threshold}, and no learned class is predicted. "
        f"Asked for were {threshold.target_fpr:.1%} of the known pixels above it; on the {threshold.images} images "
        f"of the calibration {threshold.achieved_fpr:.1%} are ({threshold.method})."
    )
    return f"{said} It was moved to another place since, without labels." if threshold.estimated else said


def _network(kb: KnowledgeBase) -> str:
    network = kb.network
    parameters = sum(p.numel() for p in network.parameters()) / 1e6
    size = f"; images are resized to a shorter side of {network.size} pixels" if network.size else ""
    kinds = f"Backbone `{network.backbone.kind}`, decoder `{network.decoder.title}`"
    return f"{kinds}, classifier `{network.classifier.config['kind']}`; {parameters:.1f} M parameters{size}."


def _text(text: str) -> str:
    """Return text that Markdown shows as it is, on one line."""
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", " ".join(text.split()))
