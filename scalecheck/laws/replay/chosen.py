"""Which optimizers are replayed, with which settings."""

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from scalecheck import registry
from scalecheck.dtypes import BY_TORCH_NAME, FLOAT_TYPES
from scalecheck.errors import UsageError
from scalecheck.optimizers.contract import Hyperparameters

ALL = "all"
LARGEST = 1e100  # of a hyperparameter: its cube is still a float64 number


def optimizers(optimizer: str, given: Mapping[str, Any], dtype: str) -> dict[str, Hyperparameters]:
    """The optimizer of a name, or all of them, with the settings given where they have them."""
    known = registry.names("optimizer")
    found: dict[str, Hyperparameters] = {}
    nowhere = set(given)
    precision = FLOAT_TYPES[BY_TORCH_NAME[dtype].name]
    for word, value in given.items():
        if isinstance(value, float) and abs(value) > LARGEST:
            raise UsageError(f"--optimizer {optimizer}: {word} {value} is above {LARGEST:g}")
    for name in known if optimizer == ALL else [optimizer]:
        family: type[Hyperparameters] = registry.load("optimizer", name).Optimizer
        has = [field.name for field in fields(family)]
        if optimizer != ALL and (lacking := [word for word in given if word not in has]):
            raise UsageError(f"--optimizer {name}: has no {lacking[0]}; it has {', '.join(has)}")
        try:
            one = family(**{word: given[word] for word in given if word in has})
            found[name] = one.at_precision(precision.epsilon)
        except (TypeError, ValueError) as error:
            raise UsageError(f"--optimizer {name}: {error}") from error
        nowhere -= set(has)
    if nowhere:
        raise UsageError(f"--optimizer {optimizer}: none has {', '.join(sorted(nowhere))}")
    return found


def recorded(
    own: Mapping[str, Hyperparameters], optimizer: str, given: Mapping[str, Any]
) -> dict[str, Any]:
    """Every hyperparameter of the one optimizer; of all, those that were given."""
    return dict(given) if optimizer == ALL else asdict(own[optimizer])
