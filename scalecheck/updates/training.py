"""Which optimizer trains a tensor, at which lr: the command line over the saved state over the
optimizer's defaults."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from types import MappingProxyType
from typing import Any, Self, get_type_hints

from scalecheck import registry
from scalecheck.checkpoint.keys import text_key
from scalecheck.checkpoint.tensor import Tensor
from scalecheck.dtypes import FLOAT_TYPES, WORDS, named
from scalecheck.errors import Fix, OptionError, UsageError, unknown
from scalecheck.globs import Globs, similar
from scalecheck.optimizers.contract import Hyperparameters, NoFormula
from scalecheck.report.formatting import plural
from scalecheck.settings import Settings
from scalecheck.theory.reparameterization import Reparameterization
from scalecheck.updates.saved_groups import is_lr
from scalecheck.updates.saved_state import UNCERTAIN, States
from scalecheck.updates.setting_types import typed
from scalecheck.updates.without_formula import NOT_KNOWN, WithoutFormula

DEFAULT = "adamw"
NOT_TRAINED = "not trained"
FROZEN = f"requires_grad is False: {NOT_TRAINED}"
SHAPES = 12  # of tensors, for each of which a note says how many are trained
_DECAY = frozenset({"weight_decay", "decoupled_weight_decay"})  # no part of an update
_EXAMPLE = "such as '*.bias:lr=1e-4,weight_decay=0'"
_FLAGS = ("lr", "beta1", "beta2", "eps", "weight_decay", "momentum")  # options by themselves


@dataclass(frozen=True)
class Training:
    """How one tensor is trained. uncertain: the settings that are not known, of which the values
    here are no more than possible, as the groups that the tensor can be in differ in them.
    has_lr: False where no lr was given and no state has one; lr is 1 then."""

    name: str
    optimizer: Hyperparameters
    lr: float
    uncertain: tuple[str, ...] = ()
    has_lr: bool = True

    @property
    def is_known(self) -> bool:
        """Its optimizer has formulas here."""
        return not isinstance(self.optimizer, WithoutFormula)

    @property
    def is_lr_known(self) -> bool:
        return self.has_lr and "lr" not in self.uncertain

    @property
    def is_decay_known(self) -> bool:
        return not _DECAY.intersection(self.uncertain)

    @property
    def in_doubt(self) -> str | None:
        """A setting that its update depends on and that is not known, lr apart."""
        return next((name for name in self.uncertain if name not in {"lr", *_DECAY}), None)

    @cached_property
    def weight_decay(self) -> float:
        return float(getattr(self.optimizer, "weight_decay", 0.0))

    @cached_property
    def is_decay_decoupled(self) -> bool:
        """Weight decay takes lr·weight_decay of the weights, whatever the gradient."""
        stated = getattr(self.optimizer, "decoupled_weight_decay", None)
        law = self.law
        if stated is not None or law is None:
            return bool(stated)
        return law.exponents.get("weight_decay", 0) == -law.lr_exponent

    @cached_property
    def decay_pull(self) -> float | None:
        """lr·weight_decay; None where the optimizer divides the decay by the gradient's scale, and
        where it is not known."""
        if not (self.is_lr_known and self.is_decay_known):
            return None
        is_sgd = self.law is not None and self.law.lr_exponent == 2
        if self.weight_decay and not (self.is_decay_decoupled or is_sgd):
            return None
        return self.lr * self.optimizer.decay_scale * self.weight_decay

    @cached_property
    def law(self) -> Reparameterization | None:
        """How it follows weights of another scale; None where it has no such law."""
        try:
            return self.optimizer.reparameterization()
        except NoFormula:
            return None


@dataclass(frozen=True)
class Group:
    """Settings of the tensors whose names match one of some globs; `where` says what asks so."""

    globs: Sequence[str]
    settings: Mapping[str, float]
    where: str

    @cached_property
    def matched(self) -> Globs:
        """What its globs match."""
        return Globs(self.globs)

    @classmethod
    def parsed(cls, word: str) -> "Group":
        """GLOB:lr=1e-3,weight_decay=0. Raises UsageError."""
        glob, colon, pairs = word.rpartition(":")
        if not (glob and colon):
            raise UsageError(f"--group {word}: must be GLOB:SETTINGS, {_EXAMPLE}")
        settings = {}
        for pair in pairs.split(","):
            name, equals, number = pair.partition("=")
            try:
                settings[name.strip()] = float(number)
            except ValueError:
                equals = ""
            if not (name.strip() and equals):
                problem = f"{pair!r} is not a setting such as lr=1e-3"
                raise UsageError(f"--group {word}: {problem}")
        return cls((glob,), settings, f"--group {glob}")


class Trainings:
    """The training of each tensor by its name. needs_lr: False where an lr is asked for, so that
    none has to be there. Raises UsageError where settings do not fit."""

    def __init__(
        self,
        optimizer: str | None = None,
        lr: float | None = None,
        given: Mapping[str, Any] = MappingProxyType({}),
        groups: Sequence[str | Group] = (),
        *,
        needs_lr: bool = True,
    ) -> None:
        self._needs_lr = needs_lr
        self._optimizer = None if optimizer is None else _known(optimizer, "optimizer")
        self._made: dict[str, Training] = {}
        self._given = dict(given) | ({} if lr is None else {"lr": lr})
        self.groups = [g if isinstance(g, Group) else Group.parsed(g) for g in groups]
        # A group a tensor, as translate writes them, is found by the name alone.
        self._wild = [n for n, group in enumerate(self.groups) if group.matched.is_wild]
        self._named: dict[str, list[int]] = {}
        for n, group in enumerate(self.groups):
            for name in group.matched.names:
                self._named.setdefault(name, []).append(n)
        self._asked = [
            *dict.fromkeys([*self._given, *(k for g in self.groups for k in g.settings)])
        ]
        for where, settings in (
            ("--lr", self._given),
            *((f"{group.where}: lr", group.settings) for group in self.groups),
        ):
            if not is_lr(settings.get("lr", 1.0)):
                raise UsageError(f"{where} {settings['lr']}: must be a positive number")

    @classmethod
    def asked(cls, settings: Settings, lr: float | None = None, *, needs_lr: bool = True) -> Self:
        """Those of a command's settings, at this lr where one is given."""
        lr = settings.lr if lr is None else lr
        given = settings.hyperparameters
        return cls(settings.optimizer, lr, given, settings.group, needs_lr=needs_lr)

    def check(self, names: Sequence[str]) -> None:
        """Raises UsageError where a group's glob matches none of the tensors."""
        there = set(names)
        for group in self.groups:
            if there.isdisjoint(group.matched.names) and not any(map(group.matched.hold, names)):
                problem = f"{group.where}: matches none of {len(names)} tensors"
                meant, count = similar(group.globs[0], names)
                raise UsageError(f"{problem}; {meant!r} matches {count}" if meant else problem)

    def of(self, name: str, saved: Mapping[str, Any] | None = None) -> Training:
        """A tensor's training; `saved` are the settings of its group in an optimizer state, and
        "optimizer" its name there."""
        settings = {**(saved or {}), **self._given}
        found = {n for n in self._wild if self.groups[n].matched.hold(name)}
        for n in sorted(found.union(self._named.get(name, ()))):
            settings |= self.groups[n].settings
        key = text_key(settings)
        if key not in self._made:
            self._made[key] = self._training(settings)
        return self._made[key]

    def uncertain(self, name: str, saved: Mapping[str, Any]) -> Sequence[str]:
        """The settings of a tensor's training that are not known."""
        try:
            training = self.of(name, saved)
        except UsageError:  # it has no training
            return ()
        return training.uncertain if training.is_known else ()

    def _training(self, settings: Mapping[str, Any]) -> Training:
        chosen = self._optimizer or settings.get("optimizer", DEFAULT)
        if isinstance(chosen, WithoutFormula):
            if {*self._asked} - {"lr"}:
                raise OptionError("optimizer", chosen.why)
            unsure = [w for w in ("lr", "weight_decay") if settings.get(w) is UNCERTAIN]
            if is_lr(settings.get("lr")):
                return Training(chosen.name, chosen, float(settings["lr"]), (*unsure,))
            return Training(chosen.name, chosen, 1.0, (*dict.fromkeys(["lr", *unsure]),))
        family: type[Hyperparameters] = registry.load("optimizer", chosen).Optimizer
        has = [field.name for field in fields(family)]
        if lacking := [word for word in self._asked if word not in (*has, "lr")]:
            raise OptionError("optimizer", f"has no {lacking[0]}; it has {', '.join(has)}", chosen)
        uncertain = [word for word in ("lr", *has) if settings.get(word) is UNCERTAIN]
        known = {word: setting for word, setting in settings.items() if word not in uncertain}
        try:
            optimizer = family(**typed(family, known))
        except ValueError as error:
            is_saved = self._optimizer is None and "optimizer" in settings
            if is_saved and not {*self._asked} - {"lr"}:
                why = f"optimizer not known: its state is like that of {chosen}, but {error}"
                decay = known.get("weight_decay")
                unknown = WithoutFormula(NOT_KNOWN, why, decay if isinstance(decay, float) else 0.0)
                return self._training({**settings, "optimizer": unknown})
            raise OptionError("optimizer", str(error), chosen) from error
        if "lr" in uncertain:
            return Training(chosen, optimizer, 1.0, (*uncertain,))
        if known.get("lr") is None and not optimizer.needs_lr:
            return Training(chosen, optimizer, optimizer.effective_lr(1.0), (*uncertain,))
        if not self._needs_lr and not is_lr(known.get("lr")):
            return Training(chosen, optimizer, 1.0, (*uncertain,), has_lr=False)
        return Training(chosen, optimizer, self._lr(known), (*uncertain,))

    def _lr(self, settings: Mapping[str, Any]) -> float:
        """The lr among the settings. Raises UsageError where there is none that is positive."""
        if settings.get("lr") is None:
            raise OptionError(
                "lr",
                "no optimizer state with an lr was found beside the checkpoint; pass --lr, for "
                "example --lr 3e-4",
                help="for example (--suggest shows the lr of published recipes)",
                new="3e-4",
            )
        if not is_lr(settings["lr"]):
            problem = f"the lr of the optimizer state is {settings['lr'] or 0}"
            fix = Fix("3e-4", flag="--lr")
            raise UsageError(f"{problem}: pass --lr, for example --lr 3e-4", "", fix)
        return float(settings["lr"])


