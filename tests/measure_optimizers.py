"""Trains a small network with every optimizer of pytorch_optimizer, prodigyopt, schedulefree,
lion_pytorch and dadaptation that runs, and compares what a saved state is read as with what the
last step did. `python tests/measure_optimizers.py` writes data/optimizers-measured.json, which
test_measured_optimizers.py reads; with a word, those whose name holds it are tried and nothing is
written. The packages are needed for that alone, as are ademamix.py, adopt.py, adan.py and sophia.py
of their authors' repositories."""

import inspect
import json
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

import scalecheck as api
from scalecheck.errors import ScalecheckError

RESULT = Path(__file__).parent / "data" / "optimizers-measured.json"
STEPS = 12
ELSEWHERE = {
    "prodigyopt.Prodigy": {"lr": 1.0, "d0": 0.1},  # so large that it does not grow
    "lion_pytorch.Lion": {"lr": 1e-4},
    "schedulefree.AdamWScheduleFree": {"lr": 1e-3},
    "schedulefree.SGDScheduleFree": {"lr": 0.1},
    "schedulefree.RAdamScheduleFree": {"lr": 1e-3},
    "dadaptation.DAdaptAdam": {"lr": 1.0},
    "dadaptation.DAdaptSGD": {"lr": 1.0},
    "dadaptation.DAdaptLion": {"lr": 1.0},
    "dadaptation.DAdaptAdan": {"lr": 1.0, "weight_decay": 0.0},
    "transformers.Adafactor": {"lr": None},
    "torch.optim.Adam": {"lr": 1e-3, "maximize": True},
    "torch.optim.AdamW": {"lr": 1e-3, "amsgrad": True},
    "torch.optim.Adamax": {"lr": 1e-3},
    "torch.optim.NAdam": {"lr": 1e-3},
    "torch.optim.RAdam": {"lr": 1e-3},
    "torch.optim.ASGD": {"lr": 1e-2},
}
"""Beside pytorch_optimizer's own, by the class and its settings."""


