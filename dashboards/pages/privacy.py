"""Privacy: do spurious examples betray their membership?"""

from collections.abc import Sequence

import pandas as pd

from dashboards.data import GONE
from dashboards.figures.dots import dots
from dashboards.figures.points import counted, summary
from dashboards.figures.privacy import SIDES, attack_mark, attack_points, roc_curves, side_points, sides
from dashboards.figures.style import in_order
from dashboards.pages.factors import COUNT
from dashboards.panels import Option, Page, Panel, Plot, View
from rsc_mlflow.tracking import schema

MADE_BY = "mlflow run . -e mem_inference -P dataset=memdigitsv20-10-0-0"
SHADOW_MODELS = "shadow_models"
LOW = (("tpr_at_fpr_0.01", "at 1 % false positives"), ("tpr_at_fpr_0.001", "at 0.1 % false positives"))
LOW_RATE = Option("fpr", "True positives", LOW, "tpr_at_fpr_0.01")

TARGETS = (("trained", "as they were trained"), ("unlearned", "after unlearning"))
TARGET = Option("target_model", "Attacked models", TARGETS, "trained")
"""Never both in one mean: an attack on an unlearned model asks whether the forgotten examples are still seen."""


def _every_attack(view: View) -> tuple[pd.DataFrame, pd.Series]:
    """Attack runs, and whether each one's target is of unknown making: given by its URI, and its run deleted since.

    Runs that only trained shadow models are no attacks.
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


def _runs(view: View) -> pd.DataFrame:
    runs = _attacks(view)
    count = view.option(COUNT)
    return runs if count == "all" else runs[runs["n"] == float(count)]


def _strength(view: View, key: str, measure: str, title: str, about: str, y: str, chance: float) -> Panel:
    runs = _runs(view)
    table = attack_points(runs, ["paper"], measure)
    drawn = dots(
        table,
        "paper",
        "attack",
        view.theme,
        x="pattern",
        y=y,
        categories=in_order(table["paper"].tolist()),
        groups=[a for a in schema.ATTACKS if a in set(table["attack"])],
        look=attack_mark,
        least=0,
        most=1,
        also=(chance,),
    )
    drawn.add_hline(chance, line={"color": view.theme.muted, "dash": "dot", "width": 1})
    needed = [schema.attack(name, measure) for name in schema.ATTACKS]
    message = view.nothing(runs, needed, MADE_BY)
    return Panel(key, title, about, (Plot(drawn),), table, summary(table, runs) + _left_out(view), message)


def auc(view: View) -> Panel:
    """AUC of every attack."""
    about = "Over all members and non-members of the target model; dotted: chance."
    return _strength(view, "auc", "auc", "Area under the ROC curve", about, "AUC", 0.5)


def low_rate(view: View) -> Panel:
    """True-positive rate at a low false-positive rate."""
    measure = view.option(LOW_RATE)
    about = "What an attacker finds who may hardly ever be wrong; dotted: chance."
    title = f"True-positive rate {dict(LOW)[measure]}"
    return _strength(view, "low_rate", measure, title, about, "true-positive rate", float(measure.rsplit("_", 1)[1]))


def corrected(view: View) -> Panel:
    """AUC of spurious members against controls."""
    runs = _attacks(view)
    table = attack_points(runs, ["n"], "spurious_auc")
    drawn = dots(
        table,
        "n",
        "attack",
        view.theme,
        x="spurious examples",
        y="AUC against controls",
        categories=sorted(table["n"].unique()),
        groups=[a for a in schema.ATTACKS if a in set(table["attack"])],
        label=lambda n: f"{n:g}",
        look=attack_mark,
        least=0,
        most=1,
        also=(0.5,),
    )
    drawn.add_hline(0.5, line={"color": view.theme.muted, "dash": "dot", "width": 1})
    return Panel(
        "corrected",
        "Spurious members told from controls",
        "AUC of members that carry the pattern against non-members that carry it, so that recognising the pattern "
        "alone gains nothing; dotted: chance. With one member it is the share of controls that score lower.",
        (Plot(drawn),),
        table,
        summary(table, runs) + _left_out(view),
        view.nothing(runs, [schema.attack(name, "spurious_auc") for name in schema.ATTACKS], MADE_BY),
    )


def control(view: View) -> Panel:
    """Spurious members against controls."""
    runs = _attacks(view)
    table = side_points(runs)
    names = [a for a in schema.ATTACKS if a in set(table["attack"])]
    return Panel(
        "control",
        "Spurious members against controls",
        "An attack that only recognises the pattern calls non-members with the pattern members, too. What it tells "
        "about membership is the distance between the two lines, not the height of the first.",
        tuple(Plot(sides(table[table["attack"] == name], view.theme), name) for name in names),
        table.assign(side=table["side"].map(SIDES)) if len(table) else table,
        summary(table, runs) + _left_out(view),
        view.nothing(runs, [schema.attack(name, "spurious_tpr") for name in schema.ATTACKS], MADE_BY),
    )


def roc(view: View) -> Panel:
    """ROC curves of the newest attack runs."""
    runs = _runs(view)
    runs = runs[runs["status"] == "FINISHED"].sort_values("start_time", ascending=False)
    plots: list[Plot] = []
    for _, run in runs.head(6).iterrows():
        curves = _curves(view.source.artifact(run["run_id"], "roc.json"))
        if curves:
            link = f"{run['experiment_id']}:{run['run_id']}"
            plots.append(Plot(roc_curves(curves, view.theme, link), f"{run['dataset']}, seed {run['random_seed']:g}"))
        if len(plots) == 2:
            break
    message = view.nothing(runs, [schema.attack(name, "auc") for name in schema.ATTACKS], MADE_BY)
    if not message and not plots:
        message = f"The newest attack runs have no roc.json. It is logged by: {MADE_BY}"
    about = (
        "Of the newest two attack runs that the filters let through. Solid: all members against all non-members; "
        "dashed: members with the pattern against non-members with it (a step where there is a single one)."
    )
    return Panel("roc", "ROC curves", about, tuple(plots), message=message)


def _curves(content: object) -> dict[str, tuple[Sequence[float], Sequence[float]]]:
    if not isinstance(content, dict):
        return {}
    return {
        str(name): (curve["fpr"], curve["tpr"])
        for name, curve in content.items()
        if isinstance(curve, dict) and "fpr" in curve and "tpr" in curve
    }


PAGE = Page(
    "privacy",
    "Privacy",
    "Do spurious examples betray that they were in the training set?",
    (auc, low_rate, corrected, control, roc),
    (TARGET, LOW_RATE, COUNT),
)
