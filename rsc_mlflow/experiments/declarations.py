"""The experiments of this package; unlearning experiments are created from the registered methods.

This module imports neither PyTorch nor MLflow, so that ``--help`` is fast.  The code that runs an experiment is
imported when it is called.
"""

from collections.abc import Hashable, Sequence

from rsc_mlflow.errors import InputError
from rsc_mlflow.experiments.membership_options import MembershipOptions
from rsc_mlflow.experiments.options import TrainOptions
from rsc_mlflow.experiments.scoring_options import OcclusionOptions, ScoreOptions, WeightsOptions
from rsc_mlflow.experiments.spec import ExperimentSpec, Required, Start
from rsc_mlflow.experiments.theory_options import TheoryOptions
from rsc_mlflow.experiments.tour_options import TourOptions
from rsc_mlflow.experiments.unlearning_options import (
    REFERENCE_METHOD,
    UnlearnOptions,
    method_options,
    retrained_reference,
)
from rsc_mlflow.messages import answer
from rsc_mlflow.tracking import schema
from rsc_mlflow.unlearning.base import UnlearningMethod
from rsc_mlflow.unlearning.choices import AUTO

# ---- training


def _train_one(options: TrainOptions) -> None:
    from rsc_mlflow.experiments.training import TrainingJob, train_members

    answer(train_members([TrainingJob(options)])[0].summary)


def _train(starts: Sequence[Start]) -> None:
    from rsc_mlflow.experiments.training import TrainingJob, train_members

    train_members([TrainingJob(start.options, run_id=start.run_id) for start in starts])


def cohort_key(options: TrainOptions, on_gpu: bool) -> Hashable:
    """Return what models must share to be trained together: model name, data, epochs, batch size, optimizer and device.

    None if models of this architecture train faster one after the other on such a device.
    """
    from rsc_mlflow.data import examples_and_shape
    from rsc_mlflow.models import mappable, stackable

    model, dataset = options.model_name, options.dataset_name
    if not stackable(model.architecture):
        if not on_gpu or options.device == "cpu":
            return None
        _, image_shape = examples_and_shape(dataset, options.data_root)
        if not mappable(model.architecture, image_shape, model.augmentation):
            return None
    shape = (options.epochs, options.batch_size, options.optimizer, options.precision)
    return (str(model), dataset.family, dataset.quarters, *shape, options.device, options.data_root)


def _clean_twin(options: TrainOptions) -> Required:
    return [("train_classifier", options.for_clean())] if options.dataset_name.pattern else []


TRAINING = ExperimentSpec(
    name="train_classifier",
    title="training",
    kind="train",
    summary="Train a classifier on a clean or poisoned dataset; compute its spurious score; log and register it.",
    options_class=TrainOptions,
    command=_train_one,
    run=_train,
    cohort=cohort_key,
    runs_after=_clean_twin,
    brings=lambda options: [("train_classifier", clean) for clean in options.clean_baselines()],
    resumes=True,
)


# ---- unlearning: requires the source model and, with ``reference=train``, the retrained reference


def _unlearn_one(options: UnlearnOptions) -> None:
    from rsc_mlflow.experiments.unlearning import unlearned_run

    answer(unlearned_run(options).summary)


def _unlearn(starts: Sequence[Start]) -> None:
    from rsc_mlflow.experiments.gpu_turns import gpu_turn
    from rsc_mlflow.experiments.unlearning import unlearn
    from rsc_mlflow.training import resolve_device

    for start in starts:
        with gpu_turn(resolve_device(start.options.device)):
            unlearn(start.options, run_id=start.run_id)


def _reference(options: UnlearnOptions) -> Required:
    if options.model_uri != AUTO or options.METHOD.name == REFERENCE_METHOD:
        return []
    return [(REFERENCE_METHOD, retrained_reference(options.training()))]


def _source_and_reference(options: UnlearnOptions) -> Required:
    if options.model_uri != AUTO and options.METHOD.name == REFERENCE_METHOD:
        raise InputError(  # the run is identified by its source's training options, which are not known here
            f"A grid of {REFERENCE_METHOD} takes no model_uri, got {options.model_uri}. "
            "Specify the dataset and training options of the source model instead."
        )
    source: Required = [("train_classifier", options.training())] if options.model_uri == AUTO else []
    return [*source, *(_reference(options) if options.reference == "train" else [])]