VARIANTS: dict[str, list[dict[str, Any]]] = {
    "prodigyopt.Prodigy": [
        {"lr": 1.0, "d0": 1e-3, "growth_rate": 1.15},
        {"lr": 1.0, "d0": 0.1, "use_bias_correction": True},
    ],
    "pytorch_optimizer.prodigy": [
        {"d0": 1e-3, "growth_rate": 1.15},
        {"d0": 0.1, "weight_decay": 0.1},
        {"d0": 0.1, "eps": None},
    ],
    "came_pytorch.CAME": [
        {"lr": 1e-3, "weight_decay": 0.1},
        {"lr": 1e-3, "betas": (0.5, 0.9, 0.99), "clip_threshold": 0.5},
    ],
    "pytorch_optimizer.soap": [
        {"precondition_frequency": 11, "weight_decay": 0.0},
        {"normalize_gradient": True, "weight_decay": 0.0},
        {"precondition_1d": True, "correct_bias": False},
    ],
    "pytorch_optimizer.stableadamw": [{"weight_decouple": False}],
    "pytorch_optimizer.came": [
        {"weight_decay": 0.1, "foreach": False},
        {"weight_decay": 0.1, "weight_decouple": False},
        {"ams_bound": True},
    ],
    "pytorch_optimizer.lamb": [
        {"weight_decay": 0.3, "weight_decouple": False},
        {"grad_averaging": False, "foreach": False},
        {"pre_norm": True, "lr": 0.3},
        {"rectify": True},
        {"adam": True},
    ],
    "torch_optimizer.Lamb": [{"lr": 0.01}],
    "torch.optim.Muon": [
        {"lr": 0.02},
        {"lr": 0.02, "nesterov": False},
        {"lr": 0.02, "nesterov": False, "adjust_lr_fn": "match_rms_adamw", "ns_steps": 3},
    ],
    "transformers.Adafactor": [
        {"lr": None, "warmup_init": True, "beta1": 0.9},
        {"lr": None, "scale_parameter": False, "beta1": 0.9},
        {"lr": 1e-3, "relative_step": False, "beta1": 0.9},
        {
            "lr": 1e-3,
            "relative_step": False,
            "scale_parameter": False,
            "beta1": 0.5,
            "weight_decay": 0.1,
            "clip_threshold": 0.5,
        },
    ],
    "ademamix.AdEMAMix": [
        {"lr": 1e-3},
        {"lr": 1e-2, "weight_decay": 0.3, "alpha_warmup": 20, "beta3_warmup": 20},
        {"lr": 1e-3, "alpha_warmup": 5, "beta3_warmup": 5},
    ],
    "pytorch_optimizer.ademamix": [
        {"t_alpha_beta3": 20, "weight_decay": 0.1},
        {"weight_decay": 0.1, "weight_decouple": True},
        {"weight_decay": 0.1, "weight_decouple": True, "fixed_decay": True},
        {"cautious": True},
        {"stable_adamw": True},
    ],
    "adopt.ADOPT": [
        {"lr": 1e-3},
        {"lr": 1e-3, "weight_decay": 0.1},
        {"lr": 1e-3, "weight_decay": 0.1, "decouple": True},
    ],
    "adan.Adan": [
        {"lr": 1e-3},
        {"lr": 1e-3, "weight_decay": 0.1},
        {"lr": 1e-3, "weight_decay": 0.1, "no_prox": True, "max_grad_norm": 0.1},
    ],
    "pytorch_optimizer.adan": [
        {"weight_decay": 0.1},
        {"weight_decay": 0.1, "weight_decouple": True, "max_grad_norm": 0.1},
        {"use_gc": True},
        {"adanorm": True},
    ],
    "pytorch_optimizer.lion": [
        {"weight_decay": 0.1},
        {"weight_decay": 0.1, "weight_decouple": False},
        {"cautious": True},
        {"adanorm": True},
        {"use_gc": True},
    ],
    "pytorch_optimizer.tiger": [{"weight_decouple": False}],
    "pytorch_optimizer.signsgd": [
        {"momentum": 0.0},
        {"weight_decay": 0.1},
        {"weight_decay": 0.1, "weight_decouple": False},
    ],
    "lion_pytorch.Lion": [
        {"lr": 1e-4, "weight_decay": 0.1},
    ],
    "lion_pytorch.cautious_lion.Lion": [
        {"lr": 1e-4},
        {"lr": 1e-4, "weight_decay": 0.1, "cautious_factor": 1.0},
    ],
    "dadaptation.DAdaptAdam": [
        {"lr": 1.0, "d0": 0.01, "use_bias_correction": True},
        {"lr": 1.0, "d0": 0.1, "weight_decay": 0.1, "decouple": True},
        {"lr": 1.0, "weight_decay": 0.1},
    ],
    "dadaptation.DAdaptAdan": [{"lr": 1.0, "weight_decay": 0.0, "d0": 0.1, "no_prox": True}],
    "dadaptation.DAdaptSGD": [{"lr": 1.0, "momentum": 0.9, "weight_decay": 0.1}],
    "dadaptation.DAdaptAdaGrad": [{"lr": 1.0}, {"lr": 1.0, "momentum": 0.9, "weight_decay": 0.1}],
    "pytorch_optimizer.dadaptadam": [{"bias_correction": True}, {"weight_decay": 0.1}],
    "pytorch_optimizer.dadaptsgd": [{"momentum": 0.0}, {"weight_decay": 0.1}],
    "pytorch_optimizer.dadaptadagrad": [{"momentum": 0.9}],
    "adabelief_pytorch.AdaBelief": [
        {"lr": 1e-3, "print_change_log": False},
        {"lr": 1e-3, "print_change_log": False, "betas": (0.9, 0.9)},
        {"lr": 1e-3, "print_change_log": False, "betas": (0.9, 0.9), "amsgrad": True},
        {"lr": 1e-3, "print_change_log": False, "degenerated_to_sgd": False},
        {"lr": 1e-3, "print_change_log": False, "rectify": False, "weight_decay": 0.1},
        {"lr": 1e-3, "print_change_log": False, "rectify": False, "amsgrad": True, "eps": 1e-8},
    ],
    "pytorch_optimizer.adabelief": [
        {"weight_decay": 0.1},
        {"weight_decay": 0.1, "weight_decouple": False},
        {"ams_bound": True},
        {"rectify": True},
        {"rectify": True, "betas": (0.9, 0.9)},
        {"rectify": True, "betas": (0.9, 0.9), "ams_bound": True},
        {"adanorm": True},
        {"adam_debias": True},
        {"eps": 1e-8},
    ],
    "pytorch_optimizer.sophiah": [{"weight_decay": 0.1}, {"weight_decouple": False, "p": 1.0}],
    "sophia.SophiaG": [{"lr": 1e-3}],
    "pytorch_optimizer.adamax": [
        {"weight_decay": 0.1},
        {"weight_decouple": True},
        {"adanorm": True},
    ],
    "pytorch_optimizer.adapnm": [{"ams_bound": True, "weight_decay": 0.1}, {"adam_debias": True}],
    "pytorch_optimizer.laprop": [{"cautious": True}, {"centered": True, "ams_bound": True}],
    "pytorch_optimizer.novograd": [
        {"grad_averaging": True, "weight_decay": 0.1, "weight_decouple": True},
        {"weight_decay": 0.1},
    ],
    "pytorch_optimizer.padam": [{"partial": 0.4, "weight_decay": 0.1, "weight_decouple": True}],
    "pytorch_optimizer.sgdw": [
        {"momentum": 0.9, "weight_decay": 0.1},
        {"momentum": 0.9, "nesterov": True},
        {"momentum": 0.9, "weight_decouple": False},
    ],
    "pytorch_optimizer.yogi": [
        {"weight_decay": 0.1},
        {"weight_decay": 0.1, "weight_decouple": False},
    ],
    "pytorch_optimizer.schedulefreeadamw": [{"ams_bound": True}, {"decoupling_c": 50}],
}
"""Further settings by the optimizer's name."""
PROXIMAL = {
    "adan.Adan": "no_prox",
    "dadaptation.DAdaptAdan": "no_prox",
    "pytorch_optimizer.adan": "weight_decouple",
    "pytorch_optimizer.dadaptadan": "weight_decouple",
}
"""Whose weight decay divides the weights after the update, unless this setting is on."""


