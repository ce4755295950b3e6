"""The options that commands share: the same word means the same everywhere."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from scalecheck import registry
from scalecheck.errors import UsageError, unknown
from scalecheck.report.report import renderers_for

BY = ("tensor", "layer", "family", "role")
OPTIMIZERS = registry.names("optimizer")
FORMATS = renderers_for("inspect")  # those of every command but check
SCHEDULES = ("constant", "linear", "cosine", "wsd", "inverse-sqrt")
BANDS = "1e-5,1e-4,3e-3,1e-2"
_DIGITS = 20  # of a number of steps; theory says how many it takes


def choice(option: str, known: Sequence[str]) -> Callable[[str], str]:
    """A callback that takes one of the known words and names the nearest one of another."""

    def chosen(word: str) -> str:
        if word not in known:
            raise unknown(option, word, known)
        return word

    return chosen


def names(columns: str | None) -> list[str] | None:
    """The columns that --columns names."""
    found = None if columns is None else [name.strip() for name in columns.split(",")]
    if found and not all(found):
        raise UsageError(f"--columns {columns!r}: a column has no name")
    return found


def step_number(word: str) -> int | None:
    """The number that --step says; None for the late step."""
    if word in ("", "steady"):
        return None
    if not word.isdecimal() or len(word) > _DIGITS:
        raise UsageError(f"--step {word}: steady, or a number from 1 up")
    return int(word)


def band_limits(word: str) -> list[float]:
    """The limits that --bands says."""
    try:
        return [float(limit) for limit in word.split(",")]
    except ValueError:
        raise UsageError(f"--bands {word}: four rising numbers, such as {BANDS}") from None


def given(**settings: float | None) -> dict[str, float]:
    """The settings that were given."""
    return {name: value for name, value in settings.items() if value is not None}


PATH = typer.Argument(
    metavar="PATH",
    help="A checkpoint: a file, a shard index (*.index.json) or a directory.",
    show_default=False,
)
Match = Annotated[
    list[str] | None,
    typer.Option(
        "--match",
        metavar="GLOB",
        help="Only tensors whose whole name matches, * crossing dots (repeatable).",
    ),
]
Exclude = Annotated[
    list[str] | None,
    typer.Option(
        "--exclude", metavar="GLOB", help="No tensors whose whole name matches (repeatable)."
    ),
]
By = Annotated[
    str,
    typer.Option(
        "--by",
        metavar="WHAT",
        help=f"A row for each of: {', '.join(BY)}.",
        callback=choice("--by", BY),
        autocompletion=lambda: list(BY),
    ),
]
Sort = Annotated[
    str | None,
    typer.Option(
        "--sort", metavar="COLUMN", help="Sort by a column: numbers from the largest, words from A."
    ),
]
Reverse = Annotated[bool, typer.Option("--reverse", help="Reverse the order.")]
Top = Annotated[int | None, typer.Option("--top", metavar="N", help="Only the first N rows.")]
Columns = Annotated[
    str | None,
    typer.Option("--columns", metavar="A,B,C", help="Only these columns, in this order."),
]
Format = Annotated[
    str,
    typer.Option(
        "--format",
        metavar="FORMAT",
        help=f"Output format: {', '.join(FORMATS)}.",
        callback=choice("--format", FORMATS),
        autocompletion=lambda: FORMATS,
    ),
]
Output = Annotated[
    Path | None,
    typer.Option("--output", metavar="FILE", help="Write to a file instead of the terminal."),
]
Jobs = Annotated[
    int | None,
    typer.Option("--jobs", metavar="N", help="Threads that read and count; all cores if absent."),
]
Beta1 = Annotated[
    float | None,
    typer.Option("--beta1", metavar="B", help="Averaging factor of the gradient, 0 to below 1."),
]
Beta2 = Annotated[
    float | None,
    typer.Option("--beta2", metavar="B", help="Averaging factor of the gradient's square."),
]
Eps = Annotated[
    float | None,
    typer.Option("--eps", metavar="EPS", help="Added to the root that a gradient is divided by."),
]
WeightDecay = Annotated[
    float | None, typer.Option("--weight-decay", metavar="WD", help="The optimizer's weight decay.")
]
Momentum = Annotated[
    float | None,
    typer.Option("--momentum", metavar="M", help="Share of the last update that the next keeps."),
]
Snr = Annotated[
    float,
    typer.Option(
        "--snr", metavar="SNR", help="Mean over std of an element's gradient; 0 is noise alone."
    ),
]
Quiet = Annotated[
    bool, typer.Option("--quiet", help="Only the rows: no headline, totals, notes or progress.")
]
Lr = Annotated[
    float | None,
    typer.Option("--lr", metavar="LR", help="The lr; that of the optimizer state if absent."),
]
Optimizer = Annotated[
    str | None,
    typer.Option(
        "--optimizer",
        metavar="NAME",
        help=f"That of the state, else adamw; one of {', '.join(OPTIMIZERS)}.",
        autocompletion=lambda: OPTIMIZERS,
    ),
]
Group = Annotated[
    list[str] | None,
    typer.Option(
        "--group",
        metavar="GLOB:SETTINGS",
        help="Other settings for some names, such as '*.bias:lr=1e-4,weight_decay=0' (repeatable).",
    ),
]
GradRms = Annotated[
    float | None,
    typer.Option(
        "--grad-rms",
        metavar="RMS",
        help="RMS of the gradients; that of the state, else so large that eps does not count.",
    ),
]
Step = Annotated[
    str,
    typer.Option(
        "--step",
        metavar="STEP",
        help="The step of the expected update: a number, or steady, the late one.",
    ),
]
State = Annotated[
    str | None,
    typer.Option(
        "--state",
        metavar="PATH",
        help="The optimizer state; none for none; what lies with the checkpoint if absent.",
    ),
]
ParamDtype = Annotated[
    str | None,
    typer.Option(
        "--param-dtype",
        metavar="DTYPE",
        help="Type that the weights are trained in: bf16, fp16, fp32; as stored if absent.",
    ),
]
Schedule = Annotated[
    str,
    typer.Option(
        "--schedule",
        metavar="SHAPE",
        help=f"Of the run: {', '.join(SCHEDULES)}; wsd falls over its last fifth.",
        callback=choice("--schedule", SCHEDULES),
        autocompletion=lambda: list(SCHEDULES),
    ),
]
Warmup = Annotated[
    int, typer.Option("--warmup", metavar="N", help="Steps over which the lr rises.")
]
Final = Annotated[
    float, typer.Option("--final", metavar="SHARE", help="The lr at the end, as a share of the lr.")
]
