"""Plant faults in a copy of the package, one at a time, and see whether the tests that should catch each of them do.

    python -m tools.mutants                     # plant all; the exit status is 1 where less than 95 % are caught
    python -m tools.mutants --only NAME ...     # these, or all whose name contains it
    python -m tools.mutants --list              # print their names
    python -m tools.mutants --jobs 2            # so many at a time

The faults stand in the ``.toml`` files of this folder, one file for some rooms: ``file`` (below src/owseg), ``old`` (a
text that occurs in it once), ``new``, and ``tests``, which are files or node ids below tests/. A fault whose ``old`` is
not there once is stale: the code has moved on, and the fault has to be written anew.
"""
