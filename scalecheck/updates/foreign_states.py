"""States that are known by their names and have no formula here, and why their update is not read:
the one table of them."""

from collections.abc import Iterator
from typing import NamedTuple

from scalecheck.optimizers._bitsandbytes import LAMB
from scalecheck.optimizers.contract import Condition, Writer
from scalecheck.updates.adam_states import AdamMini, MoonlightMuon, StableAdamW
from scalecheck.updates.soap_state import PlainSoap, Soap
from scalecheck.updates.without_formula import WithoutFormula


class Foreign(NamedTuple):
    """A program's state. name: of the optimizer, or of several that save the same names;
    second_moment: its average of squared gradients with beta2, from zero; kind: what reads it."""

    name: str
    writer: Writer
    why: str
    second_moment: str = ""
    kind: type[WithoutFormula] = WithoutFormula


_PYTORCH_OPTIMIZER = ("weight_decouple", "fixed_decay", "step")
_ADAM = ("exp_avg", "exp_avg_sq")
_MASKED = "its last update is masked by the sign of a gradient that its state does not hold"
_EARLIER_D = "its last update is lr times the d of the step before, which its state does not hold"
_ONE_OF = "they save the same names and differ in their formula"

_SCHEDULE_FREE = ("weight_decay", "r", "weight_sum", "lr_max", "weight_lr_power", "train_mode")
_UNKNOWN_GRADIENT = "its last update uses a gradient that its state does not hold"


def _schedule_free(
    kind: str,
    settings: tuple[str, ...],
    entries: tuple[str, ...],
    optional_entries: tuple[str, ...] = (),
) -> Iterator[Foreign]:
    """schedulefree's and pytorch_optimizer's, which count under k and step, in both modes."""
    for is_training, held in (
        (True, "y, where gradients are taken (train_mode is on)"),
        (False, "x, the averages to evaluate (train_mode is off)"),
    ):
        for count, further in (("k", ("scheduled_lr",)), ("step", ("eps", "decoupling_c"))):
            yield Foreign(
                f"schedule-free {kind}",
                Writer(
                    (*settings, *_SCHEDULE_FREE, count),
                    entries,
                    optional_settings=(*further, "ams_bound", "use_palm"),
                    optional_entries=optional_entries,
                    values={"train_mode": is_training},
                    count=count,
                ),
                f"{_UNKNOWN_GRADIENT}; saved weights are {held}",
                "exp_avg_sq" if "exp_avg_sq" in entries else "",
            )


def _are_betas(setting: object) -> bool:
    """Two numbers of 0 to below 1."""
    if not isinstance(setting, tuple) or len(setting) != 2:
        return False
    return all(map(_is_share, setting))


def _is_share(setting: object) -> bool:
    return isinstance(setting, int | float) and 0 <= setting < 1


_NOT_SOLVED = "no formula for its expected update is known"
_IN_A_BASIS = (*_ADAM, "GG", "Q", "precondition_frequency", "shampoo_beta")
_SOAP = (
    *("betas", "eps", "weight_decay", "shampoo_beta", "precondition_frequency", "merge_dims"),
    *("precondition_1d", "correct_bias"),
)
_SOAPS_NUMBERS = {
    "betas": Condition(_are_betas, (0.95, 0.95)),
    "eps": Condition(lambda x: isinstance(x, float) and x >= 0, 1e-8),
    "precondition_frequency": Condition(lambda x: type(x) is int and x > 0, 10),
}


