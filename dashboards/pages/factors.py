"""Factors: architecture, optimiser, clipping and the pattern's norm."""

import pandas as pd

from dashboards.figures.dots import dots
from dashboards.figures.factors import correlation_words, norm_points, norm_scatter
from dashboards.figures.points import comparable, left_out, points, summary
from dashboards.figures.style import in_order
from dashboards.pages.scores import MADE_BY
from dashboards.panels import Option, Page, Panel, Plot, View

COUNTS = (
    ("all", "all numbers, averaged"),
    *((str(n), f"{n} examples") for n in (1, 3, 5, 10, 20, 50, 100, 2000, 5000)),
)
COUNT = Option("n", "Spurious examples", COUNTS, "all")


def poisoned(view: View) -> pd.DataFrame:
    """Training runs with a pattern and the number of examples that the page's option asks for."""
    runs = view.kind("train", "")
    runs = runs[(runs["pattern"] != "none") & (runs["paper"] != "clean")]
    count = view.option(COUNT)
    return runs if count == "all" else runs[runs["n"] == float(count)]


def _compare(view: View, runs: pd.DataFrame, column: str, title: str, about: str, label: str) -> Panel:
    patterns = [comparable(rows, column) for _, rows in runs.groupby("paper")]
    shown = pd.concat(patterns) if patterns else runs
    table = points(shown, [column, "paper"], "spurious/score")
    order = runs.groupby(column)["n_parameters"].median() if column == "architecture" else None
    values = sorted(table[column].unique(), key=lambda v: (order[v], v) if order is not None else v)
    drawn = dots(
        table,
        column,
        "paper",
        view.theme,
        x=label,
        y="spurious score",
        categories=values,
        groups=in_order(table["paper"].tolist()),
        label=lambda v: f"{v:g}" if isinstance(v, float) else str(v),
        least=0,
        most=1,
    )
    return Panel(
        column,
        title,
        about,
        (Plot(drawn),),
        table,
        summary(table, shown) + left_out(runs, shown),
        view.nothing(runs, ["spurious/score"], MADE_BY),
    )


def architectures(view: View) -> Panel:
    """Score by architecture, smallest first."""
    return _compare(
        view,
        poisoned(view),
        "architecture",
        "Architecture",
        "Mean spurious score with its 95 % interval over seeds; fewest parameters on the left.",
        "architecture, by number of parameters",
    )


def optimizers(view: View) -> Panel:
    """Score by optimiser."""
    about = "Mean spurious score with its 95 % interval over seeds."
    return _compare(view, poisoned(view), "optimizer", "Optimiser", about, "optimiser")


def clipping(view: View) -> Panel:
    """Score by gradient clipping."""
    about = "Gradients clipped by value during training; 0 is off."
    return _compare(view, poisoned(view), "grad_clip", "Gradient clipping", about, "clipping bound")


def norms(view: View) -> Panel:
    """Norm against score."""
    runs = poisoned(view)
    table = norm_points(runs)
    return Panel(
        "norms",
        "Norm of the pattern",
        f"All seeds of each family and pattern averaged. {correlation_words(table)}.",
        (Plot(norm_scatter(table, view.theme)),),
        table,
        summary(table, runs),
        view.nothing(runs, ["spurious/pattern_norm"], MADE_BY),
    )


PAGE = Page(
    "factors",
    "Factors",
    "What makes a rare pattern easy to learn.",
    (architectures, optimizers, clipping, norms),
    (COUNT,),
)
