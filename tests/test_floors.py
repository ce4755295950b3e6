"""The floors of the house: a module imports from its own floor and lower ones only."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "scalecheck"
SAMPLES = PACKAGE.parent / "sample_ckpts"
FLOORS = {
    "errors": 0,
    "dtypes": 0,
    "docstring": 0,
    "registry": 0,
    "config": 0,
    "globs": 0,
    "toml": 0,
    "written_numbers": 0,
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


def imported_by(*arguments: str | Path) -> set[str]:
    """The modules that a command has imported when it ends."""
    code = (
        "import sys\nbefore = {*sys.modules}\nfrom scalecheck.__main__ import main\n"
        "sys.argv = ['scalecheck', *sys.argv[1:]]\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print(*{*sys.modules} - before)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=True,
    )
    modules = {*done.stdout.splitlines()[-1].split()}
    assert "scalecheck.cli.main" in modules
    return modules


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["inspect", "--help"]], ids=str)
def test_what_needs_no_checkpoint_imports_none_of_its_readers(arguments):
    needless = {"torch", "scalecheck.checkpoint.open", "scalecheck.checkpoint.tensor"}
    assert not imported_by(*arguments) & needless


# What a command on a file of plain weights takes, by folder. The start of every command is as long
# as this list: what only some checkpoints need is imported in the function that needs it.
PLAIN = {
    "": "api config docstring dtypes errors globs options registry settings toml",
    "checkpoint": "kinds malformed naming open provenance selection share source tensor",
    "checkpoint.arrays": "mlx_state",
    "checkpoint.distributed": "names",
    "checkpoint.evidence": "buffers copies inventory roles wrappers",
    "checkpoint.files": "folders foreign foreign_kinds json_members strict_json weight_files",
    "checkpoint.formats": "contract safetensors",
    "checkpoint.quantised": "members",
    "checkpoint.ranks": "slices",
    "cli": "check colour command exit_code main output own_report progress translate",
    "commands": "inspect",
    "measure": "_kernel columns counting faults flags group_stats groups measuring numpy_kernel"
    " outliers pipeline sketch summary tensor_stats",
    "report": "cells finding formatting lines part report runner_commands",
    "report.renderers": "table",
    "theory": "domain",
    "updates": "bands",
}
SLOW = {"asyncio", "email", "importlib.metadata", "importlib.resources", "ssl", "tarfile"}
SLOW |= {"tempfile", "zipfile", "pandas", "rich", "torch"}


@pytest.mark.parametrize("file", ["tiny-gpt/model.safetensors", "broken.safetensors"])
def test_plain_weights_are_inspected_with_few_modules(file):
    known = {f"scalecheck.{folder}.{name}" for folder in PLAIN for name in PLAIN[folder].split()}
    known = {name.replace("..", ".") for name in known}
    known |= {"scalecheck", "scalecheck.__main__", *(f"scalecheck.{one}" for one in PLAIN if one)}
    loaded = imported_by("inspect", SAMPLES / file)
    more = {name for name in loaded if name.split(".")[0] == "scalecheck"} - known
    assert not more, f"imported for plain weights, in the function that needs it: {sorted(more)}"
    assert not loaded & SLOW


@pytest.mark.parametrize("command", ["inspect", "translate", "check"])
def test_a_folder_of_plain_weights_takes_no_reader_of_another_format(command):
    """Nor what is said of adapters and of coded weights."""
    loaded = imported_by(command, SAMPLES / "tiny-gpt-init")
    assert not loaded & SLOW
    needless = (
        *("adapters.pairs", "adapters.scale", "archive.gzip", "distributed.checkpoint"),
        *("arrays.array_tree", "arrays.flax_arrays", "arrays.keras_state", "arrays.orbax_item"),
        *("encodings", "files.hdf5_file", "files.npz", "quantised.encoded", "zarr"),
        *("zero.checkpoint", "zero.universal"),
    )
    assert not loaded & {f"scalecheck.checkpoint.{name}" for name in needless}
    assert not loaded & {"scalecheck.measure.adapted", "scalecheck.updates.adapted"}
    if command == "inspect":
        assert "scalecheck.checkpoint.formats.torch" not in loaded
