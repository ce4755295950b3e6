"""`scalecheck check --baseline`: what changed since, and what is no baseline."""

import json
from pathlib import Path

import pytest
import torch
from checked import found, noise, refused, saved, written
from command import scalecheck
from process import finished, program

pytestmark = pytest.mark.usefixtures("elsewhere")


def test_a_baseline_agrees_with_the_checkpoint_it_was_made_of_measured_or_not():
    path = saved({"w.weight": noise(64, 64), "freqs": torch.ones(4) * 1j})
    options = (path, "--baseline", "good.json")
    assert scalecheck("check", *options, "--update-baseline").code == 0
    assert found(*options, "--select", "SC3") == []


@pytest.mark.parametrize("count", [1, 64])
def test_numbers_that_came_to_be_nan_are_a_drift(count):
    weight = noise(64, 64)
    options = (saved({"w.weight": weight}), "--baseline", "good.json")
    assert scalecheck("check", *options, "--update-baseline").code == 0
    weight[:count] = float("nan")
    saved({"w.weight": weight})
    assert ("SC301", "w.weight") in found(*options, "--select", "SC301")


def test_an_index_of_very_many_digits_in_a_baseline_is_no_internal_error():
    options = (saved({"w.weight": noise(64, 64)}), "--baseline", "good.json")
    assert scalecheck("check", *options, "--update-baseline").code == 0
    recorded = json.loads(Path("good.json").read_text())
    recorded["rows"][0]["name"] = f"layers.{5000 * '9'}.weight"
    Path("good.json").write_text(json.dumps(recorded))
    assert scalecheck("check", *options).code in (1, 3)


def test_a_baseline_does_not_replace_another_file():
    path = saved({"w.weight": noise(64, 64)})
    Path("config.json").write_text('{"model_type": "gpt2"}')
    assert "config.json" in refused(path, "--baseline", "config.json", "--update-baseline")
    assert Path("config.json").read_text() == '{"model_type": "gpt2"}'


def test_a_baseline_that_cannot_be_written_is_named_by_its_option():
    path = saved({"w.weight": noise(64, 64)})
    line = refused(path, "--baseline", "none/good.json", "--update-baseline")
    assert "--output" not in line


def test_options_of_a_report_are_refused_where_a_baseline_is_written():
    path = saved({"w.weight": noise(64, 64)})
    refused(path, "--baseline", "good.json", "--update-baseline", "--output", "report.sarif")


def test_an_exception_by_role_holds_for_a_tensor_that_is_gone():
    options = (saved({"a.weight": noise(8, 8), "b.weight": noise(8, 8)}), "--baseline", "good.json")
    assert scalecheck("check", *options, "--update-baseline").code == 0
    saved({"a.weight": noise(8, 8)})
    assert found(*options, "--select", "SC302") == [("SC302", "b.weight")]
    written("[[exception]]\nrole = 'matrix'\nrules = ['SC302']\nreason = 'pruned'\n")
    assert found(*options, "--select", "SC302") == []


def test_a_folder_that_is_gone_is_not_blamed_on_standard_output(tmp_path):
    path = tmp_path / saved({"w.weight": noise(64, 64)})
    gone = "import os; os.mkdir('gone'); os.chdir('gone'); os.rmdir('../gone')"
    assert "standard output" not in finished(program("check", path, before=gone)).err


def test_a_tensor_that_lost_its_figures_or_got_some_is_a_drift():
    broken = {"w.weight": torch.full((8, 8), float("nan"))}
    options = (saved(broken), "--baseline", "good.json", "--select", "SC301")
    assert scalecheck("check", *options[:3], "--update-baseline").code == 0
    assert found(*options) == []
    saved({"w.weight": noise(8, 8)})
    assert found(*options) == [("SC301", "w.weight")]
