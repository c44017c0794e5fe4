"""The settings of every kind of training. No torch here: the command line reads options and defaults from this file."""

from __future__ import annotations

from dataclasses import dataclass

from owseg.errors import OwsegError, check_numbers

DEFAULT_BACKBONE = "efficientnet-lite0"
"""The backbone of a network for which none is named; its weights are a package of their own."""

MODES = ("frozen", "tuned")
"""What learns: decoder and classifier alone, on the features of a frozen backbone, or the backbone as well."""

SCALES = (1.0, 0.667)
"""The factors of the working size at which a new network looks at each image (see ``Network``)."""

WIDTH, MEMBERS = 128, 3
"""The channels of the decoders of a new network, and their number; their mean is used (see ``MeanDecoder``)."""

CLASSIFIER, PROTOTYPE_SCALE = "prototype", 3.0
"""The classifier of a network for which none is named, and T, the distance of prototypes from the origin."""

PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")
"""The precisions of a training; all keep the weights in 32 bits, the last needs a GPU."""

OPTIMIZERS = ("adamw", "adam", "sgd")
"""The optimizers of a training: AdamW, Adam, and gradient descent with a momentum of 0.9."""

SCHEDULES = ("cycle", "poly")
"""How learning rates change: one cycle up and down, or down from the start by (1 - step / steps)^0.9."""

LOSSES_AT = ("grid", "image")
"""Where the losses of a residual are taken: on the network's grid, or on logits interpolated to the view."""

PASTED_INTO = ("image", "view")
"""What outliers are pasted into: an inlier image before a view of it is taken, or the view."""

SIZES = (0.08, 0.6)
"""The range of sizes of a pasted outlier: that of ``owseg.data.copy_paste``, whose import would load torch."""

_ONES = ("epochs", "batch", "devices", "validate_every", "accumulate_grad_batches", "views", "label_stride", "members",
         "samples", "patches")  # fmt: skip
LEAST = {**dict.fromkeys(_ONES, 1), "workers": -1, **dict.fromkeys(("seed", "weight_decay", "jitter", "balance"), 0)}
POSITIVE = ("lr", "backbone_lr", "final_lr", "scale", "context_scale", "temperature")
"""The least values of settings, by their names in any of these classes, and which are to be above 0."""


@dataclass(frozen=True)
class LoopConfig:
    """The settings that every training has; the others add theirs and choose the defaults.

    An epoch takes every image once, in a random order, in steps of ``accumulate_grad_batches`` batches of ``batch``
    images a process. The network sees a view of each: resized by a log-uniform factor in ``scale``, cut to ``crop``
    (height, width) pixels, mirrored with probability 1/2, its brightness, contrast and saturation scaled by 1 +-
    ``jitter``. The ``optimizer`` is one of ``OPTIMIZERS``; learning rates follow the ``schedule``, one of
    ``SCHEDULES``, with ``lr`` at its top. Every ``validate_every`` epochs the weights are validated and, with the state
    of the run, written down. ``devices`` is the number of GPUs or, without one, of processes; ``workers`` that of the
    processes that read images ahead for each, which changes no bit: -1 is a core each, up to 8, on a GPU, and none on a
    CPU. Raises ``OwsegError`` for settings that no training can run with.
    """

    epochs: int = 20
    batch: int = 8
    crop: tuple[int, int] = (256, 352)
    scale: tuple[float, float] = (0.75, 2.0)
    jitter: float = 0.3
    lr: float = 1e-3
    weight_decay: float = 1e-2
    validate_every: int = 1
    seed: int = 0
    precision: str = "32-true"
    devices: int = 1
    optimizer: str = "adamw"
    schedule: str = "cycle"
    accumulate_grad_batches: int = 1
    workers: int = -1

    def __post_init__(self) -> None:
        check_numbers(self, LEAST, POSITIVE)
        if len(self.crop) != 2 or len(self.scale) != 2:
            raise OwsegError("crop and scale have two numbers each, such as crop=256,352 and scale=0.5,2.")
        if min(self.crop) < 32:
            raise OwsegError(f"a training view is at least 32x32 pixels, not {self.crop[0]}x{self.crop[1]}.")
        for name, values in (("precision", PRECISIONS), ("optimizer", OPTIMIZERS), ("schedule", SCHEDULES)):
            if (value := getattr(self, name)) not in values:
                raise OwsegError(f"there is no {name} {value!r}; it is one of {', '.join(values)}.")


