"""Golden predictions: what stored knowledge bases predict for fixed images, and whether it is still the same.

    python -m tools.golden                        # compare with tests/golden; the exit status is 1 where it differs
    python -m tools.golden --out tests/golden     # write it anew, only where other results are wanted
    python -m tools.golden --camvid DIR           # with CamVid, of which no image and no map of labels is stored

On the machine that wrote the golden file every bit is the same, except for what was mended on purpose since (see
``compare.MENDED``); on another one (see ``compare.machine``) labels, scores and metrics are the same within
``compare.LABELS``, ``SCORES`` and ``METRICS``. What describes a knowledge base, its threshold included, is the same
everywhere.

``queries`` has all that is called of owseg, ``cases`` the knowledge bases and their images, ``compare`` what counts as
a difference, ``storage`` the files in tests/golden.
"""
