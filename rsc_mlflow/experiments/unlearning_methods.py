"""From options and a source to a method and its config: the one place that knows every unlearning method."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from rsc_mlflow.experiments.unlearning_options import (
    AUTO,
    ExactRetrainingOptions,
    FineTuningOptions,
    GradientDifferenceOptions,
    GroupInfluenceOptions,
    IncrementalRetrainingOptions,
    RelabelFinetuningOptions,
    UnlearnOptions,
)
from rsc_mlflow.experiments.unlearning_source import Source
from rsc_mlflow.unlearning.base import Method
from rsc_mlflow.unlearning.exact_retraining import ExactRetrainingConfig, exact_retraining
from rsc_mlflow.unlearning.finetuning import FineTuning
from rsc_mlflow.unlearning.gradient_difference import CHANCE, GradientDifferenceConfig, gradient_difference
from rsc_mlflow.unlearning.group_influence import GroupInfluenceConfig, group_influence
from rsc_mlflow.unlearning.incremental_retraining import IncrementalRetrainingConfig, incremental_retraining
from rsc_mlflow.unlearning.relabel_finetuning import relabel_finetuning
from rsc_mlflow.unlearning.solvers import SolverConfig


@dataclass(frozen=True, eq=False)
class Plan:
    """A method with its config, ready to run.

    ``epochs`` is the last epoch that the method reports, in its own count; ``offset`` is added to make it the
    epoch since the start of training, which is the step of all metrics.  ``params`` are values that the
    options leave open.
    """

    method: Method[Any]
    config: Any
    epochs: int
    offset: int = 0
    params: dict[str, Any] = field(default_factory=dict)


def plan(options: UnlearnOptions, source: Source) -> Plan:
    """The plan for these options.

    Raises:
        InputError: the method cannot start from this source, e.g. it has been trained for that long already.
    """
    maker = _MAKERS[type(options)]
    return maker(options, source)


def _exact(_: ExactRetrainingOptions, source: Source) -> Plan:
    config = ExactRetrainingConfig(source.prepared.config, source.prepared.dataset.classes)
    return Plan(exact_retraining, config, config.training.epochs)


def _incremental(options: IncrementalRetrainingOptions, source: Source) -> Plan:
    rate = None if isinstance(options.learning_rate, str) else options.learning_rate
    classes = source.prepared.dataset.classes
    config = IncrementalRetrainingConfig(source.checkpoint, int(options.epochs), classes, rate)
    config.check()
    params = {
        "learning_rate": config.effective().learning_rate,
        "epochs_trained": config.epochs - config.start.epoch,
        "optimizer_restored": bool(config.start.optimizer),
        "source_epochs": source.epoch,
        "source_learning_rate": source.options.learning_rate,
    }
    return Plan(incremental_retraining, config, config.epochs, params=params)


def _group_influence(options: GroupInfluenceOptions, source: Source) -> Plan:
    params = {"source_batch_size": source.options.batch_size}
    return Plan(group_influence, influence_config(options, source), 1, source.epoch - 1, params)


def influence_config(options: GroupInfluenceOptions, source: Source) -> GroupInfluenceConfig:
    """The config of group influence, with the source's weight decay as part of the loss."""
    solver = SolverConfig(
        solver=options.solver,  # type: ignore[arg-type]  # the parser accepts SOLVERS only
        tolerance=options.tolerance,
        max_iterations=options.max_iterations,
        recursion_depth=options.recursion_depth,
        repeats=options.repeats,
        scale=options.scale,
        sample_size=int(options.batch_size),
        random_seed=source.options.random_seed,
    )
    return GroupInfluenceConfig(
        solver,
        options.curvature,  # type: ignore[arg-type]  # the parser accepts KINDS only
        options.damping,
        source.options.weight_decay,
        options.curvature_examples,
    )


def _fine_tuning(options: FineTuningOptions, source: Source) -> FineTuning:
    return FineTuning(
        epochs=options.unlearn_epochs,
        learning_rate=options.unlearn_learning_rate,
        optimizer=options.unlearn_optimizer,  # type: ignore[arg-type]  # the parser accepts OPTIMIZERS only
        batch_size=options.unlearn_batch_size,
        forget_batch_size=options.forget_batch_size,
        forget_weight=options.forget_weight,
        retain_examples=options.retain_examples,
        random_seed=source.options.random_seed,
    )


def _relabel(options: RelabelFinetuningOptions, source: Source) -> Plan:
    return Plan(relabel_finetuning, _fine_tuning(options, source), options.unlearn_epochs, source.epoch)


def _gradient_difference(options: GradientDifferenceOptions, source: Source) -> Plan:
    ceiling = CHANCE if options.ceiling == AUTO else float(options.ceiling)
    config = GradientDifferenceConfig(_fine_tuning(options, source), ceiling)
    return Plan(gradient_difference, config, options.unlearn_epochs, source.epoch)


_MAKERS: dict[type[UnlearnOptions], Callable[[Any, Source], Plan]] = {
    ExactRetrainingOptions: _exact,
    IncrementalRetrainingOptions: _incremental,
    GroupInfluenceOptions: _group_influence,
    RelabelFinetuningOptions: _relabel,
    GradientDifferenceOptions: _gradient_difference,
}
METHODS: dict[str, type[UnlearnOptions]] = {options.METHOD: options for options in _MAKERS}
"""Method → its options class."""
