"""Files and requests of others: whatever they hold ends in a result or in one sentence (``OwsegError``).

    python -m tools.fuzz [--seconds 600] [--seed 0] [--only KIND[:NUMBER]]

Each case is a file, folder or request that is right but for some seeded changes, read as owseg reads it. A case fails
if anything but an ``OwsegError`` is raised, after 20 s, and at 2 GiB. ``KIND:NUMBER`` of a failure repeats it.
"""
