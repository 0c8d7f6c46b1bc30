"""What a grid needs, in which order, and what trains together."""

import dataclasses
import random
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from rsc_mlflow.errors import InputError
from rsc_mlflow.experiments.declarations import cohort_key
from rsc_mlflow.experiments.membership_options import MembershipOptions
from rsc_mlflow.experiments.options import TrainOptions
from rsc_mlflow.experiments.registry import ExperimentSpec, experiments
from rsc_mlflow.experiments.training import TrainingJob
from rsc_mlflow.experiments.unlearning_options import method_options
from rsc_mlflow.fields import Options
from rsc_mlflow.sweeps.jobs import Job, Outcome
from rsc_mlflow.sweeps.plan import Plan, make_plan, next_unit
from rsc_mlflow.sweeps.schedule import ATTEMPTS, Schedule

ExactRetrainingOptions = method_options("exact_retraining")
IncrementalRetrainingOptions = method_options("incremental_retraining")


def train(dataset: str, **options: Any) -> TrainOptions:
    return TrainOptions.from_mapping({"dataset": dataset, **options})


def entry_points(plan: Plan) -> list[str]:
    return [job.entry_point for job in plan.jobs.values()]


def position(plan: Plan, options: Any, entry_point: str = "train_classifier") -> int:
    return list(plan.jobs).index(Job(entry_point, options).fingerprint)


def test_a_job_is_what_its_run_will_say_it_is() -> None:
    options = train("digitsv20-3-0-0", optimizer="adam")
    assert Job("train_classifier", options).fingerprint == TrainingJob(options).fingerprint


def test_equal_jobs_are_one() -> None:
    same = [train("digits", momentum=0.9), train("digits", momentum="0.90"), train("digits", device="cpu")]
    assert len(make_plan(same, "train_classifier", experiments())) == 1
    assert len(make_plan([train("digits"), train("digits", epochs=3)], "train_classifier", experiments())) == 2


def test_the_clean_model_comes_before_those_that_are_compared_with_it() -> None:
    options = [train("digitsv20-3-0-0", clean_seeds=0), train("digitsv20-3-0-1", clean_seeds=0, random_seed=1)]
    options.append(train("digits"))
    plan = make_plan(options, "train_classifier", experiments())
    assert position(plan, options[2]) < position(plan, options[0])
    clean = Job("train_classifier", options[2]).fingerprint
    assert plan.after[Job("train_classifier", options[0]).fingerprint] == {clean}
    assert plan.after[Job("train_classifier", options[1]).fingerprint] == frozenset()  # seed 1 has no clean model here
    assert plan.before[Job("train_classifier", options[0]).fingerprint] == frozenset()


def test_a_grid_brings_the_clean_baselines_of_each_recipe_once() -> None:
    options = [train(f"digitsv20-3-0-{seed}", clean_seeds=3, learning_rate=rate) for seed in (0, 1) for rate in (1, 2)]
    plan = make_plan(options, "train_classifier", experiments())
    assert len(plan.requested) == 4
    baselines = {rate: {train("digits", random_seed=s, learning_rate=rate) for s in range(3)} for rate in (1, 2)}
    keys = {rate: {Job("train_classifier", one).fingerprint for one in found} for rate, found in baselines.items()}
    assert set(plan.jobs) == {*plan.requested, *keys[1], *keys[2]}
    for one in options:
        key = Job("train_classifier", one).fingerprint
        assert plan.after[key] == keys[int(one.learning_rate)]
        assert plan.before[key] == frozenset()  # a failed baseline costs the comparison, not the run
    done = Job("train_classifier", options[0]).fingerprint
    others = plan.wanted({done, *(Job("train_classifier", one).fingerprint for one in options[2:])})
    assert set(others.jobs) == {*plan.requested, *keys[2]}  # what only served finished jobs is not wanted


def incremental(dataset: str, **options: Any) -> Options:
    return IncrementalRetrainingOptions.from_mapping({"dataset": dataset, "epochs": 20, "source_epochs": 10, **options})


