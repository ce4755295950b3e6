"""States that are known by their names and have no formula here, and why their update is not read:
the one table of them."""

from collections.abc import Iterator
from typing import NamedTuple

from scalecheck.optimizers._bitsandbytes import LAMB
from scalecheck.optimizers.contract import Writer


class Foreign(NamedTuple):
    """A program's state. name: of the optimizer, or of several that save the same names;
    second_moment: its average of squared gradients with beta2, from zero."""

    name: str
    writer: Writer
    why: str
    second_moment: str = ""


_PYTORCH_OPTIMIZER = ("weight_decouple", "fixed_decay", "step")
_ADAM = ("exp_avg", "exp_avg_sq")
_MASKED = "its last update is masked by the sign of a gradient that its state does not hold"
_EARLIER_D = "its last update is lr times the d of the step before, which its state does not hold"
_ONE_OF = "they save the same names and differ in their formula"

_SCHEDULE_FREE = ("weight_decay", "r", "weight_sum", "lr_max", "weight_lr_power", "train_mode")
_UNKNOWN_GRADIENT = "its last update is of a gradient that its state does not hold"


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


FOREIGN = (
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
        "their Hessian is updated between steps: whether it was after the last one is not known",
    ),
    Foreign(
        "Moonlight's Muon",
        Writer(
            ("wd", "momentum", "nesterov", "ns_steps", "adamw_betas", "adamw_eps"),
            (),
            optional_entries=("use_muon", "momentum_buffer", "step", "moment1", "moment2"),
        ),
        "nesterov's last update holds a gradient that its state does not",
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
