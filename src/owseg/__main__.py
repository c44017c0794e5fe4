"""``python -m owseg``: the command line."""

from __future__ import annotations

from owseg.cli import main

if __name__ == "__main__":
    main()
