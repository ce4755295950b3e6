"""Which rules a check runs, with which severities and limits, and what the configuration lets
pass."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scalecheck.checkpoint.naming import ROLES
from scalecheck.config import Config, Waiver, Where
from scalecheck.errors import OptionError, UsageError, nearest, unknown
from scalecheck.report.finding import SEVERITIES, Severity
from scalecheck.rules.contract import Limits, Registered, registered
from scalecheck.settings import DEFAULT, GIVEN, Settings
from scalecheck.updates.training import Group, hyperparameters

_FACTORS = ("factor", "sure_factor", "headroom")  # limits that something is divided by
# The limits of the rules that judge by bands, in the order of the bands.
_BANDS = (("SC202", "frozen"), ("SC202", "low"), ("SC201", "high"), ("SC201", "very_high"))


@dataclass(frozen=True)
class RulePolicy:
    """The rules that a check runs, by code, with their severities and limits, the sources of limits
    that are no defaults, and what the configuration lets pass."""

    config: Config
    rules: Mapping[str, Registered]
    severities: Mapping[str, Severity]
    limits: Mapping[str, Mapping[str, float]]
    limit_sources: Mapping[tuple[str, str], str]

    def limits_of(self, code: str) -> Limits:
        """The limits of a rule for each tensor."""
        own = [override for override in self.config.overrides if code in override.limits]

        def of(name: str, role: str) -> dict[str, float]:
            held = (override.limits[code] for override in own if override.where.holds(name, role))
            return {limit: number for limits in held for limit, number in limits.items()}

        return Limits(self.limits[code], of, self.is_set(code))

    def is_set(self, code: str) -> bool:
        """Whether a limit of the rule was set for all tensors."""
        return any(code == own for own, _ in self.limit_sources)

    def in_force(self, code: str) -> dict[str, float]:
        """The limits of a rule, but for those that published ranges stand in for."""
        known = self.rules[code].rule.limits
        is_set = self.is_set(code)
        return {
            name: number
            for name, number in self.limits[code].items()
            if is_set or not known[name].is_published
        }

    def waivers(self, code: str, path: Path) -> list[Waiver]:
        """The waivers of a rule for a file."""
        names = (str(path), path.name)
        return [
            waiver
            for waiver in self.config.waivers
            if (waiver.path is None or any(map(waiver.paths.hold, names)))
            and code in chosen(waiver.rules)
        ]

    def unmatched(self, path: Path, roles: Mapping[str, str]) -> Iterator[str]:
        """The overrides and exceptions that hold for a file, and for none of its tensors."""
        waivers = {id(waiver) for code in self.rules for waiver in self.waivers(code, path)}
        judged = [*self.config.overrides, *self.config.waivers]
        for (at, where), entry in zip(_entries(self.config), judged, strict=True):
            if isinstance(entry, Waiver) and id(entry) not in waivers:
                continue
            if where != Where() and not any(where.holds(*tensor) for tensor in roles.items()):
                yield f"{self.config.path}: {at} holds for none of {len(roles)} tensors"


def resolve(settings: Settings) -> RulePolicy:
    """The rules by the settings of a check and its configuration. Raises UsageError for a rule, a
    limit or a word that is not known."""
    config = settings.config
    _check_words(settings)
    rules = registered()
    ignored = chosen(settings.ignore)
    for place, waiver in enumerate(config.waivers, 1):
        chosen(waiver.rules, config.at(f"exception[{place}].rules", "exception.rules"))
    for at, where in _entries(config):
        if where.role is not None and where.role not in ROLES:
            raise unknown("role", where.role, ROLES).at(config.at(f"{at}.role", "role"))
    left = [code for code in chosen(settings.select or ["SC"]) if code not in ignored]
    if not left:
        raise settings.located(OptionError("ignore", "leaves no rule to run"))
    severities: dict[str, Severity] = {
        code: next(known for known in SEVERITIES if known == severity)
        for word, severity in config.severity.items()
        for code in chosen([word], config.at(f"severity.{word}", "severity"))
    }
    return RulePolicy(
        config,
        {code: rules[code] for code in left},
        severities,
        *_limits(settings.bands, settings.sources["bands"], config),
    )


def configured(config: Config, given: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a check that a configuration sets; groups without the settings that are given
    for all tensors."""
    optimizer = dict(config.optimizer)
    found: dict[str, Any] = dict(config.settings)
    for name, key in (("optimizer", "name"), ("lr", "lr")):
        if key in optimizer:
            found[name] = optimizer.pop(key)
    if optimizer:
        found["hyperparameters"] = optimizer
    if config.groups:
        for_all = {*given, *given.get("hyperparameters", {})}
        found["group"] = tuple(
            Group(
                tuple(entry.globs),
                {key: float(x) for key, x in entry.settings.items() if key not in for_all},
                config.at(f"group[{place}]"),
            )
            for place, entry in enumerate(config.groups, 1)
        )
    return found


