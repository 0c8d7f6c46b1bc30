"""The choices with which pages set unlike runs apart, and what they leave of the runs."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pandas as pd

from dashboards.panels import Option, View
from rsc_mlflow import analysis
from rsc_mlflow.analysis.alike import MOST
from rsc_mlflow.analysis.settings import SETTINGS

PARAMETERS = tuple((name, words) for name, (words, _) in SETTINGS.items())
"""Every parameter that decides a result: column and name in words."""
COUNTS = (
    ("common", "the most common number"),
    ("all", "all numbers, averaged"),
    *((str(n), SETTINGS["n_spurious"][1](n)) for n in (1, 3, 5, 10, 20, 50, 100, 2000, 5000)),
)
COUNT = Option("n", "Spurious examples", COUNTS, "common")
ONE_COUNT = replace(COUNT, choices=tuple(choice for choice in COUNTS if choice[0] != "all"))
"""The same choice where numbers are never averaged."""
RECIPES = Option(
    "recipes",
    "Runs that differ otherwise",
    (("common", "the most common recipe alone"), ("each", "one figure per recipe")),
    "common",
)
HOW = "“One figure per recipe” and the filters show others."


@dataclass(frozen=True)
class Like:
    """Runs that may be averaged.

    Attributes:
        runs: with the column ``recipe``.
        average: settings to average over within each seed (``average`` of :func:`rsc_mlflow.analysis.series`).
        notice: what was set apart or left out, and what is averaged; empty where there is nothing to say.
    """

    runs: pd.DataFrame
    average: tuple[str, ...] = ()
    notice: str = ""

    @property
    def by(self) -> list[str]:
        """Columns that tell recipes apart, for a table's groups; empty with a single one."""
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
    """The runs that a figure draws, by the page's options ``COUNT`` and ``RECIPES``.

    Args:
        view: the page's; its address holds the choices.
        runs: those that the figure would show.
        shown: columns that it shows as an axis, a line or a facet.
        split: that of them which cuts it into facets.
        cover: see :func:`rsc_mlflow.analysis.alike`.
        most: recipes to keep; default: what the page's option says.
        number: the page's choice of the number of spurious examples.
    """
    key = (id(runs), tuple(shown), split, tuple(cover), most, number)
    if key not in view.memo:
        view.memo[key] = (
            runs,
            _like(view, runs, shown, split, cover, most, number),
        )  # holds the runs, so that their id stays theirs
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
    """Says which numbers of examples a mean goes over; empty for none or one."""
    numbers = sorted(analysis.finished(runs)["n_spurious"].dropna().unique()) if average else []
    if len(numbers) < 2:
        return ""
    words = ", ".join(f"{n:g}" for n in numbers)
    return (
        f"Averaged over {words} spurious examples, of the seeds that were run at every number: an average can hide "
        "that something works at one number and not at another."
    )
