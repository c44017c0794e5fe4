"""The exceptions a user is meant to read.

ValueError
└── OwsegError       the user can mend it
    └── NoSuchSplit  the data set is there, the split that was asked for is not
"""


class OwsegError(ValueError):
    """Something the user can mend; the message is one sentence that names the thing and what to do."""


class NoSuchSplit(OwsegError):
    """The data set is there, and the split that was asked for is not."""
