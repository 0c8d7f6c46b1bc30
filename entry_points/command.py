"""From an options class to a command: help that teaches, one error line, and the contract's exit status."""

import dataclasses
import sys
from collections.abc import Callable
from typing import Any

import click

from rsc_mlflow.errors import AdoptionError, InputError
from rsc_mlflow.experiments.registry import ExperimentSpec, all_experiments
from rsc_mlflow.fields import Options, help_of, option_fields, param_text
from rsc_mlflow.tracking.project_run import run_id_from_environment

EXIT_STATUS = "Exit status: 0 done, 2 bad input, 1 anything else."
_LONGEST_LINE = 1000  # characters; every message of ours is shorter, apart from what was given


class OptionsCommand(click.Command):
    """A click command that knows the options class it was made from, and the kind of the runs that it makes."""

    def __init__(self, name: str, options_class: type[Options], kind: str | None = None, **settings: Any) -> None:
        super().__init__(name, **settings)
        self.options_class = options_class
        self.kind = kind


def command(
    name: str,
    options_class: type[Options],
    run: Callable[[Any], int | None],
    summary: str = "",
    details: str = "",
    kind: str | None = None,
) -> OptionsCommand:
    """A click command with one option per option of ``options_class``.

    Every value arrives as text and is checked by the options class alone, so that a grid file and the
    command line accept the same things.  ``run`` may return an exit status.
    """

    def callback(**values: str | None) -> int:
        given = {key: value for key, value in values.items() if value is not None}
        return run(options_class.from_mapping(given)) or 0

    text = "\n\n".join(filter(None, (summary, details, EXIT_STATUS)))
    return OptionsCommand(name, options_class, kind, params=_parameters(options_class), callback=callback, help=text)


def command_of(experiment: ExperimentSpec) -> OptionsCommand:
    """The click command of an experiment."""
    one = experiment
    return command(one.name, one.options_class, one.command, one.summary, one.details, one.kind)


def _parameters(options_class: type[Options]) -> list[click.Parameter]:
    parameters: list[click.Parameter] = []
    for field in option_fields(options_class):
        required = field.default is dataclasses.MISSING
        default = "required" if required else f"default: {param_text(field.default)}"
        text = f"{help_of(field)}  [{default}]"
        parameters.append(click.Option([f"--{field.name}"], metavar="VALUE", help=text))
    return parameters


def run_experiment(name: str) -> None:
    """Run an experiment as a program."""
    sys.exit(reported(lambda: status(command_of(all_experiments()[name]), sys.argv[1:])))


def main(entry: click.Command) -> None:
    """Run a command as a program: one ``error: …`` line and status 2 for bad input, 1 for a failure."""
    sys.exit(status(entry, sys.argv[1:]))


def status(entry: click.Command, arguments: list[str]) -> int:
    """Run a command and return its exit status; bad input and refusals of the store are reported in one line."""

    def run() -> int:
        # not click's own main: that reports an EOFError, from a file cut short, as if somebody had pressed Ctrl-D
        with entry.make_context(f"python -m entry_points {entry.name}", list(arguments)) as context:
            return int(entry.invoke(context) or 0)

    return reported(run, entry)


def reported(run: Callable[[], int], entry: click.Command | None = None) -> int:
    """The status that ``run``, of the command ``entry``, returns; what it raises is reported as :func:`status` says."""
    try:
        return run()
    except click.exceptions.Exit as done:  # --help
        return done.exit_code
    except KeyboardInterrupt:
        _close_adopted_run("interrupted", entry)
        return 1
    except Exception as error:
        line = _refusal(error)
        if line is not None:
            print(f"error: {line}", file=sys.stderr)
        if not isinstance(error, AdoptionError):
            _close_adopted_run(line or _one_line(f"{type(error).__name__}: {error}"), entry)
        if line is None:
            raise
        return 2


def _refusal(error: Exception) -> str | None:
    """The line that is all there is to say about bad input, or about a store that said no; None for a failure."""
    if isinstance(error, click.ClickException):
        return _one_line(error.format_message())
    if isinstance(error, InputError):
        return _one_line(str(error))
    if "mlflow" not in sys.modules:  # then no store has been asked, and importing it takes seconds
        return None
    from rsc_mlflow.tracking.store import refusal

    return refusal(error)


def _one_line(message: str) -> str:
    """One line that stays readable whatever was typed: a very long value is cut in its middle."""
    line = " ".join(message.split())
    return line if len(line) <= _LONGEST_LINE else f"{line[: _LONGEST_LINE // 2]} … {line[-_LONGEST_LINE // 2 :]}"


def _close_adopted_run(reason: str, entry: click.Command | None) -> None:
    """A run that ``mlflow run`` opened for us, and that we never began, says what it was for and why nothing came."""
    if run_id := run_id_from_environment():
        from rsc_mlflow.tracking import schema
        from rsc_mlflow.tracking.run import mark_failed

        kind = entry.kind if isinstance(entry, OptionsCommand) else entry and entry.name  # unlearn, attack
        tags = {schema.KIND: kind, schema.METHOD: str(entry and entry.name)} if kind in schema.KINDS else {}
        mark_failed(run_id, reason, tags)
