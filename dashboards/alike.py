"""The options *Spurious examples* and *Runs with different settings*, and the runs that they select for a figure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pandas as pd

from dashboards.panels import Option, View
from rsc_mlflow import analysis
from rsc_mlflow.analysis.alike import MOST
from rsc_mlflow.analysis.settings import SETTINGS

PARAMETERS = tuple((name, words) for name, (words, _) in SETTINGS.items())
"""Every setting that determines a result: (column, name for users)."""
COUNTS = (
    ("common", "the most common number"),
    ("all", "all numbers, averaged"),
    *((str(n), SETTINGS["n_spurious"][1](n)) for n in (1, 3, 5, 10, 20, 50, 100, 2000, 5000)),
)
COUNT = Option("n", "Spurious examples", COUNTS, "common")
ONE_COUNT = replace(COUNT, choices=tuple(choice for choice in COUNTS if choice[0] != "all"))
"""The same option without the average over all numbers."""
RECIPES = Option(
    "recipes",
    "Runs with different settings",
    (("common", "the most common recipe"), ("each", "one figure per recipe")),
    "common",
)
HOW = "To see others, choose “One figure per recipe” or set filters."


@dataclass(frozen=True)
class Like:
    """Runs that a figure may average.

    Attributes:
        runs: with the column ``recipe``.
        average: settings to average over within each seed (``average`` of :func:`rsc_mlflow.analysis.series`).
        notice: description of what is shown, left out and averaged; empty if all runs have the same recipe.
    """

    runs: pd.DataFrame
    average: tuple[str, ...] = ()
    notice: str = ""

    @property
    def by(self) -> list[str]:
        """``["recipe"]``, to group by, if there are several recipes; else empty."""
        return ["recipe"] if self.runs["recipe"].nunique() > 1 else []


def like(
    view: View,
    runs: pd.DataFrame,
    shown: Sequence[str],
    *,
    split: str | None = None,
    cover: Sequence[str] = (),
    most: int | None = None,
    number: Option = COUNT,
) -> Like:
    """Return the runs that a figure shows, according to the page's options ``number`` and ``RECIPES``.

    Args:
        view: contains the values of the options.
        runs: all candidates.
        shown: columns that the figure shows as an axis, a line or a facet.
        split: the one of ``shown`` that defines the facets.
        cover: see :func:`rsc_mlflow.analysis.alike`.
        most: maximum number of recipes in each facet; default: according to ``RECIPES``.
        number: the page's option for the number of spurious examples; ignored if the figure shows this number.
    """
    key = (id(runs), tuple(shown), split, tuple(cover), most, number)
    if key not in view.memo:
        view.memo[key] = (
            runs,
            _like(view, runs, shown, split, cover, most, number),
        )  # keeps the runs alive, so that their id is not reused
    found: Like = view.memo[key][1]
    return found


def _like(
    view: View,
    runs: pd.DataFrame,
    shown: Sequence[str],
    split: str | None,
    cover: Sequence[str],
    most: int | None,
    number: Option,
) -> Like:
    count = "" if "n_spurious" in shown else view.option(number)
    if count not in ("", "all", "common"):
        runs = runs[(runs["n_spurious"] == float(count)).to_numpy()]
    average = ("n_spurious",) if count == "all" else ()
    most = most or (MOST if view.option(RECIPES) == "each" else 1)
    found = analysis.alike(runs, shown, split=split, cover=cover, most=most, averaged=average)
    notice = f"{found.notice} {HOW}" if found.left else found.notice
    return Like(found.runs, average, " ".join(part for part in (notice, averaged(found.runs, average)) if part))


def averaged(runs: pd.DataFrame, average: Sequence[str]) -> str:
    """Return a sentence that lists the numbers of examples that are averaged; empty for fewer than two."""
    numbers = sorted(analysis.finished(runs)["n_spurious"].dropna().unique()) if average else []
    if len(numbers) < 2:
        return ""
    words = ", ".join(f"{n:g}" for n in numbers)
    return (
        f"Averaged over {words} spurious examples, for seeds that were run with every number. An average can hide "
        "differences between the numbers."
    )
