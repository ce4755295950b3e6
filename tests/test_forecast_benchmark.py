"""benchmarks/forecast.py at its smallest: what it trains, asks and prints, and what it compares."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"
ASKED = ("--steps", "12", "--models", "mlp", "--optimizers", "adamw,lion decay 10", "--jobs", "1")


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """The file that a short run keeps, and what it prints."""
    kept = tmp_path_factory.mktemp("forecast") / "kept.json"
    command = [sys.executable, str(FOLDER / "forecast.py"), *ASKED, "--json", str(kept)]
    ran = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    return json.loads(kept.read_text("utf-8")), ran.stdout


@pytest.fixture
def benchmark(monkeypatch):
    """Its modules, which find one another as scripts do."""
    monkeypatch.syspath_prepend(str(FOLDER))
    import forecast
    import forecast_runs
    import forecast_tables

    return forecast, forecast_runs, forecast_tables


def test_a_short_run_prints_a_table_of_every_forecast_that_was_made(done):
    kept, printed = done
    assert kept["settings"] == {"steps": 12, "seed": 0, "models": ["mlp"]}
    for word in ("1. RMS", "2. RMS", "3. RMS", "4. Displacement", "6. Share", "8. snr"):
        assert f"\n{word}" in printed
    assert "nan" not in printed.lower()


def test_lion_moves_by_its_lr_and_weight_decay_is_no_part_of_an_update(done):
    kept, _ = done
    said, *ratios = kept["tables"]["theory"]["lion decay 10 | mlp"]
    assert said == 1
    assert ratios == pytest.approx([1] * len(ratios), rel=1e-3)


def test_a_measured_update_is_close_to_the_next_one_of_a_large_tensor(done):
    kept, _ = done
    told, close, near, *quantiles = kept["tables"]["measured"]["adamw | mlp"][:6]
    assert told == 1
    assert near == 1
    assert close <= near
    assert quantiles == sorted(quantiles)


def test_a_figure_is_shown_beside_the_one_it_was_only_where_they_differ(benchmark):
    forecast, runs, tables = benchmark
    record = runs.Record("theory", "mlp", "adamw", "0.weight", 4096, 1, 1, 2.0, 3.0)
    (table,) = [one for one in tables.tables([record]) if one.key == "theory"]
    found = forecast.figures([record])
    assert forecast.changed(table, [record], found) == ""
    found["theory"]["adamw | mlp"][-1] = 0.5
    assert "0.5 → 1.5" in forecast.changed(table, [record], found)
