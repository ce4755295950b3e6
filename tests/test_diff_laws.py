"""The change between two tensors: what is summed in blocks is what numpy sums at once."""

import json
import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from checked import FLOATS
from command import scalecheck
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from safetensors.torch import save_file

import scalecheck as api
from scalecheck.measure import numpy_kernel
from scalecheck.measure.change import Change
from scalecheck.measure.counting import NATIVE, kernel
from scalecheck.measure.pipeline import STRETCH_NBYTES

SIZES = [1e-308, 1e-300, 1e-200, 1e-155, 1e-130, 1.0, 1e130, 1e155, 1e200, 3e307]
unhurried = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def noise(*shape, seed=5):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def row(folder, before, after, *options, write=save_file, name="x.safetensors"):
    """The row that diff gives for one tensor on either side."""
    for side, tensor in (("a", before), ("b", after)):
        (folder / side).mkdir(exist_ok=True)
        write({"w.weight": tensor}, folder / side / name)
    done = scalecheck(
        "diff", folder / "a" / name, folder / "b" / name, "--format", "json", *options
    )
    assert (done.code, done.err) == (0, "")
    (only,) = json.loads(done.out)["rows"]
    return only


def root(square):
    """√ of a fraction of any size; None where a float64 does not hold it."""
    bits = square.numerator.bit_length() - square.denominator.bit_length()
    half = bits // 2
    shifted = square / Fraction(4) ** half
    try:
        return math.ldexp(math.sqrt(shifted), half)
    except OverflowError:
        return None


def finite(fraction):
    """The nearest float64; None beyond them."""
    try:
        return float(fraction)
    except OverflowError:
        return None


def is_close(a, b, tolerance=1e-12):
    if a is None or b is None:
        return a is b
    return math.isclose(a, b, rel_tol=tolerance, abs_tol=1e-307 * tolerance)


def agrees(found, before, after):
    """Whether a row says of two arrays what numpy says in float64."""
    a, b = before.double().numpy().ravel(), after.double().numpy().ravel()
    finite = np.isfinite(a) & np.isfinite(b)
    x, y = a[finite], b[finite]
    both_nan = np.isnan(a) & np.isnan(b)
    size = math.sqrt(x @ x)
    assert found["apart"] == len(a) - len(x)
    assert is_close(found["changed"], ((a != b) & ~both_nan).mean() if len(a) else None)
    assert is_close(found["rms_before"], math.sqrt((x @ x) / len(x)) if len(x) else None)
    assert is_close(found["rms_after"], math.sqrt((y @ y) / len(x)) if len(x) else None)
    assert is_close(found["max_abs"], np.abs(y - x).max() if len(x) else None)
    change = np.linalg.norm(y - x) / size if size else None
    assert is_close(found["relative_change"], change)
    cosine = (x @ y) / (size * np.linalg.norm(y)) if size and y.any() else None
    assert (found["cosine"] is None) == (cosine is None)
    if cosine is not None:
        assert abs(found["cosine"] - cosine) < 1e-12


@pytest.mark.parametrize("before", FLOATS)
@pytest.mark.parametrize("after", FLOATS)
def test_every_pair_of_types_is_compared_as_in_float64(tmp_path, before, after):
    weight = noise(40, 70)
    a = weight.to(FLOATS[before])
    b = (weight + 0.1 * noise(40, 70, seed=6)).to(FLOATS[after])
    found = row(tmp_path, a, b)
    assert found["status"] == ("changed" if before == after else "retyped")
    agrees(found, a, b)


@pytest.mark.parametrize("numel", [0, 1, 63, 64, 65, 131_071, 131_072, 131_073, 300_000])
@pytest.mark.parametrize("dtype", ["F64", "F32", "BF16"])
def test_blocks_end_anywhere(tmp_path, numel, dtype):
    a = noise(numel).to(FLOATS[dtype])
    b = (a.double() + 0.01 * noise(numel, seed=6)).to(FLOATS[dtype])
    agrees(row(tmp_path, a, b), a, b)


odd = st.sampled_from([0.0, -0.0, 1.0, -2.0, 1e30, 1e-40, math.nan, math.inf, -math.inf])


@unhurried
@given(pair=arrays.arrays(np.float32, st.tuples(st.just(2), st.integers(0, 200)), elements=odd))
@pytest.mark.parametrize("dtype", ["F64", "F32", "BF16", "F16"])
def test_what_is_no_number_is_counted_and_in_no_sum(tmp_path, dtype, pair):
    a, b = (torch.from_numpy(side.copy()).to(FLOATS[dtype]) for side in pair)
    agrees(row(tmp_path, a, b), a, b)


