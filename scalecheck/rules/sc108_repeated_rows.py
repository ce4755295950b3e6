"""Rows of a weight that are constant, or equal to an earlier row.

Rows that start equal and get equal gradients stay equal, so the layer is narrower than its shape
says. In an embedding, equal rows are tokens that were added and never trained. Rows of zeros belong
to dead-rows.

Try: Initialize rows with random numbers; for added tokens use the mean of the others plus noise.
Check whether a shard was read twice.
"""

from collections.abc import Iterator

from scalecheck.measure.rows import Rows
from scalecheck.report.finding import Finding
from scalecheck.report.formatting import plural, setting
from scalecheck.rules.contract import (
    UNREAD_ROWS,
    CheckpointFacts,
    Example,
    Limit,
    Limits,
    Rule,
)

_SEVERAL = "constant or repeated rows: {count} each"


def find(subject: CheckpointFacts, limits: Limits) -> Iterator[Finding]:
    for tensor in subject.tensors:
        rows = tensor.rows
        if rows is None or not tensor.is_parameter:
            continue
        if rows.unread:
            yield tensor.judged(f"rows not looked into: {rows.unread}", several=UNREAD_ROWS)
            continue
        limit = limits.of(tensor)["rows"]
        count = rows.constant_rows.count + rows.repeated_rows.count
        message = _message(rows, limit) if count > limit else ""
        yield tensor.judged(message, count, limit, several=_SEVERAL)


def _message(rows: Rows, limit: float) -> str:
    """1 of 64 rows repeats an earlier one: 9."""
    constant, repeated = rows.constant_rows, rows.repeated_rows
    words = []
    if constant.count:
        words.append(f"{constant.count:,} {'is' if constant.count == 1 else 'are'} constant")
        words[-1] += f": {constant}"
    if repeated.count:
        verb = "repeats" if repeated.count == 1 else "repeat"
        words.append(f"{repeated.count:,} {verb} an earlier one: {repeated}")
    let_pass = f" (limit {setting(limit)})" if limit else ""
    return f"of {plural(rows.rows, 'row')}, {'; '.join(words)}{let_pass}"


RULE = Rule(
    "warning",
    find,
    "tensors with rows",
    limits={"rows": Limit(0, "constant and repeated rows that are let pass")},
    ok=Example('model["w.weight"] = noise(64, 64)'),
    bad=Example(
        'model["w.weight"] = noise(64, 64)\nmodel["w.weight"][9] = model["w.weight"][2]',
        finds="of 64 rows, 1 repeats an earlier one: 9",
    ),
)
