"""The families of plug-in modules. A family is a folder, a member is a public file in it, and the
file's name is its word on the command line: adding a member is adding a file."""

from importlib import import_module
from importlib.resources import files
from types import ModuleType

FAMILIES = {
    "format": "scalecheck.checkpoint.formats",
    "optimizer": "scalecheck.optimizers",
    "renderer": "scalecheck.report.renderers",
    "rule": "scalecheck.rules",
}


def names(family: str) -> list[str]:
    """The members of a family, sorted; nothing is imported but the folder's package."""
    modules = (entry.name for entry in files(FAMILIES[family]).iterdir())
    return sorted(
        name.removesuffix(".py")
        for name in modules
        if name.endswith(".py") and name != "contract.py" and not name.startswith("_")
    )


def load(family: str, name: str) -> ModuleType:
    """The module of one member. Raises KeyError where the family has no such member."""
    return find(name, family)


def find(name: str, *families: str) -> ModuleType:
    """The module of the member in the first of the families that has it. Raises KeyError where none
    has."""
    for family in families:
        if name in names(family):
            return import_module(f"{FAMILIES[family]}.{name}")
    known = sorted({name for family in families for name in names(family)})
    raise KeyError(f"no {' or '.join(families)} is called {name}: {', '.join(known)}")
