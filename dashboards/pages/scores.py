"""Scores: spurious score by number of spurious examples, and by class."""

import pandas as pd

from dashboards.alike import COUNT, RECIPES, Like, like
from dashboards.figures.points import summary, unlike
from dashboards.figures.scores import class_map, class_points, line_marks, score_curves, score_points
from dashboards.grouping import facet_by, facet_columns, facets, group_by, with_values
from dashboards.panels import Option, Page, Panel, Plot, View
from rsc_mlflow.analysis.alike import MOST
from rsc_mlflow.names import TWO_CLASSES, classes_of
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
FACET = facet_by("dataset_family", without=["n_spurious"])
GROUP = group_by("Lines: group by", [("recipe", "recipe")], without=["n_spurious"])
MADE_BY = (
    "mlflow run . --env-manager=local -e train_classifier -P dataset=digitsv8-10-0-0, or a whole grid: "
    "mlflow run . --env-manager=local -e sweep -P grid=grids/quick/scores.yaml"
)
ABOUT = (
    "Mean over seeds with its 95 % interval. With fewer than five seeds, small markers show the single seeds instead."
)
CLEAN = (
    " Points at 0 are the means of clean models of the same recipe, and bands span their scores. Hollow points are not "
    "significantly above the clean models (rank-sum test over training seeds, 5 %, Holm's correction)."
)
OF_BOTH = " With two target classes, a point is the mean of both scores; thin lines show each score."


def _drawn(view: View, group: str) -> tuple[Like, list[str]]:
    """Return the training runs to plot, and the columns that define the figures."""
    facet = facet_columns(view, FACET, group)
    lines = [] if group == "recipe" else [group]
    split = facet[0] if facet else None
    cover, most = ["pattern", "n_spurious"], MOST if group == "recipe" else None
    runs = with_values(view.poisoned(), [*lines, *facet])
    alike = like(view, runs, [*lines, "n_spurious", *facet], split=split, cover=cover, most=most)
    return alike, [*facet, *(name for name in alike.by if name != group)]


def curves(view: View) -> Panel:
    """A measure against the number of spurious examples (the paper's main figure)."""
    measure, group = view.option(MEASURE), view.option(GROUP)
    alike, by = _drawn(view, group)
    table = score_points(alike.runs, measure, by, view.kind("train"), group)
    y = dict(MEASURES)[measure]
    cut, marks = facets(table, *by), line_marks(table[group])
    plots = [Plot(score_curves(rows, view.theme, y, group, marks), heading) for heading, rows in cut if len(rows)]
    return Panel(
        key="curves",
        title=f"{y.capitalize()} against the number of spurious examples".replace("Spurious examples", "examples"),
        about=ABOUT + CLEAN * bool(table["baseline"].any()) + OF_BOTH * bool((alike.runs["form"] == TWO_CLASSES).any()),
        plots=tuple(plots),
        table=table,
        note=summary(table[~table["baseline"]]) + (_models(table) if measure == SPURIOUS_SCORE else ""),
        message=view.empty_message(view.poisoned(), [measure], MADE_BY),
        notice=" ".join(part for part in (alike.notice, unlike(table)) if part),
    )


def _models(table: pd.DataFrame) -> str:
    """Return the number of clean models at 0 as text."""
    base = table[table["baseline"]]
    if base.empty:
        return ". Not tested, because no clean models of these recipes were scored on these patterns" * bool(len(table))
    low, high = int(base["n_clean"].min()), int(base["n_clean"].max())
    return f". Compared with {low if low == high else f'{low} to {high}'} clean model{'' if high == 1 else 's'}"


def classes(view: View) -> Panel:
    """Per-class scores."""
    alike = like(view, view.poisoned(), ["paper"], cover=["pattern"])
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
        about="Mean over seeds of the spurious score, by pattern and class. By target class: the score for each class "
        "as the target, whichever class the training set's spurious examples have. By true class: the score for the "
        "training set's target class, over the test images of each class.",
        plots=tuple(plots),
        table=table,
        note=summary(table, seeds=False),
        message=view.empty_message(view.poisoned(), [schema.score_target(0), schema.score_class(0)], MADE_BY),
        notice=" ".join(part for part in (alike.notice, unlike(table)) if part),
    )


PAGE = Page(
    "scores",
    "Scores",
    "How many spurious examples a network needs to learn the pattern. The spurious score is the share of test images "
    "on which the pattern raises the probability of the target class by more than a threshold (by default 1/classes).",
    (curves, classes),
    (MEASURE, GROUP, FACET, RECIPES, COUNT),
    place=20,
)
