"""``python -m benchmarks NAME [OPTIONS]`` runs ``main()`` of ``benchmarks/NAME.py``."""

import importlib
import pkgutil
import sys
from pathlib import Path

import click

from rsc_mlflow.errors import InputError, unknown_name

USAGE = """Usage: python -m benchmarks NAME [OPTIONS]

docs/benchmarks.md describes the benchmarks and their results."""


def names() -> list[str]:
    """Return the names of the benchmarks: the modules of this folder that define ``main``."""
    folder = Path(__file__).parent
    found = (module.name for module in pkgutil.iter_modules([str(folder)]))
    return sorted(name for name in found if "\ndef main(" in (folder / f"{name}.py").read_text() if name != "__main__")


def main() -> int:
    """List the benchmarks, or run the one named in ``sys.argv[1:]`` with the options after its name."""
    if sys.argv[1:] in ([], ["--help"]):
        click.echo(f"{USAGE}\n\nNames: {', '.join(names())}")
        return 0
    if sys.argv[1] not in names():
        click.echo(f"error: {unknown_name('benchmark', sys.argv[1], names())}", err=True)
        return 2
    name = sys.argv.pop(1)
    try:
        status = importlib.import_module(f"benchmarks.{name}").main()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return status or 0


if __name__ == "__main__":
    sys.exit(main())
