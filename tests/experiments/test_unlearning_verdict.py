"""The two rules at their edges, on numbers that can be checked in the head."""

import numpy as np
import pytest

from rsc_mlflow.experiments.unlearning_verdict import DESTROYED, OVER_FORGETS, sentence, verdict, verdicts


def accuracies(before: float, after: float) -> dict[str, float]:
    return {"before/test/accuracy": before, "test/accuracy": after}


def forget(name: str, after: float, reference: float) -> dict[str, float]:
    return {f"unlearn/forget_{name}": after, f"gap/unlearn/forget_{name}": after - reference}


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (0.91, 0.10, DESTROYED),  # the run of the audit
        (0.9, 0.69, DESTROYED),
        (0.9, 0.71, ""),
        (0.3, 0.14, DESTROYED),  # below 40 %: half of it
        (0.3, 0.16, ""),
        (0.1, 0.08, ""),  # there was nothing to destroy
        (0.5, 0.9, ""),
    ],
)
def test_destroyed_is_a_fall_of_20_points_or_of_half(before: float, after: float, expected: str) -> None:
    assert verdict(accuracies(before, after)) == expected


@pytest.mark.parametrize(
    ("after", "reference", "expected"),
    [
        (24.9, 2.55, OVER_FORGETS),  # gradient_difference on SGD models
        (7.6, 2.5, OVER_FORGETS),  # above three times
        (7.4, 2.5, ""),
        (1.6, 0.5, OVER_FORGETS),  # above 1 nat more
        (1.0, 0.2, ""),  # five times, but less than 1 nat more
        (0.0, 7.0, ""),
        (1.797e308, 2.5, OVER_FORGETS),  # what MLflow stores for infinity
        (float("inf"), 2.5, OVER_FORGETS),
        (float("nan"), 2.5, ""),
    ],
)
def test_forget_loss_beyond_a_nat_and_three_times_the_reference(after: float, reference: float, expected: str) -> None:
    assert verdict(forget("loss", after, reference)) == expected


@pytest.mark.parametrize(
    ("after", "reference", "expected"),
    [
        (0.0, 0.21, OVER_FORGETS),
        (0.07, 0.4, OVER_FORGETS),
        (0.09, 0.4, ""),  # more than a fifth of it
        (0.01, 0.2, ""),  # within .2
        (0.9, 0.1, ""),
    ],
)
def test_forget_confidence_beyond_two_tenths_and_below_a_fifth(after: float, reference: float, expected: str) -> None:
    assert verdict(forget("confidence", after, reference)) == expected


def test_a_run_without_a_reference_or_without_metrics_has_no_fault() -> None:
    assert verdict({}) == verdict({"unlearn/forget_loss": 25.0, "unlearn/forget_confidence": 0.0}) == ""
    assert sentence({}) == ""


def test_many_runs_at_once_get_what_each_gets_alone() -> None:
    rows = [
        accuracies(0.91, 0.10) | forget("loss", 1e8, 2.5),
        accuracies(0.95, 0.94) | forget("loss", 25.0, 2.5) | forget("confidence", 0.0, 0.05),
        accuracies(0.95, 0.94) | forget("loss", 4.0, 7.0) | forget("confidence", 0.01, 0.3),
        accuracies(0.95, 0.95) | forget("loss", 0.01, 2.5) | forget("confidence", 0.99, 0.2),
        {},
    ]
    found = verdicts(lambda name: np.array([row.get(name, np.nan) for row in rows]))
    assert found.tolist() == [DESTROYED, OVER_FORGETS, OVER_FORGETS, "", ""]
    assert found.tolist() == [verdict(row) for row in rows]


def test_a_sentence_names_the_rules_that_were_broken_with_both_numbers() -> None:
    kept = accuracies(0.95, 0.94)
    assert sentence(kept | forget("loss", 25.0, 2.5) | forget("confidence", 0.0, 0.05)) == (
        "The model over-forgets: on the forgotten examples, its mean loss for their original labels is 25 (retrained "
        "reference: 2.5)."
    )
    both = sentence(kept | forget("loss", 25.0, 2.5) | forget("confidence", 0.001, 0.25))
    assert "is 25 (retrained reference: 2.5), and its mean confidence in these labels is 0.001 (retrained" in both
    assert both.endswith("reference: 0.25).")
    assert sentence(accuracies(0.91, 0.10) | forget("loss", 1e8, 2.5)) == (
        "The model is destroyed: its test accuracy fell from 0.9100 to 0.1000, so its spurious score is meaningless."
    )
