"""Membership attacks: measures by attack, spurious members against controls, ROC curves."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboards.figures.points import counted, escape, hover
from dashboards.figures.scores import error, single
from dashboards.figures.style import Mark, Theme, figure, mark, share_range
from rsc_mlflow.analysis import metric, series
from rsc_mlflow.experiments.registry import attack_names
from rsc_mlflow.tracking import schema

SIDES = {"spurious_tpr": "members with the pattern", "control_fpr": "non-members with the pattern (control)"}


def attack_mark(attack: str) -> Mark:
    """Return the mark of an attack, the same in all figures."""
    names = attack_names()
    return mark(names.index(attack) if attack in names else len(names))


def attack_points(runs: pd.DataFrame, by: Sequence[str], measure: str, average: Sequence[str] = ()) -> pd.DataFrame:
    """Return the points of one measure of all attacks, with a column ``attack``."""
    values = {name: metric(runs, schema.attack(name, measure)) for name in attack_names()}
    return series(runs, by, values, average=average, bounds=(0, 1)).rename(columns={"series": "attack"})


def side_points(runs: pd.DataFrame, by: Sequence[str] = ()) -> pd.DataFrame:
    """Return the shares of spurious members and of controls that an attack classifies as members.

    Returns:
        Points by ``side`` (a key of :data:`SIDES`), ``attack``, ``n_spurious`` and the columns of ``by``.
    """
    parts = [attack_points(runs, [*by, "n_spurious"], side).assign(side=side) for side in SIDES]
    return pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True)


def sides(table: pd.DataFrame, theme: Theme) -> go.Figure:
    """Plot the shares of spurious members (filled) and controls (open) that one attack classifies as members.

    The horizontal axis is the number of spurious examples, equally spaced.
    """
    drawn = figure(theme, x="spurious examples", y="share classified as members", height=320)
    numbers = sorted(table["n_spurious"].unique())
    for side, title in SIDES.items():
        rows = table[table["side"] == side].sort_values("n_spurious")
        control = side == "control_fpr"
        color = theme.muted if control else "#D55E00"
        at = [numbers.index(n) for n in rows["n_spurious"]]
        look = Mark(color, "circle-open" if control else "circle", "dot" if control else "solid")
        drawn.add_trace(
            go.Scatter(
                x=at,
                y=rows["mean"],
                name=title,
                mode="lines+markers",
                legendgroup=title,
                line={"color": color, "dash": look.dash, "width": 2},
                marker={"color": color, "symbol": look.symbol, "size": 9},
                error_y=error(rows),
                customdata=rows["links"],
                hovertext=hover(rows, [f"{title}, {counted(n, 'example')}" for n in rows["n_spurious"]]),
                hoverinfo="text",
            )
        )
        drawn.add_traces(single(rows, drawn.data[-1], look))
    drawn.update_xaxes(tickvals=list(range(len(numbers))), ticktext=[f"{n:.0f}" for n in numbers])
    drawn.update_yaxes(range=share_range(table, also=(0,)))
    return drawn


def roc_curves(curves: Mapping[str, tuple[Sequence[float], Sequence[float]]], theme: Theme, links: str) -> go.Figure:
    """Plot ROC curves with two logarithmic axes, which show low false-positive rates.

    Args:
        curves: attack → (false-positive rates, true-positive rates).  Curves named ``{attack}/spurious``, which are
            dashed, compare members that carry the pattern with controls.
        theme: light or dark.
        links: "experiment:run" of the run that computed them.
    """
    drawn = figure(theme, x="false-positive rate (log)", y="true-positive rate (log)", height=400)
    line = {"color": theme.muted, "dash": "dot", "width": 1}
    ends = [1e-3, 1]
    drawn.add_trace(go.Scatter(x=ends, y=ends, mode="lines", line=line, name="chance", hoverinfo="skip"))
    order = {name: place for place, name in enumerate(attack_names())}
    for label in sorted(curves, key=lambda name: (order.get(name.split("/")[0], len(order)), name)):
        (fpr, tpr), attack = curves[label], label.split("/")[0]
        look, name = attack_mark(attack), escape(label.replace("/spurious", ", with pattern"))
        drawn.add_trace(
            go.Scatter(
                x=np.maximum(np.asarray(fpr, float), 1e-4),
                y=np.maximum(np.asarray(tpr, float), 1e-4),
                name=name,
                legendgroup=attack,
                showlegend=label == attack or attack not in curves,
                mode="lines",
                line={"color": look.color, "width": 2, "dash": "solid" if label == attack else "dash"},
                customdata=[links] * len(fpr),
                hovertemplate=f"<b>{name}</b><br>FPR %{{x:.4f}}<br>TPR %{{y:.4f}}<extra></extra>",
            )
        )
    drawn.update_xaxes(type="log", range=[-3, 0], dtick=1, tickformat="~g")
    drawn.update_yaxes(type="log", range=[-3, 0.03], dtick=1, tickformat="~g")
    return drawn
