"""Label every image of a folder and store the maps.

python examples/predict_folder.py PHOTOS OUT
"""

import sys
from pathlib import Path

import owseg


def main(photos: str, out: str) -> None:
    """Write NAME.labels.png, NAME.score.png and NAME.open.jpg for each image, and print what was found."""
    kb = owseg.load("street")
    for path in sorted(Path(photos).iterdir()):
        try:
            prediction = kb.predict(path)
        except owseg.OwsegError as error:  # one file that is no image does not end the run
            print(f"left out: {error}")
            continue
        prediction.save(out)
        largest = next(iter(kb.regions(path)), None)
        where = f"; the largest unknown region is at {largest.box}" if largest else ""
        print(f"{path.name}: {prediction.unknown:.1%} unknown{where}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
