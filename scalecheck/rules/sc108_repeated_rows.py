"""Rows of a weight that are constant, or equal to one before.

Rows that start equal and get equal gradients stay equal: the layer is narrower than it looks. In an
embedding they are tokens that were added and never trained. Zero rows are the matter of dead-rows.

Try: random numbers in place of a constant initialization; the mean of the others plus noise for
tokens that are added; whether a shard was read twice.
"""

from collections.abc import Iterator

from scalecheck.report.finding import Finding
from scalecheck.rules.contract import CheckpointFacts, Example, Limit, Limits, Rule


def find(subject: CheckpointFacts, limits: Limits) -> Iterator[Finding]:
    for tensor in subject.tensors:
        rows = tensor.rows
        if rows is None or not tensor.is_parameter:
            continue
        if rows.unread:
            yield tensor.judged(f"rows not looked into: {rows.unread}")
            continue
        limit = limits.of(tensor)["rows"]
        count = rows.constant_rows.count + rows.repeated_rows.count
        words = [
            f"{rows.constant_rows.count:,} constant: {rows.constant_rows}",
            f"{rows.repeated_rows.count:,} equal to one before: {rows.repeated_rows}",
        ]
        there = (rows.constant_rows.count, rows.repeated_rows.count)
        message = f"of {rows.rows:,} rows " + ", ".join(
            word for word, n in zip(words, there, strict=True) if n
        )
        yield tensor.judged(message if count > limit else "", count, limit)


RULE = Rule(
    "warning",
    find,
    "tensors with rows",
    limits={"rows": Limit(0, "constant and repeated rows that are let pass")},
    ok=Example('model["w.weight"] = noise(64, 64)'),
    bad=Example(
        'model["w.weight"] = noise(64, 64)\nmodel["w.weight"][9] = model["w.weight"][2]',
        finds="of 64 rows 1 equal to one before: 9",
    ),
)
