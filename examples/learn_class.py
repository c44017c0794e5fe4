"""Learn a class from five annotated images of a data set, and see what was gained and what was forgotten.

python examples/learn_class.py [OUT]
"""

import sys

import owseg


def main(out: str = "with-animal") -> None:
    """Learn "animal" on the synthetic scenes, compare IoU before and after, and store the new version in ``out``."""
    kb = owseg.load("synthetic")
    shots = owseg.sample_shots(owseg.open_dataset("synthetic", "shots"), "animal", count=5)
    known = owseg.open_dataset("synthetic", "val", kb.labels).pick(range(8))
    updated = owseg.learn(kb, "animal", shots, known=known)  # known data: the threshold is found again

    for stage in (kb, updated):  # opened against its labels, what a stage does not know is unknown
        test = owseg.open_dataset("synthetic", "test", stage.labels).pick(range(8))
        summary = owseg.evaluate(stage, test).summary()
        print(f"{len(stage.labels)} classes: " + ", ".join(f"{name} {value:.3f}" for name, value in summary.items()))
    print(f"{out} is at version {updated.save(out)}.")


if __name__ == "__main__":
    main(*sys.argv[1:])
