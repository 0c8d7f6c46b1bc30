"""Pictures of attacks: ROC curves with linear and with log-log axes, and histograms of scores by role.

Pure: outcomes in, plotly figures out.  Curves are thinned and histograms counted here, so a figure holds a few hundred
points however many queries there were.
"""

import html
from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from rsc_mlflow.attacks.base import Bools, Doubles
from rsc_mlflow.attacks.evaluation import Outcome, Role
from rsc_mlflow.attacks.metrics import Roc, auc, roc_curve

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
"""Okabe and Ito's palette, which people with any colour vision can tell apart."""

ROLES = {
    Role.MEMBER: ("members", COLOURS[0], "solid"),
    Role.NONMEMBER: ("non-members", COLOURS[5], "solid"),
    Role.SPURIOUS: ("spurious members", COLOURS[2], "dash"),
    Role.CONTROL: ("controls: non-members with the pattern", COLOURS[1], "dash"),
}
BINS = 60
_CURVE_POINTS = 100


def roc_figure(outcomes: Sequence[Outcome], title: str) -> go.Figure:
    """ROC curves of all attacks, linear (left) and log-log (right).

    Upper row: ordinary members against ordinary non-members.  Lower row, on a data set with a pattern: spurious members
    against controls.  The dashed line is guessing.
    """
    spurious = all(outcome.leak is not None for outcome in outcomes)
    rows = 2 if spurious else 1
    what = ["ordinary members"] + ["spurious members against controls"] * spurious
    titles = [f"{name}, {axes}" for name in what for axes in ("linear", "log-log")]
    figure = make_subplots(rows, 2, subplot_titles=titles, horizontal_spacing=0.09, vertical_spacing=0.14)
    for outcome, colour in zip(outcomes, COLOURS, strict=False):
        scores, members, _ = outcome.ordinary()
        _add_curve(figure, 1, scores, members, outcome.attack.title, colour)
        if spurious:
            _add_curve(figure, 2, *outcome.spurious(), outcome.attack.title, colour, dash="dot")
    for row in range(1, rows + 1):
        _finish_row(figure, row)
    figure.update_layout(title=title, template="plotly_white", height=110 + 430 * rows, legend_title="attack (AUC)")
    return figure


def score_figure(outcomes: Sequence[Outcome], title: str) -> go.Figure:
    """One histogram of scores an attack: the share of each role's examples per bin, and the attack's threshold.

    Scores are shown as the share of ordinary non-members that score lower (ties count half), so that attacks with very
    different scales are read alike: non-members are flat, and 0.99 is the threshold of a false-positive rate of 1 %.
    """
    figure = make_subplots(len(outcomes), 1, subplot_titles=[o.attack.title for o in outcomes], vertical_spacing=0.09)
    edges = np.linspace(0, 1, BINS + 1)
    for row, outcome in enumerate(outcomes, start=1):
        for role, (name, colour, dash) in ROLES.items():
            scores = outcome.scores(role)
            if len(scores):
                figure.add_scatter(
                    x=(edges[1:] + edges[:-1]) / 2,
                    y=np.histogram(_share_below(outcome, scores), edges)[0] / len(scores),
                    line={"color": colour, "dash": dash, "shape": "hvh"},
                    name=f"{name} ({len(scores):,})",
                    legendgroup=name,
                    showlegend=row == 1,
                    row=row,
                    col=1,
                )
        threshold = _share_below(outcome, np.array([outcome.result.threshold]))[0]
        figure.add_vline(x=threshold, line={"color": "#555", "dash": "dot"}, row=row, col=1)
        figure.update_yaxes(title="share of examples", row=row, col=1)
        what = "score, as the share of non-members that score lower (dotted: the attack's threshold)"
        figure.update_xaxes(title=what, range=[0, 1], row=row, col=1)
    figure.update_layout(title=title, template="plotly_white", height=110 + 330 * len(outcomes))
    return figure


def page(figures: Sequence[go.Figure], title: str) -> str:
    """One HTML page that needs no network: the plotting script is in it once (4.8 MB), however many figures."""
    parts = [figure.to_html(full_html=False, include_plotlyjs=i == 0) for i, figure in enumerate(figures)]
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title></head>\n'
        f'<body style="font-family:system-ui,sans-serif">{"".join(parts)}</body></html>\n'
    )


def thinned(curve: Roc) -> tuple[Doubles, Doubles]:
    """At most 200 points of a ROC curve, dense where either axis needs them; ends included."""
    grid = np.concatenate([np.linspace(0, 1, _CURVE_POINTS), np.logspace(-5, 0, _CURVE_POINTS)])
    # the last point at or before each rate: the top of its step
    keep = np.unique(np.searchsorted(curve.fpr, grid, "right") - 1)
    return curve.fpr[keep], curve.tpr[keep]


def _share_below(outcome: Outcome, scores: Doubles) -> Doubles:
    ranked = np.sort(outcome.scores(Role.NONMEMBER))
    share: Doubles = (np.searchsorted(ranked, scores, "left") + np.searchsorted(ranked, scores, "right")) / 2
    return share / len(ranked)


def _add_curve(
    figure: go.Figure, row: int, scores: Doubles, members: Bools, name: str, colour: str, dash: str = "solid"
) -> None:
    fpr, tpr = thinned(roc_curve(scores, members))
    label = f"{name} ({auc(scores, members):.3f})" + (" spurious" if row == 2 else "")
    for column in (1, 2):
        figure.add_scatter(
            x=fpr,
            y=tpr,
            mode="lines",
            line={"color": colour, "dash": dash, "shape": "hv"},
            name=label,
            legendgroup=label,
            showlegend=column == 1,
            row=row,
            col=column,
        )


def _finish_row(figure: go.Figure, row: int) -> None:
    diagonal = np.logspace(-4, 0, 50)
    for column in (1, 2):
        figure.add_scatter(
            x=diagonal,
            y=diagonal,
            mode="lines",
            line={"color": "#999", "dash": "dash", "width": 1},
            name="guessing",
            showlegend=False,
            hoverinfo="skip",
            row=row,
            col=column,
        )
        figure.update_xaxes(title="false-positive rate", row=row, col=column)
        figure.update_yaxes(title="true-positive rate", row=row, col=column)
    figure.update_xaxes(range=[0, 1], row=row, col=1)
    figure.update_yaxes(range=[0, 1.01], row=row, col=1)
    logarithmic = {"type": "log", "dtick": 1, "exponentformat": "power"}
    figure.update_xaxes(range=[-4, 0], **logarithmic, row=row, col=2)
    figure.update_yaxes(range=[-4, 0.01], **logarithmic, row=row, col=2)
