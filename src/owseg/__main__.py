"""``python -m owseg``: the command line."""

from owseg.cli import main

if __name__ == "__main__":
    main()
