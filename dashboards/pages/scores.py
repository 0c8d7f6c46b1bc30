"""Scores: how many spurious examples it takes."""

import pandas as pd

from dashboards.figures.points import counted, summary
from dashboards.figures.scores import class_map, class_points, score_curves, score_points
from dashboards.panels import Option, Page, Panel, Plot, View
from rsc_mlflow.names import CLASSES, TWO_CLASSES

MEASURES = (
    ("spurious/score", "spurious score"),
    ("spurious/score_nontarget", "spurious score, other classes"),
    ("spurious/flip_rate", "flip rate"),
    ("spurious/test_accuracy", "accuracy with the pattern"),
    ("test/accuracy", "clean test accuracy"),
)
MEASURE = Option("measure", "Measure", MEASURES, "spurious/score")
FACETS = (
    ("family", "one figure per family"),
    ("form", "one figure per kind of data set"),
    ("target", "one figure per target class"),
    ("optimizer", "one figure per optimiser"),
    ("architecture", "one figure per architecture"),
    ("none", "all in one figure"),
)
FACET = Option("facet", "Split", FACETS, "family")
MADE_BY = "mlflow run . -e train_classifier -P dataset=digitsv8-10-0-0, or a whole grid with mlflow run . -e sweep"

STUDIES = (("usual", "one class, the usual recipe"), ("all", "all training runs"))
STUDY = Option("runs", "Runs", STUDIES, "usual")
RECIPE = ["weight_decay", "input_noise", "grad_clip"]


def usual(runs: pd.DataFrame, *, two_classes: bool = False) -> pd.DataFrame:
    """Without two-class data sets, and of each family only the most common weight decay, noise and clipping.

    Runs of mitigation studies would pull down the mean at the counts that they happen to have, and nowhere else.
    Where a family has two-class data sets alone, they stay; ``two_classes`` keeps them, for figures of their own.
    """
    single = (runs["form"] != TWO_CLASSES) | two_classes
    runs = runs[single | ~single.groupby(runs["family"]).transform("any")]
    recipe = runs[RECIPE].fillna(0).groupby(RECIPE).ngroup()
    common = {family: int(found.mode().iloc[0]) for family, found in recipe.groupby(runs["family"])}
    return runs[recipe == runs["family"].map(common)]


def _trained(view: View) -> tuple[pd.DataFrame, str]:
    """The training runs that are asked for, and what was left out, in words."""
    every = view.kind("train", "")
    if view.option(STUDY) == "all":
        return every, ""
    runs = usual(every, two_classes=view.option(FACET) == "form")
    left = int((every["pattern"] != "none").sum() - (runs["pattern"] != "none").sum())
    return runs, f". Left out: {counted(left, 'run')} of two classes or with mitigation" if left else ""


def facets(table: pd.DataFrame, column: str | None) -> list[tuple[str, pd.DataFrame]]:
    """The table cut by a column: (heading, rows), or the whole without one."""
    if column is None or column not in table:
        return [("", table)]
    return [(_heading(column, value), rows) for value, rows in table.groupby(column) if len(rows)]


def _heading(column: str, value: object) -> str:
    if isinstance(value, float):
        value = f"{value:g}"
    return {"target": f"target class {value}", "n": f"{value} examples"}.get(column, str(value))


def _measured(runs: pd.DataFrame, measure: str) -> pd.DataFrame:
    """Runs that have the measure: one that never began says nothing about the settings behind a point."""
    return runs[runs[measure].notna()] if measure in runs else runs


def curves(view: View) -> Panel:
    """The paper's main figure."""
    measure = view.option(MEASURE)
    facet = view.option(FACET)
    runs, left = _trained(view)
    table = score_points(runs, measure, None if facet == "none" else facet)
    y = dict(MEASURES)[measure]
    cut = facets(table, None if facet == "none" else facet)
    return Panel(
        key="curves",
        title=f"{y.capitalize()} against the number of spurious examples".replace("Spurious examples", "examples"),
        about="Mean over seeds with its 95 % interval; 0 is the clean model. Hollow: not significantly above the clean "
        "model at 5 % (paired test on the same test examples, combined over runs by Fisher, corrected by Holm over "
        "all points).",
        plots=tuple(Plot(score_curves(rows, view.theme, y), heading) for heading, rows in cut if len(rows)),
        table=table,
        note=summary(table[~table["baseline"]], _measured(runs[runs["pattern"] != "none"], measure)) + left,
        message=view.nothing(runs, [measure], MADE_BY),
    )


def classes(view: View) -> Panel:
    """Per-class scores."""
    runs, left = _trained(view)
    runs = runs[runs["pattern"] != "none"]
    most = max((CLASSES.get(family, 10) for family in runs["family"].unique()), default=10)
    target = class_points(runs, "target", most)
    true = class_points(runs, "class", most)
    plots = []
    if len(target):
        plots.append(Plot(class_map(target, view.theme, "class as target"), "by target class"))
    if len(true):
        plots.append(Plot(class_map(true, view.theme, "true class of the test example"), "by true class"))
    table = pd.concat([target.assign(by="target class"), true.assign(by="true class")], ignore_index=True)
    return Panel(
        key="classes",
        title="Spurious score by class",
        about="By target class: the score with each class in the target's place, so that the class that was trained on "
        "stands out once you filter by target. By true class: the score over the test examples of that class.",
        plots=tuple(plots),
        table=table,
        note=summary(table, runs) + left,
        message=view.nothing(runs, ["spurious/score_target_0", "spurious/score_class_0"], MADE_BY),
    )


PAGE = Page(
    "scores",
    "Scores",
    "How many spurious examples it takes until a network has learnt the pattern.",
    (curves, classes),
    (MEASURE, FACET, STUDY),
)
