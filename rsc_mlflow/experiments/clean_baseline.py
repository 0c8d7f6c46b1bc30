"""Clean baselines: scores of clean models with the same recipe on a poisoned run's pattern and target classes.

Clean models that differ only in their training seed give the null distribution of a spurious score, including the
variation between training runs.  A comparison with a single clean model does not include it; its p-value is a separate
metric.
"""

import dataclasses
import json
import logging
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

_logger = logging.getLogger(__name__)

ENOUGH = 5
"""With fewer clean models, a run prints how to train more.  The p-value with five clean models is at least 1/6."""


@dataclass(frozen=True)
class Comparison:
    """Comparison of a score with those of clean models; empty if there are no clean models.

    Attributes:
        metrics: metrics of the comparison.
        tags: the score of each clean model.
        note: how many clean models could not be loaded, and why; empty if all could.
    """

    metrics: dict[str, float] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    note: str = ""


def compare_with_clean(
    scores: SpuriousScores,
    dataset: Dataset,
    options: TrainOptions,
    device: torch.device,
    clean: Mapping[int, str] | None = None,
) -> Comparison:
    """Compare a poisoned model's score with the scores of the tracked clean models with the same recipe.

    Clean models that cannot be loaded are left out, and the note says so.

    Args:
        scores: scores of the poisoned model on the dataset's test images and pattern.
        dataset: dataset of the poisoned model.
        options: training options of the poisoned model.
        device: device to score the clean models on.
        clean: what :func:`clean_runs` returns; None: look it up.
    """
    hits: dict[int, npt.NDArray[np.bool_]] = {}
    note = ""
    runs = clean_runs(options) if clean is None else clean
    for seed, run_id in runs.items():
        try:
            found = _clean_hits(run_id, dataset.test, *pattern_of(dataset), scores.threshold, device)
        except InputError as error:
            _logger.warning("Skipped the clean model with training seed %d: %s", seed, error)
            note = str(error)
            continue
        hits[seed] = found[:, list(dataset.name.targets)].numpy()
    if len(hits) < ENOUGH:
        _advise(options.for_clean(), len(hits), options.clean_seeds)
    if note:
        note = f"{len(runs) - len(hits)} of {len(runs)} clean models are not part of the clean baseline: {note}"
    if not hits:
        return Comparison(note=note)
    own = scores.hits[:, list(dataset.name.targets)].cpu().numpy()
    by_seed = {seed: float(found.mean()) for seed, found in sorted(hits.items())}
    metrics = baseline_metrics(float(own.mean()), list(by_seed.values()))
    twin = hits.get(options.random_seed)
    if twin is not None and len(dataset.name.targets) == 1:
        metrics[schema.P_VALUE_ONE_CLEAN_MODEL] = mcnemar(own[:, 0], twin[:, 0])
    tags = {schema.CLEAN_SCORES: json.dumps({str(k): round(v, 6) for k, v in by_seed.items()})}
    return Comparison(metrics, tags, note)


def baseline_metrics(score: float, clean: Sequence[float]) -> dict[str, float]:
    """Return metrics that compare ``score`` with the scores of n ≥ 1 clean models.

    The p-value is (1 + number of clean models that score at least as high) / (1 + n).  It is exact, because without an
    effect of the pattern the model is exchangeable with the clean models.  It is at least 1/(1 + n).  The upper end of
    the prediction interval shows how far the score exceeds the variation of clean models.
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
    """Return the id of the newest finished clean run with this recipe for each training seed."""
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


@dataclass
class CleanRuns:
    """The :func:`clean_runs` of the members of a cohort, looked up once per recipe and after each clean member."""

    _known: dict[TrainOptions, dict[int, str]] = field(default_factory=dict)

    def of(self, options: TrainOptions) -> dict[int, str]:
        """Return the clean runs of a poisoned member's recipe."""
        recipe = dataclasses.replace(options.for_clean(), random_seed=0)
        if recipe not in self._known:
            self._known[recipe] = clean_runs(options)
        return self._known[recipe]

    def forget(self) -> None:
        """Look up again: a clean member has finished."""
        self._known.clear()


def _seed_of(params: Mapping[str, str], tags: Mapping[str, str], twin: TrainOptions) -> int | None:
    """Return the run's training seed if all other options that affect its result equal those of ``twin``."""
    try:
        same = TrainOptions.from_mapping(twin.as_params() | {"random_seed": unquoted(params["random_seed"])})
    except (InputError, KeyError):
        return None
    matches = tags.get(schema.FINGERPRINT) == fingerprint(same.identity())
    return same.random_seed if matches else None


def pattern_of(dataset: Dataset) -> tuple[str, int]:
    """Return the pattern and its seed, 0 for patterns that do not depend on the seed."""
    pattern = dataset.name.pattern
    assert pattern is not None
    return pattern, dataset.pattern_seed if PATTERNS[pattern].depends_on_seed else 0


@lru_cache(maxsize=4)
def patterned_images(test: ImageSet, pattern: str, seed: int) -> Tensor:
    """Return test images with the pattern, float32 ``[N, C, H, W]``; cached for other epochs and models."""
    return apply_pattern(pattern, test.images, seed)


@lru_cache(maxsize=32)
def _clean_model(run_id: str, test: ImageSet, device: torch.device) -> tuple[nn.Module, Tensor]:
    """Return a clean run's model and its logits on the clean test images, float32 ``[N, classes]``."""
    found = pull(run_uri(run_id))
    name = found.model
    module = build_empty(name.architecture, test.image_shape, found.dataset.classes, name.augmentation)
    module.load_state_dict(found.state_dict)
    return module, evaluate_logits(module, test.images, device)


@lru_cache(maxsize=256)
def _clean_hits(run_id: str, test: ImageSet, pattern: str, seed: int, threshold: float, device: torch.device) -> Tensor:
    """Return the hits of a clean run's model for every target class, bool ``[N, classes]``."""
    module, clean = _clean_model(run_id, test, device)
    patterned = evaluate_logits(module, patterned_images(test, pattern, seed), device)
    return SpuriousScores(clean, patterned, test.labels, threshold).hits


@lru_cache(maxsize=64)
def _advise(clean: TrainOptions, found: int, wanted: int) -> None:
    """Print, once per recipe, how to train the missing clean models."""
    defaults = TrainOptions(dataset=clean.dataset)
    own = {
        field.name: param_text(getattr(clean, field.name))
        for field in dataclasses.fields(TrainOptions)
        if getattr(clean, field.name) != getattr(defaults, field.name) and field.name != "random_seed"
    }
    words = "".join(f" --{name} {value}" for name, value in own.items())
    _logger.warning(
        f"Found {found} clean model{'' if found == 1 else 's'} with the same training options, but a baseline needs "
        f"{max(wanted, ENOUGH)}. To train them: for s in $(seq 0 {max(wanted, ENOUGH) - 1}); do python -m "
        f"entry_points.train_classifier --dataset {clean.dataset}{words} --random_seed $s; done. Sweeps train them "
        "automatically."
    )
