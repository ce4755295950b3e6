"""Names that torch, transformers and others have for the optimizers known here."""

import json
from pathlib import Path

import pytest
from command import scalecheck

import scalecheck as package
from scalecheck import registry
from scalecheck.errors import ArgumentError
from scalecheck.optimizers._spellings import resolve, spellings

SAMPLE = Path(__file__).parent.parent / "sample_ckpts" / "tiny-gpt"

# transformers' OptimizerNames whose formula is one known here.
TRANSFORMERS = {
    "adamw": "adamw_torch adamw_torch_fused adamw_torch_xla adamw_torch_npu_fused adamw_apex_fused"
    " adamw_anyprecision adamw_torch_4bit adamw_torch_8bit adamw_bnb_8bit adamw_8bit"
    " paged_adamw_32bit paged_adamw_8bit",
    "adafactor": "adafactor",
    "adagrad": "adagrad",
    "ademamix": "ademamix ademamix_8bit paged_ademamix_32bit paged_ademamix_8bit",
    "lion": "lion_8bit lion_32bit paged_lion_32bit paged_lion_8bit",
    "rmsprop": "rmsprop rmsprop_bnb rmsprop_bnb_8bit rmsprop_bnb_32bit",
    "sgd": "sgd",
    "stable_adamw": "stable_adamw",
    "adamw_hf": "adamw_hf",
}
OTHERS = {
    "adamw": "AdamW ADAMW torch.optim.AdamW torch.optim.adamw.AdamW FusedAdam DeepSpeedCPUAdam"
    " bnb.optim.PagedAdamW8bit torchao.optim.AdamW8bit",
    "adafactor": "Adafactor torch.optim.Adafactor",
    "adafactor_hf": "transformers.Adafactor transformers.optimization.Adafactor",
    "adamw_hf": "transformers.AdamW",
    "adam_atan2": "AdamAtan2 adam-atan2",
    "stable_adamw": "StableAdamW",
    "dadapt_adam": "DAdaptAdam",
    "muon": "Muon MuonWithAuxAdam",
    "lamb": "FusedLAMB bitsandbytes.optim.LAMB8bit",
    "rmsprop": "RMSprop RMSProp",
}


@pytest.mark.parametrize(
    ("word", "name"),
    [
        (word, name)
        for names in (TRANSFORMERS, OTHERS)
        for name, words in names.items()
        for word in words.split()
    ],
)
def test_another_programs_name_is_resolved(word, name):
    assert resolve(word) == name


@pytest.mark.parametrize("name", registry.names("optimizer"))
def test_every_name_and_every_spelling_is_the_optimizers_own(name):
    assert resolve(name) == name
    assert {resolve(word) for word in [name.upper(), *spellings(name)]} == {name}


@pytest.mark.parametrize(
    "word", ["galore_adamw", "schedule_free_adamw", "apollo_adamw", "lomo", "ASGD", "LBFGS", "8bit"]
)
def test_an_optimizer_of_another_formula_is_not_taken_for_a_known_one(word):
    done = scalecheck("translate", SAMPLE, "--lr", "1e-3", "--optimizer", word)
    assert done.code == 2
    assert f"--optimizer {word}: not known; " in done.err
    assert "`scalecheck optimizers` lists all" in done.err


def test_a_misspelled_name_is_answered_with_near_ones():
    done = scalecheck("translate", SAMPLE, "--lr", "1e-3", "--optimizer", "AdamX")
    assert "did you mean adamax or adam? `" in done.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("translate", SAMPLE, "--lr", "1e-3", "--optimizer", "paged_adamw_8bit"),
        ("check", SAMPLE, "--lr", "1e-3", "--optimizer", "AdamW", "--no-config"),
        ("simulate", "--optimizer", "torch.optim.AdamW", "--steps", "20"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_the_settings_have_the_resolved_name(arguments):
    report = json.loads(scalecheck(*arguments, "--format", "json").out)
    place = "source" if arguments[0] == "simulate" else "settings"
    assert report[place]["optimizer"] == "adamw"


def test_a_configuration_and_python_take_other_spellings(tmp_path):
    config = tmp_path / "scalecheck.toml"
    config.write_text('[optimizer]\nname = "adamw_torch_fused"\nlr = 1e-3\n')
    done = scalecheck("check", SAMPLE, "--config", config, "--format", "json")
    assert json.loads(done.out)["settings"]["optimizer"] == "adamw"
    report = package.translate(SAMPLE, "RMSprop", lr=1e-3)
    assert report.settings["optimizer"] == "rmsprop"
    with pytest.raises(ArgumentError, match="did you mean adam"):
        package.translate(SAMPLE, "adamq", lr=1e-3)