def default_optimizer(name: str, option: str) -> Hyperparameters:
    """The optimizer of a name that an option gives, at its defaults. Raises UsageError."""
    optimizer: Hyperparameters = registry.load("optimizer", _known(name, option)).Optimizer()
    return optimizer


def _known(name: str, option: str) -> str:
    if name not in (known := registry.names("optimizer")):
        raise unknown(option, name, known)
    return name


def param_dtype(word: str | None) -> str | None:
    """The storage type of --param-dtype by its safetensors name. Raises UsageError."""
    if word is None:
        return None
    name = named(word)
    if name not in FLOAT_TYPES:
        words = [known for known, dtype in WORDS.items() if dtype in FLOAT_TYPES]
        raise unknown("param_dtype", word, words)
    return name


def untrained(tensor: Tensor, states: States) -> str | None:
    """Why an optimizer does not train the tensor, or it cannot be measured."""
    if tensor.unmeasured is not None:
        return tensor.unmeasured
    if not tensor.kind.is_weight or tensor.kind.is_flat:
        return tensor.kind.reason
    if tensor.tied_to is not None:
        return f"tied to {tensor.tied_to}"
    if tensor.is_frozen:
        return FROZEN
    why = states.not_trained(tensor.name)
    return None if why is None else f"{why}: {NOT_TRAINED}"


