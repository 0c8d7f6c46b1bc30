"""Numbers, intervals and tables as Markdown."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

MISSING = "–"
MINUS = "−"


def share(value: float, digits: int = 3) -> str:
    """A number between -1 and 1 without its leading zero, e.g. ".902", "−.003", "1.000"."""
    if value is None or math.isnan(value):
        return MISSING
    text = f"{abs(value):.{digits}f}"
    text = text[1:] if text.startswith("0.") else text
    return f"{MINUS}{text}" if value < 0 and float(text) != 0 else text


def plain(value: float, digits: int = 3) -> str:
    """A number with ``digits`` significant digits."""
    if value is None or math.isnan(value):
        return MISSING
    text = f"{value:.{digits}g}"
    return (f"{float(text):.0f}" if "e+" in text and abs(value) < 1e6 else text).replace("-", MINUS, value < 0)


def p_value(value: float) -> str:
    """A p-value with two significant digits: ".023", "3e-5"."""
    if value is None or math.isnan(value):
        return MISSING
    if value < 0.001:
        mantissa, power = f"{value:.0e}".split("e")
        return f"{mantissa}e{MINUS}{abs(int(power))}"
    return share(value, 2 if value >= 0.095 else 3)


def interval(row: Mapping[Any, Any], digits: int = 3) -> str:
    """A mean with its 95 % interval in square brackets, or with each unit in parentheses if there are too few.

    Args:
        row: ``mean``, ``low``, ``high`` and ``each``, as ``rsc_mlflow.analysis.points`` gives them.
        digits: of the mean.  Its interval has one less, unless both bounds would then look like the mean.
    """
    mean, fewer = share(row["mean"], digits), max(digits - 1, 1)
    if not math.isnan(row["low"]):
        fewer = digits if row["high"] - row["low"] < 2 * 10**-fewer else fewer
        return f"{mean} [{share(row['low'], fewer)}, {share(row['high'], fewer)}]"
    each = row["each"]
    values = each if isinstance(each, tuple) else ()
    return f"{mean} ({', '.join(share(one, fewer) for one in values)})" if len(values) > 1 else mean


def table(columns: Mapping[str, bool], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table.

    Args:
        columns: heading → whether it is aligned to the right.
        rows: cells.
    """
    marks = ["---:" if right else "---" for right in columns.values()]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [list(columns), marks, *rows])


def counted(number: int, what: str) -> str:
    """A number and its noun."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def listed(words: Sequence[str]) -> str:
    """Words with commas and a final "and"."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