def kinds() -> Iterator[tuple[str, Any, dict[str, Any]]]:
    """Each optimizer by its name, class and settings."""
    from pytorch_optimizer import get_supported_optimizers, load_optimizer

    for name in get_supported_optimizers():
        kind = load_optimizer(name)
        lr = inspect.signature(kind).parameters.get("lr")
        default = None if lr is None or lr.default is inspect.Parameter.empty else lr.default
        given = {} if lr is None else {"lr": default or 1e-3}
        yield f"pytorch_optimizer.{name}", kind, given
        for further in VARIANTS.get(f"pytorch_optimizer.{name}", ()):
            yield _titled(f"pytorch_optimizer.{name}", further), kind, given | further
    for path, given in ELSEWHERE.items():
        yield path, _class(path), given
    for path, several in VARIANTS.items():
        if not path.startswith("pytorch_optimizer."):
            yield from ((_titled(path, given), _class(path), given) for given in several)


def _class(path: str) -> Any:
    package, _, word = path.rpartition(".")
    return getattr(import_module(package), word)


def _titled(name: str, settings: dict[str, Any]) -> str:
    return f"{name}({', '.join(f'{word}={value}' for word, value in settings.items())})"


def trained(kind: Any, settings: dict[str, Any], folder: Path) -> dict[str, torch.Tensor]:
    """The weights before the last step; those after it are in a file with the state."""
    torch.manual_seed(1)
    layers = (torch.nn.Linear(24, 32), torch.nn.Tanh(), torch.nn.Linear(32, 8))
    model = torch.nn.Sequential(*layers).double()
    params = list(model.parameters())
    if kind is torch.optim.Muon:
        params = [param for param in params if param.ndim == 2]
    try:
        running = kind(params, **settings)
    except TypeError:
        running = kind(model, **settings)
    if hasattr(running, "train"):
        running.train()
    draw = torch.Generator().manual_seed(5)
    inputs = torch.randn(64, 24, generator=draw, dtype=torch.float64)
    targets = torch.randn(64, 8, generator=draw, dtype=torch.float64)
    needs_graph = any(word in kind.__name__.lower() for word in ("hessian", "sophia"))
    before: dict[str, torch.Tensor] = {}
    for step in range(STEPS):
        rows = torch.randint(0, 64, (16,), generator=torch.Generator().manual_seed(step))
        closure = _closure(model, running, inputs[rows], targets[rows], needs_graph)
        before = {name: w.detach().clone() for name, w in model.state_dict().items()}
        closure()
        try:
            running.step()
        except (TypeError, RuntimeError, ValueError):
            running.step(closure)
    run = {"model": model.state_dict(), "optimizer": running.state_dict()}
    torch.save(run, folder / "run.pt")
    return before


