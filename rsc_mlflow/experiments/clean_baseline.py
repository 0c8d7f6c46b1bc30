"""Clean baselines: what clean models of the same recipe score on a poisoned run's own pattern and target classes.

Clean models that differ in their training seed alone are the null distribution of a spurious score: they hold what
training itself varies.  A comparison with a single clean model holds none of it, and is kept under another name.
"""

import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from rsc_mlflow.data import Dataset, ImageSet, apply_pattern
from rsc_mlflow.errors import InputError
from rsc_mlflow.experiments.options import TrainOptions
from rsc_mlflow.models import build_empty
from rsc_mlflow.patterns import PATTERNS
from rsc_mlflow.scoring import SpuriousScores
from rsc_mlflow.statistics import mcnemar, prediction_interval
from rsc_mlflow.tracking import schema
from rsc_mlflow.tracking.fingerprint import fingerprint
from rsc_mlflow.tracking.pull import pull, run_uri
from rsc_mlflow.tracking.query import condition, iterate_runs
from rsc_mlflow.tracking.store import connect
from rsc_mlflow.tracking.values import param_text, unquoted
from rsc_mlflow.training import evaluate_logits

ENOUGH = 5
"""With fewer clean models than this a run says how to train more; even five cannot give a p-value below 1/6."""


@dataclass(frozen=True)
class Comparison:
    """A score among those of clean models, as metrics and tags of the run; empty where no clean model is tracked."""

    metrics: dict[str, float] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)


def compare_with_clean(
    scores: SpuriousScores, dataset: Dataset, options: TrainOptions, device: torch.device
) -> Comparison:
    """Compare a poisoned model's score with those of the tracked clean models of its recipe.

    A clean model that is lost is left out with a note, and costs the model at hand nothing else.

    Args:
        scores: the poisoned model's, on the dataset's test images and pattern.
        dataset: its dataset.
        options: its training options.
        device: where to score the clean models.
    """
    hits: dict[int, npt.NDArray[np.bool_]] = {}
    for seed, run_id in clean_runs(options).items():
        try:
            found = _clean_hits(run_id, dataset.test, *pattern_of(dataset), scores.threshold, device)
        except InputError as error:
            print(f"note: not compared with the clean model of training seed {seed}: {error}", file=sys.stderr)
            continue
        hits[seed] = found[:, list(dataset.name.targets)].numpy()
    if len(hits) < ENOUGH:
        _advise(options.for_clean(), len(hits), options.clean_seeds)
    if not hits:
        return Comparison()
    own = scores.hits[:, list(dataset.name.targets)].numpy()
    clean = {seed: float(found.mean()) for seed, found in sorted(hits.items())}
    metrics = baseline_metrics(float(own.mean()), list(clean.values()))
    twin = hits.get(options.random_seed)
    if twin is not None and len(dataset.name.targets) == 1:
        metrics[schema.P_VALUE_ONE_CLEAN_MODEL] = mcnemar(own[:, 0], twin[:, 0])
    return Comparison(metrics, {schema.CLEAN_SCORES: json.dumps({str(k): round(v, 6) for k, v in clean.items()})})


def baseline_metrics(score: float, clean: Sequence[float]) -> dict[str, float]:
    """Where ``score`` stands among the scores of n ≥ 1 clean models.

    The p-value is the score's rank, (1 + number of clean models that score at least as high) / (1 + n): exact if the
    pattern has no effect, since the model is then one more clean model.  It cannot be below 1/(1 + n); the upper end
    of the prediction interval says how far beyond the clean models' spread the score lies.
    """
    at_least = sum(other >= score - 1e-12 for other in clean)
    metrics = {
        schema.REFERENCE_SCORE: float(np.mean(clean)),
        schema.REFERENCE_SCORE_MAX: max(clean),
        schema.N_REFERENCE: float(len(clean)),
        schema.P_VALUE: (1 + at_least) / (1 + len(clean)),
    }
    if len(clean) > 1:
        metrics[schema.REFERENCE_PREDICTION_HIGH] = prediction_interval(clean).high
    return metrics


def clean_runs(options: TrainOptions) -> dict[int, str]:
    """Training seed → id of the newest finished clean run with this recipe; every seed that is tracked."""
    twin = options.for_clean()
    conditions = [
        condition("tags", schema.KIND, "train"),
        condition("attributes", "status", "FINISHED"),
        condition("params", "dataset", twin.dataset),
        condition("params", "model", twin.model),
        condition("params", "optimizer", twin.optimizer),
    ]
    found: dict[int, str] = {}
    for run in iterate_runs(connect(), conditions, page=200):
        seed = _seed_of(run.data.params, run.data.tags, twin)
        if seed is not None:
            found.setdefault(seed, run.info.run_id)
    return found


def _seed_of(params: Mapping[str, str], tags: Mapping[str, str], twin: TrainOptions) -> int | None:
    """The run's training seed, if everything else that decides its result is as in ``twin``."""
    try:
        same = TrainOptions.from_mapping(twin.as_params() | {"random_seed": unquoted(params["random_seed"])})
    except (InputError, KeyError):
        return None
    matches = tags.get(schema.FINGERPRINT) == fingerprint(same.identity())
    return same.random_seed if matches else None


def pattern_of(dataset: Dataset) -> tuple[str, int]:
    """Pattern and seed of its noise; 0 for a pattern without noise, which is the same for every seed."""
    pattern = dataset.name.pattern
    assert pattern is not None
    return pattern, dataset.pattern_seed if PATTERNS[pattern].depends_on_seed else 0


@lru_cache(maxsize=4)
def patterned_images(test: ImageSet, pattern: str, seed: int) -> Tensor:
    """Test images with the pattern on them, float32 [N, C, H, W]; kept for the scores of other epochs and models."""
    return apply_pattern(pattern, test.images, seed)


@lru_cache(maxsize=32)
def _clean_model(run_id: str, test: ImageSet, device: torch.device) -> tuple[nn.Module, Tensor]:
    """A clean run's model and its logits on the clean test images, float32 [N, classes]."""
    found = pull(run_uri(run_id))
    name = found.model
    module = build_empty(name.architecture, test.image_shape, found.dataset.classes, name.augmentation)
    module.load_state_dict(found.state_dict)
    return module, evaluate_logits(module, test.images, device)


@lru_cache(maxsize=256)
def _clean_hits(run_id: str, test: ImageSet, pattern: str, seed: int, threshold: float, device: torch.device) -> Tensor:
    """Hits of a clean run's model for every class as target, bool[N, classes]; finished models never change."""
    module, clean = _clean_model(run_id, test, device)
    patterned = evaluate_logits(module, patterned_images(test, pattern, seed), device)
    return SpuriousScores(clean, patterned, test.labels, threshold).hits


@lru_cache(maxsize=64)
def _advise(clean: TrainOptions, found: int, wanted: int) -> None:
    """Say once per recipe how to train the clean models that are missing."""
    defaults = TrainOptions(dataset=clean.dataset)
    own = {
        field.name: param_text(getattr(clean, field.name))
        for field in dataclasses.fields(TrainOptions)
        if getattr(clean, field.name) != getattr(defaults, field.name) and field.name != "random_seed"
    }
    words = "".join(f" --{name} {value}" for name, value in own.items())
    print(
        f"note: {found} clean models of this recipe are tracked, {max(wanted, ENOUGH)} make a baseline; to train them: "
        f"for s in $(seq 0 {max(wanted, ENOUGH) - 1}); do python -m entry_points.train_classifier "
        f"--dataset {clean.dataset}{words} --random_seed $s; done (a sweep does it by itself)",
        file=sys.stderr,
    )
