"""Training as a tracked experiment: one run per model, even if several models are trained together."""

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache, cached_property
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from rsc_mlflow import tempdirs
from rsc_mlflow.data import Dataset, load_dataset
from rsc_mlflow.errors import InputError
from rsc_mlflow.experiments import artifacts
from rsc_mlflow.experiments.clean_baseline import CleanRuns, Comparison, compare_with_clean
from rsc_mlflow.experiments.gpu_turns import gpu_turn
from rsc_mlflow.experiments.options import TrainOptions, result_format
from rsc_mlflow.experiments.progress import TrainingProgress
from rsc_mlflow.experiments.scores import (
    Evaluation,
    clean_model_scores,
    evaluate_members,
    norm_metric,
)
from rsc_mlflow.models import build_empty, n_parameters
from rsc_mlflow.tracking import schema
from rsc_mlflow.tracking.checkpoints import newest_checkpoint, prune_checkpoints
from rsc_mlflow.tracking.experiments import where_to_look
from rsc_mlflow.tracking.fingerprint import fingerprint
from rsc_mlflow.tracking.models import log_model
from rsc_mlflow.tracking.registration import Registrar
from rsc_mlflow.tracking.run import TrackedRun, open_run
from rsc_mlflow.training import (
    Checkpoint,
    Cohort,
    EpochReport,
    EpochResult,
    Member,
    TrainingConfig,
    TrainingData,
    peak_memory_mb,
    resolve_device,
)
from rsc_mlflow.training.augmentation import check_aug01
from rsc_mlflow.training.members import check_members
from rsc_mlflow.training.precision import check_precision

_logger = logging.getLogger(__name__)

FREE_WHEN_RESUMING = (
    *("device", "data_root", "checkpoint_every", "keep_checkpoints", "score_every", "register", "clean_seeds"),
    "resume_run_id",
)
"""Options that may differ when an interrupted run is resumed, because they do not affect the result."""


@dataclass(frozen=True)
class TrainingJob:
    """One model to train.

    Attributes:
        options: the training options.
        run_id: an interrupted run of this job to resume; not logged as a parameter.
    """

    options: TrainOptions
    run_id: str | None = None

    @cached_property
    def fingerprint(self) -> str:
        """Hash of all options that affect the result."""
        return fingerprint(self.options.identity())

    @property
    def run_name(self) -> str:
        """Name of the run in lists."""
        return self.options.run_name


@dataclass(frozen=True, eq=False)
class PreparedTraining:
    """A job whose dataset is loaded and whose options are checked; no run is open yet."""

    job: TrainingJob
    dataset: Dataset
    data: TrainingData
    config: TrainingConfig
    device: torch.device
    n_parameters: int

    @property
    def targets(self) -> tuple[int, ...]:
        """The target classes; empty for a clean dataset."""
        return self.dataset.name.targets

    def params(self) -> dict[str, Any]:
        """Return the parameters to log: all options, and values derived from them."""
        name, model = self.dataset.name, self.config.model
        derived = {
            "dataset_family": name.family,
            "pattern": name.pattern or "none",
            "n_spurious": len(self.dataset.spurious_indices),
            "target_class": "none" if name.target is None else "-".join(map(str, name.targets)),
            "dataset_seed": "none" if name.pattern is None else name.seed,
            "architecture": model.architecture,
            "loss": model.loss,
            "augmentation": model.augmentation or "none",
            "n_parameters": self.n_parameters,
            "n_train": len(self.data),
            "n_test": len(self.dataset.test),
            "result_format": result_format(name, model),
        }
        return self.job.options.as_params() | {"score_threshold": self.job.options.resolved_threshold} | derived


