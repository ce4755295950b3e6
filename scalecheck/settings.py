"""What an option of a command is, and the value and the source of each option of one call."""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import import_module
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Union, get_args, get_origin, get_type_hints

from scalecheck.errors import OptionError, UsageError, unknown

if TYPE_CHECKING:
    from scalecheck.config import Config

HYPERPARAMETERS = "hyperparameters"
DEFAULT, GIVEN = "default", "command line"
_MERGED = (HYPERPARAMETERS, "group")  # what is given is added to what the file says


@dataclass(frozen=True)
class Option:
    """The annotation of a parameter that is an option.

    help: what happens, in a line or two; {choices} in it stands for the choices. metavar: what
    stands for its value. check: raises ValueError or OptionError for a value outside its domain.
    choices: the words that it takes, beside which a check may take others. resolve: makes the value
    that counts of one that may be written in another way, and raises OptionError for one that it
    does not know. These can be a "module:name" of this package, imported when it is needed. parse:
    makes its value of what the command line says, a word or, where it repeats, a list of them.
    panel: the part of the help page. key: its key in a configuration, its name where None, no key
    where empty. is_path: a path in a configuration is relative to the file. flag: its name on the
    command line where that is another. recorded: it is part of a report's settings. after: the
    option that it follows where people read them, as it stands elsewhere among the arguments of a
    function. completes: what its values are, where the shell completes more than the choices:
    tensors, columns, rules or optimizers.

    name, default and types are read from the signature.
    """

    help: str
    metavar: str = ""
    check: Callable[[Any], object] | str | None = None
    choices: Sequence[str] | Callable[[], Sequence[str]] | str = ()
    parse: Callable[[Any], Any] | None = None
    resolve: Callable[[Any], Any] | str | None = None
    panel: str = ""
    repeats: bool = False
    key: str | None = None
    is_path: bool = False
    flag: str = ""
    recorded: bool = True
    after: str = ""
    completes: str = ""
    name: str = ""
    default: Any = None
    types: tuple[Any, ...] = (str,)

    @property
    def words(self) -> Sequence[str]:
        """The choices."""
        choices: Any = _imported(self.choices)
        words: Sequence[str] = choices() if callable(choices) else choices
        return words

    @property
    def description(self) -> str:
        """The help with the choices in it."""
        if "{choices}" not in self.help:
            return self.help
        return self.help.replace("{choices}", ", ".join(self.words))

    @property
    def usage(self) -> str:
        """How it is written on the command line: --lr LR."""
        return f"--{self.flag or self.name.replace('_', '-')} {self.metavar}".strip()

    @property
    def item_types(self) -> tuple[Any, ...]:
        """The types of the items where its value is a list, else nothing."""
        return next((get_args(kind) for kind in self.types if get_origin(kind) is Sequence), ())

    def checked(self, value: Any) -> Any:
        """The value, one word of several as a list of it. Raises OptionError outside its domain."""
        if self.item_types and isinstance(value, str):
            value = (value,)
        if value is None:
            return None
        if self.resolve is not None:
            try:
                return _imported(self.resolve)(value)
            except OptionError as error:
                raise OptionError(self.name, error.problem, error.value) from None
        if self.check is None:
            if self.choices and value not in self.words:
                raise unknown(self.name, str(value), self.words)
            return value
        try:
            _imported(self.check)(value)
        except OptionError as error:
            words = error.problem, error.value, error.help, error.new
            raise OptionError(self.name, *words) from None
        except ValueError as error:
            raise OptionError(self.name, str(error), value) from None
        return value


def _imported(place: Any) -> Any:
    """What a "module:name" stands for; anything else is itself."""
    if not isinstance(place, str):
        return place
    module, _, name = place.partition(":")
    return getattr(import_module(f"scalecheck.{module}"), name)


@dataclass(frozen=True)
class Argument(Option):
    """A path that stands on the command line without an option's name."""

    recorded: bool = False
    key: str | None = ""

    @property
    def usage(self) -> str:
        return self.metavar


@dataclass(frozen=True)
class Hyperparameter(Option):
    """An option that is one of the optimizer's hyperparameters."""

    key: str | None = ""


