"""Weights and sensitivity: first-layer weights, and predictions when pixels are removed."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from dashboards.figures.points import counted
from dashboards.figures.weights import occlusion_curves, weight_map
from dashboards.panels import Option, Page, Panel, Plot, View, legible
from rsc_mlflow.tracking import schema

MAPS_BY = "mlflow run . --env-manager=local -e visualize_weights -P dataset=digitsv8-10-0-0"
CURVES_BY = "mlflow run . --env-manager=local -e occlusion -P dataset=digitsv8-10-0-0"
DIFFERENCE = "absolute difference"
SHOWN = Option("shown", "Newest runs", (("1", "one"), ("3", "three"), ("6", "six")), "3")


def _newest(view: View, method: str) -> pd.DataFrame:
    runs = view.runs[(view.runs["method"] == method) & (view.runs["status"] == "FINISHED")]
    return runs.sort_values("started_ms", ascending=False)


def maps(view: View) -> Panel:
    """First-layer weight maps of the newest runs."""
    runs = _newest(view, "visualize_weights")
    plots: list[Plot] = []
    rows: list[dict[str, object]] = []
    for _, run in runs.head(int(view.option(SHOWN))).iterrows():
        found = legible(_images, view.source.artifact(run["run_id"], schema.WEIGHT_MAP)) or {}
        ends = _range([image for label, image in found.items() if label != DIFFERENCE])
        link = f"{run['experiment_id']}:{run['run_id']}"
        for label, image in found.items():
            shown = (0.0, _range([image])[1]) if label == DIFFERENCE else ends
            plots.append(Plot(weight_map(image, view.theme, shown, link), _title(run, label)))
            low, high = _range([image])
            rows.append({"dataset": run["dataset"], "map": label, "smallest": low, "largest": high, "links": link})
    message = "" if plots else _missing(view, runs, schema.WEIGHT_MAP, MAPS_BY)
    return Panel(
        "maps",
        "First-layer weights",
        "For each pixel, the largest (signed) weight to any hidden unit. The maps of a run have the same color range, "
        "except the absolute difference of the first two.",
        tuple(plots),
        pd.DataFrame(rows),
        f"{counted(len(plots), 'image')} of the newest {min(len(runs), int(view.option(SHOWN)))} of {len(runs)} runs",
        message,
    )


def _images(content: object) -> dict[str, np.ndarray]:
    if not isinstance(content, dict) or not isinstance(content.get("maps"), dict):
        return {}
    maps = content["maps"]
    order = [label for label in content.get("order") or maps if label in maps]  # the keys in the file are sorted
    images = {str(label): np.asarray(maps[label], dtype=float) for label in order}
    if content.get("difference") is not None:
        images[DIFFERENCE] = np.abs(np.asarray(content["difference"], dtype=float))
    return {label: image for label, image in images.items() if image.ndim == 2 and image.size}


def _range(images: Sequence[np.ndarray]) -> tuple[float, float]:
    """Return the smallest and the largest value of all images; (0, 1) if there are none."""
    values = np.concatenate([image.ravel() for image in images]) if images else np.array([0.0, 1.0])
    return float(np.nanmin(values)), float(np.nanmax(values))


def _title(run: pd.Series, label: str) -> str:
    """Return the title of a map or curve: its label, after the run's dataset unless it is unknown or in the label."""
    return label if run["dataset"] == "any" or run["dataset"] in label else f"{run['dataset']}: {label}"


def occlusion(view: View) -> Panel:
    """Occlusion curves of the newest runs."""
    runs = _newest(view, "occlusion")
    curves: list[dict[str, Any]] = []
    for _, run in runs.head(int(view.option(SHOWN))).iterrows():
        curves += legible(_curves, view, run) or []
    long = [
        {"run": c["label"], "share": s, "probability": p, "links": c["links"]}
        for c in curves
        for s, p in zip(c["share"], c["probability"], strict=True)
    ]
    return Panel(
        "occlusion",
        "Sensitivity to missing pixels",
        "Mean predicted probability of the true class over training examples, against the share of their non-zero "
        "pixels that is set to zero. One line per model.",
        (Plot(occlusion_curves(curves, view.theme)),) if curves else (),
        pd.DataFrame(long),
        f"{counted(len(curves), 'curve')} of the newest {min(len(runs), int(view.option(SHOWN)))} of {len(runs)} runs",
        "" if curves else _missing(view, runs, "occlusion.json or occlusion/probability", CURVES_BY),
    )


def _curves(view: View, run: pd.Series) -> list[dict[str, Any]]:
    link = f"{run['experiment_id']}:{run['run_id']}"
    content = view.source.artifact(run["run_id"], schema.OCCLUSION)
    if isinstance(content, dict) and "share" in content:
        share = [100 * float(s) if max(content["share"]) <= 1 else float(s) for s in content["share"]]
        lists = {k: v for k, v in content.items() if k != "share" and isinstance(v, list) and len(v) == len(share)}
        named = {k: [float(one) for one in v] for k, v in lists.items()}
        return [
            {"label": _title(run, label), "share": share, "probability": values, "links": link}
            for label, values in named.items()
        ]
    points = sorted(view.source.history(run["run_id"], schema.OCCLUSION_PROBABILITY))
    if not points:
        return []
    label = f"{run['dataset']} {run['architecture']}, seed {run['random_seed']}"
    return [{"label": label, "share": [s for s, _ in points], "probability": [v for _, v in points], "links": link}]


def _missing(view: View, runs: pd.DataFrame, what: str, made_by: str) -> str:
    if len(runs):
        return f"The newest {len(runs.head(6))} of these runs have no {what}, which is logged by: {made_by}"
    return view.missing_message(runs, what, made_by)


PAGE = Page(
    "weights",
    "Weights and sensitivity",
    "First-layer weights, and predictions when pixels are removed.",
    (maps, occlusion),
    (SHOWN,),
    place=70,
)