def _entries(config: Config) -> list[tuple[str, Where]]:
    """The overrides and exceptions by their places in the file."""
    return [
        *((f"override[{place}]", o.where) for place, o in enumerate(config.overrides, 1)),
        *((f"exception[{place}]", w.where) for place, w in enumerate(config.waivers, 1)),
    ]


def chosen(words: Sequence[str], place: str = "") -> list[str]:
    """The codes of the rules that codes, beginnings of codes and names stand for, sorted. Raises
    UsageError, which names the place, for a word that stands for none."""
    rules = registered()
    found: set[str] = set()
    for word in dict.fromkeys(words):
        codes = {c for c, rule in rules.items() if c.startswith(word.upper()) or rule.name == word}
        if not codes or not word:
            error = unknown("select", word, [*rules, *(rule.name for rule in rules.values())])
            raise error.at(place) if place else error
        found |= codes
    return sorted(found)


def _check_words(settings: Settings) -> None:
    """Raises UsageError for a hyperparameter that no optimizer has, given or in the file."""
    config = settings.config
    tables: list[tuple[str, Mapping[str, Any]]] = [("optimizer", config.optimizer)]
    tables += [(f"group[{n}]", entry.settings) for n, entry in enumerate(config.groups, 1)]
    asked = [(at, key) for at, table in tables for key in table if key not in ("name", "lr")]
    given = settings.hyperparameters.keys() - config.optimizer.keys()
    known = [*hyperparameters()] if asked or given else []
    for at, key in asked:
        if key not in known:
            raise unknown("set", key, ["lr", *known]).at(config.at(f"{at}.{key}", at))
    for key in sorted(given):
        if key not in known:
            raise unknown("set", key, known)


def _limits(
    bands: Sequence[float], bands_from: str, config: Config
) -> tuple[dict[str, dict[str, float]], dict[tuple[str, str], str]]:
    """Every limit of every rule, and the source of each that is no default."""
    limits = {
        code: {name: limit.default for name, limit in entry.rule.limits.items()}
        for code, entry in registered().items()
    }
    for place, override in enumerate(config.overrides, 1):
        _check_limits(override.limits, f"override[{place}]", config, limits)
    _check_limits(config.limits, "limits", config, limits)
    banded = dict(zip(_BANDS, bands, strict=True)) if bands_from != DEFAULT else {}
    filed = {(code, name): float(own[name]) for code, own in config.limits.items() for name in own}
    layers = [(bands_from, banded), (str(config.path), filed)]
    sources: dict[tuple[str, str], str] = {}
    for origin, layer in layers if bands_from != GIVEN else reversed(layers):
        for (code, name), value in layer.items():
            limits[code][name] = value
            sources[code, name] = origin
    return limits, sources


def _check_limits(
    table: Mapping[str, Mapping[str, float]],
    at: str,
    config: Config,
    known: Mapping[str, Mapping[str, float]],
) -> None:
    shown = at.partition("[")[0]
    for code, own in table.items():
        if code not in known:
            where = config.at(f"{at}.{code}", f"{shown}.{code}")
            raise UsageError(f"{where}: is no rule; {nearest(code, [*known])}")
        for name, value in own.items():
            where = config.at(f"{at}.{code}.{name}", f"{shown}.{code}.{name}")
            if not known[code]:
                raise UsageError(f"{where}: the rule has no limits")
            if name not in known[code]:
                raise UsageError(f"{where}: not known; {nearest(name, [*known[code]])}")
            if value < 0 or (value == 0 and name in _FACTORS):
                raise UsageError(f"{where} {value}: a positive number")
