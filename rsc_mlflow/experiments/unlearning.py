"""Unlearning as a tracked experiment, with the same steps for every method.

The steps are: pull and check the source model, score it, run the method, score the result, compare it with the
retrained reference, log and register the model, and link the runs.
"""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from rsc_mlflow.errors import InputError
from rsc_mlflow.experiments import artifacts
from rsc_mlflow.experiments.clean_baseline import compare_with_clean
from rsc_mlflow.experiments.influence_ranking import log_influences
from rsc_mlflow.experiments.progress import TrainingProgress
from rsc_mlflow.experiments.scores import evaluate, logits_of, norm_metric, pulled_module
from rsc_mlflow.experiments.unlearning_evaluation import UnlearningEvaluation, divergences, evaluate_unlearning, gaps
from rsc_mlflow.experiments.unlearning_options import REFERENCE_METHOD, UnlearnOptions, retrained_reference
from rsc_mlflow.experiments.unlearning_source import SourceModel, find_source
from rsc_mlflow.experiments.unlearning_verdict import DESTROYED, sentence, verdict
from rsc_mlflow.scoring import SpuriousScores
from rsc_mlflow.tracking import schema
from rsc_mlflow.tracking.experiments import run_link, where_to_look
from rsc_mlflow.tracking.fingerprint import fingerprint
from rsc_mlflow.tracking.models import log_lineage, log_model
from rsc_mlflow.tracking.pull import PulledModel, pull, pull_finished, run_uri
from rsc_mlflow.tracking.registration import Registrar
from rsc_mlflow.tracking.run import TrackedRun, open_run
from rsc_mlflow.training import peak_memory_mb
from rsc_mlflow.unlearning.base import MethodConfig, Unlearned
from rsc_mlflow.unlearning.choices import AUTO
from rsc_mlflow.unlearning.gradients import summed_gradient
from rsc_mlflow.unlearning.methods.group_influence import GroupInfluenceConfig
from rsc_mlflow.unlearning.parameters import FlatModel, parameter_distance
from rsc_mlflow.unlearning.saturation import before_the_method

_logger = logging.getLogger(__name__)

_EPOCH_METRICS = {
    "loss": schema.TRAIN_LOSS,
    "accuracy": schema.TRAIN_ACCURACY,
    "learning_rate": schema.LEARNING_RATE,
    "forget_loss": schema.FORGET_LOSS,
}
"""Metrics that any method may report after an epoch, and the names under which they are logged."""
_SHOWN = {
    schema.TRAIN_LOSS: "train loss",
    schema.TRAIN_ACCURACY: "train accuracy",
    schema.TEST_ACCURACY: "test accuracy",
    schema.FORGET_LOSS: "forget loss",
}
"""Metrics shown in progress lines in addition to scores, and their labels."""


@dataclass(frozen=True)
class UnlearnResult:
    """The result of a finished unlearning run.

    Attributes:
        run_id: id of the run.
        metrics: the final metrics.
        summary: one line with the result, the model and the address of the run, and one with the verdict, if any.
    """

    run_id: str
    metrics: dict[str, float]
    summary: str


def unlearn(
    options: UnlearnOptions, *, run_id: str | None = None, parent_run_id: str | None = None
) -> dict[str, float]:
    """Unlearn the spurious examples of a registered model; return the final metrics of the run.

    Args:
        options: options of the method's command.
        run_id: an empty run to use; None: see :func:`rsc_mlflow.tracking.run.open_run`.
        parent_run_id: parent of a new run.

    Raises:
        InputError: an option is invalid (raised before a run is opened), or the method cannot unlearn this model.
    """
    return _unlearn(options, find_source(options), run_id, parent_run_id).metrics


def unlearned_run(options: UnlearnOptions) -> UnlearnResult:
    """Call :func:`unlearn` with a new run; return the result with the run's id and a summary."""
    return _unlearn(options, find_source(options), None, None)


