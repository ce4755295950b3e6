"""The laws of every format: it knows its own files and no other's, reads the same numbers as all
others, and refuses what is damaged.

Who adds a format adds a way to write a model in it to MODEL_AS in valid_files.py; nothing else.
"""

import contextlib
import inspect
from dataclasses import astuple
from pathlib import Path

import pytest
import torch
from valid_files import MODEL_AS, VALID

from scalecheck import CheckpointError, registry
from scalecheck.checkpoint import open as opening
from scalecheck.checkpoint.formats.contract import HEAD_NBYTES, Evidence, Format
from scalecheck.checkpoint.open import open_checkpoint
from scalecheck.measure.measuring import measure
from scalecheck.measure.tensor_stats import TensorStats

FORMATS = registry.names("format")
STEP = 97  # bytes from cut to cut: a prime, so that the cuts fall anywhere in a record
CHECKPOINTS = sorted(VALID.keys() - {"config", "report"})


def model():
    """Tensors of three types and every shape, one of them with a NaN and an infinity."""
    random = torch.Generator().manual_seed(0)
    weight = torch.randn(6, 5, generator=random)
    return {
        "blocks.0.up.weight": weight,
        "blocks.1.up.weight": (3 * weight).to(torch.bfloat16),
        "blocks.0.norm.weight": torch.ones(7, dtype=torch.float16),
        "blocks.0.up.bias": torch.tensor([0.5, float("nan"), float("inf"), 0.0]),
        "scalar": torch.tensor(2.5),
    }


def samples(format):
    """The model as files of a format, in every way there is."""
    assert format in MODEL_AS, (
        f"tests/valid_files.py: MODEL_AS does not say how a model is written as {format}: add a"
        " function that writes one, and these tests judge the format"
    )
    return MODEL_AS[format](model())


def written(valid, folder):
    """Writes the files of a sample, and says what to read."""
    folder.mkdir(exist_ok=True)
    return valid.case("").write(folder)


def evidence(path):
    """What each format makes of a path."""
    head = b"" if path.is_dir() else path.read_bytes()[:HEAD_NBYTES]
    return {name: registry.load("format", name).recognises(path, head) for name in FORMATS}


def scales(path):
    """What is measured of each tensor, in the order of names."""
    tensors = open_checkpoint(path).tensors
    stats = [TensorStats.of(tensor, sketch) for tensor, sketch in measure(tensors, 1)]
    return sorted(map(astuple, stats))


def test_every_sample_is_of_a_format_that_exists():
    assert sorted(MODEL_AS) == [name for name in FORMATS if name in MODEL_AS]


@pytest.mark.parametrize("format", FORMATS)
def test_a_format_is_what_its_protocol_asks_for(format):
    module = registry.load("format", format)
    for name in ("recognises", "load"):
        asked = inspect.signature(getattr(Format, name)).parameters
        assert [*inspect.signature(getattr(module, name)).parameters] == [*asked][1:]
    assert module.__doc__
    assert module.load.__doc__


@pytest.mark.parametrize("format", FORMATS)
def test_nothing_at_all_is_not_recognised(format, tmp_path):
    none = registry.load("format", format).recognises(tmp_path / "missing", b"")
    assert none is Evidence.NONE


@pytest.mark.parametrize("format", FORMATS)
def test_a_file_is_of_one_format_by_the_strongest_evidence(format, tmp_path):
    for number, valid in enumerate(samples(format)):
        found = evidence(written(valid, tmp_path / str(number)))
        strongest = max(found.values())
        assert [name for name, one in found.items() if one == strongest] == [format]


@pytest.mark.parametrize("kind", CHECKPOINTS)
def test_every_valid_file_is_of_one_format(kind, tmp_path):
    for number, valid in enumerate(VALID[kind]()):
        found = [*evidence(written(valid, tmp_path / str(number))).values()]
        assert max(found) > Evidence.NONE
        assert found.count(max(found)) == 1


@pytest.mark.parametrize("format", FORMATS)
def test_a_model_has_the_same_scales_in_every_format(format, tmp_path):
    safetensors = scales(written(MODEL_AS["safetensors"](model())[0], tmp_path / "safetensors"))
    assert [one[0] for one in safetensors] == sorted(model())
    if format == "gguf":  # which has no tensor without dimensions
        safetensors = [(n, d, s or (1,), *figures) for n, d, s, *figures in safetensors]
    for number, valid in enumerate(samples(format)):
        assert scales(written(valid, tmp_path / str(number))) == safetensors


@pytest.mark.parametrize("format", FORMATS)
def test_a_file_cut_anywhere_is_refused_or_read(format, tmp_path):
    """The empty file and the file without its last byte are among the cuts."""
    for number, valid in enumerate(samples(format)):
        path = written(valid, tmp_path / str(number))
        target = tmp_path / str(number) / valid.target
        whole = target.read_bytes()
        for nbytes in {*range(0, len(whole), STEP), len(whole) - 1}:
            target.write_bytes(whole[:nbytes])
            with contextlib.suppress(CheckpointError):
                scales(path)


@pytest.mark.parametrize("format", FORMATS)
def test_content_tells_more_than_a_name(format, tmp_path):
    """A file of one format that is called as the others are; a format that only its name tells, as
    an index, is left out."""
    for number, valid in enumerate(samples(format)):
        path = written(valid, tmp_path / str(number))
        if evidence(path)[format] is not Evidence.CONTENT or path.is_dir():
            continue
        expected = scales(path)
        for other in FORMATS:
            for called in MODEL_AS[other](model()):
                renamed = path.with_name(Path(called.path or called.target).name)
                path = path.rename(renamed)
                assert scales(path) == expected


class Claims:
    """A format that claims every file with one evidence."""

    def __init__(self, evidence):
        self.evidence = evidence

    def recognises(self, path, head):
        return self.evidence


@pytest.mark.parametrize(
    ("claims", "first"),
    [
        ({"a": Evidence.NAME, "b": Evidence.CONTENT}, "b"),
        ({"a": Evidence.NAME, "b": Evidence.NAME}, "a"),
        ({"z": Evidence.NAME, "a installed": Evidence.NAME}, "z"),
        ({"z": Evidence.CONTENT, "a installed": Evidence.CONTENT}, "z"),
        ({"z": Evidence.NAME, "a installed": Evidence.CONTENT}, "a installed"),
        ({"a": Evidence.NONE, "b installed": Evidence.NAME}, "b installed"),
        ({"a": Evidence.NONE}, None),
    ],
)
def test_of_equal_evidence_own_formats_come_first_and_then_names(
    monkeypatch, tmp_path, claims, first
):
    formats = {name: Claims(evidence) for name, evidence in claims.items()}
    monkeypatch.setattr(registry, "names", lambda family: [*formats])
    monkeypatch.setattr(
        registry, "built_in", lambda family: tuple(n for n in formats if "installed" not in n)
    )
    monkeypatch.setattr(registry, "load", lambda family, name: formats[name])
    assert opening._format(tmp_path, b"") is formats.get(first)
