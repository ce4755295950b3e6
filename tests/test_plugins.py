"""An installed package adds a member to each family by an entry point: here a package of a few
lines, in a folder that a process of its own has on its path."""

import json
import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest
from command import Done
from safetensors.numpy import save_file

SAMPLE = Path(__file__).parent.parent / "sample_ckpts" / "tiny-gpt"

MODULES = {
    "raw": '''
        """A file of float32 numbers behind a magic word."""

        from scalecheck.checkpoint.formats.contract import Evidence
        from scalecheck.checkpoint.source import FileSource
        from scalecheck.checkpoint.tensor import Checkpoint, Tensor
        from scalecheck.dtypes import DTYPES


        def recognises(path, head):
            return Evidence.CONTENT if head.startswith(b"RAW32") else Evidence.NONE


        def load(path):
            """Lists the one tensor."""
            source = FileSource.of(path)
            shape = ((source.nbytes - 5) // 4,)
            return Checkpoint(path, "raw", (Tensor("w", DTYPES["F32"], shape, source, 5),))
    ''',
    "gentle": '''
        """SGD that goes by another name."""

        from dataclasses import dataclass

        from scalecheck.optimizers import sgd


        @dataclass(frozen=True)
        class Optimizer(sgd.Optimizer):
            """torch.optim.SGD."""
    ''',
    "shout": '''
        """The kind of a report, in capitals."""


        def renders(kind):
            return True


        def render(report, layout=None):
            return report.kind.upper()
    ''',
    "any_tensor": '''
        """A tensor that is there.

        It is named. Try: nothing.
        """

        from scalecheck.rules.contract import Example, Rule


        def find(subject, limits):
            for tensor in subject.tensors:
                yield tensor.judged("is there")


        RULE = Rule(
            "warning",
            find,
            "tensors",
            ok=Example(""),
            bad=Example('model["w"] = ones(2)', finds="is there"),
        )
    ''',
    "nothing_breaks": '''
        """A law that always holds."""

        from scalecheck.laws.replay.claim import Claim, claims_table

        ORDER = 9


        def tables(experiment, run):
            claim = Claim("no law", "nothing breaks", experiment.name, experiment.k, 0.0, 0.0, 0.1)
            yield claims_table([claim], "6  Nothing breaks")


        def answer(experiment, tables):
            return "Nothing breaks."
    ''',
    "halves": '''
        """Bytes that stand for their half."""

        import numpy as np

        from scalecheck.checkpoint.quantised.decoded import Grid
        from scalecheck.checkpoint.quantised.coded_weight import coded_weight
        from scalecheck.checkpoint.quantised.packed import Codes

        HOLDS = "NAME_halves U8: code / 2"


        def weight(candidate):
            codes = candidate.codes
            if not candidate.word.endswith("_halves") or len(codes.shape) != 2:
                return None
            rows, columns = codes.shape
            name = codes.name.removesuffix("_halves")
            values, grid = np.arange(256) / 2, Grid(1, rows, columns, (rows, columns))
            table = Codes(codes, rows, columns)
            return coded_weight(candidate, "HALVES", name, codes.shape, table, values, grid)
    ''',
    "empty": '"""A module that is no member of any family."""',
}

ENTRY_POINTS = {
    "formats": {"raw": "raw"},
    "encodings": {"halves": "halves"},
    "optimizers": {"gentle": "gentle"},
    "renderers": {"shout": "shout"},
    "rules": {"sc901_any_tensor": "any_tensor"},
    "laws": {"nothing_breaks": "nothing_breaks"},
}


def installed(folder, entry_points=ENTRY_POINTS, name="tiny-plugin"):
    """The package and its entry points, as pip leaves them in a folder."""
    package = folder / name.replace("-", "_")
    package.mkdir(parents=True)
    for module, code in MODULES.items():
        (package / f"{module}.py").write_text(dedent(code))
    metadata = folder / f"{package.name}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = []
    for group, members in entry_points.items():
        lines += [f"[scalecheck.{group}]"]
        lines += [f"{word} = {package.name}.{module}" for word, module in members.items()]
    (metadata / "entry_points.txt").write_text("\n".join(lines))
    return folder