def _unlearn(
    options: UnlearnOptions, source: SourceModel, run_id: str | None, parent_run_id: str | None
) -> UnlearnResult:
    config = options.config(source)
    architecture = source.pulled.model.architecture
    registrar = Registrar.checked(options.register, source.options.dataset_name.family, architecture)
    params = _params(options, source, config)
    method = options.METHOD.name
    words = (method, source.options.dataset, architecture, source.options.optimizer)
    tags = {
        schema.FINGERPRINT: _fingerprint(options, source),
        schema.SOURCE_MODEL_URI: source.pulled.model_uri,
        schema.SOURCE_RUN_ID: source.pulled.run_id,
        schema.DESCRIPTION: _lineage(source.pulled),
    }
    with open_run(
        kind="unlearn",
        method=method,
        name=" ".join([*words, f"seed {source.options.random_seed}"]),
        params=params,
        tags=tags,
        run_id=run_id,
        parent_run_id=parent_run_id,
    ) as run:
        artifacts.log_description(run, source.prepared.dataset, params, tags[schema.FINGERPRINT])
        registrar.announce(run)
        return _Unlearning(options, source, config, run, registrar).carry_out()


def _lineage(source: PulledModel) -> str:
    """Return the description of the run in MLflow's UI: the unlearned model, with a link to its run."""
    info = source.run.info
    link = run_link(info.experiment_id, info.run_id, info.run_name or info.run_id)
    return f"Unlearns {source.model_uri} of {link}."


def _params(options: UnlearnOptions, source: SourceModel, config: MethodConfig) -> dict[str, Any]:
    """Return the parameters to log: the source's training options, the method's options, and derived values."""
    recipe = source.prepared.params()
    for name in ("checkpoint_every", "keep_checkpoints", "resume_run_id"):
        del recipe[name]
    shared = ("device", "data_root", "model_uri", "reference", "score_every", "register")
    own = {name: getattr(options, name) for name in shared} | options.own()
    hidden = {f"source_{name}": getattr(source.options, name) for name in options.HIDDEN}
    return recipe | own | hidden | config.params(source)


def _fingerprint(options: UnlearnOptions, source: SourceModel) -> str:
    """Return a hash of all options that affect the result.

    A source given by URI is replaced by its model id, because an alias can move.  For exact retraining, the source's
    training options are used instead, so that the run can be found as a reference.
    """
    if options.METHOD.name == REFERENCE_METHOD:
        options = retrained_reference(source.options)
    elif options.model_uri != AUTO:
        options = replace(options, model_uri=source.pulled.model_uri)
    return fingerprint(options.identity())


