"""A command of the command line, made of two signatures: that of the library's function, and that
of what only the command line has, such as where the report goes."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer
from typer.core import TyperCommand

from scalecheck.api import report_of
from scalecheck.cli.exit_code import ExitCode
from scalecheck.cli.output import Format, Output, Quiet, Target, Verbose
from scalecheck.cli.progress import progress
from scalecheck.docstring import docstring
from scalecheck.errors import OptionError
from scalecheck.options import PANELS
from scalecheck.report.report import Report
from scalecheck.settings import HYPERPARAMETERS, Argument, Hyperparameter, Option, options_of


@dataclass(frozen=True)
class Run:
    """The library's function, the options that were given for it, and the unit of its progress."""

    function: Callable[..., Report]
    given: Mapping[str, Any]
    unit: str

    @property
    def reads(self) -> list[Path]:
        """The files and folders that were given to be read; of FILE::PLACE the file."""
        paths = {name for name, one in options_of(self.function).items() if Path in one.types}
        values = [value for name, value in self.given.items() if name in paths]
        given = [
            str(one) for value in values for one in (value if isinstance(value, list) else [value])
        ]
        return [Path(each) for value in given for each in {value, value.rpartition("::")[0]} - {""}]

    def report(self, quiet: bool, **more: Any) -> Report:
        """The report, under a progress bar. Raises ScalecheckError."""
        with progress(quiet, self.unit) as show:
            return report_of(self.function, {**self.given, **more, "progress": show})


def printed(
    run: Run,
    *,
    format: Format = "table",
    output: Target = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Puts the report of a run in its place; the exit code."""
    with Output(format, output, quiet, reads=run.reads, verbose=verbose) as out:
        report = run.report(quiet)
        out.write(report)
    return ExitCode.FINDINGS if report.failed else ExitCode.CLEAN


class Example(NamedTuple):
    """A command line of the help page, and what it shows."""

    line: str
    shows: str


@dataclass(frozen=True)
class Command:
    """A command: function is the library's, exits says when it exits with what. own is called with
    a Run and the options that only the command line has, which replace those of the function of the
    same name, and gives the exit code. Where it is None the library has no such function: function
    has all options and gives the exit code."""

    function: Callable[..., Any]
    exits: str
    examples: Sequence[Example]
    own: Callable[..., int] | None = printed
    unit: str = "bytes"

    @property
    def name(self) -> str:
        return self.function.__name__

    @property
    def summary(self) -> str:
        """What it does, in a line."""
        return docstring(self.function).partition("\n\n")[0]

    @property
    def help(self) -> str:
        return f"{self.summary}\n\n{self.exits}"

    @cached_property
    def options(self) -> dict[str, Option]:
        """Every option by its name, in the order of the help page."""
        found = {**options_of(self.function), **options_of(self.own or self.function)}
        rank = {"": -1, **{panel: place for place, panel in enumerate(PANELS)}}
        return dict(sorted(found.items(), key=lambda item: rank[item[1].panel]))

    def register(self, app: typer.Typer) -> None:
        """Adds the command to an app."""

        def run(context: typer.Context, **values: Any) -> int:
            given = {
                name: option.parse(values[name]) if option.parse else values[name]
                for name, option in self.options.items()
                if getattr(context.get_parameter_source(name), "name", "") == "COMMANDLINE"
            }
            return self._called(given)

        parameters = [_CONTEXT, *map(_parameter, self.options.values())]
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined] # of typer's
        page = _page(self.options)
        app.command(self.name, help=self.summary, epilog=epilog(self), cls=page)(run)

    def _called(self, given: dict[str, Any]) -> int:
        if self.own is None:
            code: int = self.function(**_own(self.options, given))
            return code
        hyperparameters = given.pop(HYPERPARAMETERS, {})
        for name in hyperparameters.keys() & self.options.keys():
            flag = self.options[name].usage.split()[0]
            if name in given:
                raise OptionError("set", f"is given as {flag} too", name)
            if not isinstance(self.options[name], Hyperparameter):
                raise OptionError("set", f"is an option by itself: {flag}", name)
        own = _own(options_of(self.own), given)
        return self.own(Run(self.function, given | hyperparameters, self.unit), **own)


def _own(options: Mapping[str, Option], given: dict[str, Any]) -> dict[str, Any]:
    """The values of options, those given taken out of `given`. Raises OptionError."""
    return {
        name: option.checked(given.pop(name)) if name in given else option.default
        for name, option in options.items()
    }


def epilog(command: Command) -> str:
    """The end of a help page: examples and exit codes."""
    examples = [f"  # {example.shows}\n  {example.line}" for example in command.examples]
    return "\n\n".join(["Examples:", *examples, command.exits])


_CONTEXT = inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)


def _parameter(option: Option) -> inspect.Parameter:
    """The option as a parameter that typer reads."""
    is_word = option.parse is not None
    kind = str if is_word else option.types[0]
    kind = list[kind] if option.repeats else kind  # type: ignore[valid-type] # at run time
    is_list = option.repeats and not isinstance(option, Argument)  # an argument is there or not
    default = None if is_word or is_list else option.default
    kind = kind | None if default is None else kind
    note = (
        typer.Argument(
            metavar=option.metavar,
            help=option.help,
            show_default=False,
            autocompletion=_completion(option),
        )
        if isinstance(option, Argument)
        else typer.Option(
            option.usage.split()[0],
            metavar=option.metavar or None,
            help=option.help,
            rich_help_panel=option.panel or None,
            autocompletion=_completion(option),
        )
    )
    return inspect.Parameter(
        option.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=default,
        annotation=Annotated[kind, note],
    )


def _completion(option: Option) -> Callable[..., Any] | None:
    """What completes its values in a shell; None where the shell completes files."""
    if not (option.choices or option.completes):
        return None

    def complete(context: typer.Context, incomplete: str) -> list[str | tuple[str, str]]:
        from scalecheck.cli.completion import completions

        return completions(option, context, incomplete)

    return complete


def _page(options: Mapping[str, Option]) -> type[TyperCommand]:
    """A command that lists choices when its help page is asked for, and no sooner."""

    class Page(TyperCommand):
        def format_help(self, ctx: Any, formatter: Any) -> None:
            for parameter in self.params:
                if (option := options.get(parameter.name or "")) is not None:
                    parameter.help = option.description  # type: ignore[attr-defined] # of typer's
            super().format_help(ctx, formatter)

    return Page
