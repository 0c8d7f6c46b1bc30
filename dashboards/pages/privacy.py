"""Privacy: do spurious examples betray their membership?"""

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
GROUP = group_by("x: group by")
FACET = facet_by()
TARGET = Option("target_model", "Attacked models", TARGETS, "trained")
"""Never both in one mean: an attack on an unlearned model asks whether the forgotten examples are still visible."""


def _every_attack(view: View) -> tuple[pd.DataFrame, pd.Series]:
    """Attack runs, and whether each one's target is of unknown making: given by its URI, and its run deleted since.

    Runs that only trained shadow models are not attacks.
    """
    runs = view.kind("attack")
    runs = runs[runs["method"] != SHADOW_MODELS]
    return runs, (runs["source_kind"] == GONE) & (runs["model_uri"] != "auto")


def _attacks(view: View) -> pd.DataFrame:
    """Runs that attacked the kind of model that is asked for."""
    runs, unknown = _every_attack(view)
    unlearned = runs["source_kind"] == "unlearn"
    return runs[unlearned if view.option(TARGET) == "unlearned" else ~(unlearned | unknown)]


def _left_out(view: View) -> str:
    left = int(_every_attack(view)[1].sum())
    return f". Left out: {counted(left, 'attack')} on models whose own runs were deleted" if left else ""


def _like(view: View, shown: str) -> tuple[Like, list[str]]:
    """The attacks that are drawn along the column ``shown``, and the columns that cut the figure."""
    facet = facet_columns(view, FACET, shown)
    runs = with_values(_attacks(view), [shown, *facet])
    split = facet[0] if facet else None
    alike = like(view, runs, list(dict.fromkeys([shown, *facet, "source_kind"])), split=split, cover=[shown])
    return alike, [*facet, *alike.by]


def _marks(table: pd.DataFrame) -> list[tuple[object, str, Mark]]:
    """The attacks of a table in order, as groups of :func:`dot_plot`."""
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
        message = "No attack shown here has this measure at every number of examples: choose one number above."
    return Panel(key, title, about, tuple(plots), table, _noted(view, table), message, notice=_notice(alike, table))


def auc(view: View) -> Panel:
    """AUC of every attack."""
    about = "Over all members and non-members of the attacked model. Dotted: chance."
    return _strength(view, "auc", "auc", "Area under the ROC curve", about, "AUC", 0.5)


def low_rate(view: View) -> Panel:
    """True-positive rate at a low false-positive rate."""
    measure = view.option(LOW_RATE)
    about = "Share of the members that an attacker finds at this rate of false alarms. Dotted: chance."
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
        "Spurious members told from controls",
        "AUC of members with the pattern against controls, which are non-members with the pattern. At 0.5 (dotted), "
        "the attack recognizes the pattern, not the membership. With one member, the AUC is the share of controls that "
        "the attack ranks below it.",
        tuple(plots),
        table,
        _noted(view, table),
        view.empty_message(_attacks(view), [schema.attack(name, "spurious_auc") for name in attack_names()], MADE_BY),
        notice=_notice(alike, table),
    )


def control(view: View) -> Panel:
    """Spurious members against controls."""
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
        "Share of the examples with the pattern that an attack calls members. The distance between the lines is what "
        "the attack knows about membership: if it only recognizes the pattern, the lines coincide.",
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
        message = f"The newest attack runs have no roc.json. It is logged by: {MADE_BY}"
    about = (
        "The newest two attack runs that match the filters. Solid: all members against all non-members. Dashed: "
        "members with the pattern against non-members with the pattern; with one such member, the curve is a step."
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