def test_exact_retraining_is_planned_by_the_recipe_of_its_source_alone() -> None:
    by_uri = ExactRetrainingOptions(model_uri="models:/rsc-digits-MLP@digitsv20-3-0-0")
    with pytest.raises(InputError, match="A grid of exact_retraining takes no model_uri, got models:/rsc-digits-MLP@"):
        make_plan([by_uri], "exact_retraining", experiments())
    by_recipe = ExactRetrainingOptions(dataset="digitsv20-3-0-0")
    assert entry_points(make_plan([by_recipe], "exact_retraining", experiments())) == [
        "train_classifier",
        "exact_retraining",
    ]


def test_unlearning_trains_what_is_missing_first_and_once() -> None:
    options = [incremental("digitsv20-3-0-0", reference="train", epochs=epochs) for epochs in (20, 30)]
    plan = make_plan(options, "incremental_retraining", experiments())
    assert sorted(entry_points(plan)) == [
        "exact_retraining",
        "incremental_retraining",
        "incremental_retraining",
        "train_classifier",
    ]
    source = train("digitsv20-3-0-0", epochs=10)
    reference = ExactRetrainingOptions.of_recipe(source)
    order = [position(plan, source), position(plan, reference, "exact_retraining")]
    order += [position(plan, one, "incremental_retraining") for one in options]
    assert order == sorted(order)
    assert len(plan.requested) == 2


def test_what_a_finished_job_needed_is_not_wanted() -> None:
    """a ← b ← c: with b finished, c needs nothing that is missing, whether or not a's run was deleted."""
    plan = schedule({"a": "", "b": "a", "c": "b"}).plan
    assert list(plan.wanted({"b"}).jobs) == ["a", "b", "c"]  # the grid's own jobs stay
    served = {key: dataclasses.replace(job, requested=key == "c") for key, job in plan.jobs.items()}
    plan = dataclasses.replace(plan, jobs=served)
    assert list(plan.wanted(set()).jobs) == ["a", "b", "c"]
    assert list(plan.wanted({"b"}).jobs) == ["b", "c"]
    assert list(plan.wanted({"b", "c"}).jobs) == ["c"]
    shared = schedule({"a": "", "b": "a", "c": "a"}).plan  # a is reached twice
    assert list(shared.wanted(set()).jobs) == ["a", "b", "c"]


def test_what_only_served_finished_jobs_is_not_wanted() -> None:
    options = [incremental(f"digitsv20-3-0-{seed}") for seed in (0, 1)]
    plan = make_plan(options, "incremental_retraining", experiments())
    assert len(plan) == 4
    done = Job("incremental_retraining", options[0]).fingerprint
    wanted = plan.wanted({done})
    assert len(wanted) == 3
    assert position(wanted, train("digitsv20-3-0-1", epochs=10)) < position(
        wanted, options[1], "incremental_retraining"
    )


def test_the_first_attack_makes_the_shadow_models_of_all() -> None:
    made = {"epochs": 5, "model": "ce-tor-MLP", "shadow_models": 4, "pattern_seed": 0}
    options = [MembershipOptions.from_mapping({"dataset": f"memdigitsv20-3-0-{seed}", **made}) for seed in range(3)]
    plan = make_plan(options, "mem_inference", experiments())
    assert entry_points(plan).count("train_classifier") == 3
    first, *others = [Job("mem_inference", one).fingerprint for one in options]
    assert plan.after[first] == frozenset()
    assert [plan.after[other] for other in others] == [{first}, {first}]


def test_cohorts_share_what_a_stacked_model_needs() -> None:
    base = train("digitsv20-3-0-0")
    differing: dict[str, Any] = {
        "dataset": "digits",
        "random_seed": 3,
        "learning_rate": 0.1,
        "weight_decay": 0.1,
        "grad_clip": 1,
    }
    for name, value in differing.items():
        assert cohort_key(train(**{"dataset": "digitsv20-3-0-0", name: value}), False) == cohort_key(base, False)
    separating: dict[str, Any] = {"dataset": "mnist", "epochs": 3, "batch_size": 64, "optimizer": "adam"}
    for name, value in separating.items():
        assert cohort_key(train(**{"dataset": "digitsv20-3-0-0", name: value}), False) != cohort_key(base, False)
    assert cohort_key(train("memdigits"), False) != cohort_key(base, False)


