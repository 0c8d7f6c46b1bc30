"""``python -m benchmarks NAME [OPTIONS]`` runs ``main()`` of ``benchmarks/NAME.py``."""

import importlib
import pkgutil
import sys
from pathlib import Path

import click

from rsc_mlflow.errors import InputError, unknown_name


def names() -> list[str]:
    """Return the names of the benchmarks: the modules of this folder that define ``main``."""
    folder = Path(__file__).parent
    found = (module.name for module in pkgutil.iter_modules([str(folder)]))
    return sorted(name for name in found if "\ndef main(" in (folder / f"{name}.py").read_text() if name != "__main__")


def main() -> int:
    """Run a benchmark, with its options in ``sys.argv[1:]``."""
    if len(sys.argv) < 2:
        click.echo(f"error: Missing name of a benchmark. Expected one of: {', '.join(names())}.", err=True)
        return 2
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
