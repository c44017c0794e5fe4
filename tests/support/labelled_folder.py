"""A data set on disk: a labelled folder of small images."""

import json

from PIL import Image

from tests.support import tiny


def write(folder, splits):
    """A labelled folder with one subfolder a split, of so many images of four classes; each image in one split."""
    data, first = tiny.dataset(sum(splits.values()), 4), 0
    for split, count in splits.items():
        for i in range(first, first + count):
            for kind, array in (("images", data[i].image.transpose(1, 2, 0)), ("masks", data[i].target)):
                (folder / split / kind).mkdir(parents=True, exist_ok=True)
                Image.fromarray(array).save(folder / split / kind / f"f{i}.png")
        first += count
    (folder / "classes.json").write_text(json.dumps(list(data.labels.names)))
    return f"folder:{folder}"
