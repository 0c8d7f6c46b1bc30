"""Mitigation: what weight decay, noise and clipping buy, and what they cost."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from dashboards.alike import COUNT, RECIPES, like
from dashboards.figures.mitigation import mitigation_points, stacked, theory_curves
from dashboards.figures.points import summary, unlike
from dashboards.figures.style import in_order
from dashboards.pages.scores import facets
from dashboards.panels import Option, Page, Panel, Plot, View, legible
from rsc_mlflow.analysis import comparable, finished, poisoned
from rsc_mlflow.tracking import schema

MADE_BY = "a mitigation grid, e.g. mlflow run . --env-manager=local -e sweep -P grid=grids/quick/mitigation.yaml"
MITIGATIONS = {"weight_decay": "weight decay", "input_noise": "input noise", "grad_clip": "clipping bound"}
THEORY = "The linear model of the paper"
THEORY_ABOUT = (
    "Score in closed form, one line per ridge penalty λ; a share γ/2 of all examples carries the spurious feature."
)


PATTERNS = Option("pattern", "Patterns", (("common", "the most common one"), ("each", "one figure each")), "common")


def _panel(view: View, option: str, title: str, about: str) -> Panel:
    runs = poisoned(view.kind("train"))
    alone = [runs[other].fillna(0) == 0 for other in MITIGATIONS if other != option]
    runs = runs[(alone[0] & alone[1]).to_numpy()]
    shown = [option, "paper"] if view.option(PATTERNS) == "each" else [option]
    alike = like(view, runs, shown, cover=[option])
    kept = comparable(alike.runs, option, [*alike.by, "paper"], alike.average)
    table = mitigation_points(kept, option, ["paper", *alike.by], alike.average)
    cut = facets(table, "paper", *alike.by)
    cut = sorted(cut, key=lambda pair: in_order(table["paper"].tolist()).index(pair[1]["paper"].iloc[0]))
    plots = tuple(Plot(stacked(rows, option, view.theme, MITIGATIONS[option]), heading) for heading, rows in cut)
    message = view.empty_message(runs, [schema.SPURIOUS_SCORE], MADE_BY)
    if not message and finished(kept)[option].nunique() < 2:
        message = f"No setting was run at two strengths of {MITIGATIONS[option]}. Vary it with {MADE_BY}"
    if not message and table.empty:
        message = "No seed was run at every number of examples: choose one number above."
    lost = len(finished(alike.runs)) - len(finished(kept))
    note = summary(table) + (f". Left out: {lost:,} of numbers that lack a strength compared" if lost else "")
    notice = " ".join(part for part in (alike.notice, unlike(table)) if part)
    return Panel(option, title, about, plots, table, note, message, notice=notice)


def weight_decay(view: View) -> Panel:
    """Weight decay."""
    return _panel(view, "weight_decay", "Weight decay", "Runs without noise and clipping.")


def noise(view: View) -> Panel:
    """Input noise."""
    about = "Standard deviation of Gaussian noise added to training inputs; runs without weight decay and clipping."
    return _panel(view, "input_noise", "Input noise", about)


def clipping(view: View) -> Panel:
    """Clipping."""
    about = "Bound of gradient entries, 0 is off; runs without weight decay and noise."
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
    """The curves of ``theory.json``: ``lambda`` and ``noise`` float, ``gamma`` and the measures float [points]."""
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
    """One row per point of a curve."""
    parts = [pd.DataFrame(dict(curve)).assign(links=link) for curve in curves]
    return pd.concat(parts, ignore_index=True)


PAGE = Page(
    "mitigation",
    "Mitigation",
    "What weight decay, noise and clipping buy, and what they cost.",
    (weight_decay, noise, clipping, theory),
    (PATTERNS, RECIPES, COUNT),
    place=60,
)
