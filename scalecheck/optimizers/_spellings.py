"""An optimizer's name here for the name that another program has for it: `AdamW` of torch,
`paged_adamw_8bit` of transformers."""

import re

from scalecheck import registry
from scalecheck.errors import OptionError

# How a program computes the step and stores its state, which leave the formula as it is.
_BEFORE = re.compile(r"(?:paged|fused|foreach|distributed)+")
_AFTER = re.compile(
    r"(?:torch|xla|npu|apex|bnb|anyprecision|fused|foreach|paged|fp8|4bit|8bit|32bit)+$"
)
_LIKE = 0.72  # of names that were perhaps meant, as difflib counts it
_ALMOST = 0.05
_MOST_CHARACTERS = 100  # of a name that is looked up; none known is half as long


def resolve(word: str, *others: str) -> str:
    """The name here of what a word means; others are words that mean something else. Raises
    OptionError with the names nearest to one that is not known."""
    known = [*registry.names("optimizer"), *others]
    if word in known:
        return word
    if len(word) <= _MOST_CHARACTERS and (found := _named(word, known)) is not None:
        return found
    near = _near(_plain(word), known) if len(word) <= _MOST_CHARACTERS else []
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    raise OptionError("optimizer", f"not known; {hint}`scalecheck optimizers` lists all", word)


def _near(word: str, known: list[str]) -> list[str]:
    """The names most like a word, and those that are almost as like it."""
    from difflib import SequenceMatcher

    likeness = {name: SequenceMatcher(None, word, name).ratio() for name in known}
    least = max(_LIKE, max(likeness.values()) - _ALMOST)
    near = (name for name, ratio in likeness.items() if ratio >= least)
    return sorted(near, key=lambda name: -likeness[name])


def spellings(name: str) -> list[str]:
    """Other programs' names of an optimizer that its own file lists."""
    own = vars(registry.load("optimizer", name).Optimizer)  # what it inherits is another's
    torch = [f"torch.optim.{own['torch_class']}"] if "torch_class" in own else []
    return [*torch, *own.get("spellings", ())]


def _named(word: str, known: list[str]) -> str | None:
    plain = {name.replace("_", ""): name for name in known}
    own = {
        spelling.lower(): name
        for name in registry.names("optimizer")
        for spelling in spellings(name)
    }
    whole = word.strip().lower()
    if whole in own:
        return own[whole]
    last = _plain(whole)
    for each in dict.fromkeys((last, _AFTER.sub("", last), _without_storage(last))):
        if (found := plain.get(each) or own.get(each)) is not None:
            return found
    return None


def _plain(word: str) -> str:
    """The last part of a dotted name, in lower case, without what stands between words."""
    return re.sub(r"[\s_-]", "", word.rpartition(".")[2].lower())


def _without_storage(plain: str) -> str:
    return _AFTER.sub("", _BEFORE.sub("", plain, count=1))
