"""Whether weights are as an initialization leaves them, by their numbers alone, and which of them
it scaled down as projections into the residual stream."""

import math
import re
from collections.abc import Mapping, Sequence
from statistics import median

from scalecheck.checkpoint.evidence.wrappers import bare_name
from scalecheck.checkpoint.naming import MATRICES, family
from scalecheck.checkpoint.tensor import Tensor
from scalecheck.measure.tensor_stats import TensorStats
from scalecheck.measure.training_signs import beyond_noise, norm_gains
from scalecheck.report.formatting import plural

_MOST_BEYOND = 1 / 5  # of the matrices of a new model: see training_signs.EDGE_FACTOR
_ALIKE_FAMILIES = 2 / 3  # of the families, as some schemes scale a few by their depth
_ALIKE = 0.02  # beside chance
_BIASES = 2  # that are zero are evidence where no norm has a gain
_SCALED = 0.75  # of the rms of hidden matrices, below which a projection was scaled down
_NEAR = 0.1  # how near to 1/√(2·blocks) tells one whose name does not
_SAME_GAIN = 0.05

# The last projections of attention and of the MLP: c_proj, out_proj, o_proj, wo, down_proj, fc2,
# dense_4h_to_h, lin2, w2.
_LAST = re.compile(
    r"(?:^|[./])(?:\w*_)?"
    r"(?:[co]_proj|out_?proj|down_proj|proj_out|wo|w2|w_?o(?:ut)?|fc_?2|fc_out|lin(?:ear)?_?2|"
    r"dense_4h_to_h|out|out_lin|(?:(?<=[./])|(?:attn|att|ff|mlp)_)proj|o|down|"
    r"(?:output|attention|attn)[./]dense)(?:[./](?:weight|kernel))?$",
    re.IGNORECASE,
)


def signs_of_initialization(stats: Sequence[TensorStats], tensors: Mapping[str, Tensor]) -> str:
    """What shows that the weights are as an initialization left them; empty where that is not
    shown: norms at exactly 1 and 0, matrices of noise, and one scale a family. tensors: by their
    names. Raises CheckpointError as `Tensor.blocks`."""
    vectors = [one for one in stats if one.kind.is_parameter and one.numel > 1 and one.is_finite]
    gains = norm_gains(vectors)
    biases = [one for one in vectors if one.role == "bias" and len(one.shape) == 1]
    if any(one.min != one.max or one.min not in (0.0, 1.0) for one in gains):
        return ""
    owned = {one.name for one in gains}
    of_norms = [one for one in biases if _gain_beside(one.name, owned)]
    own = of_norms if gains else biases
    if any(one.zeros != one.numel for one in own) or not (gains or len(biases) >= _BIASES):
        return ""
    if not _are_alike(vectors):
        return ""
    beyond, looked_at = beyond_noise(vectors, tensors)
    if not looked_at or beyond > _MOST_BEYOND * looked_at:
        return ""
    said = [f"{plural(len(gains), 'gain')} of norms exactly {gains[0].min:.0f}"] if gains else []
    said += [f"{len(own)} {'bias' if len(own) == 1 else 'biases'} exactly 0"] if own else []
    return f"{', '.join(said)}, matrices of noise with one scale a family"


def _gain_beside(name: str, gains: set[str]) -> bool:
    module = name[: max(name.rfind("."), name.rfind("/")) + 1]
    return any(f"{module}{word}" in gains for word in ("weight", "gamma", "scale", "gain", "g"))


def _are_alike(stats: Sequence[TensorStats]) -> bool:
    """Whether matrices have one rms a family, as far as chance lets them; True of none of one
    family."""
    families: dict[tuple[str, tuple[int, ...]], list[TensorStats]] = {}
    for one in stats:
        if one.role in MATRICES and one.rms and one.min != one.max:
            families.setdefault((one.family, one.shape), []).append(one)
    several = [members for members in families.values() if len(members) > 1]
    alike = 0
    for members in several:
        sizes = [one.rms for one in members if one.rms]
        chance = 6 * math.sqrt(2 / (4 * members[0].numel))
        alike += max(sizes) / min(sizes) <= 1 + _ALIKE + chance
    return alike >= _ALIKE_FAMILIES * len(several)


def scaled_residuals(stats: Sequence[TensorStats]) -> frozenset[str]:
    """The names of matrices that an initialization scaled down by depth, as those that add to the
    residual stream: below the other matrices of their stack by their name and scale, or by
    1/√(2·blocks) whatever they are called."""
    stacks: dict[str, list[TensorStats]] = {}
    for one in stats:
        if one.role == "matrix" and one.kind.is_parameter and one.rms and one.family != one.name:
            stacks.setdefault(family(one.layer), []).append(one)
    return frozenset(name for stack in stacks.values() for name in _scaled(stack))


def _scaled(stack: Sequence[TensorStats]) -> list[str]:
    blocks = len({one.layer for one in stack})
    is_last = {one.name: bool(_LAST.search(bare_name(one.name))) for one in stack}
    others = [one for one in stack if not is_last[one.name]]
    if blocks < 2 or not others:
        return []
    # Where no name tells them, half of the matrices may be scaled.
    hidden = sorted(one.rms or 0.0 for one in others)[3 * (len(others) - 1) // 4]
    gain = median(_gain(one) for one in others)
    found = []
    for one in stack:
        ratio = (one.rms or 0.0) / hidden
        is_fan_in = abs(_gain(one) / gain - 1) < _SAME_GAIN and ratio > 1 / math.sqrt(2 * blocks)
        is_named = is_last[one.name] and ratio < _SCALED and not is_fan_in
        if is_named or abs(ratio * math.sqrt(2 * blocks) - 1) < _NEAR:
            found.append(one.name)
    return found


def _gain(one: TensorStats) -> float:
    """rms·√inputs."""
    return (one.rms or 0.0) * math.sqrt(max(one.shape[-1], 1))
