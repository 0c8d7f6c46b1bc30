"""``python -m benchmarks NAME [OPTIONS]``: runs the ``main()`` of ``benchmarks/NAME.py``."""

import importlib
import pkgutil
import sys
from pathlib import Path


def names() -> list[str]:
    """Modules of this folder that are benchmarks: those that define ``main``."""
    folder = Path(__file__).parent
    found = (module.name for module in pkgutil.iter_modules([str(folder)]))
    return sorted(name for name in found if "\ndef main(" in (folder / f"{name}.py").read_text() if name != "__main__")


def main() -> int:
    """Dispatches; the benchmark sees its own options in ``sys.argv[1:]``."""
    if len(sys.argv) < 2 or sys.argv[1] not in names():
        given = f"unknown benchmark {sys.argv[1]!r}" if len(sys.argv) > 1 else "name a benchmark"
        print(f"error: {given}; accepted: {', '.join(names())}", file=sys.stderr)
        return 2
    name = sys.argv.pop(1)
    status = importlib.import_module(f"benchmarks.{name}").main()
    return status or 0


if __name__ == "__main__":
    sys.exit(main())
