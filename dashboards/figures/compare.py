"""Any runs beside each other: what differs, and curves over epochs."""

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
"""Metrics that a comparison shows unless all of them are asked for."""
AXES = 10
"""Parameters and metrics that have an axis in parallel coordinates."""
FEW = 4
"""Distinct numbers up to which an axis has a tick for each."""
LOW, HIGH = "#4477AA", "#EE6677"
"""Colors of the runs with the smallest and the largest value of the first metric, legible in both themes."""
AXIS_WIDTH = 80
"""Pixels that an axis and its ticks need."""


def differing(runs: pd.DataFrame, prefix: str, only: Sequence[str] = ()) -> pd.DataFrame:
    """Of each run the values that differ between the runs; of a single run all it has.

    Args:
        runs: one row per run.
        prefix: of the columns, which the result leaves out: ``params.`` or ``metrics.``.
        only: names to look at; default: all.

    Returns:
        The index of ``runs``; numbers as float where all values are numbers, else texts; absent ones NaN or empty.
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
    """Parallel coordinates: one axis per parameter or metric, one line per run, colored by the first metric."""
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
    return drawn.update_layout(margin={"l": 16 + 6 * first, "r": 60, "t": 60, "b": 20})  # ticks are left of an axis


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
    """Short names of runs, unique: the run's name and the first characters of its id."""
    return [f"{name} ({run_id[:6]})" for name, run_id in zip(runs["run_name"], runs["run_id"], strict=True)]


def curves(
    histories: Mapping[str, Sequence[tuple[int, float]]], links: Sequence[str], theme: Theme, y: str
) -> go.Figure:
    """One line per run, over its epochs.

    Args:
        histories: label → (epoch, value) pairs.
        links: of each run, in the same order.
        theme: light or dark.
        y: axis title.
    """
    legend = [lines(label) for label in histories]
    taken = 18 * sum(name.count("<br>") + 1 for name in legend)
    drawn = figure(theme, x="epoch", y=y, height=max(340, 120 + 2 * taken))  # plotly lets a legend take half of it
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
