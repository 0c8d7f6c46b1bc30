"""Figures of weights, sensitivity and theory as PNG files, which MLflow's UI displays."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from rsc_mlflow.scoring.occlusion import OcclusionCurve
from rsc_mlflow.scoring.weights import WeightMaps, as_picture
from rsc_mlflow.theory import Curve
from rsc_mlflow.theory.agreement import MEASURES, Agreement

COLORS = ("#4477AA", "#EE6677", "#228833", "#CCBB44", "#66CCEE", "#AA3377", "#222222", "#BBBBBB")
"""Paul Tol's bright palette; lines also differ in their dashes."""
DASHES = ("-", "--", "-.", ":")
MEASURE_TITLES = {
    "score": "score (increase of the output)",
    "clean_accuracy": "clean accuracy",
    "spurious_accuracy": "spurious accuracy",
}


def weights_png(maps: WeightMaps) -> bytes:
    """Return a PNG of all maps, and of the absolute difference of the first two, on one color scale that includes 0."""
    pictures = [(label, as_picture(one).numpy()) for label, one in maps.maps.items()]
    if maps.difference is not None:
        pictures.append(("|difference| of the first two", as_picture(maps.difference).numpy()))
    low = min(0.0, *(picture.min() for _, picture in pictures))
    high = max(picture.max() for _, picture in pictures)
    figure = Figure(figsize=(3.4 * len(pictures) + 0.8, 3.6), layout="constrained")
    axes = figure.subplots(1, len(pictures), squeeze=False)[0]
    for axis, (label, picture) in zip(axes, pictures, strict=True):
        image = axis.imshow(picture, cmap="viridis", vmin=low, vmax=high)
        axis.set(xticks=[], yticks=[])
        axis.set_title(label, fontsize=8, wrap=True)
    figure.colorbar(image, ax=list(axes), label="largest weight to any hidden unit", shrink=0.85)
    return _png(figure)


def occlusion_png(curves: Mapping[str, OcclusionCurve]) -> bytes:
    """Return a PNG of the mean probability of the true class by the share of removed pixels, one line per model."""
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axis = figure.subplots()
    for k, (label, curve) in enumerate(curves.items()):
        shares = [100 * share for share in curve.shares]
        axis.plot(shares, curve.probabilities, **_line(k), label=f"{label} (area {curve.auc:.3f})")
    axis.set(xlabel="non-zero pixels removed (%)", ylabel="mean probability of the true class", ylim=(0, 1.02))
    axis.legend(frameon=False, fontsize=8)
    axis.grid(alpha=0.25)
    return _png(figure)


def theory_png(
    curves: Sequence[Curve], printed: Sequence[Curve], agreements: Sequence[Agreement], noises: Sequence[float]
) -> bytes:
    """Return a PNG of the linear model's measures (rows) by gamma, for each noise (columns).

    Thick lines are the formulas as derived, thin gray lines the formulas as printed in the paper, and dots the
    simulation with its 99 % intervals.
    """
    figure = Figure(figsize=(3.6 * len(noises) + 1.2, 8.4), layout="constrained")
    axes = figure.subplots(len(MEASURES), len(noises), squeeze=False, sharex=True, sharey="row")
    ridges = sorted({curve.ridge for curve in curves})
    for column, noise in enumerate(noises):
        for row, name in enumerate(MEASURES):
            axis = axes[row][column]
            for curve in (one for one in printed if one.noise == noise):
                axis.plot(curve.gammas, curve.column(name), color="#999999", linewidth=0.9, zorder=1)
            for curve in (one for one in curves if one.noise == noise):
                line = _line(ridges.index(curve.ridge))
                axis.plot(curve.gammas, curve.column(name), **line, label=f"λ = {curve.ridge:g}", zorder=2)
            _dots(axis, [a for a in agreements if a.params.noise == noise], row, ridges)
            axis.grid(alpha=0.25)
        axes[0][column].set_title(f"noise {noise:g}")
        axes[-1][column].set_xlabel("γ")
    for row, name in enumerate(MEASURES):
        axes[row][0].set_ylabel(MEASURE_TITLES[name])
    axes[0][-1].plot([], [], color="#999999", linewidth=0.9, label="as printed")
    axes[0][-1].plot([], [], "o", color="#222222", markersize=4, label="simulated")
    axes[0][-1].legend(frameon=False, fontsize=8)
    return _png(figure)


def _dots(axis: Axes, agreements: Sequence[Agreement], measure: int, ridges: Sequence[float]) -> None:
    for k, ridge in enumerate(ridges):
        own = [a for a in agreements if a.params.ridge == ridge]
        values = [a.measured[measure] for a in own]
        axis.errorbar(
            [a.params.gamma for a in own],
            [value.estimate for value in values],
            yerr=np.array([value.half_width for value in values]),
            fmt="o",
            markersize=4,
            color=COLORS[k % len(COLORS)],
            zorder=3,
        )


def _line(k: int) -> dict[str, Any]:
    return {"color": COLORS[k % len(COLORS)], "linestyle": DASHES[k % len(DASHES)], "linewidth": 2}


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)
    return buffer.getvalue()
