"""Rows or columns of a weight that are all zero.

A zero row is an output that is always the same, a zero column an input that is never looked at, a
zero row of an embedding a token without a meaning: pruned, masked, or never written. One zero row
of an embedding is let pass, as padding has it.

Try: whether the rows were meant to be there: a vocabulary padded to a round number, a pruning mask
applied for good; the loader, where rows are missing at the end.
"""

from collections.abc import Iterator, Mapping

from scalecheck.report.finding import Finding
from scalecheck.rules.contract import CheckpointFacts, Example, Limit, Limits, Rule, TensorFacts


def find(subject: CheckpointFacts, limits: Limits) -> Iterator[Finding]:
    for tensor in subject.tensors:
        if tensor.rows is not None and tensor.is_parameter and not tensor.is_zero:
            yield _judged(tensor, limits.of(tensor))


def _judged(tensor: TensorFacts, limits: Mapping[str, float]) -> Finding:
    rows = tensor.rows
    assert rows is not None
    if rows.unread:
        return tensor.judged(f"rows not looked into: {rows.unread}")
    limit = limits["embedding_rows" if tensor.scale.role == "embedding" else "rows"]
    if rows.zero_rows.count > limit:
        return tensor.judged(
            f"{rows.zero_rows.count:,} of {rows.rows:,} rows are zero: {rows.zero_rows}",
            rows.zero_rows.count,
            limit,
        )
    columns, limit = rows.zero_columns.count, limits["columns"]
    if columns > limit:
        return tensor.judged(
            f"{columns:,} of {rows.columns:,} columns are zero: {rows.zero_columns}", columns, limit
        )
    return tensor.judged()


RULE = Rule(
    "warning",
    find,
    "tensors with rows",
    limits={
        "rows": Limit(0, "zero rows that are let pass"),
        "columns": Limit(0, "zero columns that are let pass"),
        "embedding_rows": Limit(1, "zero rows of an embedding that are let pass"),
    },
    ok=Example('model["emb.weight"] = noise(64, 64)\nmodel["emb.weight"][0] = 0'),
    bad=Example(
        'model["w.weight"] = noise(64, 64)\nmodel["w.weight"][[7, 19]] = 0',
        finds="2 of 64 rows are zero: 7, 19",
    ),
)