@dataclass(frozen=True)
class TrainResult:
    """The result of a finished training run.

    Attributes:
        run: the run.
        model_uri: ``models:/m-ID``.
        metrics: the final metrics.
        alias_uri: ``models:/NAME@ALIAS``; None if the model was not registered.
    """

    run: TrackedRun
    model_uri: str
    metrics: dict[str, float]
    alias_uri: str | None

    @property
    def run_id(self) -> str:
        """The run's id."""
        return self.run.run_id

    @property
    def summary(self) -> str:
        """One line with the result, the model and the address of the run."""
        words = [f"test accuracy {self.metrics[schema.TEST_ACCURACY]:.4f}"]
        if schema.SPURIOUS_SCORE in self.metrics:
            words.append(f"spurious score {self.metrics[schema.SPURIOUS_SCORE]:.4f}")
        if schema.P_VALUE in self.metrics:
            n = self.metrics[schema.N_REFERENCE]
            words.append(
                f"p = {self.metrics[schema.P_VALUE]:.3g} (rank among {n:.0f} clean model{'' if n == 1 else 's'})"
            )
        model = self.alias_uri or f"{self.model_uri} (not registered)"
        where = where_to_look(self.run.experiment_id, self.run_id)
        return f"{self.run.name}: {', '.join(words)}; model {model}; {where}"


def prepare(job: TrainingJob, *, without_spurious: bool = False) -> PreparedTraining:
    """Load the dataset and check that the model fits it.

    Args:
        job: the job.
        without_spurious: remove the spurious examples from the training set, as unlearning does.  Scores are still
            computed for the dataset's pattern.

    Raises:
        InputError: the data is missing or damaged, the count is larger than the class, there are no spurious examples
            to remove, the model does not accept the images, or the device does not exist.
    """
    options = job.options
    seed = None if isinstance(options.pattern_seed, str) else options.pattern_seed
    dataset = load_dataset(options.dataset_name, options.data_root, seed)
    data = TrainingData.of(dataset, without_spurious)
    name = options.model_name
    model = build_empty(name.architecture, dataset.image_shape, dataset.classes, name.augmentation)
    check_aug01(name.augmentation, dataset.image_shape)
    if without_spurious and not len(dataset.spurious_indices):
        raise InputError(f"The dataset {options.dataset} has no spurious examples to remove. Use a poisoned dataset.")
    device = resolve_device(options.device)
    check_precision(options.precision, device)
    return PreparedTraining(job, dataset, data, options.config(), device, n_parameters(model))


def train_members(jobs: Sequence[TrainingJob], parent_run_id: str | None = None) -> list[TrainResult]:
    """Train the jobs as one cohort, with one run each; return a result per job.

    The runs finish in the given order.

    Raises:
        InputError: an option is invalid or a model cannot be registered; raised before a run is opened.
        Diverged: a model diverged; all runs of the cohort fail.
    """
    prepared = [prepare(job) for job in jobs]
    check_members([Member(one.data, one.config) for one in prepared])
    check = cache(Registrar.checked)  # once per registered model of the cohort
    registrars = [registrar(one.options, check) for one in jobs]
    with ExitStack() as stack:
        contexts = [stack.enter_context(ExitStack()) for _ in prepared]
        runs = [own.enter_context(_open(one, parent_run_id)) for own, one in zip(contexts, prepared, strict=True)]
        live = [LiveTraining(*one) for one in zip(prepared, runs, registrars, strict=True)]
        for one in live:
            one.describe()
        members, device = [one.member() for one in live], prepared[0].device
        try:
            with gpu_turn(device):
                cohort = Cohort(members, prepared[0].dataset.classes, device)
                evaluations = _train(cohort, live)
        except KeyboardInterrupt:
            if len(live) == 1:
                _logger.info("To resume, run the same command with resume_run_id=%s.", live[0].run.run_id)
            raise
        results, clean = [], CleanRuns()
        for k, one in enumerate(live):
            results.append(one.finish(cohort, k, evaluations[k], clean))
            contexts[k].close()  # the run has finished: members after this one are compared with it if it is clean
            if not one.prepared.targets:
                clean.forget()
        return results


def registrar(options: TrainOptions, checked: Callable[..., Registrar] = Registrar.checked) -> Registrar:
    """Return the registrar of models trained with these options; see :meth:`Registrar.checked`."""
    return checked(options.register, options.dataset_name.family, options.model_name.architecture)


