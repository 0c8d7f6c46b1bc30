"""Compare: single runs side by side."""

from typing import Any

import numpy as np
import pandas as pd

from dashboards.figures.compare import ALWAYS, AXES, AXIS_WIDTH, curves, differing, labels, parallel
from dashboards.figures.weights import weight_map
from dashboards.panels import Note, Option, Page, Panel, Picture, Plot, View, legible
from rsc_mlflow.tracking import schema

MOST = 100
CLOSELY = 8
"""Maximum number of runs whose curves, artifacts and notes are shown."""
CURVES = (
    (schema.SPURIOUS_SCORE, "spurious score"),
    (schema.TEST_ACCURACY, "clean test accuracy"),
    (schema.TRAIN_LOSS, "training loss"),
    (schema.TRAIN_ACCURACY, "training accuracy"),
)
EXAMPLES = f"{schema.FIGURES}/examples.png"
CHOOSE = (
    f"Choose up to {MOST} runs above (type a part of a name), or the newest runs that match the filters. You can also "
    "click a point on another page and then Compare these runs."
)
METRICS = Option("metrics", "Metrics", (("main", "the main ones that differ"), ("all", "all that differ")), "main")
RUNS = Option("take", "Runs", (("chosen", "those chosen below"), ("newest", f"the newest {MOST}")), "chosen")


def chosen(view: View) -> pd.DataFrame:
    """Return at most a hundred runs: those in the URL, in its order, or the newest ones that match the filters."""
    known = view.every.drop_duplicates("run_id").set_index("run_id", drop=False)
    if view.option(RUNS) == "newest":
        return known.sort_values("started_ms", ascending=False).head(MOST)
    wanted = list(dict.fromkeys(view.filters.options.get("run", ())))[:MOST]
    return known.loc[[run_id for run_id in wanted if run_id in known.index]]


def _message(view: View, runs: pd.DataFrame) -> str:
    if len(runs):
        return ""
    if view.filters.options.get("run", ()):
        return "None of the chosen runs matches the filters. Press Reset, or choose other runs."
    return CHOOSE if len(view.every) else view.empty_message(view.every, [schema.TRAIN_LOSS], "make quickstart")


def _links(runs: pd.DataFrame) -> list[str]:
    return [f"{e}:{r}" for e, r in zip(runs["experiment_id"], runs["run_id"], strict=True)]


