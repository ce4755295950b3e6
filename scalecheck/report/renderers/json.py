"""One JSON object with every field in base units at full precision; the schema is versioned."""

import json

from scalecheck import __version__
from scalecheck.report.report import UNBOUNDED, Layout, Report


def render(report: Report, layout: Layout = UNBOUNDED) -> str:
    """The report as JSON text. A number that is not finite cannot be in it: ValueError."""
    names = [column.name for column in report.columns]
    return json.dumps(
        {
            "schema": report.schema,
            "version": __version__,
            "source": report.source,
            "settings": report.settings,
            "rows": [{name: row[name] for name in names} for row in report.rows],
            "findings": list(report.findings),
            "skipped": list(report.skipped),
            "notes": list(report.notes),
        },
        indent=1,
        allow_nan=False,
    )