def _open(prepared: PreparedTraining, parent_run_id: str | None) -> Any:
    job = prepared.job
    resume = job.run_id or job.options.resume_run_id
    return open_run(
        kind="train",
        method="train_classifier",
        name=job.run_name,
        params=prepared.params(),
        tags={schema.FINGERPRINT: job.fingerprint},
        parent_run_id=parent_run_id,
        resume_run_id=None if resume == "none" else resume,
        free_params=FREE_WHEN_RESUMING,
    )


def _train(cohort: Cohort, live: Sequence["LiveTraining"]) -> list[Evaluation]:
    """Run all epochs; after each one, every member logs metrics and, if due, scores and saves a checkpoint.

    Returns the members' evaluations after the last epoch.
    """
    evaluations: list[Evaluation] = []
    options = live[0].prepared.job.options
    what = live[0].run.name if len(live) == 1 else f"{len(live)} models ({live[0].run.name}, …)"
    with TrainingProgress(what, options.epochs, cohort.epoch) as progress:
        for report in cohort.epochs():
            evaluations = _evaluated(cohort, live, [one.scores_at(report.epoch) for one in live])
            for k, (one, evaluation) in enumerate(zip(live, evaluations, strict=True)):
                one.after_epoch(cohort, k, report, evaluation)
            progress.update(report.epoch, _shown([one.latest for one in live], live[0].prepared.targets))
    return evaluations or _evaluated(cohort, live)  # a resumed run may have no epoch left


def _evaluated(
    cohort: Cohort, live: Sequence["LiveTraining"], with_scores: Sequence[bool] | None = None
) -> list[Evaluation]:
    """Return each member's evaluation on its test images, by default with spurious scores."""
    thresholds = [one.options.resolved_threshold for one in live]
    return evaluate_members(
        cohort.logits, [one.prepared.dataset for one in live], thresholds, with_scores or [True] * len(live)
    )


def _shown(latest: Sequence[Mapping[str, float]], targets: Sequence[int]) -> dict[str, float]:
    """Return the values to show for an epoch: means over the members that have the value.

    A single model with two target classes also has a score for each class.
    """
    names = {
        "train loss": schema.TRAIN_LOSS,
        "train accuracy": schema.TRAIN_ACCURACY,
        "test accuracy": schema.TEST_ACCURACY,
        "score": schema.SPURIOUS_SCORE,
    }
    if len(targets) == 2 and len(latest) == 1:
        names |= {f"score of class {k}": schema.score_target(k) for k in targets}
    values = {words: [metrics[name] for metrics in latest if name in metrics] for words, name in names.items()}
    return {words: fmean(found) for words, found in values.items() if found}