class _Unlearning:
    """One open unlearning run."""

    def __init__(
        self, options: UnlearnOptions, source: SourceModel, config: MethodConfig, run: TrackedRun, registrar: Registrar
    ) -> None:
        self.options, self.source, self.config, self.run, self.registrar = options, source, config, run, registrar
        self.method = options.METHOD
        self.dataset, self.device = source.prepared.dataset, source.prepared.device
        self.epochs, self.offset = config.last_epoch(), config.offset(source)
        self.step = self.epochs + self.offset
        self._started = time.perf_counter()
        self._compared: dict[str, SpuriousScores] = {}

    def carry_out(self) -> UnlearnResult:
        """Run all steps."""
        log_lineage(self.run, self.source.pulled.model_id)
        before = evaluate_unlearning(self.source.module, self.source)
        self._compared["before"] = before.scores
        gradient = self._gradient(before)
        done, after, seconds = self._run_method()
        metrics = {schema.BEFORE_PREFIX + name: value for name, value in before.compared.items()}
        metrics |= after.metrics | norm_metric(self.dataset) | gradient | self._update_metrics(done, seconds)
        against_clean = compare_with_clean(after.scores, self.dataset, self.source.options, self.device)
        self.run.set_tags(against_clean.tags)
        if against_clean.note:
            self.run.add_note(against_clean.note)
        metrics |= against_clean.metrics
        metrics |= self._compare(before, after, seconds)
        if isinstance(self.config, GroupInfluenceConfig) and self.config.influences:
            metrics |= log_influences(self.run, self.source, self.config)
        metrics |= self._costs()
        self.run.metrics(metrics, self.step)
        fault = self._note(done.notes, metrics)
        model = self._store(done.model, after, metrics)
        where = f"model {model}; {where_to_look(self.run.experiment_id, self.run.run_id)}"
        summary = "\n".join([f"{self.run.name}: {self._summary(metrics)}; {where}", *fault])
        return UnlearnResult(self.run.run_id, metrics, summary)

    def _gradient(self, before: UnlearningEvaluation) -> dict[str, float]:
        """Return the norm of the forgotten examples' summed gradient; print a note if the method cannot use it."""
        if self.source.training.model.loss != "ce":
            return {}
        forget = self.source.forget.to(self.device)
        norm = float(summed_gradient(FlatModel(self.source.module), forget).norm())
        confidence = before.metrics[schema.FORGET_CONFIDENCE]
        needs_gradient = self.config.NEEDS_GRADIENT
        text = before_the_method(self.method.name, confidence, norm, len(forget), needs_gradient=needs_gradient)
        if text:
            _logger.warning(text)
        return {schema.GRADIENT_NORM: norm}

    def _run_method(self) -> tuple[Unlearned, UnlearningEvaluation, float]:
        """Run the method; return its result, the evaluation, and the seconds without scoring and logging."""
        forget, retain = self.source.forget.to(self.device), self.source.retain.to(self.device)
        with TrainingProgress(self.run.name, self.epochs) as progress:
            observe = _Observer(self, progress)
            began = time.perf_counter()
            done = self.method.run(self.source.module, forget, retain, self.config, observe)
            seconds = time.perf_counter() - began - observe.seconds
            after = evaluate_unlearning(done.model, self.source)
            observe.show(self.epochs, after.metrics)
        return done, after, seconds

    def score_epoch(self, model: nn.Module, epoch: int) -> dict[str, float]:
        """Return the scores of an epoch before the last, if they are due."""
        every = self.options.score_every
        if every == 0 or epoch % every:
            return {}
        found = evaluate(logits_of(model, self.device), self.dataset, self.source.options.resolved_threshold)
        return found.metrics(self.dataset.name.targets)

    def named(self, figures: Mapping[str, float]) -> dict[str, float]:
        """Return the values that a method reported, by the names of metrics.

        Raises:
            InputError: the method did not declare one of them.
        """
        self.method.check_declared(figures)
        return {_EPOCH_METRICS.get(name, schema.UNLEARN_PREFIX + name): value for name, value in figures.items()}

    def _update_metrics(self, done: Unlearned, seconds: float) -> dict[str, float]:
        return {
            **self.named(done.record),
            schema.PARAMETER_DISTANCE: parameter_distance(self.source.module, done.model),
            schema.UNLEARN_SECONDS: seconds,
        }

    def _compare(self, before: UnlearningEvaluation, after: UnlearningEvaluation, seconds: float) -> dict[str, float]:
        """Return gaps, divergences and speed-up relative to the retrained reference; exact retraining is its own."""
        if self.method.name == REFERENCE_METHOD:
            self.run.set_tags({schema.REFERENCE_RUN_ID: self.run.run_id})
            return _against(before, after, after) | {schema.SPEEDUP: 1.0}
        reference = _find_retrained_reference(self.options, self.source, self.run.run_id)
        if reference is None:
            return {}
        self.run.set_tags({schema.REFERENCE_RUN_ID: reference.run_id})
        module = pulled_module(reference, self.dataset).to(self.device).eval()
        retrained = evaluate_unlearning(module, self.source)
        self._compared["retrained_reference"] = retrained.scores
        found = _against(before, after, retrained)
        return found | {schema.SPEEDUP: reference.run.data.metrics[schema.UNLEARN_SECONDS] / seconds}

    def _costs(self) -> dict[str, float]:
        return {
            schema.SECONDS: time.perf_counter() - self._started,
            schema.PEAK_MEMORY_MB: peak_memory_mb(self.device),
        }

    def _store(self, model: nn.Module, after: UnlearningEvaluation, metrics: Mapping[str, float]) -> str:
        """Log the model and its figures, register it unless it is destroyed, and return its alias or URI."""
        model_uri = log_model(self.run, model, self.dataset.test.images[:2], self.step)
        curves = self.epochs > 1
        history = artifacts.curves(self.run) if curves else None
        artifacts.log_figures(self.run, self.dataset, after.evaluation, history=history, others=self._compared)
        registered = None
        if verdict(metrics) != DESTROYED:
            dataset, method = str(self.dataset.name), self.method.name
            registered = self.registrar.register(
                self.run, model_uri, dataset=dataset, kind="unlearn", method=method, metrics=metrics
            )
        return registered.alias_uri if registered else f"{model_uri} (not registered)"

    def _note(self, notes: tuple[str, ...], metrics: Mapping[str, float]) -> tuple[str, ...]:
        """Store notes and the verdict as a tag and as the run's description; return the verdict, if any."""
        targets, fault = self.dataset.name.targets, sentence(metrics)
        if verdict(metrics) == DESTROYED and self.options.register:
            fault += f" It was not registered. Its URI is {run_uri(self.run.run_id)}."
        both = f"Scores of both classes: {_scores(metrics, targets)}." if len(targets) > 1 else ""
        if text := " ".join(filter(None, [*notes, fault, both])):
            self.run.add_note(text)
        if fault:
            self.run.set_tags({schema.VERDICT: verdict(metrics)})
        if notes:
            _logger.warning(" ".join(notes))
        return (fault,) if fault else ()

    def _summary(self, metrics: Mapping[str, float]) -> str:
        """Return the main metrics in one line: before → after (retrained reference)."""
        parts = [
            _scores(metrics, self.dataset.name.targets),
            f"test accuracy {_change(metrics, schema.TEST_ACCURACY, '.4f')}",
            f"forget loss {_change(metrics, schema.FORGET_LOSS, '.4g')}",
            f"forget confidence {_change(metrics, schema.FORGET_CONFIDENCE, '.4f')}",
            f"{metrics[schema.UNLEARN_SECONDS]:.2f} s",
        ]
        return ", ".join(parts)


