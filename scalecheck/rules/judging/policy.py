"""What is in force in a check, and where each setting came from: the command line over the
configuration file over the defaults."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from glob import escape
from pathlib import Path
from typing import Any

from scalecheck.checkpoint.naming import ROLES
from scalecheck.checkpoint.selection import as_list
from scalecheck.config import Config, Waiver, Where
from scalecheck.errors import UsageError, nearest, unknown
from scalecheck.report.finding import FAIL_ON, Severity
from scalecheck.rules.contract import Limits, Registered, registered
from scalecheck.updates.bands import LIMITS as BANDS
from scalecheck.updates.bands import Bands
from scalecheck.updates.precision import param_dtype
from scalecheck.updates.training import Group, hyperparameters

DEFAULTS: Mapping[str, Any] = {
    "select": (),
    "ignore": (),
    "fail_on": "error",
    "match": (),
    "exclude": (),
    "lr": None,
    "optimizer": None,
    "hyperparameters": {},
    "group": (),
    "snr": 0.0,
    "grad_rms": None,
    "step": None,
    "state": None,
    "steps": None,
    "schedule": "constant",
    "warmup": 0,
    "final": 0.0,
    "bands": BANDS,
    "param_dtype": None,
    "init": None,
    "serve_dtype": None,
    "baseline": None,
}

_SEVERAL = ("select", "ignore", "match", "exclude", "group")  # a word alone is one of them
_FACTORS = ("factor", "sure_factor", "headroom")  # limits that something is divided by
_DEFAULT, _GIVEN = "default", "command line"
# The limits of the rules that judge by bands, in the order of the bands.
_BANDS = (("SC202", "frozen"), ("SC202", "low"), ("SC201", "high"), ("SC201", "very_high"))


@dataclass(frozen=True)
class Settings:
    """The settings of a check by the keys of DEFAULTS, with the source of each, and the rules that
    are selected, with their severities, limits and waivers. Raises UsageError."""

    values: Mapping[str, Any]
    sources: Mapping[str, str]
    config: Config
    rules: Mapping[str, Registered]
    severities: Mapping[str, Severity]
    limits: Mapping[str, Mapping[str, float]]
    limit_sources: Mapping[tuple[str, str], str]

    def __getitem__(self, key: str) -> Any:
        return self.values[key]

    def limits_of(self, code: str) -> Limits:
        """The limits of a rule for each tensor."""
        own = [o for o in self.config.overrides if code in o.limits]

        def of(name: str, role: str) -> dict[str, float]:
            found: dict[str, float] = {}
            for override in own:
                if override.where.holds(name, role):
                    found |= override.limits[code]
            return found

        return Limits(self.limits[code], of) if own else Limits(self.limits[code])

    def waivers(self, code: str, path: Path) -> list[Waiver]:
        """The waivers of a rule for a file."""
        names = (str(path), path.name)
        return [
            waiver
            for waiver in self.config.waivers
            if (waiver.path is None or any(fnmatchcase(name, waiver.path) for name in names))
            and code in chosen(waiver.rules)
        ]

    def told(self, error: UsageError) -> UsageError:
        """The error, which names an option, with the file and the key where that is what set it."""
        return _told(error, self.sources, self.config)

    def unmatched(self, path: Path, roles: Mapping[str, str]) -> Iterator[str]:
        """The overrides and exceptions that hold for a file, and for none of its tensors."""
        waivers = {id(waiver) for code in self.rules for waiver in self.waivers(code, path)}
        entries: list[tuple[str, int, Where]] = [
            *(("override", place, o.where) for place, o in enumerate(self.config.overrides, 1)),
            *(
                ("exception", place, w.where)
                for place, w in enumerate(self.config.waivers, 1)
                if id(w) in waivers
            ),
        ]
        for kind, place, where in entries:
            if where != Where() and not any(where.holds(*entry) for entry in roles.items()):
                yield f"{self.config.path}: {kind}[{place}] holds for none of {len(roles)} tensors"


def resolve(given: Mapping[str, Any], config: Config) -> Settings:
    """The settings in force. given: those that were given, by the keys of DEFAULTS.

    Raises UsageError for a rule, a limit or a word that is not known.
    """
    if strange := [key for key in given if key not in DEFAULTS]:
        raise UsageError(f"{strange[0]}: no setting of check; {nearest(strange[0], [*DEFAULTS])}")
    given = {key: as_list(value) if key in _SEVERAL else value for key, value in given.items()}
    _check_words(config)
    optimizer = dict(config.optimizer)
    hyperparameters = {k: v for k, v in optimizer.items() if k not in ("name", "lr")}
    filed: dict[str, Any] = dict(config.settings)
    filed |= {"optimizer": optimizer["name"]} if "name" in optimizer else {}
    filed |= {"lr": optimizer["lr"]} if "lr" in optimizer else {}
    filed |= {"hyperparameters": hyperparameters} if hyperparameters else {}
    filed |= {"group": _groups(config, given)} if config.groups else {}
    values, sources = dict(DEFAULTS), dict.fromkeys(DEFAULTS, _DEFAULT)
    for origin, found in ((str(config.path), filed), (_GIVEN, given)):
        for key, value in found.items():
            is_merged = key in ("hyperparameters", "group") and sources[key] != _DEFAULT
            values[key] = _merged(values[key], value) if is_merged else value
            sources[key] = f"{sources[key]}, {origin}" if is_merged else origin
    try:
        return _settings(values, sources, config)
    except UsageError as error:
        raise _told(error, sources, config) from None


def _settings(values: Mapping[str, Any], sources: Mapping[str, str], config: Config) -> Settings:
    if values["fail_on"] not in FAIL_ON:
        raise unknown("--fail-on", values["fail_on"], FAIL_ON)
    param_dtype(values["param_dtype"])
    rules = registered()
    selected = chosen(values["select"] or ["SC"], "--select")
    ignored = chosen(values["ignore"], "--ignore")
    for waiver in config.waivers:
        chosen(waiver.rules, f"{config.path}: exception.rules")
    for where in (*(w.where for w in config.waivers), *(o.where for o in config.overrides)):
        if where.role is not None and where.role not in ROLES:
            raise unknown(f"{config.path}: role", where.role, ROLES)
    left = [code for code in selected if code not in ignored]
    if not left:
        raise UsageError("--ignore: leaves no rule to run")
    limits, limit_sources = _limits(values["bands"], sources["bands"], config)
    return Settings(
        values,
        sources,
        config,
        {code: rules[code] for code in left},
        _severities(config),
        limits,
        limit_sources,
    )


def chosen(words: Sequence[str], where: str = "rules") -> list[str]:
    """The codes of the rules that codes, beginnings of codes and names stand for, sorted. Raises
    UsageError for a word that stands for none."""
    rules = registered()
    found: set[str] = set()
    for word in words:
        codes = {c for c, rule in rules.items() if c.startswith(word.upper()) or rule.name == word}
        if not codes or not word:
            raise unknown(where, word, [*rules, *(rule.name for rule in rules.values())])
        found |= codes
    return sorted(found)


def _told(error: UsageError, sources: Mapping[str, str], config: Config) -> UsageError:
    """The error, which names an option, with the file and the key where that is what set it."""
    match = re.match(r"--([a-z][a-z0-9-]*)", str(error))
    key = match[1].replace("-", "_") if match else ""
    is_hyperparameter = key in config.optimizer and key not in DEFAULTS
    source = sources.get("hyperparameters" if is_hyperparameter else key)
    if match is None or source != str(config.path):
        return error
    place = {"optimizer": "optimizer.name", "lr": "optimizer.lr"}.get(key, key)
    place = f"optimizer.{key}" if is_hyperparameter else place
    return UsageError(f"{config.path}: {place}{str(error)[match.end() :]}")


def _merged(first: Any, second: Any) -> Any:
    return {**first, **second} if isinstance(first, dict) else (*first, *second)


def _groups(config: Config, given: Mapping[str, Any]) -> tuple[Group, ...]:
    """The groups of the file, without the settings that were given for all tensors."""
    said = {*given.get("hyperparameters", {}), *({"lr"} & given.keys())}
    return tuple(
        Group(
            (entry.match,) if entry.match is not None else tuple(map(escape, entry.names or ())),
            {name: float(number) for name, number in entry.settings.items() if name not in said},
            f"{config.path}: group[{place}]",
        )
        for place, entry in enumerate(config.groups, 1)
    )


def _check_words(config: Config) -> None:
    """Raises UsageError for a setting in the file that no optimizer has."""
    tables: list[tuple[str, Mapping[str, Any]]] = [("optimizer", config.optimizer)]
    tables += [(f"group[{n}]", entry.settings) for n, entry in enumerate(config.groups, 1)]
    asked = [(at, key) for at, table in tables for key in table if key not in ("name", "lr")]
    known = hyperparameters() if asked else []
    for at, key in asked:
        if key not in known:
            raise unknown(f"{config.path}: {at}", key, ["lr", *known])


def _severities(config: Config) -> dict[str, Severity]:
    found: dict[str, Severity] = {}
    for word, severity in config.severity.items():
        for code in chosen([word], f"{config.path}: severity"):
            found[code] = "error" if severity == "error" else "warning"
    return found


def _limits(
    bands: Sequence[float], bands_from: str, config: Config
) -> tuple[dict[str, dict[str, float]], dict[tuple[str, str], str]]:
    """Every limit of every rule, and the source of each that is no default."""
    limits = {
        code: {name: limit.default for name, limit in entry.rule.limits.items()}
        for code, entry in registered().items()
    }
    sources: dict[tuple[str, str], str] = {}
    steps = Bands(tuple(bands)).limits
    banded = dict(zip(_BANDS, steps, strict=True))
    filed = {
        (code, name): float(value)
        for code, own in config.limits.items()
        for name, value in own.items()
    }
    for override in config.overrides:
        for code, own in override.limits.items():
            _check_limits(code, own, f"{config.path}: override", limits)
    for code, own in config.limits.items():
        _check_limits(code, own, f"{config.path}: limits", limits)
    layers = [(bands_from, banded if bands_from != _DEFAULT else {}), (str(config.path), filed)]
    for origin, layer in layers if bands_from != _GIVEN else reversed(layers):
        for (code, name), value in layer.items():
            limits[code][name] = value
            sources[code, name] = origin
    return limits, sources


def _check_limits(
    code: str, own: Mapping[str, float], where: str, known: Mapping[str, Mapping[str, float]]
) -> None:
    if code not in known:
        raise UsageError(f"{where}.{code}: is no rule; {nearest(code, [*known])}")
    for name in own:
        if not known[code]:
            raise UsageError(f"{where}.{code}.{name}: the rule has no limits")
        if name not in known[code]:
            raise UsageError(f"{where}.{code}.{name}: not known; {nearest(name, [*known[code]])}")
        if own[name] < 0 or (own[name] == 0 and name in _FACTORS):
            raise UsageError(f"{where}.{code}.{name} {own[name]}: a positive number")