class LiveTraining:
    """The open run of one member of a cohort; logs at the start, after each epoch and at the end."""

    def __init__(self, prepared: PreparedTraining, run: TrackedRun, registrar: Registrar) -> None:
        self.prepared = prepared
        self.run = run
        self.registrar = registrar
        self.options = prepared.job.options
        self.latest: dict[str, float] = {}
        self._started = time.perf_counter()
        self._training_seconds = 0.0
        self._epochs_done = 0
        self._deletes = True
        self._checkpoints = math.inf if run.resumed else 0  # at most so many are stored
        self._history: dict[str, list[tuple[int, float]]] = {name: [] for name in artifacts.CURVES}

    def describe(self) -> None:
        """Log the configuration, datasets and spurious examples before the first epoch."""
        self.registrar.announce(self.run)
        artifacts.log_description(
            self.run, self.prepared.dataset, self.prepared.params(), self.prepared.job.fingerprint
        )

    def member(self) -> Member:
        """Return the member of the cohort; a resumed run starts from its newest checkpoint."""
        start = None
        if self.run.resumed:
            with tempdirs.tempdir() as folder:
                start = newest_checkpoint(self.run, folder, Checkpoint.load)
            if start is not None:
                start.require(self.prepared.config)
                _logger.info("%s: resuming after epoch %d", self.run.name, start.epoch)
        return Member(self.prepared.data, self.prepared.config, start)

    def scores_at(self, epoch: int) -> bool:
        """Return whether the model is scored after this epoch."""
        every = self.options.score_every
        return epoch == self.options.epochs or (every > 0 and epoch % every == 0)

    def after_epoch(self, cohort: Cohort, k: int, report: EpochReport, evaluation: Evaluation) -> None:
        """Log the epoch's metrics and, if due, save a checkpoint."""
        self._training_seconds += report.seconds
        self._epochs_done += 1
        last = report.epoch == self.options.epochs
        training = _training_metrics(report.members[k])
        self.latest = training | evaluation.metrics(self.prepared.targets)
        for name in self._history.keys() & self.latest.keys():
            self._history[name].append((report.epoch, self.latest[name]))
        self.run.metrics(training if last else self.latest, report.epoch)  # the final evaluation follows with the model
        every = self.options.checkpoint_every
        if last or (every > 0 and report.epoch % every == 0):
            self._save(cohort.checkpoint(k))

    def finish(self, cohort: Cohort, k: int, evaluation: Evaluation, clean: CleanRuns) -> TrainResult:
        """Score, log and register the finished model."""
        epoch = self.options.epochs
        compared = self._compare(evaluation, clean)
        metrics = evaluation.metrics(self.prepared.targets) | norm_metric(self.prepared.dataset)
        metrics |= self._scores_of_clean_model(cohort, k, evaluation) | compared.metrics | self._costs()
        images = self.prepared.dataset.test.images[:2]
        model_uri = log_model(self.run, cohort.module(k), images, epoch, metrics, compared.tags)
        history = artifacts.curves(self.run) if self.run.resumed else self._history
        artifacts.log_figures(self.run, self.prepared.dataset, evaluation, history=history)
        self._prune(epoch)
        name = str(self.prepared.dataset.name)
        registered = self.registrar.register(self.run, model_uri, dataset=name, kind="train", metrics=metrics)
        return TrainResult(self.run, model_uri, metrics, registered.alias_uri if registered else None)

    def _compare(self, evaluation: Evaluation, clean: CleanRuns) -> Comparison:
        """Compare a poisoned model with the clean models of the same recipe."""
        if evaluation.scores is None:
            return Comparison()
        found, prepared = clean.of(self.options), self.prepared
        return compare_with_clean(evaluation.scores, prepared.dataset, self.options, prepared.device, found)

    def _scores_of_clean_model(self, cohort: Cohort, k: int, evaluation: Evaluation) -> dict[str, float]:
        """Return a clean model's scores on every pattern; empty for a poisoned model."""
        if evaluation.scores is not None:
            return {}
        threshold = self.options.resolved_threshold

        def logits(images: Tensor) -> Tensor:
            return cohort.logits(images, [k])[0]

        return clean_model_scores(logits, self.prepared.dataset, evaluation.clean_logits, threshold)

    def _costs(self) -> dict[str, float]:
        peak = peak_memory_mb(self.prepared.device)
        costs = {schema.SECONDS: time.perf_counter() - self._started, schema.PEAK_MEMORY_MB: peak}
        if self._epochs_done:
            costs[schema.SECONDS_PER_EPOCH] = self._training_seconds / self._epochs_done
        return costs

    def _save(self, checkpoint: Checkpoint) -> None:
        with tempdirs.tempdir() as folder:
            path = checkpoint.save(folder / schema.checkpoint(checkpoint.epoch))
            self.run.log_file(path, schema.CHECKPOINTS)
        self._checkpoints += 1
        self._prune(checkpoint.epoch)

    def _prune(self, epoch: int) -> None:
        """Delete the checkpoints before an epoch that the option does not keep."""
        keep = self.options.keep_checkpoints
        if isinstance(keep, int) and self._deletes and self._checkpoints > keep + 1:
            self._deletes = prune_checkpoints(self.run, epoch, keep)
            self._checkpoints = keep + 1


def _training_metrics(result: EpochResult) -> dict[str, float]:
    return {
        schema.TRAIN_LOSS: result.loss,
        schema.TRAIN_ACCURACY: result.accuracy,
        schema.LEARNING_RATE: result.learning_rate,
    }
