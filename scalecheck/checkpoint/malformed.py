"""The error of a file's content, for readers that are not told the path of what they read."""


class Malformed(Exception):
    """The file says what no writer of checkpoints says; whoever knows the path adds it."""