def test_a_signalling_nan_is_no_warning(tmp_path, recwarn):
    weight = torch.zeros(4, 4, dtype=torch.float64)
    weight.view(torch.int64)[0, 0] = 0x7FF0000000000001
    save_file({"w": weight}, tmp_path / "x.safetensors")
    done = scalecheck("diff", tmp_path / "x.safetensors", tmp_path / "x.safetensors")
    assert (done.code, done.err, len(recwarn)) == (0, "", 0)


@pytest.mark.parametrize("size", [1e-300, 1e-200, 1e-30, 1.0, 1e30, 1e200, 1e307])
def test_squares_stay_in_range(tmp_path, size):
    a, b = noise(500) * size, noise(500, seed=6) * size
    found = row(tmp_path, a, b)
    plain = row(tmp_path, a / size, b / size)
    for figure in ("relative_change", "cosine"):
        assert is_close(found[figure], plain[figure], 1e-9)
    for figure in ("rms_before", "max_abs"):
        assert is_close(found[figure], plain[figure] * size, 1e-9)


@pytest.mark.parametrize("was", SIZES)
@pytest.mark.parametrize("now", [-1.7e308, *SIZES])
def test_sides_of_any_sizes_are_no_internal_error(tmp_path, was, now):
    before, after = (torch.full((3, 4), size, dtype=torch.float64) for size in (was, now))
    found = row(tmp_path, before, after)
    assert is_close(found["rms_before"], was)
    assert is_close(found["rms_after"], abs(now))
    assert is_close(
        found["relative_change"], finite(abs(Fraction(now) - Fraction(was)) / Fraction(was))
    )
    assert is_close(found["max_abs"], finite(abs(Fraction(now) - Fraction(was))))
    assert found["cosine"] == pytest.approx(1 if now > 0 else -1, rel=1e-14)


def test_a_tiny_change_beside_huge_numbers_is_not_lost(tmp_path):
    before = torch.tensor([1e200, 1e-200], dtype=torch.float64)
    after = torch.tensor([1e200, 3e-200], dtype=torch.float64)
    assert row(tmp_path, before, after)["max_abs"] == pytest.approx(2e-200)
    zeros = torch.tensor([1.0, 0.0], dtype=torch.float64)
    tiny = torch.tensor([1.0, 1e-170], dtype=torch.float64)
    assert row(tmp_path, zeros, tiny)["relative_change"] == pytest.approx(1e-170)


def test_tiny_and_huge_blocks_add_up(tmp_path):
    a = torch.cat([noise(200_000) * 1e200, noise(200_000) * 1e-200])
    b = a * 2
    found = row(tmp_path, a, b)
    assert is_close(found["relative_change"], 1.0)
    assert is_close(found["cosine"], 1.0)


@pytest.mark.parametrize("dtype", ["F64", "F32", "F16", "BF16"])
def test_multiples_have_the_change_and_angle_of_their_factor(tmp_path, dtype):
    weight = noise(300, 300).to(FLOATS[dtype])
    for factor, change, cosine in ((1, 0, 1), (2, 1, 1), (-1, 2, -1), (0.5, 0.5, 1)):
        found = row(tmp_path, weight, weight * factor)
        assert is_close(found["relative_change"], change, 1e-12)
        assert is_close(found["cosine"], cosine, 1e-12)
        assert found["status"] == ("identical" if factor == 1 else "changed")


def test_a_zero_tensor_has_no_ratio(tmp_path):
    zero, weight = torch.zeros(5, 5), noise(5, 5).float()
    found = row(tmp_path, zero, weight)
    assert (found["relative_change"], found["cosine"], found["rms_ratio"]) == (None, None, None)
    assert found["changed"] == 1
    assert row(tmp_path, zero, -zero)["status"] == "identical"
    assert row(tmp_path, weight, zero)["relative_change"] == 1


def test_a_transposed_view_is_compared_element_by_element(tmp_path):
    weight = noise(300, 500).float()
    other = weight + 0.1 * noise(300, 500, seed=6).float()
    straight = row(tmp_path, weight, other, write=torch.save, name="x.pt")
    turned = row(tmp_path, weight.T.contiguous().T, other, write=torch.save, name="x.pt")
    for figure in ("relative_change", "cosine", "max_abs", "changed"):
        assert is_close(turned[figure], straight[figure])
    assert row(tmp_path, weight.T, weight.T.contiguous(), write=torch.save, name="x.pt")[
        "status"
    ] == ("identical")


