"""Mitigation: spurious score and accuracies against weight decay, input noise and gradient clipping."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from dashboards.alike import ONE_COUNT, RECIPES, like
from dashboards.figures.mitigation import mitigation_points, stacked, theory_curves
from dashboards.figures.points import summary, unlike
from dashboards.figures.scores import line_marks
from dashboards.grouping import facet_by, facet_columns, facets, group_by, with_values
from dashboards.panels import Page, Panel, Plot, View, legible
from rsc_mlflow.analysis.settings import SETTINGS
from rsc_mlflow.tracking import schema

MADE_BY = "a mitigation grid, e.g. mlflow run . --env-manager=local -e sweep -P grid=grids/quick/mitigation.yaml"
MITIGATIONS = {"weight_decay": "weight decay", "input_noise": "input noise", "grad_clip": "clipping bound"}
THEORY = "The linear model of the paper"
THEORY_ABOUT = (
    "Spurious score in closed form against γ, the share of the target class that has the spurious feature. One line "
    "per ridge penalty λ."
)
ABOUT = (
    "Means over seeds, with 95 % intervals, against {x} (0: off; values are equally spaced), for runs without {others}."
)
GROUP = group_by("Lines: group by", without=["n_spurious"])
FACET = facet_by(without=["n_spurious"])


def _panel(view: View, option: str, title: str, about: str) -> Panel:
    runs = view.poisoned()
    alone = [runs[other].fillna(0) == 0 for other in MITIGATIONS if other != option]
    runs = runs[(alone[0] & alone[1]).to_numpy()]
    group = view.option(GROUP) if view.option(GROUP) != option else "paper"
    facet = facet_columns(view, FACET, option, group)
    found = with_values(_at_two_strengths(runs, option), [group, *facet])
    split = facet[0] if facet else None
    alike = like(view, found, [option, group, *facet], split=split, cover=[option, group], number=ONE_COUNT)
    by = [*facet, *alike.by]
    table = mitigation_points(alike.runs, option, [*by, group])
    marks = line_marks(table[group])
    plots = tuple(
        Plot(stacked(rows, option, view.theme, MITIGATIONS[option], group, marks), heading)
        for heading, rows in facets(table, *by)
    )
    message = view.empty_message(runs, [schema.SPURIOUS_SCORE], MADE_BY)
    if not message and table.empty:
        message = f"No setting was run at two strengths of {MITIGATIONS[option]}. Vary it with {MADE_BY}"
    notice = " ".join(part for part in (alike.notice, unlike(table)) if part)
    return Panel(option, title, about, plots, table, summary(table), message, notice=notice)


def _at_two_strengths(runs: pd.DataFrame, option: str) -> pd.DataFrame:
    """Return the runs whose other settings have finished runs at two or more strengths, which can be compared."""
    others = [runs[name] for name in SETTINGS if name in runs and name != option]
    strengths = runs[option].where(runs["counts"].to_numpy(bool)).groupby(others, dropna=False)
    return runs[(strengths.transform("nunique") > 1).to_numpy()]


def weight_decay(view: View) -> Panel:
    """Weight decay."""
    about = ABOUT.format(x="weight decay", others="input noise and gradient clipping")
    return _panel(view, "weight_decay", "Weight decay", about)


def noise(view: View) -> Panel:
    """Input noise."""
    x = "the standard deviation of Gaussian noise added to training inputs"
    about = ABOUT.format(x=x, others="weight decay and gradient clipping")
    return _panel(view, "input_noise", "Input noise", about)


def clipping(view: View) -> Panel:
    """Clipping."""
    x = "the largest absolute value that each gradient entry may have"
    about = ABOUT.format(x=x, others="weight decay and input noise")
    return _panel(view, "grad_clip", "Gradient clipping", about)


def theory(view: View) -> Panel:
    """The paper's linear model."""
    runs = view.runs[(view.runs["method"] == "theory") & (view.runs["status"] == "FINISHED")]
    for _, run in runs.sort_values("started_ms", ascending=False).head(3).iterrows():
        curves = legible(_theory, view.source.artifact(run["run_id"], schema.THEORY)) or []
        if curves:
            link = f"{run['experiment_id']}:{run['run_id']}"
            levels = sorted({float(curve["noise"]) for curve in curves})
            plots = [Plot(theory_curves(_at(curves, noise), view.theme, link), f"noise {noise:g}") for noise in levels]
            return Panel("theory", THEORY, THEORY_ABOUT, tuple(plots), _long(curves, link), f"{len(curves)} curves")
    message = view.missing_message(runs.head(3), schema.THEORY, "mlflow run . --env-manager=local -e theory")
    return Panel("theory", THEORY, THEORY_ABOUT, message=message)


def _theory(content: object) -> list[dict[str, Any]]:
    """Return the curves of ``theory.json``: ``lambda`` and ``noise`` float, the others float ``[points]``."""
    curves = content.get("curves", []) if isinstance(content, dict) else []
    return [
        {k: [float(x) for x in v] if isinstance(v, list) else v for k, v in curve.items()}
        | {name: float(curve[name]) for name in ("lambda", "noise")}
        for curve in curves
        if len(curve["gamma"]) == len(curve["score"])
    ]


def _at(curves: Sequence[Mapping[str, Any]], noise: float) -> list[Mapping[str, Any]]:
    return [curve for curve in curves if float(curve["noise"]) == noise]


def _long(curves: Sequence[Mapping[str, Any]], link: str) -> pd.DataFrame:
    """Return a table with one row per point of a curve."""
    parts = [pd.DataFrame(dict(curve)).assign(links=link) for curve in curves]
    return pd.concat(parts, ignore_index=True)


PAGE = Page(
    "mitigation",
    "Mitigation",
    "How weight decay, input noise and gradient clipping change the spurious score and the accuracy.",
    (weight_decay, noise, clipping, theory),
    (GROUP, FACET, RECIPES, ONE_COUNT),
    place=60,
)