def test_resnets_form_cohorts_on_a_gpu_only() -> None:
    resnet = train("cifar10", model="ce-tor-altResNet20")
    assert cohort_key(resnet, False) is None
    assert cohort_key(dataclasses.replace(resnet, device="cpu"), True) is None
    poisoned = dataclasses.replace(resnet, dataset="cifar10v20-3-0-0", random_seed=1)
    assert cohort_key(resnet, True) == cohort_key(poisoned, True) is not None
    assert cohort_key(train("cifar10"), True) == cohort_key(train("cifar10"), False)


def test_a_unit_takes_a_fair_share_of_what_is_alike() -> None:
    cohorts = {key: key[0] if key[0] != "x" else None for key in ("a1", "b1", "a2", "a3", "x1", "a4")}
    ready = list(cohorts)
    assert next_unit(ready, cohorts, {"a": 16, "b": 16}, 1) == ["a1", "a2", "a3", "a4"]
    assert next_unit(ready, cohorts, {"a": 16, "b": 16}, 2) == ["a1", "a2"]
    assert next_unit(ready, cohorts, {"a": 3, "b": 16}, 1) == ["a1", "a2", "a3"]
    assert next_unit(["x1", "a1"], cohorts, {"a": 3}, 1) == ["x1"]


@dataclass(frozen=True)
class Letter:
    """Options of an imagined experiment: a letter."""

    letter: str

    def identity(self) -> dict[str, Any]:
        return {"letter": self.letter, "method": "letter", "kind": "train"}

    def as_params(self) -> dict[str, str]:
        return {"dataset": self.letter}


def schedule(before: dict[str, Sequence[str]], after: dict[str, Sequence[str]] | None = None) -> Schedule:
    jobs = {letter: Job("letters", Letter(letter)) for letter in before}
    waits = {key: frozenset(after.get(key, ()) if after else ()) for key in before}
    plan = Plan(jobs, {key: frozenset(value) for key, value in before.items()}, waits)
    return Schedule(plan, set(), dict.fromkeys(before), {})


def outcome(key: str, state: str) -> Outcome:
    return Outcome(key, state, "why")


def letters(requires: dict[str, str], runs_after: dict[str, str] | None = None) -> dict[str, ExperimentSpec]:
    """One experiment: letter → the letters that it requires, or that run before it."""

    def among(waits: dict[str, str]) -> Callable[[Letter], list[tuple[str, Letter]]]:
        return lambda options: [("letters", Letter(one)) for one in waits.get(options.letter, "")]

    return {
        "letters": ExperimentSpec(
            name="letters",
            title="letters",
            kind="train",
            summary="Nothing.",
            options_class=TrainOptions,
            command=lambda options: None,
            run=lambda starts: None,
            requires=among(requires),
            runs_after=among(runs_after or {}),
        )
    }


def test_a_job_that_the_grid_has_and_another_needs_is_the_grids() -> None:
    plan = make_plan([Letter("b"), Letter("a")], "letters", letters({"b": "a"}))
    assert [(job.options.letter, job.requested) for job in plan.jobs.values()] == [("a", True), ("b", True)]


def test_a_declaration_that_waits_for_itself_is_refused() -> None:
    with pytest.raises(InputError, match="letters a requires itself"):
        make_plan([Letter("a")], "letters", letters({"a": "b", "b": "a"}))
    with pytest.raises(InputError, match="depend on each other in a cycle"):
        make_plan([Letter("a"), Letter("b")], "letters", letters({}, {"a": "b", "b": "a"}))


def test_a_schedule_waits_for_what_a_job_needs() -> None:
    one = schedule({"a": "", "b": "a", "c": "b"})
    assert one.next(2) == ["a"]
    assert one.next(2) is None
    one.take([outcome("a", "finished")])
    assert one.next(2) == ["b"]
    one.take([outcome("b", "failed")])
    assert one.next(2) is None
    assert one.over
    assert one.failed == {"b": "why", "c": "requires letters b, which failed"}