def _values(view: View, runs: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the parameters and the metrics that differ."""
    return differing(runs, "params."), differing(runs, "metrics.", () if view.option(METRICS) == "all" else ALWAYS)


def side_by_side(view: View) -> Panel:
    """Table with one row per run: parameters and metrics that differ."""
    runs = chosen(view)
    about = "One row per run. Parameters and metrics that are equal in all runs are left out."
    if message := _message(view, runs):
        return Panel("table", "Runs", about, message=message, show_table=True)
    parameters, metrics = _values(view, runs)
    names = pd.DataFrame({"run": runs["run_name"], "state": runs["status"].str.lower()}, index=runs.index)
    metrics = metrics.rename(columns={name: f"{name} " for name in metrics if name in parameters})
    table = pd.concat([names, metrics, parameters], axis=1).assign(links=_links(runs))
    note = "These runs have the same parameters." if parameters.empty and len(runs) > 1 else ""
    return Panel("table", "Runs", about, table=table, note=note, show_table=True)


def coordinates(view: View) -> Panel:
    """Parallel coordinates of the runs."""
    runs = chosen(view)
    parameters, metrics = _values(view, runs) if len(runs) > 1 else (pd.DataFrame(), pd.DataFrame())
    message = _message(view, runs)
    if not message and len(parameters.columns) + len(metrics.columns) < 2:
        message = "Parallel coordinates need two runs that differ in two parameters or metrics."
    plots: tuple[Plot, ...] = ()
    if not message:
        drawn = parallel(parameters, metrics, view.theme)
        plots = (Plot(drawn, least_width=AXIS_WIDTH * len(drawn.data[0].dimensions)),)
    colored = metrics.columns[0] if len(metrics.columns) else ""
    about = (
        f"One line per run through the parameters and metrics that differ, on at most {AXES} axes. Missing numbers are "
        "drawn at the bottom of their axis. Drag along an axis to highlight a range."
    )
    about += f" Blue: low {colored}, red: high." if colored else ""
    return Panel("coordinates", "Parallel coordinates", about, plots, message=message, optional=True, wide=True)


def over_epochs(view: View) -> Panel:
    """Metrics over epochs."""
    runs = chosen(view).head(CLOSELY)
    links, names = _links(runs), labels(runs)
    plots, rows = [], []
    for metric, title in CURVES:
        found = {label: view.source.history(run, metric) for label, run in zip(names, runs["run_id"], strict=True)}
        if any(len(points) > 1 for points in found.values()):
            plots.append(Plot(curves(found, links, view.theme, title), title))
            rows += [
                {"metric": metric, "run": label, "epoch": step, "value": value, "links": link}
                for (label, points), link in zip(found.items(), links, strict=True)
                for step, value in points
            ]
    message = _message(view, runs)
    if not message and not plots:
        message = "These runs did not log metrics at several epochs."
    note = f"The first {CLOSELY} of {len(chosen(view))} runs." if len(chosen(view)) > CLOSELY else ""
    about = "Metrics at each epoch at which they were logged, one line per run."
    return Panel("curves", "Over epochs", about, tuple(plots), pd.DataFrame(rows), note, message)


def artifacts(view: View) -> Panel:
    """Score matrices, weight maps and spurious examples."""
    runs = chosen(view).head(CLOSELY)
    plots: list[Plot] = []
    for (_, run), label, link in zip(runs.iterrows(), labels(runs), _links(runs), strict=True):
        for path, read, title, axes in MAPS:
            for name, image in (legible(read, view.source.artifact(run["run_id"], path)) or {}).items():
                ends = (0.0, 1.0) if axes else (float(np.nanmin(image)), float(np.nanmax(image)))
                drawn = weight_map(image, view.theme, ends, link)
                drawn.update_layout(xaxis_title_text=axes[0], yaxis_title_text=axes[1]) if axes else None
                plots.append(Plot(drawn, f"{label}: {name or title}"))
    pictures = tuple(Picture(run, EXAMPLES, f"{label}: spurious examples") for run, label in _examples(view, runs))
    message = _message(view, runs)
    if not message and not plots and not pictures:
        message = f"These runs have neither {schema.SPURIOUS_SCORES} nor {schema.WEIGHT_MAP} nor {EXAMPLES}."
    about = (
        "Score matrices (spurious score by true class and class as target), first-layer weights (for each pixel, the "
        "largest weight to any hidden unit) and spurious examples of each run."
    )
    return Panel("artifacts", "Artifacts", about, tuple(plots), message=message, pictures=pictures, optional=True)


def _examples(view: View, runs: pd.DataFrame) -> list[tuple[str, str]]:
    pairs = zip(runs["run_id"], labels(runs), strict=True)
    return [(run, label) for run, label in pairs if view.source.picture(run, EXAMPLES) is not None]


def _matrix(content: Any) -> dict[str, "np.ndarray[Any, Any]"]:
    """Return ``matrix`` of ``spurious_scores.json``: float ``[true class, target class]``."""
    image = np.asarray(content["matrix"], dtype=float)
    return {"": image} if image.ndim == 2 and image.size else {}


def _weights(content: Any) -> dict[str, "np.ndarray[Any, Any]"]:
    """Return ``maps`` of ``weight_map.json``: label → float ``[H, W]``."""
    images = {str(name): np.asarray(image, dtype=float) for name, image in content["maps"].items()}
    return {name: image for name, image in images.items() if image.ndim == 2 and image.size}


MAPS = (
    (schema.SPURIOUS_SCORES, _matrix, "score matrix", ("class as target", "true class")),
    (schema.WEIGHT_MAP, _weights, "first-layer weights", None),
)


def notes(view: View) -> Panel:
    """The runs' descriptions."""
    runs = chosen(view).head(CLOSELY)
    tag = f"tags.{schema.DESCRIPTION}"
    texts = runs[tag].fillna("") if tag in runs else pd.Series("", index=runs.index)
    found = tuple(
        Note(run, label, str(text)) for run, label, text in zip(runs["run_id"], labels(runs), texts, strict=True)
    )
    about = "The runs' descriptions in MLflow (Markdown). You can edit them if you may edit the run in MLflow."
    return Panel("notes", "Notes", about, message=_message(view, runs), notes=found)


PAGE = Page(
    "compare",
    "Compare",
    "Up to 100 runs side by side: parameters and metrics that differ, curves, artifacts and notes.",
    (side_by_side, coordinates, over_epochs, artifacts, notes),
    (RUNS, METRICS),
    place=80,
)
