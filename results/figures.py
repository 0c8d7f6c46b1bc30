"""Figures of the documents, plotted from the same means as the tables."""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from results.groups import Row, at, not_run
from results.membership_texts import NAMES, attacked
from results.studies import Results
from results.training_texts import BY, FAMILIES, OPTIMIZERS, images, study_scores

IMAGES = Path("docs") / "images"


def draw(root: Path, results: Results) -> list[Path]:
    """Draw the figures of all studies with runs into ``root``; returns their files."""
    drawn = []
    for name, (study, figure) in FIGURES.items():
        if not results.runs(study).empty and (made := figure(results)) is not None:
            path = root / IMAGES / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            with mpl.rc_context({"svg.hashsalt": "results"}):
                made.savefig(path, dpi=120, metadata={"Software": None})
            drawn.append(path)
    return drawn


def scores(results: Results) -> Figure:
    """Spurious score by number of spurious examples: mean, 95 % interval; dotted: highest score of a clean model."""
    found = study_scores(results, "scores", BY)
    figure, (axes,) = _figure(f"spurious examples (of {images(found.groups.runs)})", "spurious score", 1)
    for optimizer, paper in dict.fromkeys(key[:2] for key in found.score):
        rows = {key[2]: row for key, row in found.score.items() if key[:2] == (optimizer, paper)}
        color = _line(axes, rows, f"{paper}, {OPTIMIZERS[optimizer]}")
        highest = max((row["max"] for key, row in found.clean.items() if key[:2] == (optimizer, paper)), default=None)
        if highest is not None:
            axes.axhline(highest, linestyle=":", color=color)
    axes.set_ylim(0, 1)
    _finish(axes, {key[2] for key in found.score})
    return figure


def membership(results: Results) -> Figure | None:
    """AUC of spurious members against controls, one line per attack; dotted: AUC of ordinary members."""
    found = attacked(results, "fashion")
    if found is None:
        return None
    optimizers = sorted(set(found.groups.runs["optimizer"]))
    figure, panels = _figure("spurious examples", "AUC against controls", len(optimizers))
    for axes, optimizer in zip(panels, optimizers, strict=True):
        for attack, title in NAMES.items():
            spurious, ordinary = found.means(found.measure(attack, "spurious_auc")), found.means(found.ordinary(attack))
            rows = {key[1]: row for key, row in spurious.items() if key[0] == optimizer}
            color = _line(axes, rows, title)
            axes.plot(list(rows), [at(ordinary, (optimizer, n))["mean"] for n in rows], ":", color=color)
            _finish(axes, set(rows))
        axes.axhline(0.5, color="gray", linewidth=0.8)
        axes.set_title(f"{FAMILIES['fashion']}, {OPTIMIZERS[optimizer]}", fontsize=9)
    return figure


def _figure(x: str, y: str, panels: int) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(3.5 + 3.5 * panels, 3.6), layout="constrained")
    found = [figure.add_subplot(1, panels, place + 1) for place in range(panels)]
    for axes in found:
        axes.set(xlabel=x, ylabel=y, xscale="log")
    return figure, found


def _line(axes: Axes, rows: Mapping[float, Row], label: str) -> str:
    """Plot means with intervals by number of examples, dashes for single seeds; returns the color."""
    means, low, high = (np.array([row[name] for row in rows.values()]) for name in ("mean", "low", "high"))
    bars = np.nan_to_num(np.stack([means - low, high - means]))
    color = f"C{len(axes.containers)}"
    axes.errorbar(list(rows), means, yerr=bars, marker="o", capsize=3, label=label, color=color)
    each = [(number, value) for number, row in rows.items() for value in row["each"] or ()]
    axes.plot([x for x, _ in each], [y for _, y in each], "_", color=color)
    return color


def _finish(axes: Axes, numbers: Collection[float]) -> None:
    axes.set_xticks(sorted(numbers), [f"{number:,.0f}" for number in sorted(numbers)])
    axes.minorticks_off()
    axes.legend(frameon=False, fontsize=8)


FIGURES: Mapping[str, tuple[str, Callable[[Results], Figure | None]]] = {
    "results_scores": ("scores", scores),
    "results_membership": ("membership", membership),
}
"""Name of the file → (study, function)."""


def link(results: Results, name: str, folder: str = "images") -> str:
    """Markdown that shows a figure; says how to run its study if there are no runs."""
    study, function = FIGURES[name]
    if results.runs(study).empty:
        return not_run(study)
    words = " ".join((function.__doc__ or "").split()).rstrip(".")
    return f"![{words}]({folder}/{name}.png)"