FOREIGN = (
    Foreign(
        "MLX's Adam, AdamW or Adamax",
        Writer(("mlx",), ("step", *_ADAM), values={"mlx": True}),
        "MLX saves neither which of them it is, nor beta1, beta2, eps and bias_correction, which is"
        " off by default; if it was on, give the others, such as --optimizer adamw --beta1 0.9 "
        "--beta2 0.999 --eps 1e-8",
    ),
    Foreign(
        "optax's Adam or a relative of it",
        Writer(
            ("optax",),
            ("step", *_ADAM),
            optional_settings=("betas", "eps", "weight_decay"),
            values={"optax": True},
        ),
        "optax saves the moments, not which optimizer they are of, and seldom beta1, beta2 and eps;"
        " give them, such as --optimizer adamw --beta1 0.9 --beta2 0.999 --eps 1e-8",
    ),
    Foreign(
        "Adam-mini",
        Writer(
            ("weight_decay", "beta1", "beta2", "eps"),
            ("step", "m"),
            optional_entries=(
                *("v", "vmean", "head_per_gpu", "neuron_per_gpu", "reduced", "block_numel"),
            ),
            values=dict.fromkeys(("beta1", "beta2"), Condition(_is_share, 0.9))
            | {"eps": _SOAPS_NUMBERS["eps"]},
        ),
        _NOT_SOLVED,
        kind=AdamMini,
    ),
    Foreign(
        "StableAdamW",
        Writer(
            ("betas", "eps", "weight_decay", "weight_decouple", "kahan_sum", "step"),
            _ADAM,
            optional_entries=("kahan_comp",),
        ),
        "its last update is divided by the size of its gradient, which its state does not hold",
        kind=StableAdamW,
    ),
    Foreign(
        "SOAP",
        Writer(
            (*_SOAP, "max_precond_dim", "normalize_grads"),
            ("step", *_IN_A_BASIS),
            values=_SOAPS_NUMBERS,
        ),
        _NOT_SOLVED,
        kind=Soap,
    ),
    Foreign(
        "SOAP",
        Writer(
            (*_SOAP, "max_precondition_dim", "normalize_gradient", "step"),
            _IN_A_BASIS,
            values=_SOAPS_NUMBERS,
        ),
        _NOT_SOLVED,
        kind=PlainSoap,
    ),
    Foreign(
        "LAMB of bitsandbytes",
        LAMB,
        "its last update is limited by max_unorm, which its state does not hold",
    ),
    Foreign(
        "AdamC or AdamS",
        Writer(("betas", "eps", "weight_decay", "ams_bound", *_PYTORCH_OPTIMIZER), _ADAM),
        _ONE_OF,
    ),
    Foreign(
        "ADOPT, Ano, EXAdam or RAdam",
        Writer(("betas", "eps", "weight_decay", *_PYTORCH_OPTIMIZER), _ADAM),
        _ONE_OF,
    ),
    Foreign(
        "AdaBelief or Aida",
        Writer(
            ("betas", "eps", "weight_decay", "rectify", "ams_bound", *_PYTORCH_OPTIMIZER),
            ("exp_avg", "exp_avg_var"),
        ),
        _ONE_OF,
    ),
    Foreign(
        "Fira or GaLore",
        Writer(("betas", "eps", "weight_decay", "step"), _ADAM, without=("bias_correction",)),
        _ONE_OF,
    ),
    Foreign(
        "cautious Lion",
        Writer(
            ("betas", "weight_decay", "weight_decouple", "fixed_decay", "step", "cautious"),
            ("exp_avg",),
            optional_settings=("use_gc", "adanorm", "adanorm_r"),
            optional_entries=("exp_grad_adanorm",),
        ),
        _MASKED,
    ),
    Foreign(
        "cautious Lion",
        Writer(("betas", "weight_decay", "cautious_factor", "cautious_wd"), ("exp_avg",)),
        _MASKED,
    ),
    Foreign(
        "D-Adaptation's Lion",
        Writer(
            ("betas", "weight_decay", "d", "k", "log_every", "numerator_weighted"),
            ("exp_avg", "s"),
            optional_settings=("fsdp_in_use",),
            count="k",
        ),
        _EARLIER_D,
    ),
    Foreign(
        "D-Adaptation's Lion",
        Writer(
            (
                *("betas", "weight_decay", "d", "numerator_weighted"),
                *_PYTORCH_OPTIMIZER,
            ),
            ("exp_avg", "s"),
        ),
        _EARLIER_D,
    ),
    Foreign(
        "SophiaG or SophiaH",
        Writer(
            ("betas", "gamma", "weight_decay"),
            ("step", "exp_avg", "hessian"),
            optional_settings=("maximize", "capturable"),
        ),
        "their Hessian is updated between steps, and the state does not tell when",
    ),
    Foreign(
        "Moonlight's Muon",
        Writer(
            ("wd", "momentum", "nesterov", "ns_steps", "adamw_betas", "adamw_eps"),
            (),
            optional_entries=("use_muon", "momentum_buffer", "step", "moment1", "moment2"),
            values={
                "wd": Condition(lambda x: isinstance(x, int | float) and x >= 0, 0.1),
                "adamw_betas": Condition(_are_betas, (0.9, 0.95)),
                "adamw_eps": _SOAPS_NUMBERS["eps"],
                "nesterov": True,
            },
        ),
        "its last update with nesterov uses a gradient that its state does not hold",
        kind=MoonlightMuon,
    ),
    Foreign(
        "Muon or SGD with momentum",
        Writer(("momentum", "weight_decay"), ("momentum_buffer",)),
        _ONE_OF,
    ),
    Foreign(
        "SophiaG",
        Writer(
            ("betas", "rho", "weight_decay"),
            ("step", "exp_avg", "hessian"),
            optional_settings=("maximize", "capturable"),
        ),
        "its last update is clipped by the batch size, which its state does not hold",
    ),
    *_schedule_free(
        "AdamW", ("betas", "eps", "warmup_steps"), ("z", "exp_avg_sq"), ("max_exp_avg_sq",)
    ),
    *_schedule_free("RAdam", ("betas", "eps", "silent_sgd_phase"), ("z", "exp_avg_sq")),
    *_schedule_free("SGD", ("momentum", "warmup_steps"), ("z",)),
)
