"""The options of ``owseg train`` alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

NewKB = Annotated[Path, typer.Argument(metavar="KB", help="Directory for the new knowledge base.")]


Backbone = Annotated[
    str,
    typer.Option(
        help="A backbone: a name of the hub (OWNER/NAME), a folder of transformers, or a name of owseg, with FILE for "
        "its ImageNet weights. One of each family: {backbones}."
    ),
]


Preset = Annotated[
    str,
    typer.Option(
        help="Settings of training and network by name: {train_presets}. Any option that is given wins over them."
    ),
]


Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="A setting; may be repeated. In light: {train_settings}."),
]


Mode = Annotated[
    str | None,
    typer.Option(
        help="frozen: the backbone stays as it is, decoder and classifier learn on its features; minutes on a CPU. "
        "tuned: it learns, too."
    ),
]


Val = Annotated[
    float | None,
    typer.Option(
        metavar="SHARE",
        help="Where the data set has no split val: this share of its training images, such as 0.2, drawn with --seed.",
    ),
]


Unknown = Annotated[str, typer.Option(help="Classes to treat as unknown, by name: car,pedestrian.")]


Decoder = Annotated[str | None, typer.Option(help="Decoder of the network: {decoders}.")]


Width = Annotated[int | None, typer.Option(min=8, help="Channels of each decoder.")]


Classifier = Annotated[
    str, typer.Option(help="prototype: DMLNet's metric space, for its scores (EDS, MMSP) and NPM; or linear.")
]


Scale = Annotated[
    float, typer.Option(help="T, the distance of the prototypes from the origin; 3 in DMLNet and by default.")
]


Size = Annotated[
    int | None,
    typer.Option(
        min=32,
        help="Working size: the shorter side to which images are resized, here and whenever the "
        "network is used; by default that of the training images.",
    ),
]


Scales = Annotated[
    str | None,
    typer.Option(
        help="Factors of the working size at which the trained network looks at each image; what it finds is averaged. "
        "1 alone is a third faster."
    ),
]


OutlierFolder = Annotated[
    Path | None,
    typer.Option(
        "--outliers",
        help="Folder of objects of unknown classes (RGBA cut-outs, images/ and masks/, or COCO): the trained "
        "network gets a class for what they show, which scores alone read (see train-negative).",
    ),
]


Exclude = Annotated[
    str, typer.Option(help="Categories of outliers to leave out, besides the known classes: cow,sheep.")
]


Unlabeled = Annotated[
    str | None,
    typer.Option(
        help="Folder of photos of other cameras and places, which show known classes and need no labels: so that "
        "another place is less unknown. Scores alone read them."
    ),
]


From = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="KB",
        help="Begin with this knowledge base: one network of all classes that it has and has learned. Where masks say "
        "nothing, and for the classes of --unknown, the labels are what it predicts.",
    ),
]


Background = Annotated[
    bool, typer.Option("--background", help="A baseline: train void as a class; its probability is the score.")
]
