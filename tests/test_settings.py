"""One signature a command: its parameters are the options of the command line, the keys of a
configuration, the settings that a report records, and the manual."""

import inspect
import json
import re
from pathlib import Path

import pytest
import typer
from checked import noise, refused, report, saved, written
from command import scalecheck

import scalecheck as library
from scalecheck import api
from scalecheck.cli.main import COMMANDS, app
from scalecheck.errors import UsageError
from scalecheck.settings import Argument, Hyperparameter, options_of

MANUAL = Path(__file__).parent.parent / "docs" / "commands"
NAMES = [command.name for command in COMMANDS]
IN_SOURCE = {  # what a report says in its source
    "translate": {"state"},
    "simulate": {"optimizer", "hyperparameters"},
}
IN_TABLES = {"lr", "optimizer", "group"}  # of a configuration
RUN = {"steps": 20, "size": 16}

pytestmark = pytest.mark.usefixtures("elsewhere")


def of(name):
    return next(command for command in COMMANDS if command.name == name)


def options(name):
    return options_of(getattr(library, name))


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_of_the_library_is_an_option(name):
    others = inspect.signature(getattr(library, name)).parameters.keys() - options(name).keys()
    assert others == {"progress"} | ({"config"} if name == "check" else set())


@pytest.mark.parametrize("name", NAMES)
def test_the_command_line_has_the_options_of_both_signatures_and_no_others(name):
    command = typer.main.get_command(app).commands[name]
    flags = {parameter.opts[-1] for parameter in command.params}
    both = {**options(name), **options_of(of(name).own)}
    expected = {
        key if isinstance(option, Argument) else option.usage.split()[0]
        for key, option in both.items()
    }
    assert flags == expected


@pytest.mark.parametrize("name", NAMES)
def test_the_manual_has_every_option_with_its_help(name):
    page = (MANUAL / f"{name}.md").read_text("utf-8")
    part = page.partition("\n## Options\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `([^`]+)` \| (.*) \|$", part.partition("\n\n`")[0], re.MULTILINE)
    command = of(name)
    assert rows[: len(command.options)] == [
        (option.usage, option.description) for option in command.options.values()
    ]


@pytest.mark.parametrize("name", NAMES)
def test_a_report_records_every_option(name):
    path = saved({"w.weight": noise(8, 8)})
    given = {"inspect": {"init": "kaiming"}, "simulate": RUN}.get(name, {"lr": 1e-3, "steps": 9})
    paths = {"diff": [path, path], "simulate": [], "history": [[path, path]]}.get(name, [path])
    recorded = getattr(library, name)(*paths, **given).settings.keys()
    expected = {
        "hyperparameters" if isinstance(option, Hyperparameter) else key
        for key, option in options(name).items()
        if not isinstance(option, Argument) and key != "jobs"
    }
    more = {"config", "severity", "limits"} if name == "check" else set()
    assert recorded == (expected - IN_SOURCE.get(name, set())) | more


def test_the_keys_of_a_configuration_are_the_options_of_check():
    expected = {
        key
        for key, option in options("check").items()
        if not isinstance(option, Argument | Hyperparameter)
        and key not in {"jobs", "hyperparameters", *IN_TABLES}
    }
    written("zzz = 1")
    said = refused(saved({"w.weight": noise(8, 8)})).partition("there are ")[2]
    assert expected == {*said.strip().split(", ")} - {
        "override",
        "exception",
        "limits",
        "severity",
        *IN_TABLES,
    }


def test_an_option_has_the_same_default_in_python_and_on_the_command_line():
    path = saved({"w.weight": noise(8, 8)})
    of_library = library.check(path).settings
    assert json.loads(json.dumps(of_library)) == report(path)["settings"]


def test_what_python_is_given_goes_before_the_file_even_where_it_is_the_default():
    path = saved({"w.weight": noise(8, 8)})
    written("snr = 0.5")
    judged = {
        given: library.check(path, config="scalecheck.toml", **dict(given)).settings["snr"]
        for given in ((), (("snr", 0.0),))
    }
    assert judged == {(): 0.5, (("snr", 0.0),): 0.0}