class _Observer:
    """Logs and shows the epochs of a method; ``seconds`` is the total time that this takes."""

    def __init__(self, unlearning: _Unlearning, progress: TrainingProgress) -> None:
        self._unlearning, self._progress = unlearning, progress
        self._measured: dict[str, float] = {}
        self.seconds = 0.0

    def __call__(self, epoch: int, model: nn.Module, figures: Mapping[str, float]) -> None:
        """Log an epoch and show it, except the last one, which is shown after the final evaluation."""
        began, unlearning = time.perf_counter(), self._unlearning
        self._measured = unlearning.named(figures)
        if epoch < unlearning.epochs:
            self._measured |= unlearning.score_epoch(model, epoch)
            self.show(epoch, {})
        unlearning.run.metrics(self._measured, epoch + unlearning.offset)
        self.seconds += time.perf_counter() - began

    def show(self, epoch: int, more: Mapping[str, float]) -> None:
        """Show the progress line of an epoch."""
        measured, targets = {**self._measured, **more}, self._unlearning.dataset.name.targets
        values = {words: measured.get(name) for name, words in _SHOWN.items()}
        names = {f"score of class {k}" if len(targets) > 1 else "score": schema.score_target(k) for k in targets}
        self._progress.update(epoch, values | {words: measured.get(name) for words, name in names.items()})


def _against(
    before: UnlearningEvaluation, after: UnlearningEvaluation, reference: UnlearningEvaluation
) -> dict[str, float]:
    """Return the gaps of the result, and the divergences of source and result from the reference."""
    source = {schema.BEFORE_PREFIX + name: value for name, value in divergences(before, reference).items()}
    return gaps(after, reference) | divergences(after, reference) | source


def _scores(metrics: Mapping[str, float], targets: tuple[int, ...]) -> str:
    """Return the spurious score of each target class as text: before → after (retrained reference)."""
    if len(targets) == 1:
        return f"spurious score {_change(metrics, schema.SPURIOUS_SCORE, '.4f')}"
    parts = [f"of class {k} {_change(metrics, schema.score_target(k), '.4f')}" for k in targets]
    return f"spurious score {', '.join(parts)}"


def _change(metrics: Mapping[str, float], name: str, digits: str) -> str:
    after, gap = metrics[name], metrics.get(schema.GAP_PREFIX + name)
    reference = "" if gap is None else f" (retrained reference {after - gap:{digits}})"
    return f"{metrics[schema.BEFORE_PREFIX + name]:{digits}} → {after:{digits}}{reference}"


def _find_retrained_reference(options: UnlearnOptions, source: SourceModel, parent_run_id: str) -> PulledModel | None:
    """Return the exact retraining of the source model: found, trained or None, depending on ``options.reference``."""
    if options.reference == "none":
        return None
    wanted = retrained_reference(source.options)
    missing = "No exact retraining of this model was run"
    try:
        if found := pull_finished(fingerprint(wanted.identity()), kind="unlearn"):
            return found
    except InputError as error:  # the run is almost finished and must not fail
        missing = f"The exact retraining of this model cannot be loaded ({error})"
    if options.reference == "train":
        return pull(run_uri(_unlearn(wanted, source, None, parent_run_id).run_id))
    _logger.warning(
        "%s, so no metrics gap/… are logged. Run exact_retraining with the same source, or use reference=train.",
        missing,
    )
    return None
