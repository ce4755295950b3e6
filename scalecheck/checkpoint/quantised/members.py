"""Quantised weights: which tensors hold codes, which the factors that make numbers of them."""

import re

from scalecheck.checkpoint.evidence.inventory import Entry, Inventory, words
from scalecheck.report.formatting import excerpt

# What quantisers call the codes of a weight: GPTQ and AWQ, compressed-tensors, torchao and quanto,
# HQQ, QuIP#, ExLlama, AQLM, MXFP4, Marlin, AQT.
_CODED = r"q_?weight|_data|int_data|\w*qdata|qvalue|\w*blocks|\w+_quantized"
_PAYLOAD = re.compile(
    rf"(?:\w+_)?weight|kernel|{_CODED}|\w+_(?:packed|q|int[48]?)|data|B|Qidxs|trellis"
    r"|(?:\w+_)?codes|indices"
)
_PAYLOAD_BY_NAME = re.compile(
    rf"(?:\w+_)?weight|kernel|{_CODED}|weight_packed|\w+_(?:q|int[48]?)|Qidxs"
)
_CODED_BY_NAME = re.compile(_CODED)  # which no weight is called
_PAYLOAD_END = re.compile(r"_?(?:qdata|data|packed|blocks|quantized|codes)$|_q$")
_FACTOR_ENDS = (
    *("_scale", "_scales", "_scale_inv", "_scale_2", "_global_scale", "_absmax", "_SCB"),
    *("_scaling_factor", "_zero_point", "_s", "_weight_scale", "_weight_scale_2"),
)
# The factors of whatever weight lies in the same module.
_LONE_FACTORS = (
    *("scale", "scales", "scale_inv", "SCB", "wscales", "absmax", "weight_scale", "scale_weight"),
    *(
        "weights_scaling_factor",
        "_scale",
        "codebooks",
        "zero_point",
        "qzeros",
        "Wscale",
        "suh",
        "s",
        "lut",
        "centroids",
    ),
)
_INSIDE = frozenset(("absmax", "quant_map", "scale", "scales", "_scale", "SCB", "code"))

# Words of a name that say factor where codes lie in the same module.
_FACTOR_WORDS = frozenset(
    re.findall(
        r"\w+",
        "scale scales wscales wtscale wcscales wscale scb zero zeros qzeros wzeros zp point absmax "
        "amax shift shifts codebook codebooks centroids lut qmap quant nested idx s biases offset "
        "suh svh su sv smooth min max tables code perm bits meta scaling lookup",
    )
)
# Names that say it without: these have no other use.
_FACTORS = re.compile(
    r"absmax|quant_map|nested_\w+|bitsandbytes__\w+|SCB|weight_format|qzeros|g_idx|scale_weight"
    r"|scale_input|qscale_(?:weight|act)|scaled_fp8|comfy_quant|\w+_scale_inv|\w*weight_scale_2"
    r"|(?:\w+_)?(?:weight|input|proj)_global_scale|(?:weight|bias)_integer"
    r"|(?:weights?|bias|act|activation|fc|norm|kv_cache)_scaling_factor"
    r"|(?:\w+_)?(?:input|activation)_(?:scale|zero_point|scale_ub)|_pre_quant_scale|_extra_state|bitmask"
)
# Names that say it of one number: vectors of such names are learned gains of queries and keys.
_SCALAR_FACTORS = re.compile(r"(?:[kqv]|prob|output|kv)_scale")
# Names that say it unless the float weight lies beside them: then they may be learned by QAT.
_WEIGHT_FACTORS = re.compile(r"_?(\w*weight)_(?:scales?|zero_point|shape)")
# Words of integers that are no codes: masks, places, tokens, pictures.
_OTHER_WORDS = frozenset(
    re.findall(
        r"\w+",
        "mask masks masked bias triu tril causal id ids index indexes indices position positions "
        "token tokens label labels class classes rng state image images pixel pixels table adj "
        "adjacency edge edges faces parents count counts step steps mapping map",
    )
)
_NESTED = frozenset(("_data", "tensor_impl", "layout_tensor"))  # a tensor subclass inside another
_LEAST_CODES = 64  # elements of what integers alone tell
_RANDOM = (5056,)  # bytes of the state of torch's random numbers
_OBSERVED = frozenset(("min_val", "max_val"))