@dataclass(frozen=True)
class TrainConfig(LoopConfig):
    """How a segmentation network is trained.

    In the ``mode`` "frozen" the backbone stays as it is, and the epochs take ``views`` fixed random views of each image
    in turn, whose features are computed once and kept in memory. In the mode "tuned" it learns at ``backbone_lr``, the
    rest at ``lr``; with ``freeze_stem`` its layers before the end of the first stage do not learn. In the first
    ``small`` share of the epochs ``crop`` and ``scale`` are halved, at a quarter of the cost (tuned alone).

    ``ema`` is the decay per step of the averaged weights, which are those validated and kept. A class of pixel
    frequency q weighs q^-balance in the cross-entropy; ``variance_weight`` is lambda_VL (DMLNet, Sec. 4.1), and the DCE
    weighs ``dce_weight``: 0 leaves VL alone (Table 3). The loss takes one label in each cell of ``label_stride`` x
    ``label_stride`` pixels, another one in each step. With ``short_sides`` an image is not resized by ``scale``, but to
    a shorter side drawn from them, or as far as it fits into ``crop``: DMLNet's sampling on StreetHazards.
    """

    mode: str = "frozen"
    views: int = 4
    crop: tuple[int, int] = (320, 448)
    scale: tuple[float, float] = (2 / 3, 1.5)
    lr: float = 2e-3
    validate_every: int = 5
    small: float = 0.4
    backbone_lr: float = 5e-4
    variance_weight: float = 0.01
    balance: float = 0.5
    freeze_stem: bool = True
    ema: float = 0.99
    label_stride: int = 2
    dce_weight: float = 1.0
    short_sides: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mode not in MODES:
            raise OwsegError(f"there is no mode {self.mode!r}; it is {' or '.join(MODES)}.")
        if not (0 <= self.ema <= 1 and 0 <= self.small <= 1):
            raise OwsegError(f"ema and small are shares from 0 to 1, not {self.ema:g} and {self.small:g}.")
        if min(self.short_sides, default=32) < 32:
            raise OwsegError(f"the shorter side of a view is at least 32 pixels, not {min(self.short_sides)}.")
        dce, vl = self.dce_weight, self.variance_weight
        if min(dce, vl) < 0 or dce == vl == 0:
            raise OwsegError(f"the weights of DCE and VL are 0 or more, and not both 0: {dce}, {vl}.")


@dataclass(frozen=True)
class PastingConfig(LoopConfig):
    """How outliers are shown: ``pasted`` of them, of ``sizes``, blended over ``feather`` pixels, in each inlier image.

    With ``factors`` an outlier is as large as its own image shows it, times one of them. See
    ``owseg.data.copy_paste.paste``. ``pasted_into`` is one of ``PASTED_INTO``: an outlier in the image is resized and
    recoloured with it, and may lie outside of the view; one in the view is always in it. Images of outliers where they
    were photographed are resized by a factor in ``context_scale``, and cropped at a random place, or at their centre if
    ``context_centred``.
    """

    crop: tuple[int, int] = (384, 512)
    scale: tuple[float, float] = (1.0, 2.0)
    validate_every: int = 2
    pasted: int = 4
    sizes: tuple[float, float] = SIZES
    factors: tuple[float, ...] = ()
    feather: float = 0.0
    pasted_into: str = "image"
    context_scale: tuple[float, float] = (0.75, 1.5)
    context_centred: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pasted_into not in PASTED_INTO:
            raise OwsegError(f"outliers are pasted into the {' or '.join(PASTED_INTO)}, not {self.pasted_into!r}.")
        if min(self.factors, default=1.0) <= 0:
            raise OwsegError(f"an outlier is resized by a factor above 0, not {min(self.factors):g}.")


@dataclass(frozen=True)
class NegativeConfig(PastingConfig):
    """How a negative class is trained: a decoder ``width`` channels wide, on a backbone that stays as it is.

    What is asked of it is a probability of ``1 - smoothing`` on outliers and of ``smoothing`` on inliers. Trained
    longer or without smoothing, it finds more of what is like the outliers and less of anything else. Of ``members``
    decoders, each trained for itself, the mean is used. That of a mask classifier is a row of its class layer: it has
    no ``width`` and no ``smoothing``. Of an inlier image without ground truth the share ``unsure`` is left out of which
    the network is least sure.
    """

    epochs: int = 3
    lr: float = 3e-3
    validate_every: int = 3
    width: int = 64
    smoothing: float = 0.05
    members: int = 3
    unsure: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.unsure < 1:
            raise OwsegError(f"unsure is a share from 0 to below 1, not {self.unsure}.")


