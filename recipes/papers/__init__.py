"""The tables of DMLNet and RPL at the scale of the papers: one TOML a table, and a runner for all.

    python -m recipes.papers --list            # the tables, with GPU hours and disk
    python -m recipes.papers dmlnet-1          # trains, measures and prints the table, published metrics beside ours
    python -m recipes.papers dmlnet-1 --dry    # two steps of each training and one evaluation, on a tiny tree

A run that was stopped goes on where it was. Without a GPU of 24 GiB only ``--dry`` is for you.
"""
