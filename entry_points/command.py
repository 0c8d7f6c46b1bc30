"""Create click commands from options classes, and run them with one-line errors and defined exit statuses."""

import dataclasses
import os
import select
import sys
from collections.abc import Callable
from typing import Any

import click

from rsc_mlflow.errors import AdoptionError, InputError
from rsc_mlflow.experiments.registry import ExperimentSpec, all_experiments
from rsc_mlflow.fields import Options, help_of, option_fields, param_text
from rsc_mlflow.tracking.project_run import run_id_from_environment

EXIT_STATUS = "Exit status: 0: success; 2: invalid input; 1: any other error."
HELP = {"help_option_names": ["-h", "--help"]}
"""Settings of all commands."""
_LONGEST_LINE = 1000  # characters; our messages are shorter, apart from the values in them


class OptionsCommand(click.Command):
    """A click command with the options class that it was created from, and the kind of its runs."""

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
    """Return a click command with the options of ``options_class``.

    Only the options class parses and validates values, so that grid files and the command line accept the same.

    Args:
        name: name of the command.
        options_class: the options.
        run: called with the options; may return an exit status.
        summary: first line of the help.
        details: further help.
        kind: kind of the runs of the command, if it has any.
    """

    def callback(**values: str | None) -> int:
        given = {key: value for key, value in values.items() if value is not None}
        return run(options_class.from_mapping(given)) or 0

    text = "\n\n".join(filter(None, (summary, details, EXIT_STATUS)))
    parameters = _parameters(options_class)
    settings = {"params": parameters, "callback": callback, "help": text, "context_settings": HELP}
    return OptionsCommand(name, options_class, kind, **settings)


def command_of(experiment: ExperimentSpec) -> OptionsCommand:
    """Return the click command of an experiment."""
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
    """Run an experiment as a program; exit with its status."""
    sys.exit(reported(lambda: status(command_of(all_experiments()[name]), sys.argv[1:])))


def main(entry: click.Command) -> None:
    """Run a command as a program; exit with its status."""
    sys.exit(status(entry, sys.argv[1:]))


def status(entry: click.Command, arguments: list[str], program: str | None = None) -> int:
    """Run a command and return its exit status.

    Invalid input and requests that the tracking store refuses are reported as one line ``error: …`` with status 2.

    Args:
        entry: the command.
        arguments: its arguments.
        program: what users type to start it, for ``--help``; None: ``python -m entry_points NAME``.
    """

    def run() -> int:
        # not click's main(), which treats an EOFError (from a truncated file) as Ctrl-D
        with entry.make_context(program or f"python -m entry_points {entry.name}", list(arguments)) as context:
            return int(entry.invoke(context) or 0)

    return reported(run, entry)


def reported(run: Callable[[], int], entry: click.Command | None = None) -> int:
    """Return the status that ``run``, of the command ``entry``, returns; report exceptions as in :func:`status`."""
    try:
        return run()
    except click.exceptions.Exit as done:  # --help
        return done.exit_code
    except KeyboardInterrupt:
        _close_adopted_run("interrupted", entry)
        return 1
    except Exception as error:
        if isinstance(error, BrokenPipeError) and _output_is_closed():
            return 1
        line = _refusal(error)
        if line is not None:
            click.echo(f"error: {line}", err=True)
        if not isinstance(error, AdoptionError):
            _close_adopted_run(line or _one_line(f"{type(error).__name__}: {error}"), entry)
        if line is None:
            raise
        return 2


def _output_is_closed() -> bool:
    """Return whether nobody reads standard output any more, as after ``… | head``; if so, discard what is left."""
    output = select.poll()
    output.register(sys.stdout.fileno(), 0)
    if not output.poll(0):  # it would report POLLERR
        return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return True


def _refusal(error: Exception) -> str | None:
    """Return a one-line message for invalid input or a request that the store refused; None for other errors."""
    if isinstance(error, click.BadOptionUsage) and "requires an argument" in error.message:
        return _one_line(f"{error.format_message()} Write {error.option_name} VALUE; --help describes the values.")
    if isinstance(error, click.ClickException):
        return _one_line(error.format_message())
    if isinstance(error, InputError):
        return _one_line(str(error))
    if "mlflow" not in sys.modules:  # then no store was used; importing it would take seconds
        return None
    from rsc_mlflow.tracking.store import refusal

    return refusal(error)


def _one_line(message: str) -> str:
    """Return the message on one line; a very long message is shortened in the middle."""
    line = " ".join(message.split())
    return line if len(line) <= _LONGEST_LINE else f"{line[: _LONGEST_LINE // 2]} … {line[-_LONGEST_LINE // 2 :]}"


def _close_adopted_run(reason: str, entry: click.Command | None) -> None:
    """Mark the run that ``mlflow run`` created for this process as failed, with its kind and the reason."""
    if run_id := run_id_from_environment():
        from rsc_mlflow.tracking import schema
        from rsc_mlflow.tracking.run import mark_failed

        kind = entry.kind if isinstance(entry, OptionsCommand) else entry and entry.name  # unlearn, attack
        tags = {schema.KIND: kind, schema.METHOD: str(entry and entry.name)} if kind in schema.KINDS else {}
        mark_failed(run_id, reason, tags)
