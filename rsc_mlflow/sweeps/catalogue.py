"""The entry points that a sweep can run, and how it deals with each."""

from collections.abc import Callable, Hashable, Sequence
from typing import Any

from rsc_mlflow.errors import InputError
from rsc_mlflow.experiments.fields import Options
from rsc_mlflow.experiments.options import TrainOptions
from rsc_mlflow.models import stackable
from rsc_mlflow.sweeps.jobs import Experiment, Start

RUN_ID_VARIABLE = "MLFLOW_RUN_ID"


def experiments() -> dict[str, Experiment]:
    """Entry point's name → how a sweep runs it."""
    return {one.name: one for one in (training(), *unlearning(), membership())}


def options_of(name: str) -> type[Options] | None:
    """The options class of an entry point; None if there is no such entry point."""
    found = experiments().get(name)
    return found.options_class if found else None


def training() -> Experiment:
    """``train_classifier``: stacked cohorts; clean models first, since the others are compared with them."""
    return Experiment(
        name="train_classifier",
        options_class=TrainOptions,
        run=_train,
        cohort=cohort_key,
        follows=lambda options: [("train_classifier", options.for_clean())] if options.dataset_name.pattern else [],
        brings=lambda options: [("train_classifier", clean) for clean in options.clean_baselines()],
        resumes=True,
    )


def unlearning() -> list[Experiment]:
    """The unlearning methods: the source model is a training job; so is, with ``reference=train``, the reference."""
    from rsc_mlflow.experiments import unlearning_options as methods
    from rsc_mlflow.experiments.unlearning import unlearn

    classes: list[type[methods.UnlearnOptions]] = [
        methods.ExactRetrainingOptions,
        methods.IncrementalRetrainingOptions,
        methods.GroupInfluenceOptions,
        methods.RelabelFinetuningOptions,
        methods.GradientDifferenceOptions,
    ]

    def reference(options: methods.UnlearnOptions) -> list[tuple[str, Any]]:
        if options.model_uri != methods.AUTO or isinstance(options, methods.ExactRetrainingOptions):
            return []
        return [("exact_retraining", methods.ExactRetrainingOptions.of_recipe(options.training()))]

    def needs(options: methods.UnlearnOptions) -> list[tuple[str, Any]]:
        if options.model_uri != methods.AUTO and isinstance(options, methods.ExactRetrainingOptions):
            raise InputError(  # its run is filed under its source's recipe, which a plan does not know
                f"a grid of exact_retraining takes no model_uri, got {options.model_uri}; "
                "give the data set and training options of the source instead"
            )
        source = [("train_classifier", options.training())] if options.model_uri == methods.AUTO else []
        return source + (reference(options) if options.reference == "train" else [])

    def follows(options: methods.UnlearnOptions) -> list[tuple[str, Any]]:
        return reference(options) if options.reference == "find" else []

    return [Experiment(one.METHOD, one, one_by_one(unlearn), needs=needs, follows=follows) for one in classes]


def membership() -> Experiment:
    """``mem_inference``: the target is a training job of its own; the first job makes the shadow models of all."""
    from rsc_mlflow.experiments.membership import infer_membership
    from rsc_mlflow.experiments.membership_options import MembershipOptions
    from rsc_mlflow.experiments.shadow_models import shadow_fingerprint

    def needs(options: MembershipOptions) -> list[tuple[str, Any]]:
        return [("train_classifier", options.target())] if options.model_uri == "auto" else []

    return Experiment(
        name="mem_inference",
        options_class=MembershipOptions,
        run=one_by_one(infer_membership),
        needs=needs,
        shares=lambda options: [shadow_fingerprint(options.target(), options.shadow_config())],
    )


def cohort_key(options: TrainOptions) -> Hashable:
    """What members of a stacked model share: architecture, data family, batches, epochs and kind of optimiser."""
    model, dataset = options.model_name, options.dataset_name
    if not stackable(model.architecture):
        return None
    shape = (options.epochs, options.batch_size, options.optimizer)
    return (str(model), dataset.family, dataset.quarters, *shape, options.device, options.data_root)


def one_by_one(function: Callable[[Any], object]) -> Callable[[Sequence[Start]], None]:
    """Call ``function(options)`` for each start."""

    def run(starts: Sequence[Start]) -> None:
        for start in starts:
            function(start.options)

    return run


def _train(starts: Sequence[Start]) -> None:
    from rsc_mlflow.experiments.training import TrainingJob, train_members

    train_members([TrainingJob(start.options, run_id=start.run_id) for start in starts])
