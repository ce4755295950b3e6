"""Matrices whose relative updates differ widely.

One lr then rewrites the layers with small weights while those with large weights hardly move, and
no lr suits both. Common causes are mixed initializations and layers that were scaled by hand.

Try: Use parameter groups by layer or role, which `scalecheck translate --target 1e-3 --emit torch`
writes, or one initialization for all matrices.
"""

from collections.abc import Iterator

from scalecheck.recipes.placement import a_step
from scalecheck.report.finding import Finding
from scalecheck.report.formatting import figure
from scalecheck.rules.contract import CheckpointFacts, Example, Limit, Limits, Rule, judged


def find(subject: CheckpointFacts, limits: Limits) -> Iterator[Finding]:
    updates = {
        tensor.name: update
        for tensor, forecast, update in subject.updates
        if forecast.band is not None and update
    }
    if len(updates) < 2:
        return
    most, least = max(updates, key=updates.__getitem__), min(updates, key=updates.__getitem__)
    factor, limit = updates[most] / updates[least], limits.at("", "")["factor"]
    message = (
        f"the fastest of {len(updates)} matrices changes {figure(factor)} times as much as the "
        f"slowest (limit {figure(limit)}): {most} by {a_step(updates[most])}, {least} by "
        f"{a_step(updates[least])}"
    )
    yield judged("", message if factor > limit else "", value=factor, limit=limit)


RULE = Rule(
    "warning",
    find,
    "two matrices with a relative update",
    needs=("lr",),
    limits={"factor": Limit(100, "factor between the largest and the smallest")},
    ok=Example(
        'model["a.weight"] = noise(64, 64)\nmodel["b.weight"] = 9 * noise(64, 64)', "--lr 1e-4"
    ),
    bad=Example(
        'model["a.weight"] = noise(64, 64)\nmodel["b.weight"] = 200 * noise(64, 64)',
        "--lr 1e-4",
        finds="the fastest of 2 matrices changes 200 times as much as the slowest (limit 100): "
        "a.weight by 0.115 % per step, b.weight by 0.000573 % per step",
    ),
)
