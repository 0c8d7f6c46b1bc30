"""The experiment on real digits: who is in which quarter, who has seen what, and two models whose leak is known."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from rsc_mlflow.attacks.base import ShadowConfig, parse_attacks
from rsc_mlflow.attacks.evaluation import Role
from rsc_mlflow.attacks.experiment import (
    Population,
    attack_model,
    make_population,
    make_queries,
    observe,
    shadow_members,
    train_models,
)
from rsc_mlflow.config import TrainingConfig
from rsc_mlflow.data import Dataset, ImageSet, load_dataset
from rsc_mlflow.errors import InputError
from rsc_mlflow.names import DatasetName, ModelName
from rsc_mlflow.training import Cohort
from rsc_mlflow.training.cohort import EpochReport
from rsc_mlflow.training.members import Member, TrainingData

CPU = torch.device("cpu")
POISONED = "memdigitsv20-8-3-1"


def dataset(name: str = POISONED) -> Dataset:
    return load_dataset(DatasetName.parse(name))


def keys(images: torch.Tensor) -> list[bytes]:
    return [image.numpy().tobytes() for image in images]


def test_no_example_is_in_two_quarters() -> None:
    data = dataset()
    assert data.shadow is not None
    sets = [data.train, data.test, *data.shadow]
    assert len({len(part) for part in sets}) == 1
    # the embedded digits hold a few identical images; those are counted, not the examples
    family = load_dataset(DatasetName.parse("digits"))
    whole = keys(family.train.images) + keys(family.test.images)
    together = [key for part in sets for key in keys(part.images)]
    assert len(together) == 4 * len(data.train) == len(whole) - len(whole) % 4
    assert all(whole.count(key) >= together.count(key) for key in set(together))


def test_each_shadow_model_holds_as_many_spurious_examples_as_the_target() -> None:
    population = make_population(dataset(), ShadowConfig(n_models=6))
    spurious = population.spurious_indices.numpy()
    assert (population.members[:, spurious].sum(axis=1) == 8).all()
    assert (population.members.sum(axis=1) == len(dataset().train)).all()
    assert (population.clean.labels[population.spurious_indices] == 3).all()
    expected = dataset().patterned(population.clean.images[population.spurious_indices])
    assert torch.equal(population.images()[population.spurious_indices], expected)


def test_the_first_shadow_model_is_trained_on_shadow_train() -> None:
    data = dataset()
    population = make_population(data, ShadowConfig(n_models=1, spurious=False))
    assert data.shadow is not None
    trained = population.data(0)
    assert trained.kept is not None
    assert torch.equal(population.clean.images[trained.kept], data.shadow[0].images)
    assert len(trained.replaced_indices) == 0


def test_clean_shadow_models_hold_no_pattern() -> None:
    population = make_population(dataset(), ShadowConfig(spurious=False))
    assert torch.equal(population.images(), population.clean.images)


def test_queries_are_members_as_trained_then_non_members_then_controls() -> None:
    data = dataset()
    population = make_population(data, ShadowConfig(n_models=4))
    queries = make_queries(data, population)
    n, roles = len(data.train), queries.roles
    assert torch.equal(queries.images[:n], data.training_images())
    assert set(np.flatnonzero(roles == Role.SPURIOUS)) == set(data.spurious_indices.tolist())
    assert (roles[n : 2 * n] == Role.NONMEMBER).all()
    controls = np.flatnonzero(roles == Role.CONTROL)
    assert len(controls) == (data.test.labels == 3).sum() + (population.clean.labels == 3).sum()
    assert (queries.labels[controls] == 3).all()
    assert not set(keys(queries.images[controls])) & set(keys(queries.images[:n]))


def test_controls_of_the_population_count_as_seen_where_they_trained_in_any_form() -> None:
    data = dataset()
    population = make_population(data, ShadowConfig(n_models=4))
    queries = make_queries(data, population)
    n_test = int((data.test.labels == 3).sum())
    assert not queries.shadow_members[:, : 2 * len(data.train) + n_test].any()
    target_class = population.clean.labels.numpy() == 3
    assert (queries.shadow_members[:, 2 * len(data.train) + n_test :] == population.members[:, target_class]).all()


def test_shadow_models_train_as_the_target_with_seeds_of_their_own() -> None:
    config = TrainingConfig(ModelName("MLP"), epochs=3, learning_rate=0.2, random_seed=5)
    members = shadow_members(make_population(dataset(), ShadowConfig(n_models=3)), config, ShadowConfig(n_models=3))
    assert {replace(m.config, random_seed=5) for m in members} == {config}
    assert len({m.config.random_seed for m in members}) == 3


def test_the_seeds_of_shadow_models_are_seeds_that_training_takes_and_follow_the_attacks_seed() -> None:
    config, population = TrainingConfig(ModelName("MLP")), make_population(dataset(), ShadowConfig(n_models=16))
    seeds = [
        [
            member.config.random_seed
            for member in shadow_members(population, config, ShadowConfig(n_models=16, seed=seed))
        ]
        for seed in (0, 1)
    ]
    assert all(0 <= seed < 2**32 for seed in seeds[0] + seeds[1])
    assert not set(seeds[0]) & set(seeds[1])


def test_the_shadow_training_of_a_seed_never_changes() -> None:
    """Stored attacks name their shadow models by the seed only."""
    population = make_population(dataset("memdigitsv20-3-3-1"), ShadowConfig())
    assert population.spurious_indices.tolist() == [220, 18, 430, 779, 590, 809]
    first, second, *_ = shadow_members(population, TrainingConfig(ModelName("MLP")), ShadowConfig())
    assert (first.config.random_seed, second.config.random_seed) == (594304013, 2880189937)


@pytest.mark.parametrize(("model", "at_once"), [("MLP", [3]), ("altResNet20", [1, 1])])
def test_models_train_together_where_that_is_faster(model: str, at_once: list[int]) -> None:
    images = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    data = TrainingData(ImageSet(images, torch.arange(4)), torch.empty(0, dtype=torch.int64), images[:0])
    config = TrainingConfig(ModelName(model), epochs=1, batch_size=4)
    members = [Member(data, replace(config, random_seed=seed)) for seed in range(sum(at_once))]
    reports: list[EpochReport] = []
    modules = train_models(members, 4, CPU, reports.append)
    assert [len(report.members) for report in reports] == at_once
    for module, member in zip(modules, members, strict=True):
        alone = Cohort([member], 4, CPU)
        list(alone.epochs())
        torch.testing.assert_close(module(images), alone.module(0)(images))


class Constant(nn.Module):
    """Gives the same logits, on the CPU, to every image; its parameter shows where it was moved."""

    def __init__(self, logits: list[float]) -> None:
        super().__init__()
        self.logits, self.moved = torch.tensor(logits), nn.Parameter(torch.zeros(1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.logits.expand(len(images), -1)


def test_every_model_is_asked_on_the_given_device_and_stays_in_its_place() -> None:
    elsewhere = torch.device("meta")  # the one device besides the CPU that every machine has
    models = [Constant([float(k), 0.5]) for k in range(3)]
    images, labels = torch.zeros(2, 1, 4, 4, device=elsewhere), torch.tensor([1, 0])
    seen = np.array([[True, False], [False, True]])
    found = observe(models[0], models[1:], images, labels, seen, elsewhere)
    assert found.target.tolist() == [[0, 0.5]] * 2
    assert found.shadow.tolist() == [[[1, 0.5]] * 2, [[2, 0.5]] * 2]
    assert (found.labels.tolist(), found.shadow_members.tolist()) == ([1, 0], seen.tolist())
    assert {model.moved.device for model in models} == {elsewhere}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("digits", "needs the quarters of a mem… dataset, got digits"),
        ("digitsv20-3-0-0", "for example memdigitsv20-10-0-0"),
    ],
)
def test_a_name_without_quarters_is_refused(name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_population(dataset(name), ShadowConfig())


def test_a_count_larger_than_the_class_in_a_shadow_quarter_is_refused() -> None:
    data = dataset()
    assert data.shadow is not None
    count = 1 + min(int((part.labels == 3).sum()) for part in data.shadow)
    with pytest.raises(InputError, match=f"{count} spurious examples of class 3"):
        make_population(replace(data, name=replace(data.name, count=count)), ShadowConfig())


def random_labels(name: str) -> Dataset:
    """Labels drawn independently of the images: the only way to fit them is to remember the examples."""
    data, rng = dataset(name), torch.Generator().manual_seed(0)
    assert data.shadow is not None
    parts = [
        ImageSet(part.images, torch.randint(0, 10, (len(part),), generator=rng))
        for part in (data.train, data.test, *data.shadow)
    ]
    return replace(data, train=parts[0], test=parts[1], shadow=(parts[2], parts[3]))


def attacked(data: Dataset, config: TrainingConfig) -> dict[str, dict[str, float]]:
    shadow = ShadowConfig(n_models=4)
    population: Population = make_population(data, shadow)
    members = [Member(TrainingData.of(data), config), *shadow_members(population, config, shadow)]
    target, *shadows = train_models(members, data.classes, CPU)
    outcomes = attack_model(target, shadows, data, population, parse_attacks("shadow,loss,lira,rmia", 4), CPU)
    return {outcome.attack.name: outcome.measures() for outcome in outcomes}


def test_a_model_that_memorised_random_labels_is_found_out_by_every_attack() -> None:
    # one non-member in ten is fitted by luck, since its random label is what the model answers: the limit is about .95
    config = TrainingConfig(ModelName("MLPv2"), epochs=80, optimizer="adam", learning_rate=0.003, schedule="none")
    for name, measures in attacked(random_labels("memdigits"), config).items():
        assert measures["auc"] > 0.9, name
        assert measures["balanced_accuracy"] > 0.8, name


def test_a_model_that_learned_nothing_leaks_nothing() -> None:
    config = TrainingConfig(ModelName("MLP"), epochs=1, learning_rate=1e-9)
    n = len(dataset().train)
    for name, measures in attacked(random_labels("memdigits"), config).items():
        assert abs(measures["auc"] - 0.5) < 3 * np.sqrt((2 * n + 1) / (12 * n * n)), name
