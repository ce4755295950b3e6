"""Numbers as people write them, where a number was asked for and could not be read: 3e-4x, 0,001,
10^-4, 1e-3%, 1k."""

import re

_POWER = re.compile(r"([+-]?\d*\.?\d*)\s*[x*·]?\s*10(?:\^|\*\*)([+-]?\d+)")  # 3*10^-4
_THOUSANDS = re.compile(r"\d{1,3}(?:[,_ ']\d{3})+")
_SCALED = re.compile(r"(\d+(?:\.\d+)?)([kKmM])")
_AROUND = " ,;:'\"`"  # what is copied along with a number
_MAX_DIGITS = 40


def number(word: str) -> str:
    """The number that a word was most likely meant to be; empty where that cannot be told."""
    word = word.strip(_AROUND).replace("\u2212", "-")
    if len(word) > _MAX_DIGITS:
        return ""
    if (power := _POWER.fullmatch(word)) and power[1] not in ("-", "+", "."):
        return f"{power[1] or '1'}e{int(power[2])}"
    if share := re.fullmatch(r"(.+?)\s*%", word):
        return f"{float(digits) / 100:.12g}" if (digits := number(share[1])) else ""
    if re.fullmatch(r"[+-]?\d+,\d+(?:[eE][+-]?\d+)?", word):
        word = word.replace(",", ".")  # a decimal comma
    word = re.sub(r"(?<=\d)\s+(?=e)|(?<=[\de])\s+(?=[-+\d])", "", word)
    start = re.match(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", word)
    return start[0] if start and len(word) - start.end() <= 1 else ""  # 3e-4x


def whole_number(word: str) -> str:
    """The whole number that a word was most likely meant to be; empty where that cannot be told."""
    word = word.strip(_AROUND)
    if _THOUSANDS.fullmatch(word):
        return re.sub(r"\D", "", word)
    if scaled := _SCALED.fullmatch(word):
        count = float(scaled[1]) * (1000 if scaled[2] in "kK" else 1e6)
    elif meant := number(word):
        count = float(meant)
    else:
        return ""
    return str(int(count)) if count.is_integer() and 0 < count < 1e15 else ""
