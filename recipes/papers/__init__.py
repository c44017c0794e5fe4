"""The tables of DMLNet and RPL at the scale of the papers: one TOML a table, and a runner for all.

    python -m recipes.papers --list            # the tables, with GPU hours and disk
    python -m recipes.papers dmlnet-1          # trains, measures and prints the table, published metrics beside ours
    python -m recipes.papers dmlnet-1 --dry    # two steps of each training and one evaluation, on a tiny tree

A run that was stopped goes on where it was. Without a GPU of 24 GiB only ``--dry`` is for you, and the table "open",
which has their rows on data that is easy to get:

    export CAMVID=DIR ROADANOMALY21=DIR FS_LOSTFOUND=DIR OUTLIER_OBJECTS=DIR COCO_CONTEXT=DIR
    python -m recipes.papers open-val open     # a few hours of one core
    python -m recipes.papers open --measured recipes/measured/papers/open  # that of docs/results/papers-open.md
    python -m recipes.papers open --sheet rows.jpg --image 100            # its contact sheet
"""
