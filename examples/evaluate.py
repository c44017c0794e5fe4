"""Measure a knowledge base on a data set: IoU by class, how well the unknown is found, at which threshold.

python examples/evaluate.py [KB [DATA]]
"""

import sys

import owseg


def main(name: str = "synthetic", data: str = "synthetic") -> None:
    """Calibrate on the val split at three false-positive rates, and measure on the test split."""
    kb = owseg.load(name)
    val = owseg.open_dataset(data, "val", kb.labels).pick(range(8))
    test = owseg.open_dataset(data, "test", kb.labels).pick(range(8))
    for fpr in (0.01, 0.05, 0.2):
        evaluation = owseg.evaluate(owseg.calibrate(kb, val, fpr), test)
        found, lost = evaluation.unknown_recall, evaluation.known_fpr
        print(f"asked for {fpr:.0%} of the known: {lost:.1%} of the known and {found:.1%} of the unknown found unknown")
    for title, header, rows in evaluation.tables():
        print(f"\n{title}", *(" | ".join(row) for row in (header, *rows)), sep="\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
