"""Quantised weights: which tensors hold codes, which the factors that make numbers of them."""

import re

from scalecheck.checkpoint.inventory import Entry, Inventory
from scalecheck.report.formatting import excerpt

# What quantisers call the codes of a weight: GPTQ and AWQ, compressed-tensors, torchao and quanto,
# HQQ, QuIP#, ExLlama, AQLM, MXFP4.
_PAYLOAD = re.compile(
    r"(?:\w+_)?weight|kernel|q_?weight|\w+_packed|_?data|\w*qdata|W_q|Qidxs|trellis"
    r"|(?:\w+_)?codes|\w+_blocks|\w+_quantized"
)
_PAYLOAD_BY_NAME = re.compile(
    r"(?:\w+_)?weight|kernel|q_?weight|weight_packed|_data|\w*qdata|W_q|Qidxs|\w+_blocks"
)
_PAYLOAD_END = re.compile(r"_?(?:qdata|data|packed|blocks|quantized|codes)$|_q$")
_FACTOR_ENDS = (
    *("_scale", "_scales", "_scale_inv", "_scale_2", "_global_scale", "_absmax", "_SCB"),
    "_scaling_factor",
)
# The factors of whatever weight lies in the same module.
_LONE_FACTORS = (
    *("scale", "scales", "scale_inv", "SCB", "wscales", "absmax", "weight_scale", "scale_weight"),
    *("_scale", "codebooks", "zero_point", "qzeros", "Wscale", "suh"),
)
_INSIDE = frozenset(("absmax", "quant_map", "scale", "scales", "_scale", "SCB", "code"))

# Words of a name that say factor where codes lie in the same module.
_FACTOR_WORDS = frozenset(
    re.findall(
        r"\w+",
        "scale scales wscales wtscale wcscales wscale scb zero zeros qzeros wzeros zp point absmax "
        "amax shift shifts codebook codebooks centroids lut qmap quant nested idx s biases offset "
        "suh svh su sv smooth min max tables code perm bits meta",
    )
)
# Names that say it without: these have no other use.
_FACTORS = re.compile(
    r"absmax|quant_map|nested_\w+|bitsandbytes__\w+|SCB|weight_format|qzeros|g_idx|scale_weight"
    r"|scale_input|scaled_fp8|comfy_quant|\w+_scale_inv|\w*weight_scale_2"
    r"|(?:\w+_)?(?:weight|input|proj)_global_scale|(?:weight|bias)_integer"
    r"|(?:weight|bias|act|fc|norm)_scaling_factor"
    r"|(?:\w+_)?(?:input|activation)_(?:scale|zero_point|scale_ub)|_pre_quant_scale|_extra_state"
)
# Names that say it of one number: vectors of such names are learned gains of queries and keys.
_SCALAR_FACTORS = re.compile(r"(?:[kqv]|prob|output|kv)_scale")
# Names that say it unless the float weight lies beside them: then they may be learned by QAT.
_WEIGHT_FACTORS = re.compile(r"_?(\w*weight)_(?:scales?|zero_point|shape)")
_OBSERVED = frozenset(("min_val", "max_val"))


class Quantised:
    """The codes of a checkpoint by their names, with the evidence of each."""

    def __init__(self, inventory: Inventory) -> None:
        self._inventory = inventory
        self.codes: dict[str, str] = {}
        self._codes_in: dict[str, str] = {}  # a word of codes by the module they lie in
        self._codes_of: dict[tuple[str, str], str] = {}  # the same by a factor's module and word
        for entry in inventory.entries.values():
            if evidence := self._code(entry):
                self.codes[entry.name] = evidence
                self._codes_in.setdefault(entry.module, entry.word)

    def _code(self, entry: Entry) -> str | None:
        dtype, word = entry.dtype, entry.word
        if dtype.kind == "other" and dtype.bits < 8:
            return f"{dtype.name} is packed below a byte: codes whose factors lie elsewhere"
        is_integer = dtype.kind == "integer"
        is_small_float = dtype.is_float and dtype.bits == 8 and dtype.name != "F8_E8M0"
        if not entry.shape or not (is_integer or is_small_float) or _FACTORS.fullmatch(word):
            return None
        if factor := self._factor_of(entry):
            self._codes_of[entry.module, factor] = word
            return f"{dtype.name} codes: `{excerpt(factor, 60)}` beside it holds their factors"
        if is_integer and len(entry.shape) > 1 and _PAYLOAD_BY_NAME.fullmatch(word):
            return f"{dtype.name} under a weight's name: codes without their factors"
        return None

    def _factor_of(self, entry: Entry) -> str | None:
        """The word of the tensor that holds a tensor's factors."""
        inside = self._inventory.inside(entry.name).members
        if found := next((word for word in _INSIDE if word in inside), None):
            return f"{entry.word}.{found}"
        stem = _PAYLOAD_END.sub("", entry.word)
        names = [base + end for base in (entry.word, stem) for end in _FACTOR_ENDS if base]
        names += [f"scale_{entry.word}"]
        if _PAYLOAD.fullmatch(entry.word):
            names += _LONE_FACTORS
        members = self._inventory.module(entry).members
        return next((name for name in names if name in members and name != entry.word), None)

    def factor(self, entry: Entry) -> str | None:
        """Why a tensor that is no code is a factor of codes, or what a quantiser keeps beside."""
        word = entry.word
        if entry.dtype.name == "F8_E8M0":
            return "its type has exponents alone: quantisation factors"
        said = set(word.lower().split("_"))
        code = self._codes_of.get((entry.module, word)) or self._codes_in.get(entry.module)
        if entry.module in self.codes:
            code = entry.path[-1]
        if code is not None and said & _FACTOR_WORDS and "bias" not in said:
            return f"its name beside the codes `{excerpt(code, 60)}`: quantisation factors"
        if _FACTORS.fullmatch(word):
            return "its name: quantisation factors"
        if _SCALAR_FACTORS.fullmatch(word) and entry.numel <= 1:
            return "one number with a quantiser's name for the factor of activations"
        members = self._inventory.module(entry).members
        if match := _WEIGHT_FACTORS.fullmatch(word):
            weight = members.get(match[1])
            if weight is None or not weight.is_wide_float:
                return "its name, and no float weight beside it: quantisation factors"
        zero_point = members.get("zero_point")
        if word == "scale" and zero_point is not None and not zero_point.dtype.is_float:
            return "its name beside an integer `zero_point`: quantisation factors"
        if word == "scales" and len(entry.shape) > 1 and len(members) == 1:
            return "its name, a table alone in its module: factors of codes that lie elsewhere"
        if word in _OBSERVED and members.keys() >= _OBSERVED:
            return "the range that an observer has seen"
        if word in {"amax", "_amax"} and entry.owner.endswith("quantizer"):
            return "the range of a quantizer"
        return None
