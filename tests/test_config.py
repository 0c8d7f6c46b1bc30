"""Training options: the contract's defaults, and a clear refusal of everything else."""

import math
from dataclasses import replace
from typing import Any

import pytest

from rsc_mlflow.errors import InputError
from rsc_mlflow.names import ModelName
from rsc_mlflow.training import TrainingConfig

DEFAULT = TrainingConfig(ModelName.parse("ce-tor-LargeMLP"))


def test_defaults_are_the_contracts() -> None:
    assert DEFAULT.as_dict() == {
        "model": "ce-tor-LargeMLP",
        "epochs": 70,
        "batch_size": 128,
        "optimizer": "sgd",
        "learning_rate": 0.01,
        "momentum": 0.9,
        "weight_decay": 0.0,
        "grad_clip": 0.0,
        "input_noise": 0.0,
        "random_seed": 0,
        "schedule": "steps",
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 0),
        ("epochs", -1),
        ("epochs", 1.5),
        ("epochs", True),
        ("batch_size", 0),
        ("random_seed", -1),
        ("optimizer", "sdg"),
        ("schedule", "cosine"),
        ("precision", "float16"),
        *[("learning_rate", bad) for bad in (0.0, -0.1, math.nan, math.inf, "0.1")],
        *[("momentum", bad) for bad in (-0.1, 1.0, math.nan)],
        *[(name, bad) for name in ("weight_decay", "grad_clip", "input_noise") for bad in (-1.0, math.nan, math.inf)],
    ],
)
def test_a_value_that_is_not_accepted_is_named_with_what_is(name: str, value: object) -> None:
    with pytest.raises(InputError, match=f"Invalid value for '{name}': {value!r}. Expected"):
        replace(DEFAULT, **{name: value})  # type: ignore[arg-type]


def test_plain_values_and_back() -> None:
    options = replace(
        DEFAULT, optimizer="adam", learning_rate=1e-3, precision="tf32", model=ModelName.parse("aug01-ce-tor-ResNet18")
    )
    assert TrainingConfig.from_dict(options.as_dict()) == options
    with pytest.raises(InputError, match="Unknown training option 'dropout'"):
        TrainingConfig.from_dict(options.as_dict() | {"dropout": 1})
    with pytest.raises(InputError, match="'model' is missing"):
        TrainingConfig.from_dict({"epochs": 3})


def test_the_digest_depends_on_every_option() -> None:
    changed: dict[str, Any] = {
        "model": ModelName.parse("ce-tor-MLP"),
        "epochs": 71,
        "batch_size": 64,
        "optimizer": "adam",
        "learning_rate": 0.02,
        "momentum": 0.8,
        "weight_decay": 1e-4,
        "grad_clip": 0.1,
        "input_noise": 0.1,
        "random_seed": 1,
        "schedule": "none",
        "precision": "bf16",
    }
    assert changed.keys() == DEFAULT.as_dict().keys() | {"precision"}
    digests = {DEFAULT.digest()} | {replace(DEFAULT, **{key: value}).digest() for key, value in changed.items()}
    assert len(digests) == len(changed) + 1
