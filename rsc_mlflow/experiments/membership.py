"""Membership inference as a tracked experiment: a target model, its shadow models, and the attacks on it.

Target and shadow models are trained in child runs and found again by their fingerprints.  A second attack on the same
target therefore trains nothing, and targets that differ only in their seed share shadow models.
"""

import dataclasses
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from rsc_mlflow.attacks.evaluation import AttackOutcome, Role
from rsc_mlflow.attacks.experiment import attack_model, make_population
from rsc_mlflow.attacks.figures import roc_figure, score_figure, thinned
from rsc_mlflow.attacks.metrics import roc_curve
from rsc_mlflow.data import Dataset
from rsc_mlflow.errors import InputError
from rsc_mlflow.experiments import artifacts
from rsc_mlflow.experiments.figures import svg_page
from rsc_mlflow.experiments.membership_options import METHOD, MembershipOptions
from rsc_mlflow.experiments.options import TrainOptions
from rsc_mlflow.experiments.scores import pulled_module
from rsc_mlflow.experiments.shadow_models import find_or_train_shadow_models
from rsc_mlflow.experiments.training import PreparedTraining, TrainingJob, prepare, registrar, train_members
from rsc_mlflow.tracking import schema
from rsc_mlflow.tracking.experiments import where_to_look
from rsc_mlflow.tracking.fingerprint import fingerprint
from rsc_mlflow.tracking.models import log_lineage
from rsc_mlflow.tracking.pull import PulledModel, pull, pull_finished
from rsc_mlflow.tracking.run import TrackedRun, open_run
from rsc_mlflow.training import peak_memory_mb

_logger = logging.getLogger(__name__)

_MAY_DIFFER = ("random_seed", "score_threshold")
"""Options of a target model that may differ from those of its shadow models."""
_COLUMNS = {
    "auc": "AUC",
    "balanced_accuracy": "balanced accuracy",
    "tpr_at_fpr_0.01": "TPR at FPR 1 %",
    "spurious_tpr": "spurious TPR",
    "control_fpr": "control FPR",
    "spurious_auc": "spurious AUC",
}
"""Columns of the printed table: measures and headings."""


def infer_membership(options: MembershipOptions, *, run_id: str | None = None) -> dict[str, float]:
    """Find or train target and shadow models, run and log the attacks; return the metrics of the attacks.

    Args:
        options: options of ``mem_inference``.
        run_id: an empty run to use; None: see :func:`rsc_mlflow.tracking.run.open_run`.

    Raises:
        InputError: invalid input, or models cannot be registered; raised before a run is opened or a model trained.
    """
    began = time.perf_counter()
    prepared = prepare(TrainingJob(options.target()))
    population = make_population(prepared.dataset, options.shadow_config())
    given = None if options.model_uri == "auto" else _checked(pull(options.model_uri), options)
    shadow_registrar = registrar(options.target())
    params = prepared.params() | options.as_params() | {"score_threshold": options.resolved_threshold}
    named = dataclasses.replace(options, model_uri=given.model_uri) if given else options  # an alias can move
    digest = fingerprint(named.identity())
    name = f"{METHOD} {options.dataset} {options.model_name.architecture} seed {options.random_seed}"
    tags = {schema.FINGERPRINT: digest}
    with open_run(kind="attack", method=METHOD, name=name, params=params, tags=tags, run_id=run_id) as run:
        artifacts.log_description(run, prepared.dataset, params, digest)
        source = given or _find_or_train_target(prepared, run.run_id)
        run.set_tags({schema.SOURCE_MODEL_URI: source.model_uri, schema.SOURCE_RUN_ID: source.run_id})
        log_lineage(run, source.model_id)
        shadows = find_or_train_shadow_models(
            options.target(), options.shadow_config(), prepared.dataset, population, run.run_id, shadow_registrar
        )
        target = pulled_module(source, prepared.dataset)
        attacks = options.parsed_attacks()
        outcomes = attack_model(target, shadows, prepared.dataset, population, attacks, prepared.device)
        metrics = log_outcomes(run, outcomes, prepared.dataset, options.epochs)
        costs = {
            schema.SECONDS: time.perf_counter() - began,
            schema.PEAK_MEMORY_MB: peak_memory_mb(prepared.device),
        }
        run.metrics(costs, options.epochs)
    _logger.info("%s: attacked %s; %s", name, source.model_uri, where_to_look(run.experiment_id, run.run_id))
    return metrics


