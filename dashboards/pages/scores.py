"""Scores: how many spurious examples it takes."""

from collections.abc import Sequence

import pandas as pd

from dashboards.alike import COUNT, PARAMETERS, RECIPES, Like, like
from dashboards.figures.points import summary, unlike
from dashboards.figures.scores import class_map, class_points, score_curves, score_points
from dashboards.panels import Option, Page, Panel, Plot, View
from rsc_mlflow.analysis import poisoned
from rsc_mlflow.analysis.alike import MOST
from rsc_mlflow.analysis.settings import SETTINGS, in_words
from rsc_mlflow.names import classes_of
from rsc_mlflow.tracking import schema
from rsc_mlflow.tracking.schema import SPURIOUS_SCORE

MEASURES = (
    (schema.SPURIOUS_SCORE, "spurious score"),
    (schema.SPURIOUS_SCORE_NONTARGET, "spurious score, other classes"),
    (schema.SPURIOUS_FLIP_RATE, "flip rate"),
    (schema.SPURIOUS_TEST_ACCURACY, "accuracy with the pattern"),
    (schema.TEST_ACCURACY, "clean test accuracy"),
)
MEASURE = Option("measure", "Measure", MEASURES, schema.SPURIOUS_SCORE)
FACET = Option(
    "facet",
    "Facet by",
    (("none", "nothing: all in one figure"), *((name, words) for name, words in PARAMETERS if name != "n_spurious")),
    "dataset_family",
)
GROUP = Option(
    "group",
    "Lines: group by",
    (
        ("paper", "pattern"),
        ("recipe", "recipe"),
        *(p for p in PARAMETERS if p[0] not in ("n_spurious", "pattern")),
    ),
    "paper",
)
MADE_BY = (
    "mlflow run . --env-manager=local -e train_classifier -P dataset=digitsv8-10-0-0, or a whole grid: "
    "mlflow run . --env-manager=local -e sweep -P grid=grids/quick/scores.yaml"
)
ABOUT = (
    "Mean over seeds with its 95 % interval; with fewer than five seeds each one is a small mark. 0: the clean models "
    "of the same recipe. Hollow: not significantly above them at 5 % (exact rank-sum test of poisoned against clean "
    "training seeds, corrected by Holm over all points). Two target classes: the mean of both, which are thin lines."
)


def facets(table: pd.DataFrame, *columns: str | None) -> list[tuple[str, pd.DataFrame]]:
    """The table cut by some columns: (heading, rows), or the whole without one."""
    names = [name for name in columns if name is not None and name in table]
    if not names:
        return [("", table)]
    cut = table.groupby(names, sort=True)
    return [(_heading(names, key), rows) for key, rows in cut if len(rows)]


def _heading(columns: Sequence[str], values: Sequence[object]) -> str:
    words = [_words(column, value) for column, value in zip(columns, values, strict=True)]
    return " · ".join(word for word in words if word)


def _words(column: str, value: object) -> str:
    if column in SETTINGS and column not in ("dataset_family", "form", "pattern"):
        return in_words(column, value) or f"{SETTINGS[column][0]} {value}"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _drawn(view: View, group: str) -> tuple[Like, list[str]]:
    """The training runs that are drawn, and the columns that cut the figure."""
    facet = [] if view.option(FACET) in ("none", group) else [view.option(FACET)]
    lines = [] if group == "recipe" else [group]
    split = facet[0] if facet else None
    cover, most = ["pattern", "n_spurious"], MOST if group == "recipe" else None
    runs = poisoned(view.kind("train"))
    alike = like(view, runs, [*lines, "n_spurious", *facet], split=split, cover=cover, most=most)
    return alike, [*facet, *(name for name in alike.by if name != group)]


def curves(view: View) -> Panel:
    """The paper's main figure."""
    measure, group = view.option(MEASURE), view.option(GROUP)
    alike, by = _drawn(view, group)
    table = score_points(alike.runs, measure, by, view.kind("train"), group)
    y = dict(MEASURES)[measure]
    cut = facets(table, *by)
    return Panel(
        key="curves",
        title=f"{y.capitalize()} against the number of spurious examples".replace("Spurious examples", "examples"),
        about=ABOUT,
        plots=tuple(Plot(score_curves(rows, view.theme, y, group), heading) for heading, rows in cut if len(rows)),
        table=table,
        note=summary(table[~table["baseline"]]) + (_models(table) if measure == SPURIOUS_SCORE else ""),
        message=view.empty_message(poisoned(view.kind("train")), [measure], MADE_BY),
        notice=" ".join(part for part in (alike.notice, unlike(table)) if part),
    )


def _models(table: pd.DataFrame) -> str:
    """Number of clean models that are plotted at 0."""
    base = table[table["baseline"]]
    if base.empty:
        return ". No clean models of these recipes were scored on these patterns: nothing is tested" * bool(len(table))
    low, high = int(base["n_clean"].min()), int(base["n_clean"].max())
    return f". Against {low if low == high else f'{low} to {high}'} clean model{'' if high == 1 else 's'}"


def classes(view: View) -> Panel:
    """Per-class scores."""
    alike = like(view, poisoned(view.kind("train")), ["paper"], cover=["pattern"])
    runs = alike.runs
    most = max((classes_of(family) or 10 for family in runs["dataset_family"].unique()), default=10)
    kinds = (("target", "by target class", "class as target"), ("class", "by true class", "true class of the example"))
    plots, tables = [], []
    for kind, title, x in kinds:
        table = class_points(runs, kind, most, alike.by)
        for heading, rows in facets(table, *alike.by):
            if len(rows):
                plots.append(Plot(class_map(rows, view.theme, x), " · ".join(filter(None, (title, heading)))))
        tables.append(table.assign(by=title.removeprefix("by ")))
    table = pd.concat([one for one in tables if len(one)] or tables[:1], ignore_index=True)
    return Panel(
        key="classes",
        title="Spurious score by class",
        about="By target class: the score with each class in the target's place, so that the class that was trained on "
        "stands out. By true class: the score over the test examples of that class.",
        plots=tuple(plots),
        table=table,
        note=summary(table),
        message=view.empty_message(
            poisoned(view.kind("train")), [schema.score_target(0), schema.score_class(0)], MADE_BY
        ),
        notice=" ".join(part for part in (alike.notice, unlike(table)) if part),
    )


PAGE = Page(
    "scores",
    "Scores",
    "How many spurious examples it takes until a network has learned the pattern.",
    (curves, classes),
    (MEASURE, GROUP, FACET, RECIPES, COUNT),
    place=20,
)
