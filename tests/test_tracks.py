"""A tensor followed through checkpoints: exact figures whatever the order and type of each, every
byte read once, and memory of a few blocks."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from process import bounded
from safetensors.torch import save_file

import scalecheck
from scalecheck.checkpoint.kinds import LONE
from scalecheck.checkpoint.tensor import Tensor
from scalecheck.dtypes import DTYPES
from scalecheck.errors import CheckpointError
from scalecheck.measure.tracks import Track, Unreadable, follow

NBYTES = 48 << 20  # of a tensor that takes several stretches


@dataclass(eq=False)
class Counted:
    """A source of one value that counts what is read of it, and fails from a byte on."""

    path: Path
    nbytes: int
    value: float = 1.0
    fails_at: int | None = None
    has_file: bool = False
    reads: list[tuple[int, int]] = field(default_factory=list)

    def open(self, _=None, /):
        return self

    def fill(self, offset, buffer):
        if self.fails_at is not None and offset + len(buffer) > self.fails_at:
            raise CheckpointError(self.path, f"ends at byte {self.fails_at}")
        self.reads.append((offset, len(buffer)))
        np.frombuffer(buffer, np.float32)[:] = self.value

    def close(self):
        """Nothing is open."""


def counted(number, nbytes=NBYTES, **more):
    source = Counted(Path(f"{number}.bin"), nbytes, value=1.0 + number, **more)
    return Tensor("w", DTYPES["F32"], (nbytes // 4 // 1024, 1024), source, 0, kind=LONE)


def followed(tensors, chosen=None, jobs=1):
    track = Track("w", dict(enumerate(tensors)))
    (points,) = follow([track], chosen, jobs, lambda done, total: None)
    return points


@pytest.mark.parametrize("chosen", [None, 0, 3])
def test_each_byte_of_each_file_is_read_once(chosen):
    tensors = [counted(number) for number in range(6)]
    points = followed(tensors, chosen, jobs=2)
    for number, tensor in enumerate(tensors):
        reads = sorted(tensor.source.reads)
        assert sum(length for _, length in reads) == tensor.nbytes
        ends = [at + length for at, length in reads]
        assert [at for at, _ in reads] == [0, *ends[:-1]]
        assert points[number].rms == pytest.approx(1 + number)
        assert points[number].absmax == 1 + number
        if number:
            assert points[number].previous.relative_change == pytest.approx(1 / number)
            assert points[number].first.relative_change == pytest.approx(number)


def test_memory_is_that_of_a_few_blocks_however_many_checkpoints():
    tensors = [counted(number, 16 << 20) for number in range(24)]
    with bounded(16 << 20):
        followed(tensors)


def test_a_file_that_cannot_be_read_is_told_by_its_number():
    tensors = [counted(number) for number in range(4)]
    tensors[2] = counted(2, fails_at=32 << 20)
    with pytest.raises(Unreadable, match="ends at byte") as caught:
        followed(tensors, jobs=2)
    assert caught.value.number == 2


def test_a_checkpoint_that_ends_while_it_is_read_is_left_out():
    files = []
    for number in range(4):
        source = Counted(Path(f"{number}.bin"), 4096, 1.0 + number)
        source.fails_at = 100 if number == 2 else None
        tensor = replace(counted(number, 4096), source=source)
        model = scalecheck.open_checkpoint(_file(number))
        of_model = replace(model.tensors[0], source=source, shape=tensor.shape, offset=0)
        files.append(replace(model, tensors=(of_model,), path=source.path))
    report = scalecheck.history(files)
    assert [entry["name"] for entry in report.skipped] == ["2.bin"]
    assert [row["checkpoint"] for row in report] == ["0.bin", "1.bin", "3.bin"]
    assert report.rows[2]["relative_change"] == pytest.approx(1.0)
    assert ("error", "not-read") in [(one.severity, one.rule) for one in report.findings]


@pytest.fixture(autouse=True)
def _in_own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def _file(number):
    path = Path(f"{number}.safetensors")
    save_file({"w.weight": torch.ones(4, 256) * number}, path)
    return path


@pytest.mark.parametrize(
    "dtypes",
    [
        *(["float32"] * 3, ["bfloat16"] * 3, ["float16"] * 3, ["float64"] * 3),
        *(["float32", "bfloat16", "float16"], ["float8_e4m3fn"] * 3),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("is_transposed", [False, True])
def test_figures_are_those_of_float64_for_every_type_and_order(dtypes, is_transposed):
    generator = torch.Generator().manual_seed(3)
    arrays, models = [], []
    for number, name in enumerate(dtypes):
        w = torch.randn(96, 40, generator=generator).to(getattr(torch, name))
        arrays.append(w.double().numpy().ravel())
        is_other = is_transposed and number == 1
        torch.save({"w.weight": w.T.contiguous().T if is_other else w}, f"{number}.pt")
        models.append(scalecheck.open_checkpoint(f"{number}.pt"))
    if is_transposed:
        assert models[1].tensors[0].strides is not None
    points = followed([model.tensors[0] for model in models], chosen=1)
    for number, w in enumerate(arrays):
        assert points[number].rms == pytest.approx(np.sqrt(np.mean(w * w)), rel=1e-12)
        assert points[number].absmax == np.abs(w).max()
        for which, start in (("previous", number - 1), ("first", 0), ("chosen", 1)):
            change = getattr(points[number], which)
            if start in (-1, number):
                assert change is None
                continue
            before = arrays[start]
            moved = np.linalg.norm(w - before) / np.linalg.norm(before)
            assert change.relative_change == pytest.approx(moved, rel=1e-12)
            cosine = before @ w / np.linalg.norm(before) / np.linalg.norm(w)
            assert change.cosine == pytest.approx(cosine, rel=1e-9)


def test_a_tensor_that_was_away_has_no_change_at_its_return():
    tensors = {number: counted(number, 4096) for number in (0, 1, 3)}
    (points,) = follow([Track("w", tensors)], None, 1, lambda done, total: None)
    assert points[1].previous is not None
    assert points[3].previous is None
    assert points[3].first.relative_change == pytest.approx(3)


def test_a_tensor_without_elements_has_no_scale():
    tensors = [replace(counted(n, 4096), shape=(0, 4)) for n in range(2)]
    points = followed(tensors)
    assert points[1].rms is None
    assert points[1].numel == 0
