"""Unlearning as a tracked experiment: the same steps and the same table for every method.

Pull the source and check it → score it → run the method → score the result → compare with the exact
retraining → log, register, and link the runs.
"""

import math
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import nn

from rsc_mlflow.errors import InputError
from rsc_mlflow.experiments import artifacts
from rsc_mlflow.experiments.influence_ranking import log_influences
from rsc_mlflow.experiments.progress import TrainingProgress
from rsc_mlflow.experiments.scores import clean_comparison, evaluate, logits_of, norm_metric, pulled_module
from rsc_mlflow.experiments.unlearning_judging import Judged, gaps, judge
from rsc_mlflow.experiments.unlearning_methods import Plan, plan
from rsc_mlflow.experiments.unlearning_options import (
    AUTO,
    ExactRetrainingOptions,
    GroupInfluenceOptions,
    UnlearnOptions,
)
from rsc_mlflow.experiments.unlearning_source import Source, find_source
from rsc_mlflow.tracking import schema
from rsc_mlflow.tracking.fingerprint import fingerprint
from rsc_mlflow.tracking.models import log_lineage, log_model
from rsc_mlflow.tracking.pull import PulledModel, pull, pull_finished, run_uri
from rsc_mlflow.tracking.registration import Registrar
from rsc_mlflow.tracking.run import TrackedRun, open_run
from rsc_mlflow.training import peak_memory_mb
from rsc_mlflow.unlearning.base import Unlearned
from rsc_mlflow.unlearning.parameters import parameter_distance

_EPOCH_METRICS = {
    "loss": schema.TRAIN_LOSS,
    "retain_loss": schema.TRAIN_LOSS,
    "accuracy": schema.TRAIN_ACCURACY,
    "learning_rate": schema.LEARNING_RATE,
    "forget_loss": schema.FORGET_LOSS,
}
"""What methods report after each epoch, and the metric it is logged as."""
_RECORDED = ("gradient_norm", "residual", "predicted_rise", "iterations", "lissa_scale", "lissa_spread", "steps")
"""What methods report at the end that is logged as ``unlearn/…``."""


def unlearn(options: UnlearnOptions, parent_run_id: str | None = None) -> dict[str, float]:
    """Unlearn the spurious examples of a registered model; returns the run's last metrics.

    Raises:
        InputError: bad input, before any run is opened; or a method that cannot work on this model.
    """
    return _unlearn(options, find_source(options), parent_run_id)[1]


def _unlearn(options: UnlearnOptions, source: Source, parent_run_id: str | None) -> tuple[str, dict[str, float]]:
    chosen = plan(options, source)
    architecture = source.pulled.model.architecture
    registrar = Registrar.checked(options.register, source.options.dataset_name.family, architecture)
    params = _params(options, source, chosen)
    words = (options.METHOD, source.options.dataset, architecture, source.options.optimizer)
    tags = {
        schema.FINGERPRINT: _fingerprint(options, source),
        schema.SOURCE_MODEL_URI: source.pulled.model_uri,
        schema.SOURCE_RUN_ID: source.pulled.run_id,
    }
    with open_run(
        kind="unlearn",
        method=options.METHOD,
        name=" ".join([*words, f"seed {source.options.random_seed}"]),
        params=params,
        tags=tags,
        parent_run_id=parent_run_id,
    ) as run:
        artifacts.log_description(run, source.prepared.dataset, params, tags[schema.FINGERPRINT])
        registrar.announce(run)
        return run.run_id, _Unlearning(options, source, chosen, run, registrar).carry_out()


def _params(options: UnlearnOptions, source: Source, chosen: Plan) -> dict[str, Any]:
    """The source's recipe, the method's own options over it, and what follows from both."""
    recipe = source.prepared.params()
    for name in ("checkpoint_every", "resume_run_id"):
        del recipe[name]
    shared = ("device", "data_root", "model_uri", "reference", "score_every", "register")
    return recipe | {name: getattr(options, name) for name in shared} | options.own() | chosen.params


def _fingerprint(options: UnlearnOptions, source: Source) -> str:
    """Of what decides the result: of a source that was named, the model itself, because an alias can move.

    Of exact retraining that of its recipe, however the source was named, so that it is found as a reference.
    """
    if isinstance(options, ExactRetrainingOptions):
        options = ExactRetrainingOptions.of_recipe(source.options)
    elif options.model_uri != AUTO:
        options = replace(options, model_uri=source.pulled.model_uri)
    return fingerprint(options.identity())


