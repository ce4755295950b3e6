"""What a file chose, as a key of a dict or a set. Tuples of integers have hashes that a file can
make equal, and integers and floats are their own; hashes of text differ in every process."""


def text_key(chosen: object) -> str:
    """A text that is the same for equal shapes, None included, and for equal numbers of a type."""
    return repr(chosen)
