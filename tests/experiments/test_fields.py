"""Options: one validation path, errors that say what is accepted."""

from dataclasses import replace

import pytest

from rsc_mlflow.errors import InputError
from rsc_mlflow.experiments.membership_options import MembershipOptions
from rsc_mlflow.experiments.options import TrainOptions
from rsc_mlflow.experiments.scoring_options import WeightsOptions
from rsc_mlflow.experiments.unlearning_options import UnlearnOptions, method_options
from rsc_mlflow.fields import Options, option_fields
from rsc_mlflow.sweeps.options import SweepOptions
from rsc_mlflow.tracking.fingerprint import fingerprint

ExactRetrainingOptions = method_options("exact_retraining")
RelabelFinetuningOptions = method_options("relabel_finetuning")


def test_the_contracts_defaults() -> None:
    options = TrainOptions(dataset="mnist")
    assert options.as_params() == {
        "dataset": "mnist", "model": "ce-tor-LargeMLP", "epochs": "70", "batch_size": "128", "optimizer": "sgd",
        "learning_rate": "0.01", "momentum": "0.9", "weight_decay": "0", "grad_clip": "0", "input_noise": "0",
        "random_seed": "0", "pattern_seed": "auto", "checkpoint_every": "10", "keep_checkpoints": "2",
        "score_every": "1",
        "schedule": "steps", "precision": "float32", "score_threshold": "auto", "register": "auto", "clean_seeds": "10",
        "resume_run_id": "none",
        "device": "auto", "data_root": "auto",
    }  # fmt: skip


def test_parameters_typed_again_give_the_same_options() -> None:
    options = TrainOptions(dataset="fashionv8-3-1-7", learning_rate=1e-5, weight_decay=0.1 + 0.2, register=False)
    assert TrainOptions.from_mapping(options.as_params()) == options


@pytest.mark.parametrize(
    ("given", "kept"),
    [("auto", "auto"), ("true", True), ("TRUE", True), ("False", False), (True, True), (False, False)],
)
def test_register_is_auto_or_a_boolean_in_any_case(given: object, kept: object) -> None:
    assert TrainOptions.from_mapping({"dataset": "digits", "register": given}).register == kept
    assert RelabelFinetuningOptions.from_mapping({"dataset": "digitsv20-3-0-0", "register": given}).register == kept


def test_what_unlearning_trains_is_registered_as_it_is_itself() -> None:
    options = RelabelFinetuningOptions(dataset="digitsv20-3-0-0", register=False)
    assert options.training().register is False
    assert ExactRetrainingOptions.of_recipe(options.training()).register is False


@pytest.mark.parametrize(
    ("name", "value", "accepted"),
    [
        ("epochs", "0", "an integer from 1"),
        ("epochs", "-3", "an integer from 1"),
        ("epochs", "1.5", "an integer"),
        ("epochs", "1_0", "an integer"),
        ("learning_rate", "nan", "a finite number > 0"),
        ("learning_rate", "1_0", "a finite number > 0"),
        ("learning_rate", "٣", "a finite number > 0"),
        ("data_root", "a\0b", "without NUL"),
        ("learning_rate", "inf", "a finite number > 0"),
        ("learning_rate", "0", "> 0"),
        ("momentum", "1", "< 1"),
        ("weight_decay", "-1", "≥ 0"),
        ("optimizer", "lion", "sgd, adam, adagrad, rms"),
        ("schedule", "cosine", "steps, none"),
        ("register", "yes", "auto, or true or false"),
        ("pattern_seed", "x", "auto"),
        ("score_threshold", "1", "< 1"),
        ("model", "ce-tor-HugeMLP", "LargeMLP"),
        ("model", "LargeMLP", "ce-tor-LargeMLP"),
        ("dataset", "mnistv21-3-0-0", "v20"),
        ("dataset", "mnistv20-3-10-0", "0 to 9"),
        ("dataset", "mnist-20", "mnistv20-3-0-0"),
    ],
)
def test_bad_values_name_the_option_and_what_is_accepted(name: str, value: str, accepted: str) -> None:
    with pytest.raises(InputError) as caught:
        TrainOptions.from_mapping({"dataset": "mnist"} | {name: value})
    assert name in str(caught.value)
    assert accepted in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unknown_and_missing_options() -> None:
    with pytest.raises(InputError, match="Did you mean 'epochs'"):
        TrainOptions.from_mapping({"dataset": "mnist", "epoch": "3"})
    with pytest.raises(InputError, match=r"'dataset' is missing\. Expected a dataset name"):
        TrainOptions.from_mapping({})
    with pytest.raises(InputError, match=r"'grid' is missing\. Path of a grid file"):
        SweepOptions.from_mapping({})


