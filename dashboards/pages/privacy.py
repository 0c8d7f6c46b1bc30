"""Privacy: membership-inference attacks on all members, and on spurious examples against controls."""

from collections.abc import Sequence

import pandas as pd

from dashboards.alike import COUNT, RECIPES, Like, like
from dashboards.figures.dot_plot import dot_plot
from dashboards.figures.points import counted, summary, unlike
from dashboards.figures.privacy import SIDES, attack_mark, attack_points, roc_curves, side_points, sides
from dashboards.figures.style import Mark, in_place, plain
from dashboards.grouping import facet_by, facet_columns, facets, group_by, with_values
from dashboards.panels import Option, Page, Panel, Plot, View, legible
from rsc_mlflow.analysis import GONE
from rsc_mlflow.experiments.registry import attack_names
from rsc_mlflow.tracking import schema

MADE_BY = "mlflow run . --env-manager=local -e mem_inference -P dataset=memdigitsv20-10-0-0"
SHADOW_MODELS = "shadow_models"
LOW = (("tpr_at_fpr_0.01", "at 1 % false positives"), ("tpr_at_fpr_0.001", "at 0.1 % false positives"))
LOW_RATE = Option("fpr", "True positives", LOW, "tpr_at_fpr_0.01")

TARGETS = (("trained", "as they were trained"), ("unlearned", "after unlearning"))
GROUP = group_by("Horizontal axis: group by")
FACET = facet_by()
TARGET = Option("target_model", "Attacked models", TARGETS, "trained")
"""Attacks on trained and on unlearned models are never averaged together."""


def _every_attack(view: View) -> tuple[pd.DataFrame, pd.Series]:
    """Return the attack runs, and for each one whether the origin of the attacked model is unknown (bool).

    The origin is unknown if the model was given by its URI and its run has been deleted.  Runs that only trained shadow
    models are not attack runs.
    """
    runs = view.kind("attack")
    runs = runs[runs["method"] != SHADOW_MODELS]
    return runs, (runs["source_kind"] == GONE) & (runs["model_uri"] != "auto")


def _attacks(view: View) -> pd.DataFrame:
    """Return the attack runs on the kind of models selected by the option ``TARGET``."""
    runs, unknown = _every_attack(view)
    unlearned = runs["source_kind"] == "unlearn"
    return runs[unlearned if view.option(TARGET) == "unlearned" else ~(unlearned | unknown)]


def _left_out(view: View) -> str:
    left = int(_every_attack(view)[1].sum())
    return f". Left out: {counted(left, 'attack')} on models whose own runs were deleted" if left else ""


def _like(view: View, shown: str) -> tuple[Like, list[str]]:
    """Return the attack runs to plot against the column ``shown``, and the columns that define the figures."""
    facet = facet_columns(view, FACET, shown)
    runs = with_values(_attacks(view), [shown, *facet])
    split = facet[0] if facet else None
    alike = like(view, runs, list(dict.fromkeys([shown, *facet, "source_kind"])), split=split, cover=[shown])
    return alike, [*facet, *alike.by]


def _marks(table: pd.DataFrame) -> list[tuple[object, str, Mark]]:
    """Return the attacks in a table, in order, as ``groups`` of :func:`dot_plot`."""
    return [(name, name, attack_mark(name)) for name in attack_names() if name in set(table["attack"])]


def _noted(view: View, table: pd.DataFrame) -> str:
    return summary(table) + _left_out(view)


def _notice(alike: Like, table: pd.DataFrame) -> str:
    return " ".join(part for part in (alike.notice, unlike(table)) if part)


def _strength(view: View, key: str, measure: str, title: str, about: str, y: str, chance: float) -> Panel:
    group = view.option(GROUP)
    alike, by = _like(view, group)
    table = attack_points(alike.runs, [*by, group], measure, alike.average)
    plots = []
    for heading, rows in facets(table, *by):
        drawn = dot_plot(
            rows,
            group,
            "attack",
            view.theme,
            x=dict(GROUP.choices)[group],
            y=y,
            categories=in_place(rows[group]),
            groups=_marks(rows),
            label=plain,
            least=0,
            most=1,
            also=(chance,),
        )
        drawn.add_hline(chance, line={"color": view.theme.muted, "dash": "dot", "width": 1})
        plots.append(Plot(drawn, heading))
    needed = [schema.attack(name, measure) for name in attack_names()]
    message = view.empty_message(_attacks(view), needed, MADE_BY)
    if not message and table.empty:
        message = "No attack was run with every number of examples. Choose one number above."
    return Panel(key, title, about, tuple(plots), table, _noted(view, table), message, notice=_notice(alike, table))


def auc(view: View) -> Panel:
    """AUC of every attack."""
    about = (
        "AUC of each attack over all members and non-members of the attacked model: mean over seeds with its 95 % "
        "interval. Dotted: chance."
    )
    return _strength(view, "auc", "auc", "Area under the ROC curve", about, "AUC", 0.5)


