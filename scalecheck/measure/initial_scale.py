"""What an initialization says of one tensor: how it starts, by its name, role and shape and by the
other tensors of its model. No element is asked for."""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from scalecheck.checkpoint.naming import family, layer, spelled
from scalecheck.errors import OptionError, unknown
from scalecheck.report.formatting import finite
from scalecheck.report.report import Column

if TYPE_CHECKING:
    from scalecheck.checkpoint.tensor import Tensor
    from scalecheck.measure.tensor_stats import TensorStats

Shape = tuple[int, ...]

NORMAL, UNIFORM, EXACT = 3.0, 1.8, 1.0  # kurtosis E[w⁴]/E[w²]² of a law

_NORM = re.compile(r"norm|(?:^|_)(?:ln|bn)(?=[_\d]|$)", re.IGNORECASE)  # input_layernorm, ln_f, bn1
_RECURRENT = re.compile(r"(?:weight|bias)_(?:ih|hh|hr)(_l\d+(?:_reverse)?|)")
_ATTENTION_INPUTS = frozenset(("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight"))
# Not diffusers' lora.down, which is N(0, 1/rank), nor PEFT's lora_embedding, whose A is zeros.
_LORA = re.compile(r"lora_(?:a|b|down|up)(?=[._]|$)", re.IGNORECASE)
# The last projection of attention and of the MLP, which add to the residual stream.
_RESIDUAL = re.compile(
    r"(?:(?:attn|attention)[./](?:c_proj|out|out_proj|o_proj)"
    r"|(?:mlp|ffn|feed_forward|(?:^|[./])\d+)[./](?:c_proj|down|down_proj|fc2))(?:[./]weight)?$",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Reference:
    """How a tensor starts: rms is 0 where it is zeros; kurtosis is E[w⁴]/E[w²]² of its law."""

    rms: float
    kurtosis: float

    def tolerance(self, numel: int) -> float | None:
        """How far chance puts the rms of so many elements, over this one, off 1: three standard
        errors, 3·√((kurtosis−1)/(4·numel)). None for zeros."""
        return 3 * math.sqrt((self.kurtosis - 1) / (4 * numel)) if self.rms else None


_ZEROS, _ONES = Reference(0.0, EXACT), Reference(1.0, EXACT)


@dataclass(frozen=True)
class Model:
    """The shape of every tensor of a model by its name."""

    shapes: Mapping[str, Shape]

    @cached_property
    def _blocks(self) -> Counter[str]:
        return Counter(family(block) for block in {layer(name) for name in self.shapes})

    def blocks(self, name: str) -> int:
        """Blocks of the stack that a tensor is in: 4 for one of blocks.0 to blocks.3, 0 for one
        outside of any."""
        block = layer(name)
        return self._blocks[family(block)] if family(block) != block else 0


@dataclass(frozen=True)
class _Parameter:
    """A tensor in its model."""

    name: str
    role: str
    shape: Shape
    model: Model

    @cached_property
    def module(self) -> str:
        """The name up to the last separator, that included; empty for a bare parameter."""
        return self.name[: max(self.name.rfind("."), self.name.rfind("/")) + 1]

    @cached_property
    def word(self) -> str:
        """What the parameter is called in its module: weight, bias."""
        return self.name[len(self.module) :]

    @property
    def fans(self) -> Shape:
        """Its shape as torch has it, (out, in, *kernel): what Flax and Keras call a kernel is
        (*kernel, in, out)."""
        word = re.split(r"[./]", spelled(self.name))[-1]
        if word != "kernel" or len(self.shape) < 2:
            return self.shape
        *kernel, inputs, outputs = self.shape
        return (outputs, inputs, *kernel)

    def sibling(self, word: str) -> Shape | None:
        """The shape of another parameter of the module."""
        return self.model.shapes.get(self.module + word)

    @property
    def is_norms(self) -> bool:
        """Scale or bias of a norm: in a module of such a name, or with a scale and a bias that are
        vectors of one shape, as only norms have them."""
        if len(self.shape) != 1 or self.word not in {"weight", "bias", "gamma", "beta"}:
            return False
        weight, bias = self.sibling("weight"), self.sibling("bias")
        if weight == bias == self.shape:
            return True
        called = [part for part in re.split(r"[./]", self.module) if part and not part.isdigit()]
        return weight in (None, self.shape) and bool(called and _NORM.search(called[-1]))

    @property
    def is_table(self) -> bool:
        """The weight of an nn.Embedding, which has no bias. How a bare parameter starts is its
        model's affair."""
        is_weight = self.word == "weight" and self.sibling("bias") is None
        return self.role == "embedding" and is_weight and len(self.shape) == 2


Law = Callable[[_Parameter], Reference | None]


@dataclass(frozen=True)
class Initialization:
    """A scheme by its word on the command line."""

    word: str
    _law: Law

    def of(self, name: str, role: str, shape: Shape, model: Model) -> Reference | None:
        """How the tensor starts; None where the scheme says nothing of such a tensor.

        role: one of naming.ROLES. Nothing is said of buffers and empty tensors.
        """
        if role == "buffer" or 0 in shape:
            return None
        return self._law(_Parameter(name, role, shape, model))

    def references(
        self, measured: "Iterable[TensorStats]", tensors: "Iterable[Tensor]"
    ) -> dict[str, Reference | None]:
        """How those of a model that were measured start, by name; tensors: all of the model."""
        model = Model({tensor.name: tensor.shape for tensor in tensors})
        return {each.name: self.of(each.name, each.role, each.shape, model) for each in measured}

    def silence(self, references: Mapping[str, Reference | None]) -> list[str]:
        """A note with the number of tensors for which the scheme gives no rms, if any."""
        silent = sum(reference is None for reference in references.values())
        words = f"--init {self.word} gives no rms for {silent} of {len(references)} tensors."
        return [words] if silent else []


def fan_in(shape: Shape) -> int:
    """Inputs of one output of a weight (out, in, *kernel), as torch.nn.init counts them. A grouped
    convolution's shape[1] is in/groups already; of a transposed one, stored as (in, out/groups,
    *kernel), torch counts outputs, and so does this."""
    return math.prod(shape[1:])


def fan_out(shape: Shape) -> int:
    """Outputs of one input, by shape[0] and the kernel."""
    return shape[0] * math.prod(shape[2:])


_FORMULAS: Mapping[str, tuple[Callable[[Shape], float], float]] = {
    # nn.Linear and nn.Conv, weight and bias: uniform within 1/√fan_in.
    "torch-linear": (lambda shape: 1 / math.sqrt(3 * fan_in(shape)), UNIFORM),
    "kaiming": (lambda shape: math.sqrt(2 / fan_in(shape)), NORMAL),
    "kaiming-fan-out": (lambda shape: math.sqrt(2 / fan_out(shape)), NORMAL),
    "xavier": (lambda shape: math.sqrt(2 / (fan_in(shape) + fan_out(shape))), NORMAL),
    "lecun": (lambda shape: 1 / math.sqrt(fan_in(shape)), NORMAL),
    "orthogonal": (lambda shape: 1 / math.sqrt(max(shape[0], fan_in(shape))), EXACT),
}


def _by_shape(formula: str, parameter: _Parameter) -> Reference | None:
    """One of _FORMULAS, of matrices and convolutions. A stack of matrices has the fans of its
    matrices, and which dimensions those are its shape does not tell."""
    is_matrix = parameter.role == "matrix" and len(parameter.shape) == 2
    return _of_shape(formula, parameter.fans) if is_matrix or parameter.role == "conv" else None


def _of_shape(formula: str, shape: Shape) -> Reference:
    rms, kurtosis = _FORMULAS[formula]
    return Reference(rms(shape), kurtosis)


def _alike(reference: Reference, parameter: _Parameter) -> Reference | None:
    """One law for every matrix, convolution and embedding."""
    return reference if parameter.role in {"matrix", "conv", "embedding"} else None


def _torch_linear(parameter: _Parameter) -> Reference | None:
    """nn.Linear and nn.Conv, weight and bias, and LoRA's A: uniform within 1/√fan_in of the
    weight."""
    weight: Shape | None = None
    if parameter.word == "bias" and parameter.role == "bias":
        weight = parameter.sibling("weight")
    elif parameter.role == "lora_a" and _LORA.search(parameter.name):
        weight = parameter.shape
    if weight is not None and len(weight) > 1 and 0 not in weight:
        return _of_shape("torch-linear", weight)
    return _by_shape("torch-linear", parameter)


def _torch(parameter: _Parameter) -> Reference | None:
    """The modules of torch.nn, each as its reset_parameters has it, and LoRA's A and B."""
    if match := _RECURRENT.fullmatch(parameter.word):
        return _recurrent(parameter, match[1])
    if parameter.word in _ATTENTION_INPUTS:
        return _by_shape("xavier", parameter)
    if parameter.role == "bias" and _is_attentions(parameter):
        return _ZEROS
    if parameter.role == "lora_b":
        return _ZEROS if _LORA.search(parameter.name) else None
    if parameter.is_table:
        return Reference(1.0, NORMAL)
    if parameter.is_norms:
        return _ZEROS if parameter.role == "bias" else _ONES
    return _torch_linear(parameter)


def _recurrent(parameter: _Parameter, suffix: str) -> Reference | None:
    """nn.RNN, GRU and LSTM: 1/√(3·hidden) for all. Hidden is the last dimension of weight_hh, or of
    weight_hr where there is a projection."""
    weight = parameter.sibling(f"weight_hr{suffix}") or parameter.sibling(f"weight_hh{suffix}")
    hidden = weight[-1] if weight else 0
    return Reference(1 / math.sqrt(3 * hidden), UNIFORM) if hidden else None


def _is_attentions(parameter: _Parameter) -> bool:
    """A bias of nn.MultiheadAttention: in_proj_bias, or out_proj.bias beside it."""
    attention = parameter.name.removesuffix("out_proj.bias")
    return parameter.word == "in_proj_bias" or (
        attention != parameter.name and f"{attention}in_proj_bias" in parameter.model.shapes
    )


def _gpt2(parameter: _Parameter) -> Reference | None:
    """Hugging Face's GPT-2: N(0, 0.02), and 0.02/√(2·blocks) for the projections into the residual
    stream; position embeddings 0.02 (OpenAI's code: 0.01), biases 0, norms 1."""
    if parameter.role == "bias":
        return _ZEROS if len(parameter.shape) == 1 else None
    if parameter.is_norms:
        return _ONES
    if parameter.role not in {"matrix", "conv"} and not parameter.is_table:
        return None
    blocks = parameter.model.blocks(parameter.name)
    is_residual = parameter.role == "matrix" and blocks and _RESIDUAL.search(parameter.name)
    return Reference(0.02 / math.sqrt(2 * blocks) if is_residual else 0.02, NORMAL)


_LAWS: Mapping[str, Law] = {
    "torch": _torch,
    "torch-linear": _torch_linear,
    **{word: partial(_by_shape, word) for word in [*_FORMULAS][1:]},
    "gpt2": _gpt2,
}
# With what follows the colon, and an example of it.
_PARAMETRIC: Mapping[str, tuple[str, str, Callable[[float], Reference]]] = {
    "normal": ("STD", "0.02", lambda std: Reference(std, NORMAL)),
    "uniform": ("BOUND", "0.05", lambda bound: Reference(bound / math.sqrt(3), UNIFORM)),
}


def _words(parameter: str = "") -> list[str]:
    """Every scheme, the parametric ones with this parameter."""
    return [*_LAWS, *(f"{name}:{parameter or what}" for name, (what, *_) in _PARAMETRIC.items())]


WORDS = tuple(_words())


def scheme(word: str, option: str = "init") -> Initialization:
    """The initialization that one of WORDS names, such as kaiming or normal:0.02.

    Raises UsageError, which names the option, for an unknown word and for a parameter that is no
    positive finite number.
    """
    if word in _LAWS:
        return Initialization(word, _LAWS[word])
    name, _, parameter = word.partition(":")
    if name not in _PARAMETRIC:
        raise unknown(option, word, _words(parameter))
    what, example, law = _PARAMETRIC[name]
    try:
        number = float(parameter)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise OptionError(option, f"{what} is a positive number, as in {name}:{example}", word)
    return Initialization(word, partial(_alike, law(number)))


def _ratio(stats: Any) -> float | None:
    """The rms of a tensor or a group over that of its reference; None too for one of 0."""
    if stats.rms is None or not stats.reference or not stats.reference.rms:
        return None
    return finite(stats.rms / stats.reference.rms)


INIT = (
    Column(
        "init_rms",
        "init rms",
        "number",
        "rms that the initialization gives",
        1,
        lambda stats: stats.reference and stats.reference.rms,
    ),
    Column("init_ratio", "× init", "number", "rms over init_rms", get=_ratio),
    Column(
        "init_tolerance",
        "± %",
        "percent",
        "how far chance puts init_ratio off 1: three standard errors; in tables in percent",
        1,
        lambda stats: stats.reference and stats.reference.tolerance(stats.numel),
    ),
)
