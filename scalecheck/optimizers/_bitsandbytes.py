"""What bitsandbytes saves of its optimizers: one layout for all, whose settings hold some of the
numbers under the names of others, so that only they tell which one it is. An entry state1 or state2
is of numbers in small tensors, else of codes of 8 bits."""

from collections.abc import Callable

from scalecheck.optimizers.contract import Condition, Writer

_CODES = (
    *("qmap1", "absmax1", "max1", "new_max1", "gnorm_vec"),
    *("qmap2", "absmax2", "max2", "new_max2"),
)
_ONE_STATE = ("step", "state1")
_TWO_STATES = ("step", "state1", "state2")
_SETTINGS = ("betas", "eps", "weight_decay")
_MIXED = ("alpha", "t_alpha", "t_beta3")


def _numbers(holds: Callable[[float, float], bool], example: tuple[float, float]) -> Condition:
    """A condition of betas that are two numbers."""

    def both(betas: object) -> bool:
        if not isinstance(betas, tuple | list) or len(betas) != 2:
            return False
        first, second = betas
        if not isinstance(first, int | float) or not isinstance(second, int | float):
            return False
        return holds(first, second)

    return Condition(both, example)


ADAM = Writer(
    settings=_SETTINGS,
    entries=_TWO_STATES,
    optional_settings=_MIXED,
    optional_entries=_CODES,
    values={"alpha": 0.0, "t_alpha": None, "t_beta3": None},
)
"""Adam and AdamW, which are one there: the decay is beside the gradient."""

LAMB_OF_CODES = Writer(
    settings=_SETTINGS,
    entries=(*_TWO_STATES, "unorm_vec", "qmap1", "qmap2", "absmax1", "absmax2"),
    optional_settings=_MIXED,
    values=ADAM.values,
)
"""LAMB of 8 bits, which is AdamW: it scales nothing to the weights but tensors of numbers."""

LAMB = Writer(
    settings=_SETTINGS,
    entries=(*_TWO_STATES, "unorm_vec"),
    optional_settings=_MIXED,
    optional_entries=_CODES,
    values=ADAM.values,
)

ADEMAMIX = Writer(
    settings=(*_SETTINGS, *_MIXED),
    entries=_TWO_STATES,
    optional_entries=_CODES,
    values={"alpha": Condition(lambda alpha: isinstance(alpha, float | int) and alpha > 0, 5.0)},
    names={"alpha_warmup": "t_alpha", "beta3_warmup": "t_beta3"},
)

LION = Writer(
    settings=_SETTINGS,
    entries=_ONE_STATE,
    optional_entries=_CODES,
    values={"eps": 0.0, "betas": _numbers(lambda first, second: second >= 0.5, (0.9, 0.99))},
)

SGD = Writer(
    settings=_SETTINGS,
    entries=_ONE_STATE,
    optional_entries=_CODES,
    values={
        "eps": 0.0,
        "betas": _numbers(lambda first, second: first > 0 and second == 0, (0.9, 0.0)),
    },
    names={"momentum": "beta1"},
)

RMSPROP = Writer(
    settings=_SETTINGS,
    entries=_ONE_STATE,
    optional_entries=_CODES,
    values={
        "eps": Condition(lambda eps: isinstance(eps, float) and eps > 0, 1e-8),
        "betas": _numbers(lambda first, second: first > 0, (0.99, 0.0)),
    },
    names={"alpha": "beta1"},
)

ADAGRAD = Writer(
    settings=_SETTINGS,
    entries=_ONE_STATE,
    optional_entries=_CODES,
    values={
        "eps": Condition(lambda eps: isinstance(eps, float) and eps > 0, 1e-10),
        "betas": _numbers(lambda first, second: first == second == 0, (0.0, 0.0)),
    },
)
