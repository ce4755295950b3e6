"""The globals of a torch pickle that copy what they are given."""

from collections.abc import Callable

from scalecheck.checkpoint.malformed import never_saved
from scalecheck.checkpoint.pickle.inert import LongText, OrderedDict, key_of


def _ordered_dict(entries: object = None) -> object:
    """Python 2 gave it its pairs as an argument."""
    if isinstance(entries, dict):
        return OrderedDict(entries.items())
    pairs = () if entries is None else entries
    if not isinstance(pairs, (list, tuple)) or not all(map(_is_named_pair, pairs)):
        raise never_saved("has an OrderedDict of something other than pairs with names")
    return OrderedDict((key_of(key), entry) for key, entry in pairs)


def _is_named_pair(pair: object) -> bool:
    return isinstance(pair, (list, tuple)) and len(pair) == 2 and isinstance(pair[0], (bytes, str))


def _dict(entries: object = None) -> object:
    if not isinstance(entries, dict | None):
        raise never_saved("has a dict of something other than a dict")
    return dict(entries or {})


def _list(items: object = ()) -> object:
    if not isinstance(items, (list, tuple)):
        raise never_saved("has a list of something other than a list")
    return [*items]


def _size(sizes: object = ()) -> object:
    if not isinstance(sizes, (list, tuple)):
        raise never_saved("has a torch.Size of something other than a list")
    return (*sizes,)


def _encoded(text: object, encoding: object = None) -> object:
    """Bytes, as a pickle of protocol 2 has them."""
    if isinstance(text, LongText):
        return text
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise never_saved("has bytes that are encoded otherwise than by latin1")
    return text.encode("latin-1")


_LISTS = """torch.jit._pickle.build_intlist torch.jit._pickle.build_doublelist
    torch.jit._pickle.build_boollist torch.jit._pickle.build_tensorlist
    builtins.set builtins.frozenset __builtin__.set __builtin__.frozenset"""

COPIES: dict[str, Callable[..., object]] = {
    **dict.fromkeys(_LISTS.split(), _list),
    "collections.OrderedDict": _ordered_dict,
    "collections.defaultdict": lambda factory=None, entries=None: _dict(entries),
    "collections.Counter": _dict,
    "torch.Size": _size,
    "_codecs.encode": _encoded,
}
"""What makes as much as its arguments hold."""