def test_a_job_that_only_follows_another_survives_its_failure() -> None:
    one = schedule({"a": "", "b": ""}, {"b": "a"})
    assert [one.next(2), one.next(2)] == [["a"], None]
    one.take([outcome("a", "failed")])
    assert one.next(2) == ["b"]


def test_poisoned_models_train_beside_the_clean_ones_of_their_cohort_with_one_worker() -> None:
    """c and d are compared with a, e with x of another cohort, and f needs a before it can begin."""
    needs: dict[str, Sequence[str]] = {"a": "", "x": "", "c": "", "d": "", "e": "", "f": "a"}
    alike: dict[str, Hashable] = {"a": "alike", "x": None, "c": "alike", "d": "alike", "e": "alike", "f": "alike"}
    after: dict[str, Sequence[str]] = {"c": "a", "d": "ac", "e": "x"}
    one = schedule(needs, after)
    one.cohorts, one.sizes = dict(alike), {"alike": 16}
    assert one.next(1) == ["a", "c", "d"]
    assert one.next(1) == ["x"]
    one.take([outcome(key, "finished") for key in "acdx"])
    assert one.next(1) == ["e", "f"]
    several = schedule(needs, after)
    several.cohorts, several.sizes = dict(alike), {"alike": 16}
    assert [several.next(2), several.next(2), several.next(2)] == [["a"], ["x"], None]
    small = schedule(needs, after)
    small.cohorts, small.sizes = dict(alike), {"alike": 2}
    assert small.next(1) == ["a", "c"]
    assert small.next(1) == ["x"]


def test_a_job_whose_process_dies_is_tried_again_and_then_given_up() -> None:
    one = schedule({"a": ""})
    for attempt in range(ATTEMPTS):
        assert one.next(1) == ["a"], attempt
        one.died(["a"], "its process was ended by SIGKILL")
    assert one.next(1) is None
    assert one.over
    assert one.failed == {"a": f"its process was ended by SIGKILL, {ATTEMPTS} times"}


def test_members_of_a_cohort_whose_process_died_twice_start_alone() -> None:
    """Once together again, in case it was an accident; then one by one, in case they were too many."""
    one = schedule(dict.fromkeys("abc", ""))
    one.cohorts, one.sizes = dict.fromkeys("abc", "alike"), {"alike": 16}
    for _ in range(2):
        assert sorted(one.next(1) or ()) == ["a", "b", "c"]
        one.died("abc", "its process was ended by SIGKILL")
    assert sorted(one.next(1) or [] for _ in range(3)) == [["a"], ["b"], ["c"]]


@pytest.mark.parametrize("seed", range(20))
def test_any_schedule_ends_with_every_job_finished_or_failed(seed: int) -> None:
    """Random dependencies and outcomes: nothing starts early, nothing is forgotten or run twice at a time."""
    dice = random.Random(seed)
    keys = [f"j{k}" for k in range(30)]
    before: dict[str, Sequence[str]] = {key: [o for o in keys[:k] if dice.random() < 0.1] for k, key in enumerate(keys)}
    after: dict[str, Sequence[str]] = {key: [o for o in keys[:k] if dice.random() < 0.1] for k, key in enumerate(keys)}
    one = schedule(before, after)
    states: Sequence[Callable[[str], Outcome]] = (
        lambda key: outcome(key, "finished"),
        lambda key: outcome(key, "finished"),
        lambda key: outcome(key, "failed"),
    )
    running: list[str] = []
    while not one.over:
        while len(running) < 3 and (unit := one.next(3)) is not None:
            assert set(before[unit[0]]) <= one.finished
            assert set(after[unit[0]]) <= one.finished | set(one.failed)
            assert unit[0] not in running
            running += unit
        if running:
            key = running.pop(dice.randrange(len(running)))
            if dice.random() < 0.1:
                one.died([key], "died")
            else:
                one.take([dice.choice(states)(key)])
    assert one.finished | set(one.failed) == set(keys)
    assert not one.finished & set(one.failed)
