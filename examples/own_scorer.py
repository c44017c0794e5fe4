"""Compare an anomaly score of your own with those that come with owseg.

python examples/own_scorer.py

To use it by name, in every command and in stored knowledge bases, give it a card: docs/extending.md.
"""

import numpy as np
import torch

import owseg
from owseg.evaluation.evaluate import evaluate_image_scorers
from owseg.models.ops import resize


def margin(output: owseg.Output) -> torch.Tensor:
    """Return 1 - (p_1 - p_2), p_1 and p_2 the two largest softmax probabilities; (B, h, w) in [0, 1]."""
    first, second = output.softmax_logits.softmax(1).topk(2, 1).values.unbind(1)
    return 1 - (first - second)


def main() -> None:
    """Print AUROC, AP and FPR95 of the score and of two others on synthetic scenes."""
    kb = owseg.load("synthetic")
    data = owseg.open_dataset("synthetic", "test", kb.labels).pick(range(8))

    def own(image: np.ndarray) -> np.ndarray:
        score = margin(kb.forward(image))
        return resize(score[:, None], (image.shape[1], image.shape[2]))[0, 0].numpy()

    found = {**owseg.evaluate(kb, data, ["msp", "joint"]).scores, **evaluate_image_scorers({"margin": own}, data)}
    for name, metrics in found.items():
        print(f"{name:8} AUROC {metrics.auroc:.3f}  AP {metrics.ap:.3f}  FPR95 {metrics.fpr95:.3f}")


if __name__ == "__main__":
    main()
