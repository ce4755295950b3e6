"""The programs that save LAMB's state."""

from scalecheck.optimizers.contract import Writer

_FUSED = ("betas", "eps", "weight_decay", "bias_correction", "grad_averaging", "max_grad_norm")
_MOMENTS = ("exp_avg", "exp_avg_sq")
_NORMS = ("weight_norm", "adam_norm", "trust_ratio")

FUSED = Writer(
    settings=_FUSED,
    entries=_MOMENTS,
    optional_settings=("step",),
    optional_entries=("step",),
    implies={"always_adapt": None},
)
"""apex's FusedLAMB, which leaves weights without decay unscaled unless use_nvlamb, which it does
not save. Gradients are clipped to max_grad_norm before they are averaged."""

TIMM = Writer(
    settings=(*_FUSED, "always_adapt", "trust_clip", "step"),
    entries=_MOMENTS,
    optional_settings=(
        *("caution", "decoupled_decay", "corrected_weight_decay", "max_lr_snapshot"),
    ),
    values={"trust_clip": False, "caution": False, "corrected_weight_decay": False},
    names={"decoupled_weight_decay": "decoupled_decay"},
)

PYTORCH_OPTIMIZER = Writer(
    settings=(
        *("betas", "eps", "weight_decay", "weight_decouple", "fixed_decay", "rectify", "adam"),
        *("grad_averaging", "max_grad_norm", "step"),
    ),
    entries=(*_MOMENTS, *_NORMS),
    optional_settings=("adanorm", "adanorm_r", "adam_debias"),
    values={
        "fixed_decay": False,
        "rectify": False,
        "adam": False,
        "adanorm": False,
        "adam_debias": False,
    },
    names={"decoupled_weight_decay": "weight_decouple"},
    implies={"bias_correction": False},
)

TORCH_OPTIMIZER = Writer(
    settings=("betas", "eps", "weight_decay"),
    entries=("step", *_MOMENTS, *_NORMS),
    implies={"bias_correction": False, "always_adapt": None},
)
"""torch_optimizer's, which saves neither debias nor adam, which leaves the ratio out."""

WRITERS = (FUSED, TIMM, PYTORCH_OPTIMIZER, TORCH_OPTIMIZER)
