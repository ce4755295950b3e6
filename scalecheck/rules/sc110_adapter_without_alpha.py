"""An adapter without a known alpha, so what it adds to the weights is not known.

The product of the two halves is multiplied by alpha/rank, so a wrong alpha adds too much or too
little to every weight. Programs save alpha beside the halves, in adapter_config.json or in the
metadata of the file. Where alpha is missing, each loader does something else: it uses the rank,
which makes the factor 1, or fails.

Try: Put the adapter_config.json that was saved with the adapter into its folder, or save a tensor
NAME.alpha beside the halves, as kohya's scripts do.
"""

from collections.abc import Iterator

from scalecheck.report.finding import Finding
from scalecheck.rules.contract import CheckpointFacts, Example, Limits, Rule, judged


def find(subject: CheckpointFacts, limits: Limits) -> Iterator[Finding]:
    pairs = subject.adapters
    reasons = {pair.scale.reason for pair in pairs}
    if len(pairs) > 1 and len(reasons) == 1 and (reason := reasons.pop()):
        yield judged("", f"{reason}; this holds for all {len(pairs)} adapted matrices")
        return
    for pair in pairs:
        yield judged(pair.name, pair.scale.reason, several="alpha is not known")


RULE = Rule(
    "warning",
    find,
    "adapted matrices",
    ok=Example(
        'model["w.lora_down.weight"] = noise(8, 64)\n'
        'model["w.lora_up.weight"] = noise(64, 8)\n'
        'model["w.alpha"] = 8 * ones(1)'
    ),
    bad=Example(
        'model["w.lora_down.weight"] = noise(8, 64)\nmodel["w.lora_up.weight"] = noise(64, 8)',
        finds="alpha is not known: none beside its halves, no adapter_config.json",
    ),
)
