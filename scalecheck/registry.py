"""The families of modules that can be added to: formats, encodings, optimizers, rules, laws,
renderers.

A family is a folder, a member is a public file in it, and the file's name is its word on the
command line: adding a member is adding a file. Another package adds one by an entry point of the
group `scalecheck.formats`, `scalecheck.optimizers` and so on, whose name is the word.
"""

import os
import sys
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any, NamedTuple

from scalecheck.errors import UsageError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint


class Family(NamedTuple):
    """A folder of modules, and the Protocol in its contract.py that each of them has."""

    package: str
    protocol: str


FAMILIES = {
    "encoding": Family("scalecheck.checkpoint.encodings", "Encoding"),
    "format": Family("scalecheck.checkpoint.formats", "Format"),
    "law": Family("scalecheck.laws", "Law"),
    "optimizer": Family("scalecheck.optimizers", "OptimizerModule"),
    "renderer": Family("scalecheck.report.renderers", "Renderer"),
    "rule": Family("scalecheck.rules", "RuleModule"),
}


def names(family: str) -> list[str]:
    """The members of a family, sorted; no member is imported."""
    return sorted({*built_in(family), *_installed(family)})


@cache
def built_in(family: str) -> tuple[str, ...]:
    """The members that are files of this package, sorted."""
    modules = iter_modules(import_module(FAMILIES[family].package).__path__)
    found = sorted(module.name for module in modules if not module.ispkg)
    return tuple(name for name in found if name != "contract" and not name.startswith("_"))


def load(family: str, name: str) -> Any:
    """One member. Raises KeyError where the family has no such member, UsageError where two
    packages have it, or where it is not what the family's Protocol asks for."""
    points = _installed(family).get(name, ())
    owners = ["scalecheck"] * (name in built_in(family)) + [_package(point) for point in points]
    if not owners:
        raise KeyError(f"no {family} is called {name}: {', '.join(names(family))}")
    if len(owners) > 1:
        raise UsageError(f"{family} {name}: is in {' and in '.join(owners)}: uninstall all but one")
    if not points:
        return import_module(f"{FAMILIES[family].package}.{name}")
    try:
        member = points[0].load()
    except Exception as error:
        words = f"{type(error).__name__}: {error}"
        raise UsageError(f"{family} {name}: {owners[0]} fails to import: {words}") from error
    if lacking := [word for word in asked(family) if not hasattr(member, word)]:
        raise UsageError(f"{family} {name}: {owners[0]} has no {', '.join(lacking)}")
    return member


def asked(family: str) -> list[str]:
    """What the Protocol of a family asks of a member."""
    package, protocol = FAMILIES[family]
    asked = vars(getattr(import_module(f"{package}.contract"), protocol))
    words = [*asked.get("__annotations__", {}), *asked]
    return [word for word in words if not word.startswith("_")]


@cache
def _installed(family: str) -> Mapping[str, "list[EntryPoint]"]:
    """The members that other packages have, by name."""
    if not any(map(_has_members, sys.path)):
        return {}
    from importlib.metadata import entry_points

    found: dict[str, list[EntryPoint]] = {}
    for point in entry_points(group=f"scalecheck.{family}s"):
        found.setdefault(point.name, []).append(point)
    return found


@cache
def _has_members(folder: str) -> bool:
    """Whether a package installed in a folder has an entry point of ours: to import
    importlib.metadata takes as long as to inspect a small file."""
    try:
        packages = os.listdir(folder or ".")
    except OSError:  # of the path to a zip, or to nothing
        return False
    for package in packages:
        if package.endswith((".dist-info", ".egg-info")):
            try:
                with open(os.path.join(folder, package, "entry_points.txt"), "rb") as file:
                    if b"[scalecheck." in file.read():
                        return True
            except OSError:  # most packages have no entry points
                continue
    return False


def _package(point: "EntryPoint") -> str:
    return f"the package {point.dist.name}" if point.dist else point.value
