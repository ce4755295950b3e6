"""How far what adapters add lies apart in two checkpoints, beside the difference formed whole."""

import pytest
from adapter_files import CONFIG, PEFT, lora, noise, product, rms, write, write_base

import scalecheck as api
from scalecheck.errors import UsageError

MODULE = "layers.0.q_proj"
BASE = noise(48, 64, seed=9)


def halves(a, b, module=MODULE):
    return {PEFT.format(module, "A"): a, PEFT.format(module, "B"): b}


@pytest.fixture
def base(tmp_path):
    return write_base(tmp_path / "base", {f"{MODULE}.weight": BASE})


def changed(before, after, base=None):
    """The only adapted matrix of a comparison."""
    [row] = api.diff(before, after, base=base).rows_of("adapted")
    return row


def test_difference_of_products_is_exact(base, tmp_path):
    (a, b), (c, d) = lora(seed=1), lora(rank=6, seed=3)
    before = write(tmp_path / "before", halves(a, b), CONFIG)
    after = write(tmp_path / "after", halves(c, d), {**CONFIG, "r": 6, "lora_alpha": 3})
    row = changed(before, after, base)
    moved = rms(product(c, d, 0.5) - product(a, b, 2.0))
    assert row["name"] == f"{MODULE}.weight"
    assert row["added_rms_before"] == pytest.approx(rms(product(a, b, 2.0)), rel=1e-12)
    assert row["added_rms_after"] == pytest.approx(rms(product(c, d, 0.5)), rel=1e-12)
    assert row["change_rms"] == pytest.approx(moved, rel=1e-12)
    assert row["relative_change"] == pytest.approx(moved / rms(BASE), rel=1e-12)


def test_small_difference_does_not_cancel(tmp_path):
    a, b = (half.double() for half in lora())
    c, d = a + 1e-11 * noise(4, 64, seed=5).double(), b + 1e-11 * noise(48, 4, seed=6).double()
    before = write(tmp_path / "before", halves(a, b), CONFIG)
    after = write(tmp_path / "after", halves(c, d), CONFIG)
    whole = 2.0 * ((d - b) @ c + b @ (c - a))
    assert changed(before, after)["change_rms"] == pytest.approx(rms(whole), rel=1e-9)


def test_adapter_of_one_side_alone_moves_by_all_it_adds(base, tmp_path):
    a, b = lora()
    after = write(tmp_path / "after", halves(a, b), CONFIG)
    row = changed(base, after, base)
    assert row["added_rms_before"] == 0
    assert row["change_rms"] == row["added_rms_after"] == pytest.approx(rms(product(a, b, 2.0)))


def test_same_adapter_does_not_move(base, tmp_path):
    folder = write(tmp_path / "a", halves(*lora()), CONFIG)
    report = api.diff(folder, folder, base=base)
    assert report.rows_of("adapted")[0]["change_rms"] == 0
    assert report.totals.startswith("W + ΔW moved by 0 % of W (median of 1 adapted matrix")


def test_halves_of_other_sizes_are_not_compared(tmp_path):
    before = write(tmp_path / "before", halves(*lora()), CONFIG)
    after = write(tmp_path / "after", halves(*lora(rows=40)), CONFIG)
    assert changed(before, after)["reason"] == "its halves have other sizes before and after"


def test_unknown_alpha_leaves_the_change_unknown(tmp_path):
    before = write(tmp_path / "before", halves(*lora()), CONFIG)
    after = write(tmp_path / "after", halves(*lora(seed=3)))
    assert changed(before, after)["reason"].startswith("alpha is not known")


def test_base_of_models_without_adapters_is_refused(base):
    with pytest.raises(UsageError, match="neither of"):
        api.diff(base, base, base=base)


def test_names_that_differ_by_wrappers_are_one_module(tmp_path):
    a, b = lora()
    before = write(tmp_path / "before", halves(a, b), CONFIG)
    named = {n.replace(".weight", ".default.weight"): t for n, t in halves(a, b).items()}
    after = write(tmp_path / "after", named, CONFIG)
    assert changed(before, after)["change_rms"] == 0