def _find_or_train_target(prepared: PreparedTraining, parent_run_id: str) -> PulledModel:
    found = pull_finished(prepared.job.fingerprint, kind="train")
    return found or pull(train_members([prepared.job], parent_run_id)[0].model_uri)


def _checked(source: PulledModel, options: MembershipOptions) -> PulledModel:
    """Return a target given by URI after checking that it matches the options.

    Raises:
        InputError: it is neither a trained nor an unlearned model, or its dataset, model or training options differ.
    """
    kind = source.run.data.tags.get(schema.KIND)
    if kind not in ("train", "unlearn"):
        raise InputError(
            f"{options.model_uri} is a model of kind {kind}, which was not trained on target-train. "
            "Expected a trained or an unlearned model."
        )
    if source.dataset != options.dataset_name:
        fitting = f"Use dataset={source.dataset} or another model" if source.dataset.quarters else "Use a model of it"
        raise InputError(
            f"{options.model_uri} was trained on {source.dataset}, but dataset is {options.dataset}. {fitting}."
        )
    names = [field.name for field in dataclasses.fields(TrainOptions)]
    if kind == "unlearn":
        names = ["dataset", "model", "pattern_seed"]  # the others are those of the unlearning
    stored = TrainOptions.from_mapping({name: source.params[name] for name in names if name in source.params})
    theirs, ours = stored.identity(), options.target().identity()
    for name in names:
        if name in ours and name not in _MAY_DIFFER and theirs.get(name) != ours[name]:
            trained = theirs.get(name, getattr(stored, name))
            raise InputError(
                f"{options.model_uri} was trained with {name}={trained}, but shadow models would be trained with "
                f"{name}={ours[name]}. Use {name}={trained}."
            )
    return source


def log_outcomes(run: TrackedRun, outcomes: Sequence[AttackOutcome], dataset: Dataset, step: int) -> dict[str, float]:
    """Log metrics, figures, ROC curves and the scores of spurious members; return the metrics."""
    metrics = {
        schema.attack(outcome.attack.name, measure): value
        for outcome in outcomes
        for measure, value in outcome.measures().items()
    }
    run.metrics(metrics, step)
    page = svg_page([roc_figure(outcomes), score_figure(outcomes)], f"{run.name}: membership attacks")
    run.log_text(page, f"{schema.FIGURES}/roc.html")
    run.log_json(_curves(outcomes), schema.ROC)
    if len(dataset.spurious_indices):
        run.log_json(_spurious_record(outcomes, dataset), schema.SPURIOUS_MEMBERS)
    return metrics


def _curves(outcomes: Sequence[AttackOutcome]) -> dict[str, Any]:
    """Return the content of ``roc.json``: thinned curves by attack; ``{attack}/spurious`` is versus controls."""
    pairs = {outcome.attack.name: outcome.ordinary()[:2] for outcome in outcomes}
    pairs |= {f"{outcome.attack.name}/spurious": outcome.spurious() for outcome in outcomes if outcome.leak}
    curves = {name: thinned(roc_curve(*pair)) for name, pair in pairs.items()}
    return {name: {"fpr": fpr.round(6).tolist(), "tpr": tpr.round(6).tolist()} for name, (fpr, tpr) in curves.items()}


def _spurious_record(outcomes: Sequence[AttackOutcome], dataset: Dataset) -> dict[str, Any]:
    return {
        "indices": sorted(dataset.spurious_indices.tolist()),  # queries have the order of the training set
        "scores": {outcome.attack.name: outcome.scores(Role.SPURIOUS).tolist() for outcome in outcomes},
        "thresholds": {outcome.attack.name: outcome.result.threshold for outcome in outcomes},
    }


def print_attacks(options: MembershipOptions, metrics: Mapping[str, float]) -> None:
    """Print a table of the attacks' metrics."""
    table = Table(title=f"Membership attacks on {options.dataset}")
    for heading in ("attack", *_COLUMNS.values()):
        table.add_column(heading, justify="left" if heading == "attack" else "right")
    for attack in options.parsed_attacks():
        values = [metrics.get(schema.attack(attack.name, measure)) for measure in _COLUMNS]
        table.add_row(attack.title, *("–" if value is None else f"{value:.3f}" for value in values))
    Console(width=140).print(table)
