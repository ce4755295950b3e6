"""Rows or columns of a weight that are all zero.

A zero row is an output that never changes, and a zero column is an input that the layer ignores:
the layer has less capacity than its shape says. A zero row of an embedding is a token without a
meaning. Such rows were pruned, masked, or never written. The rule allows one zero row in an
embedding, for padding.

Try: Check whether the rows are zero on purpose: a vocabulary padded to a round number, or a pruning
mask. Check the loader where the rows at the end are missing.
"""

from collections.abc import Iterator, Mapping

from scalecheck.measure.rows import Occurrences
from scalecheck.report.finding import Finding
from scalecheck.report.formatting import plural, setting
from scalecheck.rules.contract import (
    UNREAD_ROWS,
    CheckpointFacts,
    Example,
    Limit,
    Limits,
    Rule,
    TensorFacts,
)


def find(subject: CheckpointFacts, limits: Limits) -> Iterator[Finding]:
    for tensor in subject.tensors:
        if tensor.rows is not None and tensor.is_parameter and not tensor.is_zero:
            yield _judged(tensor, limits.of(tensor))


def _judged(tensor: TensorFacts, limits: Mapping[str, float]) -> Finding:
    rows = tensor.rows
    assert rows is not None
    if rows.unread:
        return tensor.judged(f"rows not looked into: {rows.unread}", several=UNREAD_ROWS)
    limit = limits["embedding_rows" if tensor.scale.role == "embedding" else "rows"]
    if rows.zero_rows.count > limit:
        return tensor.judged(
            _message(rows.zero_rows, rows.rows, "row", limit),
            rows.zero_rows.count,
            limit,
            several="rows of zeros: {count} each",
        )
    columns, limit = rows.zero_columns.count, limits["columns"]
    if columns > limit:
        message = _message(rows.zero_columns, rows.columns or 0, "column", limit)
        return tensor.judged(message, columns, limit, several="columns of zeros: {count} each")
    return tensor.judged()


def _message(zero: Occurrences, total: int, noun: str, limit: float) -> str:
    """5 of 48 rows are zero: 7, 19, 20, 33, 47 (limit 1)."""
    are = "is" if zero.count == 1 else "are"
    let_pass = f" (limit {setting(limit)})" if limit else ""
    return f"{zero.count:,} of {plural(total, noun)} {are} zero: {zero}{let_pass}"


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
