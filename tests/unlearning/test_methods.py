"""What methods share: sets of examples, registration, and configs that take values from the source model."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import nn

from rsc_mlflow.config import TrainingConfig
from rsc_mlflow.errors import InputError
from rsc_mlflow.fields import integer, option
from rsc_mlflow.names import ModelName
from rsc_mlflow.training import Checkpoint
from rsc_mlflow.unlearning.base import (
    EPOCH_FIGURES,
    METHODS,
    Examples,
    MethodConfig,
    Observe,
    Unlearned,
    UnlearningMethod,
    methods,
    of_source,
    register_method,
)
from rsc_mlflow.unlearning.methods.group_influence import GroupInfluenceConfig
from tests.unlearning.worlds import blobs, part


@dataclass(frozen=True)
class Source:
    """A source model trained for two epochs of four."""

    training: TrainingConfig
    classes: int = 10
    epoch: int = 2

    @property
    def checkpoint(self) -> Checkpoint:
        return Checkpoint(self.epoch, self.training, {}, learning_rate=0.25)


def source(loss: str = "ce") -> Source:
    return Source(TrainingConfig(ModelName.parse(f"{loss}-tor-MLP"), epochs=4, weight_decay=0.5, random_seed=7))


def test_the_built_in_methods_have_a_title_and_the_first_line_of_their_docstring() -> None:
    found = {method.name: method.title for method in methods()}
    assert found == {
        "exact_retraining": "exact retraining",
        "gradient_difference": "gradient difference",
        "group_influence": "group influence",
        "incremental_retraining": "incremental retraining",
        "relabel_finetuning": "relabel fine-tuning",
    }
    assert all((method.run.__doc__ or "").startswith(method.summary) for method in methods())


def test_a_method_is_registered_under_the_name_of_its_function(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(METHODS, "_values", dict(METHODS.registered()))

    @register_method(title="Nothing at all", config=MethodConfig, records=("steps", "size"))
    def absent(
        model: nn.Module, forget: Examples, retain: Examples, config: MethodConfig, observe: Observe | None = None
    ) -> Unlearned:
        """Leave the model as it is.

        More about it.
        """
        return Unlearned(model, {})

    @register_method(title="Without a docstring", config=MethodConfig)
    def bare(
        model: nn.Module, forget: Examples, retain: Examples, config: MethodConfig, observe: Observe | None = None
    ) -> Unlearned:
        return Unlearned(model, {})

    expected = UnlearningMethod(
        "absent", "Nothing at all", "Leave the model as it is.", MethodConfig, absent, ("steps", "size")
    )
    assert METHODS["absent"] == expected
    assert (METHODS["bare"].summary, METHODS["bare"].records) == ("Without a docstring", ())
    assert [method.name for method in methods()][-2:] == ["absent", "bare"]  # after those that are built in
    expected.check_declared(dict.fromkeys(("steps", "size", *EPOCH_FIGURES), 0.0))
    with pytest.raises(InputError, match=r"'absent' reported the undeclared metric 'shape'.* which has steps, size"):
        expected.check_declared({"loss": 0.0, "shape": 0.0})
    with pytest.raises(InputError, match="which has none"):
        METHODS["bare"].check_declared({"steps": 0.0})
    with pytest.raises(InputError, match="already registered"):
        register_method(title="Again", config=MethodConfig)(bare)


@dataclass(frozen=True, kw_only=True)
class Config(MethodConfig):
    LOSSES = ("ce", "kld")

    kind: int = option("Kind.", integer(0), 1)
    size: int = option("Size of kind 1.", integer(0), 2, only_if=("kind", "1"))
    shown: int = option("How much is shown.", integer(0), 3, decides=False)
    decay: float = of_source(lambda source: source.training.weight_decay)
    steps: int = of_source(lambda source: 3 * source.epoch, 0)


def test_a_config_holds_the_options_and_what_it_takes_from_the_source_model() -> None:
    found = Config.of({"kind": 5, "shown": 0}, source())
    assert dataclasses.asdict(found) == {"kind": 5, "size": 2, "shown": 0, "decay": 0.5, "steps": 6}
    assert (Config(decay=0.1).steps, found.last_epoch(), found.offset(source()), found.params(source())) == (
        0,
        1,
        2,
        {},
    )
    with pytest.raises(InputError, match="trained with the loss ce, kld, but this model was trained with mse"):
        Config.of({}, source("mse"))
    assert MethodConfig.of({}, source("mse")) == MethodConfig()  # any loss, unless the config names some


def test_options_without_effect_do_not_decide_the_result() -> None:
    assert Config.deciding({"kind": "1", "size": "2", "shown": "3"}) == {"kind", "size"}
    assert Config.deciding({"kind": "2", "size": "2", "shown": "3"}) == {"kind"}
    given = {f.name: f.default for f in dataclasses.fields(GroupInfluenceConfig)}
    shared = {"solver", "curvature", "damping", "curvature_examples"}
    for solver, own in {
        "cg": {"tolerance", "max_iterations"},
        "lissa": {"recursion_depth", "repeats", "scale", "batch_size"},
        "ekfac": set(),
    }.items():
        assert GroupInfluenceConfig.deciding(given | {"solver": solver}) == shared | own


@pytest.mark.parametrize(
    ("name", "options", "last", "offset", "params"),
    [
        ("exact_retraining", {}, 4, 0, {}),
        ("relabel_finetuning", {"unlearn_epochs": 3}, 3, 2, {}),
        ("gradient_difference", {"unlearn_epochs": 5}, 5, 2, {}),
        ("group_influence", {}, 1, 1, {}),
        (
            "incremental_retraining",
            {"epochs": 9},
            9,
            0,
            {"learning_rate": 0.25, "epochs_trained": 7, "optimizer_restored": False, "source_epochs": 2},
        ),
    ],
)
def test_epochs_of_methods_are_counted_from_the_start_of_training(
    name: str, options: dict[str, Any], last: int, offset: int, params: dict[str, Any]
) -> None:
    """``offset`` added to the method's last epoch: 4 and 9 for retraining, 2 for the update of a model of 2 epochs."""
    config = METHODS[name].config.of(options, source())
    assert (config.last_epoch(), config.offset(source()), config.params(source())) == (last, offset, params)