class _Unlearning:
    """One open unlearning run."""

    def __init__(
        self, options: UnlearnOptions, source: Source, chosen: Plan, run: TrackedRun, registrar: Registrar
    ) -> None:
        self.options, self.source, self.chosen, self.run, self.registrar = options, source, chosen, run, registrar
        self.dataset, self.device = source.prepared.dataset, source.prepared.device
        self.step = chosen.epochs + chosen.offset
        self._observing = 0.0
        self._started = time.perf_counter()

    def carry_out(self) -> dict[str, float]:
        """All steps of the flow; returns the last metrics."""
        log_lineage(self.run, self.source.pulled.model_id)
        before = judge(self.source.module, self.source)
        done, seconds = self._run_method()
        self._say(done.notes)
        after = judge(done.model, self.source)
        metrics = {schema.BEFORE_PREFIX + name: value for name, value in before.metrics.items()}
        metrics |= after.metrics | norm_metric(self.dataset) | self._update_metrics(done, seconds)
        metrics |= clean_comparison(after.scores, self.dataset, self.source.options, self.device)
        metrics |= self._compare(after, seconds)
        if isinstance(self.options, GroupInfluenceOptions) and self.options.influences:
            metrics |= log_influences(self.run, self.source, self.chosen.config)
        metrics |= self._costs()
        self.run.metrics(metrics, self.step)
        self._store(done.model, after)
        print(f"{self.run.name}: {_summary(metrics)}", file=sys.stderr)
        return metrics

    def _run_method(self) -> tuple[Unlearned, float]:
        """The method's result, and the seconds it took without what was scored and logged in between."""
        forget, retain = self.source.forget.to(self.device), self.source.retain.to(self.device)
        with TrainingProgress(self.run.name, self.chosen.epochs) as progress:

            def observe(epoch: int, model: nn.Module, figures: Mapping[str, float]) -> None:
                began = time.perf_counter()
                metrics = {_EPOCH_METRICS[name]: value for name, value in figures.items() if name in _EPOCH_METRICS}
                if epoch < self.chosen.epochs:
                    metrics |= self._score_epoch(model, epoch)
                self.run.metrics(metrics, epoch + self.chosen.offset)
                accuracy = metrics.get(schema.TEST_ACCURACY, metrics.get(schema.TRAIN_ACCURACY))
                if schema.TRAIN_LOSS in metrics and accuracy is not None:
                    progress.update(epoch, metrics[schema.TRAIN_LOSS], accuracy, metrics.get(schema.SPURIOUS_SCORE))
                self._observing += time.perf_counter() - began

            began = time.perf_counter()
            done = self.chosen.method(self.source.module, forget, retain, self.chosen.config, observe)
            seconds = time.perf_counter() - began - self._observing
        return done, seconds

    def _score_epoch(self, model: nn.Module, epoch: int) -> dict[str, float]:
        """Scores of an epoch before the last, if they are due."""
        every = self.options.score_every
        if every == 0 or epoch % every:
            return {}
        found = evaluate(logits_of(model, self.device), self.dataset, self.source.options.resolved_threshold)
        return found.metrics(self.dataset.name.target)

    def _update_metrics(self, done: Unlearned, seconds: float) -> dict[str, float]:
        record = {name: value for name, value in done.record.items() if name in _RECORDED and math.isfinite(value)}
        return {
            **{f"unlearn/{name}": value for name, value in record.items()},
            schema.PARAMETER_DISTANCE: parameter_distance(self.source.module, done.model),
            schema.UNLEARN_SECONDS: seconds,
        }

    def _compare(self, after: Judged, seconds: float) -> dict[str, float]:
        """``gap/…``, divergences and speed-up against the exact retraining, which is its own reference."""
        if isinstance(self.options, ExactRetrainingOptions):
            self.run.set_tags({schema.REFERENCE_RUN_ID: self.run.run_id})
            return gaps(after, after) | {schema.SPEEDUP: 1.0}
        reference = _find_reference(self.options, self.source, self.run.run_id)
        if reference is None:
            return {}
        self.run.set_tags({schema.REFERENCE_RUN_ID: reference.run_id})
        module = pulled_module(reference, self.dataset).to(self.device).eval()
        found = gaps(after, judge(module, self.source))
        return found | {schema.SPEEDUP: reference.run.data.metrics[schema.UNLEARN_SECONDS] / seconds}

    def _costs(self) -> dict[str, float]:
        return {
            schema.SECONDS: time.perf_counter() - self._started,
            schema.PEAK_MEMORY_MB: peak_memory_mb(self.device),
        }

    def _say(self, notes: tuple[str, ...]) -> None:
        """Sentences that a person must read: on standard error, as a tag and as the run's description."""
        if notes:
            text = "; ".join(notes)
            print(f"note: {text}", file=sys.stderr)
            self.run.add_note(text)

    def _store(self, model: nn.Module, after: Judged) -> None:
        """Log the model and its figures, and register it."""
        model_uri = log_model(self.run, model, self.dataset.test.images[:2], self.step)
        artifacts.log_figures(self.run, self.dataset, after.evaluation, with_curves=self.chosen.epochs > 1)
        dataset, method = str(self.dataset.name), self.options.METHOD
        self.registrar.register(self.run, model_uri, dataset=dataset, kind="unlearn", method=method)


def _summary(metrics: Mapping[str, float]) -> str:
    """The result in one line: before → after (exact retraining)."""
    parts = []
    for name, words in ((schema.SPURIOUS_SCORE, "spurious score"), (schema.TEST_ACCURACY, "test accuracy")):
        before, after, gap = (
            metrics.get(f"{prefix}{name}") for prefix in (schema.BEFORE_PREFIX, "", schema.GAP_PREFIX)
        )
        reference = "" if after is None or gap is None else f" (exact retraining {after - gap:.4f})"
        parts.append(f"{words} {before:.4f} → {after:.4f}{reference}")
    return ", ".join([*parts, f"{metrics[schema.UNLEARN_SECONDS]:.2f} s"])


def _find_reference(options: UnlearnOptions, source: Source, parent_run_id: str) -> PulledModel | None:
    """The exact retraining of the source's recipe: found, trained, or None, as ``options.reference`` says."""
    if options.reference == "none":
        return None
    wanted = ExactRetrainingOptions.of_recipe(source.options)
    missing = "no exact retraining of this model was run"
    try:
        if found := pull_finished(fingerprint(wanted.identity()), kind="unlearn"):
            return found
    except InputError as error:  # it must not cost the run, whose work is done by now
        missing = f"the exact retraining of this model is lost ({error})"
    if options.reference == "train":
        return pull(run_uri(_unlearn(wanted, source, parent_run_id)[0]))
    print(
        f"note: {missing}, so no gap/… is logged; run exact_retraining with the same source, or give reference=train",
        file=sys.stderr,
    )
    return None
