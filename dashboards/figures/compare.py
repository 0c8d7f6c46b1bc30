"""Comparison of single runs: parameters and metrics that differ, and curves over epochs."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from dashboards.figures.points import escape, lines
from dashboards.figures.style import Theme, figure, mark
from rsc_mlflow.tracking import schema

ALWAYS = (
    schema.SPURIOUS_SCORE,
    schema.TEST_ACCURACY,
    schema.gap(schema.SPURIOUS_SCORE),
    schema.gap(schema.TEST_ACCURACY),
    schema.FORGET_LOSS,
    schema.KL_TO_REFERENCE,
    schema.TRAIN_LOSS,
    schema.SECONDS,
)
"""Metrics that a comparison shows by default."""
AXES = 10
"""Maximum number of axes in parallel coordinates."""
FEW = 4
"""Maximum number of distinct numbers for which an axis has one tick per number."""
LOW, HIGH = "#4477AA", "#EE6677"
"""Colors of the runs with the smallest and the largest value of the first metric, legible in both themes."""
AXIS_WIDTH = 80
"""Width of an axis with its ticks in pixels."""


def differing(runs: pd.DataFrame, prefix: str, only: Sequence[str] = ()) -> pd.DataFrame:
    """Return the parameters or metrics that differ between the runs; all that are present if there is one run.

    Args:
        runs: one row per run.
        prefix: ``params.`` or ``metrics.``, which selects columns and is removed from their names.
        only: names to consider; default: all.

    Returns:
        One row per run, with the index of ``runs``.  A column is float if all its values are numbers, else text.
        Missing values are NaN or empty.
    """
    names = [name.removeprefix(prefix) for name in runs.columns if name.startswith(prefix)]
    found: dict[str, pd.Series[Any]] = {}
    for name in [name for name in only if name in names] or ([] if only else sorted(names)):
        values = runs[f"{prefix}{name}"]
        if values.nunique(dropna=False) > 1 if len(runs) > 1 else values.notna().any():
            numbers = pd.to_numeric(values, errors="coerce")
            found[name] = numbers if (numbers.notna() | values.isna()).all() else values.fillna("").astype(str)
    return pd.DataFrame(found, index=runs.index)


def parallel(parameters: pd.DataFrame, metrics: pd.DataFrame, theme: Theme) -> go.Figure:
    """Plot parallel coordinates: one axis per parameter or metric, one line per run, colored by the first metric.

    There are at most :data:`AXES` axes, of which up to four are metrics.  A missing number is drawn at the smallest
    value of its axis.
    """
    table = pd.concat([parameters.iloc[:, : AXES - min(len(metrics.columns), 4)], metrics.iloc[:, :4]], axis=1)
    drawn = figure(theme, x="", y="", height=420)
    color = metrics.iloc[:, 0].fillna(0.0) if len(metrics.columns) else pd.Series(0.0, table.index)
    drawn.add_trace(
        go.Parcoords(
            dimensions=[_axis(name, table[name]) for name in table.columns],
            line={"color": color.to_numpy(float), "colorscale": [[0, LOW], [1, HIGH]]},
            labelfont={"size": 11},
            labelangle=-20,
            tickfont={"size": 10},
            rangefont={"size": 9, "color": theme.muted},
        )
    )
    first = max((len(text) for text in drawn.data[0].dimensions[0].ticktext or ()), default=6)
    return drawn.update_layout(margin={"l": 16 + 6 * first, "r": 60, "t": 60, "b": 20})  # room for tick labels


def _axis(name: str, values: "pd.Series[Any]") -> dict[str, Any]:
    label = name.rpartition("/")[2] if name.count("/") == 1 else name
    if pd.api.types.is_numeric_dtype(values):
        known = sorted(values.dropna().unique())
        ticks = {"tickvals": known, "ticktext": [f"{one:.4g}" for one in known]} if len(known) <= FEW else {}
        return {"label": label, "values": values.fillna(values.min()).to_numpy(float), **ticks}
    codes, texts = pd.factorize(values, sort=True)
    shown = [text if len(text) <= 18 else f"{text[:17]}…" for text in texts]
    return {"label": label, "values": codes, "tickvals": list(range(len(texts))), "ticktext": shown}


def labels(runs: pd.DataFrame) -> list[str]:
    """Return a label for each run: its name and the first characters of its id."""
    return [f"{name} ({run_id[:6]})" for name, run_id in zip(runs["run_name"], runs["run_id"], strict=True)]


def curves(
    histories: Mapping[str, Sequence[tuple[int, float]]], links: Sequence[str], theme: Theme, y: str
) -> go.Figure:
    """Plot a metric over epochs, one line per run.

    Args:
        histories: label → (epoch, value) pairs.
        links: "experiment:run" of each run, in the same order.
        theme: light or dark.
        y: axis title.
    """
    legend = [lines(label) for label in histories]
    taken = 18 * sum(name.count("<br>") + 1 for name in legend)
    drawn = figure(theme, x="epoch", y=y, height=max(340, 120 + 2 * taken))  # plotly limits a legend to half of it
    for index, ((label, points), link) in enumerate(zip(histories.items(), links, strict=True)):
        look = mark(index)
        ordered = sorted(points)
        drawn.add_trace(
            go.Scatter(
                x=[step for step, _ in ordered],
                y=[value for _, value in ordered],
                name=legend[index],
                mode="lines+markers",
                line={"color": look.color, "width": 2, "dash": look.dash},
                marker={"color": look.color, "symbol": look.symbol, "size": 6},
                customdata=[link] * len(ordered),
                hovertemplate=f"<b>{escape(label)}</b><br>epoch %{{x}}<br>%{{y:.4f}}<extra></extra>",
            )
        )
    return drawn