def doubts(trainings: Trainings, states: States, tensors: Sequence[Tensor]) -> list[str]:
    """Notes on how many of the tensors a state does not train, or not for certain, and on each
    setting that is neither given nor certain, as groups that a tensor can be in differ."""
    still: Counter[str] = Counter()
    either: Counter[str] = Counter()
    unsure: Counter[str] = Counter()
    for tensor in tensors:
        if tensor.is_frozen:
            continue
        if (why := states.not_trained(tensor.name)) is not None:
            still[why] += 1
        elif (why := states.not_certain(tensor.name)) is not None:
            either[why] += 1
        elif untrained(tensor, states) is None:
            saved = states.settings(tensor.name, tensor.shape)
            unsure.update(trainings.uncertain(tensor.name, saved))
    every = len(tensors)
    notes = [
        f"{count} of {every} tensors are not trained ({why}). Pass --state none to forecast all."
        for why, count in still.items()
    ]
    if len(either) > SHAPES:
        words = f"{either.total()} tensors of {len(either)} shapes are not all trained"
        notes.append(
            f"{words}, and it is not certain which are, so none has an update. Pass --param-names."
        )
    else:
        notes += [
            f"{why}, so {count} have no update. Pass --param-names to name them."
            for why, count in either.items()
        ]
    return notes + [
        f"The {name} of {plural(count, 'tensor')} is not known, because their group is not known. "
        f"Pass {flag(name)} or --param-names."
        for name, count in sorted(unsure.items())
    ]


def flag(name: str) -> str:
    """The option that gives a setting."""
    return f"--{name.replace('_', '-')}" if name in _FLAGS else f"--set {name}="


def hyperparameters() -> dict[str, Any]:
    """The names that any optimizer has for its settings, beside lr, sorted, and their types."""
    found: dict[str, Any] = {}
    for name in registry.names("optimizer"):
        family = registry.load("optimizer", name).Optimizer
        hints = get_type_hints(family)
        found |= {field.name: hints[field.name] for field in fields(family)}
    return dict(sorted(found.items()))