@dataclass(frozen=True)
class ResidualConfig(PastingConfig):
    """How a residual pattern is trained.

    The loss is ``inlier_weight (CE + entropy_weight EM) + outlier_weight PE + contrast_weight CoroCL`` (see
    ``owseg.losses.outlier``); CoroCL compares up to ``samples`` pixels of each of its sets at ``temperature``. The
    other losses are taken on the network's grid, or with ``losses_at`` "image" on logits interpolated to the view.
    ``final_lr`` is the learning rate of the last convolution; one that starts at zero has far to go. ``place``,
    ``form``, ``skip``, ``width``, ``rates``, ``contrast`` and ``start`` are those of ``ResidualPattern``. What Liu et
    al. (ICCV 2023) have is the preset "paper" of ``owseg.training.presets``; the weights, ``pasted`` and ``final_lr``
    here were chosen on val images with outliers pasted into them.
    """

    final_lr: float = 1e-2
    inlier_weight: float = 1.0
    entropy_weight: float = 1.0
    outlier_weight: float = 0.5
    contrast_weight: float = 0.1
    samples: int = 512
    temperature: float = 0.1
    losses_at: str = "grid"
    place: str = "penultimate"
    form: str = "light"
    skip: int = 1
    width: int = 64
    rates: tuple[int, ...] = (3, 6, 12)
    contrast: int = 64
    start: str = "zero"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.losses_at not in LOSSES_AT:
            raise OwsegError(f"the losses are taken at the {' or '.join(LOSSES_AT)}, not at {self.losses_at!r}.")


@dataclass(frozen=True)
class RBMConfig(LoopConfig):
    """How an autoencoder of patches is trained: each step takes ``patches`` of each of ``batch`` images.

    ``noise`` is the standard deviation of what is added to a patch, of values in [0, 1]. The release has a learning
    rate of 1e-5 and up to 200 epochs; the model is the same here.
    """

    epochs: int = 20
    batch: int = 8
    lr: float = 3e-3
    weight_decay: float = 0.0
    optimizer: str = "adam"
    patches: int = 512
    noise: float = 0.005


@dataclass(frozen=True)
class GeneratorConfig(LoopConfig):
    """How a generator, label map -> image, is trained: L1, and ``feature_weight`` times L1 of a backbone's features.

    ``width``, ``depth``, ``blocks`` and ``side`` are its own (see ``owseg.models.generator``); ``crop`` and ``scale``
    are those of views of images whose shorter side is ``side``.
    """

    epochs: int = 20
    batch: int = 4
    crop: tuple[int, int] = (128, 160)
    scale: tuple[float, float] = (1.0, 1.5)
    jitter: float = 0.0
    lr: float = 1e-3
    weight_decay: float = 0.0
    optimizer: str = "adam"
    validate_every: int = 5
    width: int = 16
    depth: int = 3
    blocks: int = 6
    side: int = 128
    feature_weight: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.crop[0] % 2**self.depth or self.crop[1] % 2**self.depth:
            raise OwsegError(
                f"a generator that halves {self.depth} times takes crops of multiples of {2**self.depth} pixels, not "
                f"{self.crop[0]}x{self.crop[1]}."
            )


@dataclass(frozen=True)
class DiscrepancyConfig(LoopConfig):
    """How a discrepancy network is trained: ``share`` of the instances in a view get another class.

    ``widths`` and ``label_widths`` are its own (see ``owseg.models.discrepancy``), finest stage first. Those of the
    paper (Lis et al., ICCV 2019) are (64, 128, 256, 256) and (32, 64, 128, 256), with a learning rate of 1e-4.
    """

    epochs: int = 10
    batch: int = 4
    crop: tuple[int, int] = (256, 352)
    scale: tuple[float, float] = (0.75, 1.5)
    weight_decay: float = 0.0
    optimizer: str = "adam"
    validate_every: int = 2
    share: float = 0.5
    widths: tuple[int, ...] = (32, 64, 64)
    label_widths: tuple[int, ...] = (16, 32, 64)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.share <= 1:
            raise OwsegError(f"the share of instances that get another class lies in (0, 1], not at {self.share}.")
        if len(self.widths) != len(self.label_widths):
            raise OwsegError(
                f"widths and label_widths are of as many stages, not {self.widths} and {self.label_widths}."
            )
