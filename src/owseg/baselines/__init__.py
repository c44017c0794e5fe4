"""Baselines that are no function of one ``Output``: each is a ``PictureScorer``, picture -> score."""

from owseg.baselines.committee import Committee, ensemble, mc_dropout
from owseg.baselines.crf import dense_crf
from owseg.baselines.reconstruction import Autoencoder, train_autoencoder

__all__ = ["Autoencoder", "Committee", "dense_crf", "ensemble", "mc_dropout", "train_autoencoder"]
