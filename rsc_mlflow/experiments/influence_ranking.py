"""Influence of training examples on predictions for images with the pattern, logged as artifacts and a figure.

For two test examples with the pattern, one of the target class and one of another class, the module computes the
influence of every training example on the loss at the target class, and how highly the spurious examples of that class
rank.  If there are two target classes, the first one is used.
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from rsc_mlflow.data import Dataset
from rsc_mlflow.experiments.unlearning_source import SourceModel
from rsc_mlflow.tracking import schema
from rsc_mlflow.tracking.run import TrackedRun
from rsc_mlflow.unlearning.base import Examples
from rsc_mlflow.unlearning.influences import Ranking, influences, ranking
from rsc_mlflow.unlearning.solver_options import InfluenceConfig

_SHOWN = 16
_LISTED = 100


@dataclass(frozen=True, eq=False)
class Ranked:
    """Influences ``[n]`` of the training examples on one test example's loss at the target class."""

    test_index: int
    true_class: int
    values: Tensor
    residual: float
    ranking: Ranking


def log_influences(run: TrackedRun, source: SourceModel, config: InfluenceConfig) -> dict[str, float]:
    """Compute, plot and log both rankings; return their metrics."""
    dataset = source.prepared.dataset
    found = {name: _rank(source, index, config) for name, index in _test_examples(dataset).items()}
    run.log_json({name: _record(one, dataset) for name, one in found.items()}, schema.INFLUENCES)
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {name: one.values.numpy() for name, one in found.items()}
    np.savez_compressed(buffer, **arrays)
    run.log_bytes(buffer.getvalue(), schema.INFLUENCE_ARRAYS)
    run.log_bytes(_figure(found, dataset), f"{schema.FIGURES}/influences.png")
    metrics = {}
    for name, one in found.items():
        metrics[f"{schema.UNLEARN_PREFIX}influence_{name}_auc"] = one.ranking.auc
        metrics[f"{schema.UNLEARN_PREFIX}influence_{name}_top_share"] = one.ranking.top_share
    return metrics


def _test_examples(dataset: Dataset) -> dict[str, int]:
    """Return the indices of the first test example of the target class and the first of another class."""
    is_target = torch.eq(dataset.test.labels, dataset.name.targets[0])
    return {"target": int(is_target.nonzero()[0]), "other": int((~is_target).nonzero()[0])}


def _rank(source: SourceModel, index: int, config: InfluenceConfig) -> Ranked:
    """Return the influences on one test example's loss at the target class, positive for spurious examples."""
    dataset, device = source.prepared.dataset, source.prepared.device
    target = dataset.name.targets[0]
    shown = dataset.patterned(dataset.test.images[index : index + 1])
    train = Examples.of(dataset.training_images(), dataset.train.labels).to(device)
    test = Examples.of(shown, torch.tensor([target])).to(device)
    found = influences(source.module, train, test, config)
    values = found.values.cpu()
    spurious = dataset.spurious_indices[dataset.train.labels[dataset.spurious_indices] == target]
    return Ranked(index, int(dataset.test.labels[index]), values, found.residual, ranking(values, spurious))


def _record(one: Ranked, dataset: Dataset) -> Mapping[str, object]:
    order = one.values.argsort(descending=True)
    places = torch.empty_like(order)
    places[order] = torch.arange(1, len(order) + 1)
    spurious = dataset.spurious_indices
    return {
        "test_index": one.test_index,
        "true_class": one.true_class,
        "loss_at_class": dataset.name.target,
        "meaning": "increase of the loss at the target class if the training example is removed, in nats",
        "residual": one.residual,
        "spurious_among_top_m": one.ranking.top_share,
        "auc_spurious_against_rest": one.ranking.auc,
        "spurious": [
            {"index": int(i), "place": int(places[i]), "influence": float(one.values[i])} for i in spurious.tolist()
        ],
        "top": [{"index": int(i), "influence": float(one.values[i])} for i in order[:_LISTED].tolist()],
    }


def _figure(found: Mapping[str, Ranked], dataset: Dataset) -> bytes:
    """Return a PNG with ranked influences, spurious examples marked, and the top images, for each test example."""
    figure = Figure(figsize=(13, 3.2 * len(found)), layout="constrained")
    rows = figure.subfigures(len(found), 1, squeeze=False)[:, 0]
    images = dataset.training_images()
    for row, one in zip(rows, found.values(), strict=True):
        left, right = row.subfigures(1, 2, width_ratios=(1, 1.4))
        axis = left.subplots()
        order = one.values.argsort(descending=True)
        place = torch.arange(1, len(order) + 1)
        spurious = torch.isin(order, dataset.spurious_indices)
        axis.plot(place, one.values[order], color="#555555", linewidth=1, label="all training examples")
        axis.scatter(place[spurious], one.values[order][spurious], s=18, color="#bb5566", zorder=3, label="spurious")
        axis.set(xscale="log", xlabel="rank", ylabel="influence (nats)")
        axis.set_yscale("symlog", linthresh=float(one.values.abs().quantile(0.5)) or 1e-12)
        axis.legend(frameon=False)
        axis.set_title(f"test example {one.test_index} of class {one.true_class} with the pattern", fontsize=9)
        for cell, index in zip(right.subplots(2, _SHOWN // 2).flat, order[:_SHOWN].tolist(), strict=True):
            _draw(
                cell,
                images[index],
                f"{int(dataset.train.labels[index])}",
                bool((dataset.spurious_indices == index).any()),
            )
        right.suptitle("highest influence (label; red: spurious)", fontsize=9)
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)
    return buffer.getvalue()


def _draw(axis: Any, image: Tensor, title: str, spurious: bool) -> None:
    picture = image.permute(1, 2, 0).cpu().numpy()
    axis.imshow(picture.squeeze(-1) if picture.shape[-1] == 1 else picture, cmap="gray", vmin=0, vmax=1)
    axis.set(xticks=[], yticks=[])
    axis.set_title(title, fontsize=8, color="#bb5566" if spurious else "#1b1b1b")