@pytest.mark.parametrize(
    ("command", "given", "text"),
    [
        ("translate", {"lr": 0}, "lr=0: must be a positive number"),
        ("translate", {"by": "famly"}, "by='famly': not known; did you mean family?"),
        ("translate", {"step": 0}, "step=0: must be `steady` or a whole number from 1 up"),
        ("inspect", {"top": 0}, "top=0: must be at least 1 row"),
        ("inspect", {"init": "kaimin"}, "init='kaimin': not known; did you mean kaiming?"),
    ],
)
def test_a_value_outside_its_domain_is_refused_before_a_file_is_opened(command, given, text):
    with pytest.raises(UsageError, match=re.escape(text)):
        getattr(library, command)("no such file", **given)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[optimizer]\nlr = 0", "optimizer.lr 0: must be a positive number"),
        ("[optimizer]\nname = 'adamww'", "optimizer.name adamww: not known; did you mean adamw? …"),
        ("[optimizer]\nlr = 1e-3\nbeta2 = 2", "--optimizer adamw: beta2 2 is outside [0, 1)"),
        ("fail_on = 'eror'", "fail_on eror: not known; did you mean error?"),
        ("select = ['SC9']", "select SC9: not known; …"),
        ("ignore = ['SC']", "ignore: leaves no rule to run"),
        ("steps = 9\nschedule = 'cosin'", "schedule cosin: not known; did you mean cosine?"),
        ("match = ['zz*']", "match zz*: matches none of 1 tensors"),
        ("init = 'xavierr'", "init xavierr: not known; …"),
        ("serve_dtype = 'fp7'", "serve_dtype fp7: not known; …"),
        ("bands = [1, 2]", "bands 1,2: must be four rising numbers, …"),
        ("grad_rms = -1", "grad_rms -1: must be a positive number"),
    ],
)
def test_a_value_of_a_file_is_refused_by_its_key(text, problem):
    path = saved({"w.weight": noise(8, 8)})
    written(text)
    said = refused(path).strip()
    assert problem.rstrip("…") in said
    assert (re.search(r"scalecheck.toml:\d+: [a-z]", said) is None) == problem.startswith("--")


SET = {
    "translate": ("--lr", "1e-3", "--optimizer", "rmsprop"),
    "diff": ("--lr", "1e-3", "--steps", "10", "--optimizer", "rmsprop"),
    "history": ("--lr", "1e-3", "--optimizer", "rmsprop"),
    "check": ("--lr", "1e-3", "--optimizer", "rmsprop"),
    "simulate": ("--optimizer", "rmsprop", "--steps", "20", "--size", "16"),
}


@pytest.mark.parametrize("name", SET)
def test_any_hyperparameter_is_set_on_the_command_line(name):
    path = saved({"w.weight": noise(8, 8)})
    paths = {"diff": [path, path], "history": [path, path], "simulate": []}
    words = ("--set", "alpha=0.95", "--set", "centered=false", "--eps", "1e-6", "--format", "json")
    done = scalecheck(name, *paths.get(name, [path]), *SET[name], *words)
    assert done.err == ""
    found = json.loads(done.out)
    held = (found["source"] if name == "simulate" else found["settings"])["hyperparameters"]
    expected = {"eps": 1e-6, "alpha": 0.95, "centered": False}
    assert expected.items() <= held.items()


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["beta1=0.8", "--beta1", "0.9"], "--set beta1: is given as --beta1 too"),
        (["beta1=0.8", "--set", "beta1=0.9"], "--set beta1: is given twice"),
        (["warmup=9"], "--set warmup: is an option by itself: --warmup"),
        (["beta1"], "--set beta1: must be NAME=VALUE, such as alpha=0.95"),
        (["alpha=0.9"], "--optimizer adamw: has no alpha; it has beta1, beta2, eps, …"),
        (["beta1=2"], "--optimizer adamw: beta1 2.0 is outside [0, 1)"),
        (["beta1=x"], "--set beta1=x: must be a number"),
        (["nesterov=maybe"], "--set nesterov=maybe: must be true or false"),
        (["ns_steps=1.5"], "--set ns_steps=1.5: must be a whole number"),
        (
            ["ns_coefficients=1,2"],
            "--set ns_coefficients=1,2: must be 3 numbers separated by commas",
        ),
    ],
)
def test_a_hyperparameter_that_does_not_fit_is_refused(words, problem):
    path = saved({"w.weight": noise(8, 8)})
    done = scalecheck("translate", path, "--lr", "1e-3", "--set", *words)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"scalecheck: {problem.rstrip('…')}")


def test_a_hyperparameter_of_no_optimizer_is_refused_where_no_lr_is_known():
    path = saved({"w.weight": noise(8, 8)})
    assert "--set weight_deacy: not known; did you mean weight_decay?" in refused(
        path, "--set", "weight_deacy=0.1"
    )


def test_several_numbers_are_set_by_commas():
    path = saved({"w.weight": noise(64, 64)})
    words = ("--lr", "1e-3", "--optimizer", "muon", "--set", "ns_coefficients=3,-4,2")
    found = report(path, *words)["settings"]["hyperparameters"]
    assert found == {"ns_coefficients": [3.0, -4.0, 2.0]}


def test_settings_say_where_each_came_from():
    written("snr = 0.5\n[optimizer]\nlr = 1e-3\nbeta1 = 0.8")
    found = api.settings(api.check, {"steps": 9}, api.read_config("scalecheck.toml"))
    assert {
        name: found.sources[name]
        for name in ("snr", "lr", "hyperparameters", "steps", "by")
        if name in found.sources
    } == {
        "snr": "scalecheck.toml",
        "lr": "scalecheck.toml",
        "hyperparameters": "scalecheck.toml",
        "steps": "command line",
    }
