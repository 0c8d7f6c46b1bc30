"""Factors: spurious score by architecture, optimizer, any other parameter, and norm of the pattern."""

from collections.abc import Sequence

import pandas as pd

from dashboards.alike import COUNT, PARAMETERS, RECIPES, like
from dashboards.figures.dot_plot import dot_plot
from dashboards.figures.factors import correlation_words, norm_points, norm_scatter
from dashboards.figures.points import counted, summary, unlike
from dashboards.figures.scores import line_marks
from dashboards.figures.style import in_place, plain
from dashboards.grouping import facet_by, facet_columns, facets, group_by, with_values
from dashboards.pages.scores import MADE_BY
from dashboards.panels import Option, Page, Panel, Plot, View
from rsc_mlflow.analysis import comparable, finished, points, with_targets
from rsc_mlflow.tracking import schema

FACTORS = tuple(
    pair for pair in PARAMETERS if pair[0] not in ("architecture", "optimizer", "pattern", "method_options")
)
FACTOR = Option("factor", "Another factor", FACTORS, "grad_clip")
GROUP = group_by("Colors: group by")
FACET = facet_by()
OPTIMIZER = "optimizer with its momentum"
"""Column: the optimizer, with its momentum if runs of this optimizer differ in it."""


def _compare(view: View, column: str, title: str, about: str, label: str) -> Panel:
    group = view.option(GROUP)
    facet = facet_columns(view, FACET, column, group)
    runs = with_values(view.poisoned(), [group, *facet])
    shown = list(dict.fromkeys([column, group, *facet]))
    if column == "optimizer":
        column, runs = OPTIMIZER, runs.assign(**{OPTIMIZER: optimizers_with_momentum(runs)})
        shown = [column, *shown, "momentum"]
    alike = like(view, runs, shown, split=facet[0] if facet else None, cover=[column])
    kept = comparable(alike.runs, column, [*facet, *alike.by, group], alike.average)
    by = list(dict.fromkeys([*facet, *alike.by, column, group]))
    table = with_targets(points(kept, by, schema.SPURIOUS_SCORE, average=alike.average), kept, by, alike.average)
    order = runs.groupby(column)["n_parameters"].median() if column == "architecture" else None
    plots, alone, marks = [], [], line_marks(table[group])
    for heading, rows in facets(table, *facet, *alike.by):
        if rows[column].nunique() < 2:
            alone += rows[column].unique().tolist()
            continue
        values = in_place(rows[column]) if order is None else sorted(rows[column].unique(), key=lambda v: (order[v], v))
        drawn = dot_plot(
            rows,
            column,
            group,
            view.theme,
            x=label,
            y="spurious score",
            categories=values,
            groups=[one for one in marks if one[0] in set(rows[group])],
            label=plain,
            least=0,
            most=1,
        )
        plots.append(Plot(drawn, heading))
    lost = len(finished(alike.runs)) - len(finished(kept))
    left = (
        f". Left out: {counted(lost, 'run')} with numbers of examples that were not run at every value" if lost else ""
    )
    notice = " ".join(part for part in (alike.notice, unlike(table)) if part)
    message = view.empty_message(runs, [schema.SPURIOUS_SCORE], MADE_BY)
    if not message and table.empty:
        message = "No seed was run with every number of examples. Choose one number above."
    if not message and not plots:
        message = _single(alone, title)
    return Panel(
        title.lower().replace(" ", "_"),
        title,
        about,
        tuple(plots),
        table,
        summary(table) + left,
        message,
        notice=notice,
    )


def _single(values: Sequence[object], title: str) -> str:
    """Return the message for a panel whose comparable runs all have the same value."""
    named = ", ".join(sorted({plain(value) for value in values}))
    return (
        f"{title}: all runs with otherwise equal settings have {named or 'one value'}, so there is nothing to compare. "
        "Choose other runs with the filters, or train the same runs with a second value."
    )


def optimizers_with_momentum(runs: pd.DataFrame) -> list[str]:
    """Return the optimizer of each run, with the momentum if runs with this optimizer differ in it."""
    several = runs.groupby("optimizer")["momentum"].transform("nunique") > 1
    return [
        f"{name}, momentum {momentum:g}" if more and momentum == momentum else name
        for name, momentum, more in zip(runs["optimizer"], runs["momentum"], several, strict=True)
    ]


ABOUT = "Mean spurious score over seeds with its 95 % interval; all other settings are equal"


def architectures(view: View) -> Panel:
    """Score by architecture, sorted by number of parameters."""
    about = f"{ABOUT}. Architectures are sorted by their number of parameters."
    return _compare(view, "architecture", "Architecture", about, "architecture, by number of parameters")


def optimizers(view: View) -> Panel:
    """Score by optimizer."""
    return _compare(
        view, "optimizer", "Optimizer", f"{ABOUT}. Optimizers with different momentum are separate.", "optimizer"
    )


def another(view: View) -> Panel:
    """Score by the parameter that is chosen in the option ``FACTOR``."""
    name = view.option(FACTOR)
    words = dict(FACTORS)[name]
    return _compare(view, name, words.capitalize(), f"{ABOUT}. Choose the parameter above.", words)


def norms(view: View) -> Panel:
    """Score against the norm of the pattern."""
    runs = view.poisoned()
    facet = facet_columns(view, FACET, "paper", "dataset_family")
    runs = with_values(runs, facet)
    shown = ["dataset_family", "paper", *facet]
    split = facet[0] if facet else None
    alike = like(view, runs, shown, split=split, cover=["dataset_family", "pattern"])
    by = [*facet, *alike.by]
    table = norm_points(alike.runs, by, alike.average)
    width = max(table["norm"].max() - table["norm"].min(), 1.0) if len(table) else 1.0
    ends = (table["norm"].min() - 0.05 * width, table["norm"].max() + 0.05 * width)
    words = [": ".join(filter(None, (heading, correlation_words(rows)))) for heading, rows in facets(table, *by)]
    return Panel(
        "norms",
        "Norm of the pattern",
        "Mean spurious score over seeds, with its 95 % interval, against the mean norm of what the pattern adds to "
        f"test images. Each point is a pattern. {'; '.join(words)}.",
        tuple(
            Plot(norm_scatter(rows, view.theme, ends), heading)
            for heading, rows in facets(table, *by, "dataset_family")
        ),
        table,
        summary(table),
        view.empty_message(runs, [schema.PATTERN_NORM], MADE_BY),
        notice=" ".join(part for part in (alike.notice, unlike(table)) if part),
    )


PAGE = Page(
    "factors",
    "Factors",
    "Which settings make a rare pattern easier to learn.",
    (architectures, optimizers, another, norms),
    (FACTOR, GROUP, FACET, RECIPES, COUNT),
    place=30,
)
