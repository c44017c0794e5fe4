"""The one exception a user is meant to read."""


class OwsegError(ValueError):
    """Something the user can mend; the message is one sentence that names the thing and what to do."""