def unlearning(method: UnlearningMethod) -> ExperimentSpec:
    """Return the experiment of a registered unlearning method."""
    return ExperimentSpec(
        name=method.name,
        title=method.title,
        kind="unlearn",
        summary=method.summary,
        details="Options marked 'Source model' describe how the model to unlearn was trained. Their default, auto, is "
        "the value stored in the run of model_uri or, without model_uri, the default of train_classifier.",
        options_class=method_options(method.name),
        command=_unlearn_one,
        run=_unlearn,
        requires=_source_and_reference,
        runs_after=lambda options: _reference(options) if options.reference == "find" else [],
        records=tuple(schema.UNLEARN_PREFIX + name for name in method.records),
    )


# ---- attacks: require the target; the first job trains the shadow models for all jobs


def _attack_one(options: MembershipOptions) -> None:
    from rsc_mlflow.experiments.membership import infer_membership, print_attacks

    print_attacks(options, infer_membership(options))


def _attack(starts: Sequence[Start]) -> None:
    from rsc_mlflow.experiments.gpu_turns import gpu_turn
    from rsc_mlflow.experiments.membership import infer_membership
    from rsc_mlflow.training import resolve_device

    for start in starts:
        with gpu_turn(resolve_device(start.options.device)):
            infer_membership(start.options, run_id=start.run_id)


def _shadow_models(options: MembershipOptions) -> list[str]:
    from rsc_mlflow.experiments.shadow_models import shadow_fingerprint

    return [shadow_fingerprint(options.target(), options.shadow_config())]


MEMBERSHIP = ExperimentSpec(
    name="mem_inference",
    title="membership inference",
    kind="attack",
    summary="Run membership attacks on a model of a mem… dataset; train it and its shadow models if necessary.",
    options_class=MembershipOptions,
    command=_attack_one,
    run=_attack,
    requires=lambda options: [("train_classifier", options.target())] if options.model_uri == AUTO else [],
    shared_artifacts=_shadow_models,
    details="To see whether spurious examples leak, use the spurious AUC and not the spurious TPR: non-members with "
    "the pattern may be classified as members as well (control FPR).",
)


# ---- experiments that sweeps do not run


def _tour(options: TourOptions) -> None:
    from rsc_mlflow.experiments.tour import run_tour

    run_tour(options.epochs, options.random_seed)


def _score_model(options: ScoreOptions) -> None:
    from rsc_mlflow.experiments.scoring import score, summary

    answer(summary(options, score(options)))


def _visualize_weights(options: WeightsOptions) -> None:
    from rsc_mlflow.experiments.weights import summary, visualize

    answer(summary(visualize(options)))


def _occlusion(options: OcclusionOptions) -> None:
    from rsc_mlflow.experiments.occlusion import measure, summary

    answer(summary(measure(options)))


def _theory(options: TheoryOptions) -> None:
    from rsc_mlflow.experiments.theory import run_theory

    run_theory(options)


TOUR = ExperimentSpec(
    name="main",
    title="tour",
    kind="sweep",
    summary="Train on digits without and with 3 and 20 spurious examples and compare the models; used by quickstart.",
    options_class=TourOptions,
    command=_tour,
)
INSPECTIONS = (
    ExperimentSpec(
        name="score_model",
        title="scoring",
        kind="score",
        summary="Compute the spurious score of a registered model for any pattern and target class.",
        options_class=ScoreOptions,
        command=_score_model,
    ),
    ExperimentSpec(
        name="visualize_weights",
        title="weights",
        kind="score",
        summary="Plot the first-layer weights of one or more MLPs, and the difference between the first two.",
        options_class=WeightsOptions,
        command=_visualize_weights,
    ),
    ExperimentSpec(
        name="occlusion",
        title="occlusion",
        kind="score",
        summary="Measure how the mean probability of the true class falls as non-zero pixels are removed.",
        options_class=OcclusionOptions,
        command=_occlusion,
    ),
    ExperimentSpec(
        name="theory",
        title="theory",
        kind="score",
        summary="Evaluate the paper's linear model for varying shares of spurious examples; check it by simulation.",
        options_class=TheoryOptions,
        command=_theory,
    ),
)