class Quantised:
    """The codes of a checkpoint by their names, with the evidence of each."""

    def __init__(self, inventory: Inventory) -> None:
        self._inventory = inventory
        self.codes: dict[str, str] = {}
        self._codes_in: dict[str, str] = {}  # a word of codes by the module they lie in
        self._codes_of: dict[tuple[str, str], str] = {}  # the same by a factor's module and word
        self._has_vectors = len(inventory.entries) > 1
        integers = sum(one.numel for one in inventory.entries.values() if self._is_integers(one))
        self._is_mostly_integers = 2 * integers > sum(e.numel for e in inventory.entries.values())
        for entry in inventory.entries.values():
            if evidence := self._code(entry):
                self.codes[entry.name] = evidence
                self._codes_in.setdefault(entry.module, entry.word)
                if entry.path and entry.path[-1] in _NESTED:
                    self._codes_in.setdefault(".".join(entry.path[:-1]), entry.word)

    def _is_integers(self, entry: Entry) -> bool:
        return entry.shape != _RANDOM and _may_be_code(entry, are_packed=self._has_vectors)

    def _code(self, entry: Entry) -> str | None:
        dtype, word = entry.dtype, entry.word
        if dtype.kind == "other" and 0 < dtype.bits < 8:  # Python objects have none
            return f"{dtype.name} is packed below a byte: codes whose factors lie elsewhere"
        is_integer = dtype.kind == "integer"
        is_small_float = dtype.is_float and dtype.bits == 8 and dtype.name != "F8_E8M0"
        if not entry.shape or not (is_integer or is_small_float) or _FACTORS.fullmatch(word):
            return None
        if factor := self._factor_of(entry):
            self._codes_of[entry.module, factor] = word
            return f"{dtype.name} codes: `{excerpt(factor, 60)}` beside it holds their factors"
        is_long = len(entry.shape) > 1 or (dtype.bits == 8 and entry.numel >= _LEAST_CODES)
        weight = self._inventory.module(entry).members.get("weight")
        if is_integer and word == "bias" and weight and weight.dtype.kind == "integer":
            return f"{dtype.name} beside a weight of {weight.dtype.name}: codes of a bias"
        if is_integer and is_long and _PAYLOAD_BY_NAME.fullmatch(word):
            return f"{dtype.name} under a weight's name: codes without their factors"
        if is_small_float and _CODED_BY_NAME.fullmatch(word):
            return f"{dtype.name} under a name of codes, without their factors"
        if _may_be_code(entry) and dtype.name == "I8":
            return "I8 in two dimensions or more: codes without their factors"
        if self._is_mostly_integers and self._is_integers(entry):
            return f"{dtype.name}, as are most elements of the file: codes without their factors"
        return None

    def _factor_of(self, entry: Entry) -> str | None:
        """The word of the tensor that holds a tensor's factors."""
        inside = self._inventory.inside(entry.name).members
        if found := next((word for word in _INSIDE if word in inside), None):
            return f"{entry.word}.{found}"
        if entry.word == "indices" and self._inventory.inside(f"{entry.module}.centroids").members:
            return "centroids"
        stem = _PAYLOAD_END.sub("", entry.word)
        names = [base + end for base in (entry.word, stem) for end in _FACTOR_ENDS if base]
        names += [f"scale_{entry.word}", f"qscale_{entry.word}"]
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
        if entry.path and entry.module in self.codes:
            code = entry.path[-1]
        if code is None and entry.path and words(entry.path[-1]) & _FACTOR_WORDS:
            code = self._codes_in.get(".".join(entry.path[:-1]))
            said |= words(entry.path[-1])
        is_lone = entry.numel <= 1 and entry.module and not self._inventory.module(entry).has_matrix
        if code is not None and "bias" not in said and (said & _FACTOR_WORDS or is_lone):
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
        if word in _OBSERVED | {"eps"} and members.keys() >= _OBSERVED:
            return "the range that an observer has seen"
        if word in {"amax", "_amax"} and entry.owner.endswith("quantizer"):
            return "the range of a quantizer"
        return None


def _may_be_code(entry: Entry, *, are_packed: bool = False) -> bool:
    """Whether it is a table of integers up to 32 bits that its name does not say to be another.
    are_packed: or a vector of bytes, which may hold what was packed."""
    is_small = entry.dtype.kind == "integer" and entry.dtype.bits <= 32
    said = set(entry.word.lower().split("_"))
    is_table = len(entry.shape) > 1 and not entry.is_vector
    is_packed = are_packed and entry.dtype.bits == 8
    is_long = entry.numel >= _LEAST_CODES and (is_table or is_packed)
    return is_small and is_long and not said & (_FACTOR_WORDS | _OTHER_WORDS)