@cache
def options_of(signature: Callable[..., Any]) -> Mapping[str, Option]:
    """The options among the parameters of a function by their names, in their order."""
    hints = get_type_hints(signature, include_extras=True)
    found = {}
    for name, parameter in inspect.signature(signature).parameters.items():
        for option in getattr(hints[name], "__metadata__", ()):
            is_any_keyword = parameter.kind is parameter.VAR_KEYWORD
            found[name] = replace(
                option,
                name=name,
                default={} if is_any_keyword else parameter.default,
                types=_types(hints[name].__origin__),
            )
    return {option.name: option for option in _in_order(found)}


def _in_order(options: Mapping[str, Option]) -> Iterator[Option]:
    """The options, each after the one that it follows."""
    following = {option.after: option for option in options.values() if option.after}
    for option in options.values():
        if not option.after:
            yield option
            if option.name in following:
                yield following[option.name]


def _types(hint: Any) -> tuple[Any, ...]:
    """The members of a union but None; the type itself where it is none."""
    is_union = get_origin(hint) in (Union, UnionType)
    return tuple(kind for kind in get_args(hint) if kind is not NoneType) if is_union else (hint,)


class Settings:
    """The options of one call, each an attribute by its name, and `sources`, where each came from:
    a configuration goes before the defaults, and what is given before both.

    hyperparameters: all that were given or configured, by name. config: the configuration, of which
    `configured` is what it says of the options. Raises UsageError for a value outside its option's
    domain, with the source of it.
    """

    def __init__(
        self,
        options: Mapping[str, Option],
        given: Mapping[str, Any],
        configured: Mapping[str, Any],
        config: "Config",
    ) -> None:
        self.config = config
        self._options = options
        # Of the optimizer's hyperparameters the last is the mapping of all others.
        self._values = {
            HYPERPARAMETERS if isinstance(option, Hyperparameter) else name: option.default
            for name, option in options.items()
            if not isinstance(option, Argument)
        }
        self.sources = dict.fromkeys(self._values, DEFAULT)
        own = {
            name: given[name]
            for name, option in options.items()
            if isinstance(option, Hyperparameter) and given.get(name) is not None
        } | given.get(HYPERPARAMETERS, {})
        more = {HYPERPARAMETERS: own} if own else {}
        for source, found in (
            (str(config.path), configured),
            (GIVEN, {**given, **more}),
        ):
            for name in self._values:
                if name in found:
                    self._set(name, found[name], source)

    def _set(self, name: str, value: Any, source: str) -> None:
        before, there = self.sources[name], self._values[name]
        is_added = name in _MERGED and before != DEFAULT
        self.sources[name] = f"{before}, {source}" if is_added else source
        try:
            value = self._options[name].checked(value)
        except OptionError as error:
            raise self.located(error) from None
        if is_added:
            value = {**there, **value} if isinstance(there, Mapping) else (*there, *value)
        self._values[name] = value

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["_values"][name]
        except KeyError:
            raise AttributeError(f"no option is called {name}") from None

    def only(self, *names: str, **values: Any) -> "Settings":
        """The settings with the options of these names as they are, these values, and all others
        at their defaults."""
        given = {name: self._values[name] for name in names} | values
        return Settings(self._options, given, {}, self.config)

    def recorded(self, *without: str) -> dict[str, Any]:
        """What a report says of the options, in their order, but for those that it says elsewhere;
        a path, and a checkpoint by its path, is a word."""
        return {
            name: _recorded(value)
            for name, value in self._values.items()
            if self._options[name].recorded and name not in without
        }

    def located(self, error: OptionError) -> UsageError:
        """The error, with the file and the key in place of the option where these set it."""
        name, path = error.option, str(self.config.path)
        if self.sources.get(name) != path:
            word = error.problem.partition(" ")[0]  # of the schedule that steps and warmup make
            if self.sources.get(word) == path:
                return UsageError(f"{self.config.file(word)}: {error.problem}")
            return error
        return error.at(self.config.at(self._options[name].key or name))


def _recorded(value: Any) -> Any:
    if value is None or isinstance(value, str | int | float | Mapping):
        return value
    return list(value) if isinstance(value, Sequence) else str(getattr(value, "path", value))