def low_rate(view: View) -> Panel:
    """True-positive rate at a low false-positive rate."""
    measure = view.option(LOW_RATE)
    about = (
        "Share of members that each attack detects at this false-positive rate: mean over seeds with its 95 % "
        "interval. Dotted: chance."
    )
    title = f"True-positive rate {dict(LOW)[measure]}"
    return _strength(view, "low_rate", measure, title, about, "true-positive rate", float(measure.rsplit("_", 1)[1]))


def corrected(view: View) -> Panel:
    """AUC of spurious members against controls."""
    alike, by = _like(view, "n_spurious")
    table = attack_points(alike.runs, [*by, "n_spurious"], "spurious_auc")
    plots = []
    for heading, rows in facets(table, *by):
        drawn = dot_plot(
            rows,
            "n_spurious",
            "attack",
            view.theme,
            x="spurious examples",
            y="AUC against controls",
            categories=in_place(rows["n_spurious"]),
            groups=_marks(rows),
            label=plain,
            least=0,
            most=1,
            also=(0.5,),
        )
        drawn.add_hline(0.5, line={"color": view.theme.muted, "dash": "dot", "width": 1})
        plots.append(Plot(drawn, heading))
    return Panel(
        "corrected",
        "Area under the ROC curve of spurious members against controls",
        "AUC of members with the pattern against controls (non-members with the pattern): mean over seeds with its "
        "95 % interval. At 0.5 (dotted), the attack does not detect membership. With one spurious example, the AUC is "
        "the share of controls that the attack ranks below it.",
        tuple(plots),
        table,
        _noted(view, table),
        view.empty_message(_attacks(view), [schema.attack(name, "spurious_auc") for name in attack_names()], MADE_BY),
        notice=_notice(alike, table),
    )


def control(view: View) -> Panel:
    """Shares of spurious members and of controls that are classified as members."""
    alike, by = _like(view, "n_spurious")
    table = side_points(alike.runs, by)
    names = [a for a in attack_names() if a in set(table["attack"])]
    cut = [
        (" · ".join(part for part in (name, heading) if part), rows)
        for name in names
        for heading, rows in facets(table[table["attack"] == name], *by)
    ]
    return Panel(
        "control",
        "Spurious members against controls",
        "Share of members and of non-members with the pattern that an attack classifies as members at its own "
        "threshold: mean over seeds with its 95 % interval. The lines coincide if the attack recognizes only the "
        "pattern and not the membership.",
        tuple(Plot(sides(rows, view.theme), heading) for heading, rows in cut),
        table.assign(side=table["side"].map(SIDES)) if len(table) else table,
        _noted(view, table),
        view.empty_message(_attacks(view), [schema.attack(name, "spurious_tpr") for name in attack_names()], MADE_BY),
        notice=_notice(alike, table),
    )


def roc(view: View) -> Panel:
    """ROC curves of the newest attack runs."""
    runs = _attacks(view)
    count = view.option(COUNT)
    runs = runs if count in ("all", "common") else runs[runs["n_spurious"] == float(count)]
    runs = runs[runs["status"] == "FINISHED"].sort_values("started_ms", ascending=False)
    plots: list[Plot] = []
    for _, run in runs.head(6).iterrows():
        curves = legible(_curves, view.source.artifact(run["run_id"], schema.ROC)) or {}
        if curves:
            link = f"{run['experiment_id']}:{run['run_id']}"
            plots.append(Plot(roc_curves(curves, view.theme, link), f"{run['dataset']}, seed {run['random_seed']}"))
        if len(plots) == 2:
            break
    message = view.empty_message(runs, [schema.attack(name, "auc") for name in attack_names()], MADE_BY)
    if not message and not plots:
        message = f"The newest attack runs have no roc.json, which is logged by: {MADE_BY}"
    about = (
        "ROC curves of the newest two attack runs that match the filters, one run per figure. Solid: all members "
        "against all non-members. Dashed: members against non-members with the pattern; with one such member, the "
        "curve is a step."
    )
    return Panel("roc", "ROC curves", about, tuple(plots), message=message)


def _curves(content: object) -> dict[str, tuple[Sequence[float], Sequence[float]]]:
    found: dict[str, tuple[Sequence[float], Sequence[float]]] = {}
    for name, curve in content.items() if isinstance(content, dict) else ():
        if isinstance(curve, dict) and "fpr" in curve and "tpr" in curve:
            fpr, tpr = ([float(value) for value in curve[side]] for side in ("fpr", "tpr"))
            found |= {str(name): (fpr, tpr)} if len(fpr) == len(tpr) else {}
    return found


PAGE = Page(
    "privacy",
    "Privacy",
    "Can an attacker tell that a spurious example was in the training set?",
    (auc, low_rate, corrected, control, roc),
    (TARGET, LOW_RATE, GROUP, FACET, RECIPES, COUNT),
    place=50,
)
