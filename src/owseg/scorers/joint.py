"""The default score: a weighted sum of two feature distances and the decoder's confidence, negated."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from owseg._registry import Card
from owseg.errors import OwsegError
from owseg.models.ops import resize, size_of
from owseg.scorers._features import labels_on
from owseg.scorers.base import FittedScorer
from owseg.scorers.mahalanobis import RelativeMahalanobis, mahalanobis_of
from owseg.scorers.max_logit import max_logit
from owseg.scorers.max_similarity import max_similarity
from owseg.scorers.negative import negative
from owseg.types import Output, Scorer

if TYPE_CHECKING:
    from owseg.models.network import Network

WEIGHTS, WEIGHTS_0_1 = (1.0, 0.75, 0.5, 2.0), (1.0, 1.0, 0.5, 2.0)
"""The weights of the components, of one fitted now and in 0.1.0; the last is of the negative class, if there is one."""


class Joint(FittedScorer):
    """``z(log min_k M_k) + 3/4 z(u) + asinh(max(0, z(min_k M_k - M_0))) / 2 [+ 2 asinh(z(n))]``, z standard scores.

    z is taken over known pixels. ``M_k`` is the squared Mahalanobis distance to class k on the feature pyramid and
    ``M_0`` that to all classes together (see ``RelativeMahalanobis``), both of the backbone's features. ``u`` is
    ``-max_t f_t`` with a prototype classifier and ``-max_t logit_t`` with a linear one, from the decoder. The first is
    large far from all training data, the third far from every class even near their common mean, the second where no
    class fits; they err in different places. The logarithm turns the heavy tail of ``M`` into that of a Student-t
    density, ``-log p ~ log(1 + M / nu)``, and asinh those of the difference and of n into logarithms, so that no
    component dominates the sum. Where the difference is below that of an average known pixel it says nothing: in
    another place it is so for much that is unknown, too. Without ``rectify`` it counts there as well, without
    ``compress`` it enters as it is, and by other ``weights`` u in full, as in 0.1.0. With a ``negative`` class n is its
    logit (see ``owseg.scorers.negative``). The form was chosen on CamVid val and on a held-out training sequence, asinh
    on val, and what is rectified and the weights of u and n on val and on street photos of other towns, with objects
    pasted into them and without (docs/results/choices.md).

    The score is a little too high in the outermost cells along every edge of an image (by 0.7 with ``street8@1`` on
    CamVid, mirrored images alike): the backbone pads with zeros, so features there differ from those inside. It stays
    so, as the edges are in the data of the fit and of the calibration, too: the threshold keeps its rate.
    """

    shift: Tensor
    scale: Tensor

    def __init__(
        self,
        mahalanobis: RelativeMahalanobis,
        metric: bool,
        negative: bool = False,
        compress: bool = True,
        weights: Sequence[float] = WEIGHTS,
        rectify: bool = True,
    ) -> None:
        # Only what differs from 0.1.0 is named, so that the fingerprints of its knowledge bases stay.
        form = {name: True for name, chosen in (("compress", compress), ("rectify", rectify)) if chosen}
        named = {} if tuple(weights) == WEIGHTS_0_1 else {"weights": list(weights)}
        super().__init__(**mahalanobis.config, **form, **named)
        self.mahalanobis, self.metric, self.negative = mahalanobis, metric, negative
        self.compress, self.rectify = compress, rectify
        self.weights = tuple(weights) if negative else tuple(weights[:-1])
        self.register_buffer("shift", torch.zeros(len(self.weights)))
        self.register_buffer("scale", torch.zeros(len(self.weights)))

    def fit(
        self, train: Iterable[tuple[Output, Tensor]], held_out: Iterable[tuple[Output, Tensor]] | None = None
    ) -> Joint:
        """Fit the distance to ``train`` and the scales to ``held_out``, by default to ``train`` as well; return self.

        A network is far more confident on images that it was trained on, so scales from those give its confidence too
        much weight. Both are iterables of outputs and targets (B, H, W); without ``held_out``, ``train`` is iterated
        twice. Raises ``OwsegError`` if no pixel is labelled.
        """
        self.mahalanobis.fit(train)
        return self.fit_scales(train if held_out is None else held_out)

    @torch.no_grad()
    def fit_scales(self, batches: Iterable[tuple[Output, Tensor]]) -> Joint:
        """Compute the components' mean and standard deviation over known pixels; the distance must be fitted before."""
        # One pass with sums in float64, as the maps of all images do not fit into memory.
        count, total, square = 0, *torch.zeros(2, len(self.weights)).double()
        for output, target in batches:
            values = self._components(output)
            labels = labels_on(target, values[:, 0].shape, self.mahalanobis.num_classes).to(values.device)
            # (B, 3 or 4, h, w) -> (n, 3 or 4)
            known = values.movedim(1, -1)[labels >= 0].double().cpu()
            count, total, square = count + len(known), total + known.sum(0), square + known.square().sum(0)
        if count == 0:
            raise OwsegError("no pixel is labelled with a known class; fit on images with ground truth.")
        mean = total / count
        self.shift.copy_(mean)
        # E[x^2] - E[x]^2, which rounding may leave slightly negative for a constant component.
        self.scale.copy_((square / count - mean.square()).clamp(min=1e-12).sqrt())
        return self

    def forward(self, output: Output) -> Tensor:
        """Return the score (B, h, w) on the grid of the Mahalanobis score; 0 is an average known pixel."""
        far, unsure, farther, *negative = self.standard(output).unbind(1)
        farther = farther.clamp(min=0) if self.rectify else farther
        farther = farther.asinh() if self.compress else farther
        z = torch.stack([far, unsure, farther, *(n.asinh() for n in negative)], 1)
        return (z * z.new_tensor(self.weights).view(1, -1, 1, 1)).sum(1)

    def standard(self, output: Output) -> Tensor:
        """Return the components' standard scores (B, 3 or 4, h, w), in the order of ``WEIGHTS``."""
        self.require_fit(self.scale)
        return (self._components(output) - self.shift.view(1, -1, 1, 1)) / self.scale.view(1, -1, 1, 1)

    def parts(self) -> Mapping[str, Scorer]:
        """Return the Mahalanobis score and its parts."""
        return {"mahalanobis": self.mahalanobis, **self.mahalanobis.parts()}

    def _components(self, output: Output) -> Tensor:
        nearest, overall = self.mahalanobis.distances(output)
        # With prototypes the largest logit is -min_t ||f - m_t||^2, which also falls as f grows longer, known or not.
        unsure = max_similarity(output) if self.metric else max_logit(output)
        # The decoder's grid may be finer or coarser than that of the distance.
        size = size_of(nearest)
        unsure = resize(unsure[:, None], size)[:, 0]
        # The floor is for features on a class mean, where rounding gives 0 or less.
        components = [nearest.clamp(min=1e-6).log(), unsure, nearest - overall]
        if self.negative:
            components.append(resize(negative(output)[:, None], size)[:, 0])
        return torch.stack(components, 1)


def _of(
    network: Network,
    level: int = 1,
    shrinkage: float = 0.2,
    compress: bool = True,
    weights: Sequence[float] = WEIGHTS,
    rectify: bool = True,
    **config: Any,
) -> Joint:
    distance = mahalanobis_of(network, level, shrinkage, **config)
    return Joint(distance, network.is_metric, network.has_negative, compress, weights, rectify)


CARDS = (
    Card(
        "joint",
        "feature distances and the decoder's confidence, added as standard scores; the default",
        make=_of,
        options={
            "level": "the stage on whose grid the distance is computed",
            "shrinkage": "of the covariances towards the identity, in (0, 1]",
        },
        facts={"needs": "fit"},
    ),
)