@pytest.mark.parametrize("options", [UnlearnOptions, MembershipOptions, WeightsOptions])
def test_an_empty_model_uri_means_auto(options: type[Options]) -> None:
    (field,) = [field for field in option_fields(options) if field.name == "model_uri"]
    assert field.metadata["parse"]("model_uri", "") == field.default == "auto"
    with pytest.raises(InputError, match="not only spaces"):
        field.metadata["parse"]("model_uri", " ")


def identity(**changes: object) -> dict[str, object]:
    return TrainOptions.from_mapping({"dataset": "mnistv20-3-0-0"} | changes).identity()


def test_the_identity_ignores_what_cannot_change_a_result() -> None:
    same = {
        "device": "cpu",
        "score_every": 5,
        "checkpoint_every": 0,
        "register": False,
        "epochs": "70",
        "pattern_seed": 0,
    }
    assert identity(**same) == identity()
    for register in ("auto", "true", "False", True):
        assert identity(register=register) == identity()
    assert identity(optimizer="adam", momentum=0) == identity(optimizer="adam")


@pytest.mark.parametrize(
    "change",
    [
        {"dataset": "mnistv20-3-0-1"}, {"model": "ce-tor-MLP"}, {"epochs": 71}, {"batch_size": 64},
        {"optimizer": "adam"}, {"learning_rate": 0.02}, {"momentum": 0}, {"weight_decay": 1e-4},
        {"grad_clip": 1}, {"input_noise": 0.1}, {"random_seed": 1}, {"pattern_seed": 1}, {"schedule": "none"},
        {"score_threshold": 0.2}, {"precision": "bf16"}, {"precision": "tf32"},
    ],
)  # fmt: skip
def test_the_identity_holds_everything_that_decides_a_result(change: dict[str, object]) -> None:
    assert identity(**change) != identity()


def test_the_cpu_computes_in_float32_only() -> None:
    with pytest.raises(InputError, match=r"'precision': 'bf16'. Expected float32 with device=cpu, or a CUDA device"):
        TrainOptions.from_mapping({"dataset": "digits", "precision": "bf16", "device": "cpu"})
    assert "precision" not in identity(precision="float32")


def test_the_clean_twin_shares_the_training() -> None:
    twin = TrainOptions(dataset="mnistv20-3-0-5", epochs=12).for_clean()
    assert (twin.dataset, twin.epochs) == ("mnist", 12)


@pytest.mark.parametrize(
    ("given", "known"),
    [
        ({"dataset": "mnistv20-3-0-0"}, "b5168b59a8e2d5d0010c5efe5aef59c2d002997ddd5d2e7b96192d12d43d2005"),
        (
            {"dataset": "digits", "optimizer": "adam", "momentum": 0, "epochs": 30},
            "cb683f456b9d2bdaadd5e408a54a517af1ffb785c9adf5bd5c53c9ab45b2c59c",
        ),
        (
            {"dataset": "memfashionv20-10-0-3", "random_seed": 3, "pattern_seed": 0},
            "42c8877019c48e43e67fc89991dd9f86518449105ab49122cd8da7db149a249d",
        ),
    ],
)
def test_fingerprints_of_stored_runs_stay_valid(given: dict[str, object], known: str) -> None:
    """Fingerprints as an earlier version of the code logged them."""
    assert fingerprint(TrainOptions.from_mapping(given).identity()) == known


@pytest.mark.parametrize(
    ("given", "outdated"),
    [
        (
            {"dataset": "mnist", "model": "ce-tor-CNN002"},
            "b30ada9f4d54ac2f8ae451302f73d56bb948ec5b3747b5fcc7712ecb31b53642",
        ),
        ({"dataset": "twoclassmnistv20-20-0-1-0"}, "b91135360d7abe1a6e77eb682cf336109fcb7de1637092da177b1cfc1ca1b780"),
    ],
)
def test_runs_whose_results_changed_count_as_other_jobs(given: dict[str, object], outdated: str) -> None:
    options = TrainOptions.from_mapping(given)
    assert fingerprint(options.identity()) != outdated
    assert fingerprint(options.identity() | {"format": 1}) == outdated


def test_the_clean_baselines_of_a_recipe_differ_in_their_training_seed_alone() -> None:
    options = TrainOptions(dataset="mnistv20-3-0-5", epochs=12, random_seed=7, clean_seeds=3)
    assert options.clean_baselines() == [replace(options.for_clean(), random_seed=seed) for seed in (0, 1, 2)]
    assert TrainOptions(dataset="mnist", clean_seeds=3).clean_baselines() == []
