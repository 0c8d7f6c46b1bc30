"""Figures of attacks: ROC curves with linear and log-log axes, and histograms of scores by role.

Each curve has at most 200 points, whatever the number of queries.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rsc_mlflow.attacks.base import Bools, Doubles
from rsc_mlflow.attacks.evaluation import AttackOutcome, Role
from rsc_mlflow.attacks.metrics import Roc, auc, roc_curve

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
"""Okabe and Ito's palette, which is suitable for all types of color vision."""

ROLES = {
    Role.MEMBER: ("members", COLORS[0], "-"),
    Role.NONMEMBER: ("non-members", COLORS[5], "-"),
    Role.SPURIOUS: ("spurious members", COLORS[2], "--"),
    Role.CONTROL: ("controls: non-members with the pattern", COLORS[1], "--"),
}
DASHES = ("-", "--", ":", "-.")
BINS = 60
_CURVE_POINTS = 100


def roc_figure(outcomes: Sequence[AttackOutcome]) -> Figure:
    """Plot the ROC curves of all attacks with linear (left) and log-log axes (right); the legend shows the AUC.

    Upper row: ordinary members versus ordinary non-members.  Lower row, if the dataset has a pattern: spurious members
    versus controls.  The dashed line is random guessing.
    """
    spurious = all(outcome.leak is not None for outcome in outcomes)
    rows = 2 if spurious else 1
    figure = Figure(figsize=(12, 4.6 * rows), layout="constrained")
    grid = figure.subplots(rows, 2, squeeze=False)
    for place, outcome in enumerate(outcomes):
        scores, members, _ = outcome.ordinary()
        _add_curve(grid[0], scores, members, outcome.attack.title, line_style(place))
        if spurious:
            _add_curve(grid[1], *outcome.spurious(), outcome.attack.title, line_style(place))
    for name, row in zip(("ordinary members", "spurious members versus controls"), grid, strict=False):
        _finish_row(row, name)
    return figure


def score_figure(outcomes: Sequence[AttackOutcome]) -> Figure:
    """Plot a histogram of scores per attack: the share of each role's examples per bin, and the attack's threshold.

    A score is shown as the share of ordinary non-members with lower scores (ties count half), so that attacks with
    different scales can be compared.  Non-members are uniform on this scale, and a threshold of 0.99 has a
    false-positive rate of 1 %.
    """
    figure = Figure(figsize=(12, 3.2 * len(outcomes)), layout="constrained")
    edges = np.linspace(0, 1, BINS + 1)
    for axis, outcome in zip(figure.subplots(len(outcomes), 1, squeeze=False)[:, 0], outcomes, strict=True):
        for role, (name, color, dash) in ROLES.items():
            scores = outcome.scores(role)
            if len(scores):
                shares = np.histogram(_share_below(outcome, scores), edges)[0] / len(scores)
                middles, style = (edges[1:] + edges[:-1]) / 2, {"color": color, "linestyle": dash}
                axis.plot(middles, shares, drawstyle="steps-mid", label=f"{name} ({len(scores):,})", **style)
        threshold = _share_below(outcome, np.array([outcome.result.threshold]))[0]
        axis.axvline(threshold, color="#555", linestyle=":")
        what = "score, as the share of non-members with lower scores (dotted: the attack's threshold)"
        axis.set(title=outcome.attack.title, xlabel=what, ylabel="share of examples", xlim=(0, 1))
        axis.legend(frameon=False)
    return figure


def thinned(curve: Roc) -> tuple[Doubles, Doubles]:
    """Return the rates (false-positive, true-positive) at up to 200 points of a ROC curve, including its last one.

    The points suit linear and logarithmic axes.
    """
    grid = np.concatenate([np.linspace(0, 1, _CURVE_POINTS), np.logspace(-5, 0, _CURVE_POINTS)])
    # For each rate of the grid, keep the last point of the curve at or before it, which is the top of a step.
    keep = np.unique(np.searchsorted(curve.fpr, grid, "right") - 1)
    return curve.fpr[keep], curve.tpr[keep]


def line_style(place: int) -> dict[str, Any]:
    """Return the color and line style of the curve at a place of the list; the first 28 combinations are distinct."""
    return {"color": COLORS[place % len(COLORS)], "linestyle": DASHES[place // len(COLORS) % len(DASHES)]}


def _share_below(outcome: AttackOutcome, scores: Doubles) -> Doubles:
    ranked = np.sort(outcome.scores(Role.NONMEMBER))
    share: Doubles = (np.searchsorted(ranked, scores, "left") + np.searchsorted(ranked, scores, "right")) / 2
    return share / len(ranked)


def _add_curve(row: Sequence[Axes], scores: Doubles, members: Bools, name: str, style: dict[str, Any]) -> None:
    fpr, tpr = thinned(roc_curve(scores, members))
    for axis in row:
        axis.plot(fpr, tpr, drawstyle="steps-post", label=f"{name} ({auc(scores, members):.3f})", **style)


def _finish_row(row: Sequence[Axes], name: str) -> None:
    diagonal = np.logspace(-4, 0)
    for axis, kind in zip(row, ("linear", "log-log"), strict=True):
        axis.plot(diagonal, diagonal, color="#999", linestyle="--", linewidth=1)
        axis.set(title=f"{name}, {kind}", xlabel="false-positive rate", ylabel="true-positive rate")
    linear, logarithmic = row
    linear.set(xlim=(0, 1), ylim=(0, 1.01))
    linear.legend(frameon=False, title="attack (AUC)", loc="lower right")
    logarithmic.set(xscale="log", yscale="log", xlim=(1e-4, 1), ylim=(1e-4, 1.05))