def test_sets_of_examples_are_rows_of_shared_tensors() -> None:
    whole = blobs(10)
    some = part(whole, 2, 9)
    assert len(some) == 7
    images, labels = some.rows(torch.tensor([[0, 6], [1, 1]]))
    assert torch.equal(images, whole.images[torch.tensor([[2, 8], [3, 3]])])
    assert torch.equal(labels, whole.labels[torch.tensor([[2, 8], [3, 3]])])
    batches = list(some.batches(3))
    assert [len(labels) for _, labels in batches] == [3, 3, 1]
    assert torch.equal(torch.cat([images for images, _ in batches]), whole.images[2:9])


@pytest.mark.parametrize(("count", "size"), [(0, 7), (1, 1), (6, 6), (7, 7), (8, 7)])
def test_a_subset_is_drawn_without_replacement_and_in_order(count: int, size: int) -> None:
    some = part(blobs(10), 2, 9)
    drawn = some.subset(count, torch.Generator().manual_seed(0)).indices
    expected = torch.randperm(7, generator=torch.Generator().manual_seed(0))[:count].sort().values + 2
    assert torch.equal(drawn, expected if 0 < count < 7 else some.indices)
    assert len(drawn) == size


def test_examples_move_as_a_whole() -> None:
    moved = blobs(3).to(torch.device("meta"))  # the one device besides the CPU that every machine has
    assert {tensor.device.type for tensor in (moved.images, moved.labels, moved.indices)} == {"meta"}