def scalecheck(folder, *arguments):
    """A command of a process that has the folder on its path."""
    done = subprocess.run(
        [sys.executable, "-m", "scalecheck", *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return installed(tmp_path_factory.mktemp("site"))


def test_a_file_of_its_format_is_inspected(folder, tmp_path):
    path = tmp_path / "model.raw"
    path.write_bytes(b"RAW32" + bytes.fromhex("00004040000080c0"))
    done = scalecheck(folder, "inspect", path, "--format", "json")
    (row,) = json.loads(done.out)["rows"]
    assert (row["name"], row["shape"], row["min"], row["max"]) == ("w", [2], -4.0, 3.0)


def test_a_weight_of_its_encoding_is_inspected(folder, tmp_path):
    save_file({"w_halves": np.full((4, 8), 6, np.uint8)}, tmp_path / "m.safetensors")
    done = scalecheck(folder, "inspect", tmp_path / "m.safetensors", "--format", "json")
    (row,) = json.loads(done.out)["rows"]
    assert (row["name"], row["dtype"], row["rms"]) == ("w", "HALVES", 3.0)


def test_its_rule_is_checked(folder):
    done = scalecheck(folder, "check", SAMPLE, "--select", "SC901", "--format", "json")
    findings = json.loads(done.out)["findings"]
    assert {(one["rule"], one["message"]) for one in findings} == {("SC901", "is there")}
    assert done.code == 0


def test_its_renderer_prints_a_report(folder):
    assert scalecheck(folder, "inspect", SAMPLE, "--format", "shout").out == "INSPECT\n"


def test_its_optimizer_and_its_law_are_simulated(folder):
    size = ("--steps", "20", "--size", "64", "--format", "json")
    done = scalecheck(folder, "simulate", "--optimizer", "gentle", *size)
    report = json.loads(done.out)
    assert report["source"]["optimizer"] == "gentle"
    assert "nothing breaks" in done.out


def test_a_renderer_that_fails_to_import_is_told_to_those_who_ask_for_it_alone(tmp_path):
    installed(tmp_path, {"renderers": {"shout": "missing"}})
    assert scalecheck(tmp_path, "inspect", SAMPLE, "--format", "csv").code == 0
    assert scalecheck(tmp_path, "inspect", SAMPLE, "--format", "shout").code == 2


@pytest.mark.parametrize(
    ("group", "word", "module", "arguments", "said"),
    [
        (
            "renderers",
            "shout",
            "empty",
            ("inspect", SAMPLE, "--format", "shout"),
            "renderer shout: the package tiny-plugin has no renders, render",
        ),
        (
            "formats",
            "raw",
            "empty",
            ("inspect", Path(__file__)),
            "format raw: the package tiny-plugin has no recognises, load",
        ),
        (
            "optimizers",
            "gentle",
            "missing",
            ("simulate", "--optimizer", "gentle"),
            "optimizer gentle: the package tiny-plugin fails to import: ModuleNotFoundError: "
            "No module named 'tiny_plugin.missing'",
        ),
        (
            "formats",
            "torch",
            "raw",
            ("inspect", Path(__file__)),
            "format torch: is in scalecheck and in the package tiny-plugin: uninstall all but one",
        ),
    ],
)
def test_what_is_wrong_with_a_member_is_said_in_one_line(
    tmp_path, group, word, module, arguments, said
):
    folder = installed(tmp_path, {group: {word: module}})
    done = scalecheck(folder, *arguments)
    assert (done.code, done.out, done.err) == (2, "", f"scalecheck: {said}\n")


def test_two_packages_with_one_name_are_both_named(tmp_path):
    for name in ("one", "other"):
        installed(tmp_path, {"renderers": {"shout": "shout"}}, name)
    done = scalecheck(tmp_path, "inspect", SAMPLE, "--format", "shout")
    assert done.code == 2
    assert "renderer shout: is in the package " in done.err
    assert {"one", "other"} < {*done.err.replace(":", " ").split()}


def test_without_members_of_others_their_metadata_is_not_imported(tmp_path):
    """It takes as long to import as a small file to inspect."""
    code = (
        "import sys; sys.argv = ['scalecheck', 'inspect', sys.argv[1]]\n"
        "from scalecheck.cli.main import app\n"
        "app(standalone_mode=False); print('importlib.metadata' in sys.modules)"
    )
    path = SAMPLE / "model.safetensors"
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "False"