def _closure(
    model: torch.nn.Module, running: Any, x: torch.Tensor, y: torch.Tensor, needs_graph: bool
) -> Callable[[], torch.Tensor]:
    def closure() -> torch.Tensor:
        running.zero_grad()
        loss: torch.Tensor = (model(x) - y).square().mean()
        loss.backward(create_graph=needs_graph)
        return loss

    return closure


def compared(
    before: dict[str, torch.Tensor], folder: Path, is_proximal: bool = False
) -> dict[str, Any]:
    """What the state is read as, how many of its tensors are measured, and the largest relative
    error of a measured update; weight decay's share is left out where it is beside the gradient."""
    after = torch.load(folder / "run.pt", weights_only=False)["model"]
    try:
        rows = api.translate(folder / "run.pt").rows
    except ScalecheckError as error:
        return {"refused": str(error).replace(f"{folder}/", "")}
    errors = []
    for row in (row for row in rows if row["measured"]):
        w = after[row["name"]]
        decay = (row["decay_pull"] or 0.0) if row["optimizer"] != "adam" else 0.0
        own = before[row["name"]]
        moved = (1 + decay) * w - own if is_proximal else w - (1 - decay) * own
        moved = moved.square().mean().sqrt()
        true = float(moved / w.square().mean().sqrt())
        errors.append(abs(row["relative_update"] / true - 1) if true else float("inf"))
    return {
        "optimizers": sorted({row["optimizer"] for row in rows}),
        "measured": len(errors),
        "tensors": len(rows),
        "worst": float(f"{max(errors):.2g}") if errors else None,
    }


def main() -> None:
    """Writes the results and prints them as a table."""
    warnings.filterwarnings("ignore")
    results: dict[str, dict[str, Any]] = {}
    word = sys.argv[1] if len(sys.argv) > 1 else ""
    for name, kind, settings in kinds():
        if word not in name:
            continue
        with tempfile.TemporaryDirectory() as folder:
            try:
                before = trained(kind, settings, Path(folder))
            except Exception as error:
                print(f"{name}: does not run: {type(error).__name__}")
                continue
            flag = PROXIMAL.get(name.partition("(")[0])
            is_proximal = flag is not None and not settings.get(flag)
            results[name] = compared(before, Path(folder), is_proximal)
        print(name, results[name])
    if not word:
        RESULT.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n", "utf-8")


if __name__ == "__main__":
    main()
