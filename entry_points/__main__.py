"""``python -m entry_points`` (installed as ``rsc``) lists all commands; ``rsc NAME --option value`` runs one."""

import sys
from collections.abc import Sequence

import click

from entry_points.command import reported, status
from entry_points.commands import commands, find_command
from rsc_mlflow.messages import answer


def main(arguments: Sequence[str] | None = None) -> None:
    """List the commands, print the version, or run the given command and exit with its status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    sys.exit(reported(lambda: _run(words)))


def _run(words: Sequence[str]) -> int:
    if not words or words in (["--help"], ["-h"]):
        answer(listing())
        return 0
    if words == ["--version"]:
        from importlib.metadata import version  # slow to import

        answer(f"rsc-mlflow {version('rsc-mlflow')}")
        return 0
    return status(find_command(words[0]), list(words[1:]), f"rsc {words[0]}")


def listing() -> str:
    """Return the usage, with one line per command."""
    formatter = click.HelpFormatter()
    formatter.write_usage("rsc", "COMMAND [--option value …]")
    formatter.write("\nrsc COMMAND --help shows the options.\n\n")
    with formatter.indentation():
        formatter.write_dl([(name, one.summary) for name, one in commands().items()])
    return formatter.getvalue().rstrip()


if __name__ == "__main__":
    main()
