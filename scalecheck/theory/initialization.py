"""The RMS that weights have right after a usual initialization, from their shape: what a measured
RMS is compared with. Shapes are torch's: (out, in, *kernel)."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from scalecheck.theory.domain import require_finite, require_not_negative, require_positive

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Scheme:
    """An initialization that the shape alone decides.

    rms: the formula. kurtosis: E[w⁴]/E[w²]² of its weights, 3 for a normal law, 1.8 for a uniform
    one, 1 where the RMS is exact.
    """

    rms: Callable[[Shape], float]
    kurtosis: float = 3.0


def fan_in(shape: Shape) -> int:
    """Inputs of one output: shape[1]·Π kernel, as torch.nn.init counts them.

    A grouped convolution's shape[1] is in/groups already; for a transposed convolution, stored as
    (in, out/groups, *kernel), torch counts outputs, and so does this. Raises ValueError for fewer
    than two dimensions or an empty one.
    """
    _require_matrix(shape)
    return shape[1] * math.prod(shape[2:])


def fan_out(shape: Shape) -> int:
    """Outputs of one input: shape[0]·Π kernel. Raises ValueError as fan_in."""
    _require_matrix(shape)
    return shape[0] * math.prod(shape[2:])


def _orthogonal(shape: Shape) -> float:
    """torch.nn.init.orthogonal_ flattens all but the first dimension."""
    return 1 / math.sqrt(max(shape[0], fan_in(shape)))


def _identity(shape: Shape) -> float:
    """min(out, in) ones."""
    _require_matrix(shape)
    return math.sqrt(min(shape) / math.prod(shape))


def _dirac(shape: Shape) -> float:
    """One 1 for each of the min(out, in) channels kept."""
    _require_matrix(shape)
    return math.sqrt(min(shape[:2]) / math.prod(shape))


def _bilinear(shape: Shape) -> float:
    """torch.nn.Bilinear, (out, in1, in2): uniform within 1/√in1."""
    _require_matrix(shape)
    return 1 / math.sqrt(3 * shape[1])


SCHEMES: Mapping[str, Scheme] = MappingProxyType(
    {
        # nn.Linear and nn.Conv, weight and bias: uniform within 1/√fan_in.
        "torch_default": Scheme(lambda shape: 1 / math.sqrt(3 * fan_in(shape)), 1.8),
        "kaiming": Scheme(lambda shape: math.sqrt(2 / fan_in(shape))),
        "kaiming_fan_out": Scheme(lambda shape: math.sqrt(2 / fan_out(shape))),
        "lecun": Scheme(lambda shape: 1 / math.sqrt(fan_in(shape))),
        "xavier": Scheme(lambda shape: math.sqrt(2 / (fan_in(shape) + fan_out(shape)))),
        "orthogonal": Scheme(_orthogonal, 1.0),
        "identity": Scheme(_identity, 1.0),
        "dirac": Scheme(_dirac, 1.0),
        "bilinear": Scheme(_bilinear, 1.8),
        # nn.Embedding.
        "standard_normal": Scheme(lambda shape: 1.0),
        # The initializer_range of GPT-2, BERT, ViT and Llama.
        "normal_0.02": Scheme(lambda shape: 0.02),
        # Scales of LayerNorm, RMSNorm and BatchNorm.
        "ones": Scheme(lambda shape: 1.0, 1.0),
        "zeros": Scheme(lambda shape: 0.0, 1.0),
    }
)


def reference_rms(scheme: str, shape: Shape, gain: float = 1.0) -> float:
    """RMS of freshly initialized weights: the scheme's formula times gain, torch.nn.init's gain.

    MultiheadAttention's in_proj, (3E, E), is one xavier matrix. Raises ValueError for an unknown
    scheme, a gain not finite, a shape without fans where the scheme needs them.
    """
    if scheme not in SCHEMES:
        raise ValueError(f"initialization {scheme!r} is none of {', '.join(SCHEMES)}")
    require_finite("gain", gain)
    return abs(gain) * SCHEMES[scheme].rms(shape)


def rms_tolerance(numel: int, kurtosis: float = 3.0) -> float:
    """Relative deviation of a measured RMS that chance explains, three standard errors:
    3·√((kurtosis−1)/(4·numel)). Raises ValueError for numel < 1, kurtosis < 1."""
    if numel < 1:
        raise ValueError(f"numel {numel} is below 1")
    if not kurtosis >= 1:
        raise ValueError(f"kurtosis {kurtosis} is below 1")
    return 3 * math.sqrt((kurtosis - 1) / (4 * numel))


def uniform_rms(bound: float) -> float:
    """U(−bound, bound): bound/√3. ValueError for bound negative."""
    require_not_negative("bound", bound)
    return bound / math.sqrt(3)


def truncated_normal_rms(std: float, cut: float) -> float:
    """A normal law of this std drawn within ±cut, cut in units of the weights:
    std·√(1 − 2c·φ(c)/(2Φ(c)−1)), c = cut/std.

    torch.nn.init.trunc_normal_ cuts at ±2 whatever its std: at std 0.02 nothing is cut, and the
    RMS is std; a true cut at 2·std gives 0.8796·std. ValueError for std or cut not positive.
    """
    require_positive("std", std)
    require_positive("cut", cut)
    c = cut / std
    density = math.exp(-0.5 * c * c) / math.sqrt(math.tau)
    return std * math.sqrt(1 - 2 * c * density / math.erf(c / math.sqrt(2)))


def recurrent_rms(hidden: int) -> float:
    """All weights of nn.RNN, GRU and LSTM: 1/√(3·hidden). ValueError for hidden < 1."""
    if hidden < 1:
        raise ValueError(f"hidden {hidden} is below 1")
    return 1 / math.sqrt(3 * hidden)


def padded_embedding_rms(rows: int, rms: float = 1.0) -> float:
    """An embedding with one row of zeros: rms·√((rows−1)/rows). ValueError for rows < 1."""
    if rows < 1:
        raise ValueError(f"rows {rows} is below 1")
    return rms * math.sqrt((rows - 1) / rows)


def residual_rms(layers: int, rms: float = 0.02) -> float:
    """GPT-2's projections into the residual stream: rms/√(2·layers). ValueError for layers < 1."""
    if layers < 1:
        raise ValueError(f"layers {layers} is below 1")
    return rms / math.sqrt(2 * layers)


def siren_rms(shape: Shape, omega: float = 30.0) -> float:
    """SIREN's hidden layers, uniform within √(6/fan_in)/omega: √(2/fan_in)/omega.

    ValueError for omega not positive, a shape without fan_in.
    """
    require_positive("omega", omega)
    return math.sqrt(2 / fan_in(shape)) / omega


def sparse_rms(std: float, sparsity: float) -> float:
    """torch.nn.init.sparse_, a share of zeros: std·√(1−sparsity). ValueError for std negative,
    sparsity outside [0, 1]."""
    require_not_negative("std", std)
    if not 0 <= sparsity <= 1:
        raise ValueError(f"sparsity {sparsity} is outside [0, 1]")
    return std * math.sqrt(1 - sparsity)


def _require_matrix(shape: Shape) -> None:
    if len(shape) < 2 or min(shape) < 1:
        raise ValueError(f"shape {shape} has no fan_in: it needs two dimensions and no empty one")
