"""DMLNet's mixture of EDS and MMSP (Eq. 9-10)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from owseg._registry import Card
from owseg.scorers.eds import Normalisation, eds, one_minus_minmax
from owseg.scorers.msp import msp
from owseg.types import Output, Scorer

if TYPE_CHECKING:
    from owseg.models.network import Network


def mixture(
    output: Output,
    normalisation: Normalisation = "absolute",
    beta: float | None = None,
    gamma: float = 0.8,
    scale: float = 3.0,
) -> Tensor:
    """Return ``a P_EDS + (1 - a) P_MMSP`` with ``a = 1 / (1 + exp(-beta (P_EDS - gamma)))``: (B, h, w) in [0, 1].

    DMLNet, Eq. 9-10. "absolute": ``P_EDS = 1 - |f - c|^2 / |m_t - c|^2`` clipped to [0, 1]: 1 at the centroid c of the
    prototypes, 0 at a prototype and beyond, the same in every image; only this uses ``scale``, which is T. "paper":
    Eq. 6 and 8 to the letter. "code": P_EDS and P_MMSP are 1 minus a per-image min-max, as in the authors' release.
    ``beta`` is by default 20, and 50 for "code". Raises ``OwsegError`` for another normalisation.
    """
    p_mmsp = msp(output)
    if normalisation == "absolute":
        # |f - c|^2 = (S - least) / K and |m_t - c|^2 = least / K (see eds), so P_EDS = 1 - (S - least) / least.
        least = scale**2 * (output.logits.shape[1] - 1)
        p_eds = (2 + eds(output) / least).clamp(0, 1)
    else:
        # 1 - S / max S reaches 0.8 only where some S of the image is five times the least: "paper" ranks as MMSP does
        # (docs/results/camvid.md).
        p_eds = eds(output, normalisation)
    if normalisation == "code":
        # Here the release scales max p, which is 1 - MMSP.
        p_mmsp = one_minus_minmax(1 - p_mmsp)
    if beta is None:
        beta = 50.0 if normalisation == "code" else 20.0
    # Eq. 10: above gamma the score is EDS, below it is MMSP; beta is the sharpness of the switch.
    a = torch.sigmoid(beta * (p_eds - gamma))
    return a * p_eds + (1 - a) * p_mmsp


def _of(network: Network, normalisation: Normalisation = "absolute", beta: float = 20.0, gamma: float = 0.8) -> Scorer:
    """Return ``mixture`` with the scale T of the network's prototypes."""
    scale = network.classifier.config["scale"]
    return partial(mixture, normalisation=normalisation, beta=beta, gamma=gamma, scale=scale)


CARDS = (
    Card(
        "mixture",
        "EDS and MMSP mixed; comparable between images",
        make=_of,
        source="Cen et al., ICCV 2021, Eq. 9-10",
        options={"beta": "how sharp the switch is", "gamma": "the P_EDS at which EDS takes over"},
        facts={"needs": "metric"},
    ),
    Card(
        "mixture_paper",
        "EDS and MMSP mixed, to the letter of the paper",
        make=partial(_of, normalisation="paper"),
        source="Cen et al., ICCV 2021, Eq. 6-10",
        options={"beta": "how sharp the switch is", "gamma": "the P_EDS at which EDS takes over"},
        facts={"needs": "metric"},
    ),
    Card(
        "mixture_code",
        "EDS and MMSP mixed, as in the authors' release",
        make=partial(_of, normalisation="code", beta=50.0),
        source="github.com/Jun-CEN/Open-World-Semantic-Segmentation",
        options={"beta": "how sharp the switch is", "gamma": "the P_EDS at which EDS takes over"},
        facts={"needs": "metric"},
    ),
)