@pytest.mark.parametrize("kind", ["b2", "f4", "f8"])
@given(data=st.data())
@unhurried
def test_the_kernel_sums_what_numpy_sums(kind, data):
    if not NATIVE:
        pytest.fail("the compiled kernel is not there")
    words = {"b2": np.uint16, "f4": np.float32, "f8": np.float64}[kind]
    sides = data.draw(arrays.arrays(words, st.tuples(st.just(2), st.integers(0, 300))))
    with np.errstate(all="ignore"):
        mine = kernel.change(*np.ascontiguousarray(sides), kind)
        numpys = numpy_kernel.change(*np.ascontiguousarray(sides), kind)
    assert mine[:3] == numpys[:3]
    size = math.sqrt(mine[3]) * math.sqrt(mine[4])
    for place, (one, two) in enumerate(zip(mine[3:], numpys[3:], strict=True)):
        slack = 1e-12 * size if place == 2 else 0  # products of both signs cancel
        assert math.isclose(one, two, rel_tol=1e-12, abs_tol=max(slack, 1e-300))


@pytest.mark.parametrize("arguments", [(b"ab", b"a", "b2"), (b"a", b"a", "b2"), (b"", b"", "f2")])
def test_the_kernel_refuses_blocks_that_do_not_fit(arguments):
    with pytest.raises(ValueError, match="words"):
        kernel.change(*arguments)


def test_sums_add_up_to_the_sums_of_both():
    a, b = noise(1000).numpy(), noise(1000, seed=6).numpy()
    whole = Change.of(a, b, "f8")
    parts = sum(
        (Change.of(a[i : i + 100], b[i : i + 100], "f8") for i in range(0, 1000, 100)),
        Change(),
    )
    assert parts.numel == whole.numel
    assert is_close(parts.relative_change, whole.relative_change)
    assert is_close(parts.cosine, whole.cosine)
    assert whole + Change() == Change() + whole == whole


@given(before=st.sampled_from(SIZES), after=st.sampled_from(SIZES), other=st.sampled_from(SIZES))
def test_blocks_of_any_sizes_add_up_to_what_exact_arithmetic_says(before, after, other):
    """Fractions have no range to leave."""
    a = [noise(20, seed=1).numpy() * before, noise(20, seed=2).numpy() * other]
    b = [noise(20, seed=3).numpy() * after, noise(20, seed=4).numpy() * other]
    found = Change.of(a[0], b[0], "f8") + Change.of(a[1], b[1], "f8")
    x, y = ([Fraction(float(number)) for side in sides for number in side] for sides in (a, b))
    xx, yy = sum(i * i for i in x), sum(i * i for i in y)
    dd = sum((j - i) ** 2 for i, j in zip(x, y, strict=True))
    xy = sum(i * j for i, j in zip(x, y, strict=True))
    assert is_close(found.rms_before, root(xx / 40), 1e-12)
    assert is_close(found.rms_after, root(yy / 40), 1e-12)
    assert is_close(found.relative_change, root(dd / xx), 1e-12)
    assert is_close(found.max_abs, finite(max(abs(j - i) for i, j in zip(x, y, strict=True))))
    angle = root(xy * xy / (xx * yy)) * (1 if xy > 0 else -1)
    assert abs(found.cosine - angle) < 1e-12


def test_a_large_pair_progresses_in_steps(tmp_path):
    path = tmp_path / "large.safetensors"
    save_file({"w": torch.zeros(STRETCH_NBYTES)}, path)
    steps = []
    api.diff(path, path, progress=lambda *step: steps.append(step))
    assert len(steps) > 2
    assert steps == sorted(steps)
    assert steps[-1] == (8 * STRETCH_NBYTES, 8 * STRETCH_NBYTES)


def test_threads_change_no_byte(tmp_path):
    for side, seed in (("a", 1), ("b", 2)):
        tensors = {f"layers.{i}.weight": noise(1200, 3000, seed=seed + i).float() for i in range(5)}
        save_file(tensors, tmp_path / f"{side}.safetensors")
    command = ("diff", tmp_path / "a.safetensors", tmp_path / "b.safetensors", "--format", "json")
    outputs = {scalecheck(*command, "--jobs", jobs).out for jobs in (1, 2, 7)}
    assert len(outputs) == 1
