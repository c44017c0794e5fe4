"""``owseg adapt``: the threshold moved to images of another place."""

from __future__ import annotations

from owseg.cli._compute import Compute
from owseg.cli._images import given_images
from owseg.cli._options import KB, Images, Json, Out, Recursive, Slim
from owseg.cli._printing import next_command, save_version


def adapt(
    kb: KB,
    images: Images,
    out: Out = None,
    recursive: Recursive = False,
    slim: Slim = False,
    as_json: Json = False,
    compute: Compute = Compute(),  # noqa: B008
) -> None:
    """Move the threshold to a few images of another place, which nobody has labelled: an estimate.

    About eight images do. Where known pixels score higher than on the images of the calibration, the threshold rises by
    as much, so that they are not lost. No rate is promised: to have one, label some images and run owseg calibrate.
    """
    from owseg.evaluation.diagnostics import of_adaptation
    from owseg.knowledge.adaptation import adapt as adapted
    from owseg.knowledge.pretrained import writable

    # The target first: a shipped knowledge base without --out is refused before the work.
    target, base = writable(kb, out), compute.load(kb)
    paths = given_images(images, recursive).paths
    new = adapted(base, paths)
    hint = next_command("predict", "--kb", target, "IMAGES")
    save_version(new, target, as_json, hint, slim, lambda: of_adaptation(len(paths)))
