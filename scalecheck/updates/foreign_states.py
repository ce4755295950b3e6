"""States that are known by their names and have no formula here, and why their update is not read:
the one table of them."""

from typing import NamedTuple

from scalecheck.optimizers.contract import Writer


class Foreign(NamedTuple):
    """A program's state. name: of the optimizer, or of several that save the same names."""

    name: str
    writer: Writer
    why: str


_PYTORCH_OPTIMIZER = ("weight_decouple", "fixed_decay", "step")
_SCHEDULE_FREE = (
    *("r", "k", "train_mode", "weight_sum", "lr_max", "weight_lr_power", "warmup_steps"),
)
_ADAM = ("exp_avg", "exp_avg_sq")
_ONE_OF = "they save the same names and differ in their formula"

FOREIGN = (
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
        "SophiaG",
        Writer(
            ("betas", "rho", "weight_decay"),
            ("step", "exp_avg", "hessian"),
            optional_settings=("maximize", "capturable"),
        ),
        "its last update is clipped by the batch size, which its state does not hold",
    ),
    Foreign(
        "schedule-free AdamW",
        Writer(
            ("betas", "eps", "weight_decay", *_SCHEDULE_FREE),
            ("z", "exp_avg_sq"),
            optional_settings=("scheduled_lr", "foreach"),
        ),
        "its last update is of a gradient that its state does not hold",
    ),
    Foreign(
        "schedule-free SGD",
        Writer(
            ("momentum", "weight_decay", *_SCHEDULE_FREE),
            ("z",),
            optional_settings=("scheduled_lr", "foreach", "eps"),
        ),
        "its last update is of a gradient that its state does not hold",
    ),
)
