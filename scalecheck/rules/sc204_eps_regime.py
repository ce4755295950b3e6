"""A parameter whose gradients are below eps, by its saved optimizer state.

Adam divides by √v̂ + eps. Where √v̂ is below eps, the update is gradient/eps: it depends on the
gradient's scale, is smaller than the lr says, and the parameter learns slowly. Causes are small
gradients, a loss that was scaled down, and a mean over many tokens. The bias of attention's keys
gets only rounding errors as gradients, because softmax ignores what all keys share: that is a note.

Try: Lower eps, for example to 1e-15, or scale the gradients up by a constant.
"""

import re
from collections.abc import Iterator

from scalecheck.report.finding import Finding, Severity
from scalecheck.report.formatting import percent
from scalecheck.rules.contract import CheckpointFacts, Example, Limit, Limits, Rule, judged

_KEY_BIAS = re.compile(
    r"(?:^|[./_])(?:k|key|k_proj|wk|to_k|k_lin|key_proj)[./]bias$", re.IGNORECASE
)
_SEVERAL = "√v̂ is below eps for {percent} of their elements"


def find(subject: CheckpointFacts, limits: Limits) -> Iterator[Finding]:
    for state in subject.states:
        share = state.eps_share
        if share is None:
            continue
        limit = limits.at(state.name, state.role)["share"]
        message = (
            f"√v̂ is below eps for {percent(share)} % of the elements (limit {100 * limit:g} %)"
        )
        severity: Severity = "note" if _KEY_BIAS.search(state.name) else "warning"
        message = message if share > limit else ""
        figures = {"value": share, "limit": limit, "several": _SEVERAL}
        yield judged(state.name, message, severity=severity, **figures)


RULE = Rule(
    "warning",
    find,
    "states with a second moment",
    needs=("state", "optimizer"),
    limits={"share": Limit(0.5, "share of the elements that may be below eps")},
    ok=Example(
        'model["w.weight"] = noise(64, 64)\n'
        'state["w.weight"] = 1e-4 * noise(64, 64), 1e-6 * ones(64, 64)'
    ),
    bad=Example(
        'model["w.weight"] = noise(64, 64)\n'
        'state["w.weight"] = 1e-9 * noise(64, 64), 1e-18 * ones(64, 64)',
        finds="√v̂ is below eps for 100 % of the elements (limit 50 %)",
    ),
)
