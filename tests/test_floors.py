"""The floors of the house: a module imports from its own floor and lower ones only."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "scalecheck"
FLOORS = {
    "errors": 0,
    "dtypes": 0,
    "docstring": 0,
    "registry": 0,
    "config": 0,
    "globs": 0,
    "toml": 0,
    "settings": 0,
    "report": 1,
    "theory": 1,
    "checkpoint": 2,
    "measure": 3,
    "optimizers": 4,
    "recipes": 5,
    "updates": 5,
    "laws": 5,
    "rules": 6,
    "commands": 7,
    "options": 8,
    "arguments": 8,
    "api": 8,
    "cli": 9,
}
MODULES = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))
INSIDE = [module for module in MODULES if module.stem not in {"__init__", "__main__"}]


def floor(name: str) -> int | None:
    """The floor of `scalecheck.<name>`; None for a plain name of the package, such as a version."""
    return FLOORS.get(name.split(".")[0])


def imports(module: Path) -> list[tuple[int, str]]:
    """Every (line, dotted name) a module imports, at its top or inside a function."""
    found = []
    for node in ast.walk(ast.parse((PACKAGE / module).read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}:{node.lineno}: a relative import hides its floor"
            found += [(node.lineno, f"{node.module}.{alias.name}") for alias in node.names]
    return found


def test_every_module_stands_on_a_floor():
    assert [
        module
        for module in INSIDE
        if floor(module.with_suffix("").as_posix().split("/")[0]) is None
    ] == []


@pytest.mark.parametrize("module", INSIDE, ids=str)
def test_imports_go_down(module):
    own = floor(module.with_suffix("").parts[0])
    upward = [
        f"line {line}: {name}"
        for line, name in imports(module)
        if name.startswith("scalecheck.") and (floor(name.removeprefix("scalecheck.")) or 0) > own
    ]
    assert upward == []


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_torch_is_imported_by_replays_only_and_inside_functions(module):
    tree = ast.parse((PACKAGE / module).read_text("utf-8"))
    top = [
        name
        for node in tree.body
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (
            [node.module] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
        )
    ]
    assert "torch" not in {name.split(".")[0] for name in top if name}
    if any(name.split(".")[0] == "torch" for _, name in imports(module)):
        assert module.parts[0] in ("optimizers", "laws")


def test_every_family_has_a_folder_and_members():
    from scalecheck import registry

    for family in registry.FAMILIES:
        assert registry.names(family)
        for name in registry.names(family):
            assert registry.load(family, name).__doc__


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["inspect", "--help"]], ids=str)
def test_what_needs_no_checkpoint_imports_none_of_its_readers(arguments):
    code = (
        "import sys\nfrom scalecheck.__main__ import main\n"
        "sys.argv = ['scalecheck', *sys.argv[1:]]\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
    )
    modules = {*done.stdout.splitlines()[-1].split()}
    assert "scalecheck.cli.main" in modules
    assert not modules & {"torch", "scalecheck.checkpoint.open", "scalecheck.checkpoint.tensor"}
