"""What can go wrong, as a user would say it: one line with the place, the matter and the number."""


def reason(error: OSError) -> str:
    """Why the system refused, as it words it: "no such file or directory"."""
    return (error.strerror or str(error)).lower()


class ScalecheckError(Exception):
    """An expected failure whose text is one line for the user."""


class UsageError(ScalecheckError):
    """What was asked for does not exist or does not fit: an option, a column, an output path."""


class CheckpointError(ScalecheckError):
    """A checkpoint is missing, truncated, corrupt or refused."""

    def __init__(self, path: object, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = path
        self.problem = problem
