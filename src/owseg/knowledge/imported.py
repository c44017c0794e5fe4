"""The files of the papers' authors as knowledge bases: network, classes, learned heads and residual pattern."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from owseg.data.datasets.cityscapes import CITYSCAPES
from owseg.data.datasets.streethazards import CLASSES as STREETHAZARDS
from owseg.errors import OwsegError
from owseg.increments.head import Head, frozen
from owseg.knowledge.base import KnowledgeBase
from owseg.knowledge.event import Event
from owseg.knowledge.load import load
from owseg.labels import LabelSpace
from owseg.models.classifiers import PrototypeClassifier
from owseg.models.published import NETWORKS
from owseg.models.published.deeplabv3plus import DeepLabV3PlusDecoder, deeplab_resnet, deeplab_wide
from owseg.models.published.resnet_psp import PROTOTYPES, resnet_psp

NOVEL = ("car", "truck", "bus")
"""The classes that DMLNet leaves out of Cityscapes and learns in this order (Cen et al., ICCV 2021, Sec. 5.2)."""

PSP_CLASSES = {
    13: STREETHAZARDS.without(["anomaly"]),
    17: CITYSCAPES.without(["train", "motorcycle"]),
    16: CITYSCAPES.without(["train", "motorcycle", "bicycle"]),
    19: CITYSCAPES,
}
"""The classes of DMLNet's PSPNet by their number: StreetHazards, the two versions of BDD-Anomaly, BDD100K."""

DEEPLAB_CLASSES = {19: CITYSCAPES, 16: CITYSCAPES.without(NOVEL)}
"""Those of a DeepLabV3+ by their number, without those that it learned since."""

AUTHORS = ("dmlnet", "rpl")

RPL_SCORE = "rpl:smooth=7"
"""The score of RPL's authors: the energy at every pixel of the image, blurred by a Gaussian of 7x7 pixels."""


def import_network(spec: str, classes: LabelSpace | None = None) -> KnowledgeBase:
    """Return the knowledge base of a network that others trained.

    ``spec`` is ``dmlnet:FILE`` (DeepLabV3+), ``dmlnet:ENCODER,DECODER`` or ``dmlnet:FOLDER`` with both (PSPNet),
    ``rpl:FILE``, or the name of a published network, such as ``hf:NAME``. ``classes`` are by default those of the data
    set that the network was trained on, which is known by their number, and by the classes that it learned since. The
    score in use is that of its authors: ``eds`` in a metric space, ``RPL_SCORE`` with a residual. Raises ``OwsegError``
    for another name, a file that is none of theirs, and where the number of classes is another.
    """
    kind, _, place = spec.partition(":")
    if kind in NETWORKS:
        kb = load(spec)
        return kb if classes is None else replace(kb, labels=_fitting(classes, kb.network.num_classes))
    if kind not in AUTHORS or not place:
        kinds = ", ".join((*AUTHORS, *NETWORKS))
        raise OwsegError(f"{spec!r} names no network to import; give KIND:PLACE, where KIND is one of {kinds}.")
    return _dmlnet(place, classes) if kind == "dmlnet" else _rpl(Path(place), classes)


def _dmlnet(place: str, classes: LabelSpace | None) -> KnowledgeBase:
    files, learned = _files(place), list[DeepLabV3PlusDecoder]()
    if len(files) == 2:
        network, known = resnet_psp(*files), PSP_CLASSES
    else:
        (network, learned), known = deeplab_resnet(files[0]), DEEPLAB_CLASSES
    base = network.num_classes
    names = classes or _known(known, base, files[-1])
    if classes is None and learned:
        for name in NOVEL[: len(learned)]:
            names = names.extend(name, CITYSCAPES.colors[CITYSCAPES.names.index(name)])
    _fitting(names, base + len(learned))
    heads = [
        Head(name, frozen(decoder), PrototypeClassifier(decoder.head.out_channels, PROTOTYPES))
        for name, decoder in zip(names.names[base:], learned, strict=True)
    ]
    event = _event("dmlnet", files, len(names))
    return KnowledgeBase(network, names, tuple(heads), "eds", history=(event,))


def _rpl(path: Path, classes: LabelSpace | None) -> KnowledgeBase:
    network, residual = deeplab_wide(path)
    names = classes or _known(DEEPLAB_CLASSES, network.num_classes, path)
    scorer = "max_logit" if residual is None else RPL_SCORE
    event = _event("rpl", (path,), len(names))
    return KnowledgeBase(
        network, _fitting(names, network.num_classes), scorer=scorer, history=(event,), residual=residual
    )


def _files(place: str) -> tuple[Path] | tuple[Path, Path]:
    """Return DMLNet's one file, or its two: the encoder's and the decoder's."""
    path = Path(place).expanduser()
    if path.is_dir():
        found = [sorted(path.glob(f"{part}_*")) for part in ("encoder", "decoder")]
        if [len(part) for part in found] != [1, 1]:
            counts = f"{len(found[0])} files encoder_* and {len(found[1])} decoder_*"
            raise OwsegError(f"{path} has {counts}; give the two that belong together, dmlnet:ENCODER,DECODER.")
        return found[0][0], found[1][0]
    if path.exists() or "," not in place:
        return (path,)
    encoder, _, decoder = place.partition(",")
    return Path(encoder).expanduser(), Path(decoder).expanduser()


def _known(known: dict[int, LabelSpace], count: int, path: Path) -> LabelSpace:
    if count not in known:
        counts = ", ".join(map(str, known))
        raise OwsegError(f"{path} has {count} classes, not one of {counts}, whose names are known; give --classes.")
    return known[count]


def _fitting(classes: LabelSpace, count: int) -> LabelSpace:
    if len(classes) != count:
        raise OwsegError(f"the network has {count} classes, not {len(classes)}; give the names of all of them.")
    return classes


def _event(kind: str, files: Sequence[Path], classes: int) -> Event:
    names = ", ".join(path.name for path in files)  # without the folder, which is that of one machine
    return Event("import", f"imported {names} ({kind})", {"classes": classes})
