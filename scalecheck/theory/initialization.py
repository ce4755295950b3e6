"""The RMS that weights have right after a usual initialization, from their shape: what a measured
RMS is compared with. Shapes are torch's: (out, in, *kernel)."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from scalecheck.theory.domain import require_finite, require_not_negative

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


def recurrent_rms(hidden: int) -> float:
    """All weights of nn.RNN, GRU and LSTM: 1/√(3·hidden). ValueError for hidden < 1."""
    if hidden < 1:
        raise ValueError(f"hidden {hidden} is below 1")
    return 1 / math.sqrt(3 * hidden)


def residual_rms(layers: int, rms: float = 0.02) -> float:
    """GPT-2's projections into the residual stream: rms/√(2·layers). ValueError for layers < 1."""
    if layers < 1:
        raise ValueError(f"layers {layers} is below 1")
    return rms / math.sqrt(2 * layers)


def _require_matrix(shape: Shape) -> None:
    if len(shape) < 2 or min(shape) < 1:
        raise ValueError(f"shape {shape} has no fan_in: it needs two dimensions and no empty one")
