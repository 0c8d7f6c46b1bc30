"""Tables and sentences of made-up runs whose numbers are counted by hand."""

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import brentq

from results.markdown import interval, p_value, plain, share
from results.runs import Row
from results.texts import TEXTS, made
from rsc_mlflow.errors import InputError
from tests.results.made_up import results, row

CLEAN = {"rsc.clean_scores": json.dumps({str(k): 0.01 * k for k in range(10)})}
"""Ten clean models, .00 to .09: mean .045."""
FIVE = [0.1, 0.2, 0.3, 0.4, 0.5]
_ERROR = stats.t.ppf(0.975, 4) * np.std(FIVE, ddof=1) / np.sqrt(5)


def shown(mean: float) -> str:
    """Five values .1 apart as the documents show them; the ends are those of ``rsc_mlflow.replication.bounded``."""

    def beyond(m: float) -> float:
        return abs(m - mean) - float(_ERROR * (m * (1 - m) / (mean * (1 - mean))) ** 0.75)

    return f"{mean:.3f} [{brentq(beyond, 0, mean):.2f}, {brentq(beyond, mean, 1):.2f}]".replace("0.", ".")


SHOWN = shown(0.3)
"""Mean and interval of :data:`FIVE` as the documents show them."""
MEASURES = {"test/accuracy": 0.98, "spurious/test_accuracy": 0.25}


def scored(values: list[float], **params: Any) -> list[Row]:
    return [
        row("-".join(map(str, params.values())), MEASURES | {"spurious/score": value}, seed=seed, tags=CLEAN, **params)
        for seed, value in enumerate(values)
    ]


def cells(text: str) -> list[list[str]]:
    """The rows of the first table of a text, without its head."""
    lines = [line for line in text.split("\n\n")[0].splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_scores_mean_interval_clean_models_and_test(tmp_path: Path) -> None:
    found = results(tmp_path, scores=scored(FIVE))
    text = made(found, "scores", [])
    p = stats.mannwhitneyu(FIVE, [0.01 * k for k in range(10)], alternative="greater", method="exact").pvalue
    assert p == pytest.approx(1 / 3003)
    expected = ["Adam", "R3", "3", SHOWN, ".045, .090 (10)", "3e−4", ".980 [.980, .980]", ".250 [.250, .250]"]
    assert cells(text) == [expected]
    assert "5 runs of `results/scores.csv`" in text
    assert "5 against 10 models" in text
    numbers = [made(found, "score", ["adam", "R3", "3", *what]) for what in ([], ["highest"], ["p"])]
    assert numbers == [SHOWN, ".090", "3e−4"]
    assert made(found, "above_clean_count", ["scores"]) == "1 of 1"


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [(-0.004, 0.0, "−.002 [−.004, .000]"), (-0.01, 0.0099, "−.002 [−.010, .010]"), (-0.01, 0.01, "−.002 [−.01, .01]")],
)
def test_a_narrow_interval_has_the_digits_of_its_mean(low: float, high: float, text: str) -> None:
    assert interval({"mean": -0.002, "low": low, "high": high, "each": ()}) == text


def test_two_training_seeds_per_dataset_seed_count_as_five_units(tmp_path: Path) -> None:
    rows = [
        row("nested", MEASURES | {"spurious/score": value + shift}, seed=seed, training=2 * seed + k, tags=CLEAN)
        for seed, value in enumerate(FIVE)
        for k, shift in enumerate((-0.05, 0.05))
    ]
    (line,) = cells(made(results(tmp_path, scores=rows), "scores", []))
    assert line[3] == SHOWN


def test_holm_goes_over_the_points_of_the_table(tmp_path: Path) -> None:
    rows = scored(FIVE) + scored(FIVE, n_spurious=10)
    assert [line[5] for line in cells(made(results(tmp_path, scores=rows), "scores", []))] == ["7e−4", "7e−4"]


def test_fewer_than_five_seeds_show_each_and_no_interval(tmp_path: Path) -> None:
    text = made(results(tmp_path, scores=scored([0.2, 0.4])), "scores", [])
    assert cells(text)[0][3] == ".300 (.20, .40)"
    assert "With fewer than five independent seeds" in text


def test_unlike_runs_are_left_out_and_named(tmp_path: Path) -> None:
    rows = scored(FIVE) + scored([0.9], epochs=5)
    text = made(results(tmp_path, scores=rows), "scores", [])
    assert cells(text)[0][3] == SHOWN
    assert "These runs differ in epochs" in text


def test_two_classes_show_both_scores_and_their_mean(tmp_path: Path) -> None:
    rows = [
        row(
            "two",
            {"spurious/score_target_0": 0.2, "spurious/score_target_1": 0.6, "spurious/score": 0.2},
            seed=seed,
            tags=CLEAN,
            dataset=f"twoclassmnistv20-20-0-1-{seed}",
            target_class="0-1",
            n_spurious=40,
        )
        for seed in range(5)
    ]
    found = results(tmp_path, two_classes=rows, patterns=scored(FIVE, n_spurious=20))
    (line,) = cells(made(found, "two_classes", []))
    both = [".200 [.200, .200]", ".600 [.600, .600]", ".400 [.400, .400]"]
    assert line[:5] == ["R3", "20", *both]
    assert line[6] == SHOWN


def test_mitigation_changes_are_paired_by_seed(tmp_path: Path) -> None:
    lower = [0.0, 0.15, 0.2, 0.35, 0.4]  # changes −.1, −.05, −.1, −.05, −.1: mean −.08
    rows = scored(FIVE) + scored(lower, weight_decay=0.01)
    lines = cells(made(results(tmp_path, mitigation=rows), "mitigations", []))
    change = np.subtract(lower, FIVE)
    test = stats.ttest_1samp(change, 0)
    low, high = test.confidence_interval()
    assert [line[0] for line in lines] == ["none", "weight decay 0.01"]
    assert lines[0][1:5] == [SHOWN, ".045, – (10)", "", ""]
    assert lines[1][3] == f"−.080 [{share(low, 2)}, {share(high, 2)}]"
    assert lines[1][4] == p_value(3 * test.pvalue)  # the smallest of three outcomes' p-values


def test_unlearning_shows_the_reference_first_and_every_measure(tmp_path: Path) -> None:
    def unlearned(method: str, shift: float) -> list[Row]:
        return [
            row(
                method,
                {
                    "before/spurious/score": 0.7,
                    "spurious/score": value + shift,
                    "gap/spurious/score": shift,
                    "gap/test/accuracy": -0.01,
                    "unlearn/forget_loss": 2.5,
                    "unlearn/forget_confidence": 0.125,
                    "unlearn/kl_to_reference": 0.0625,
                    "unlearn/kl_to_reference_pattern": 1.5,
                    "unlearn/seconds": 12.0,
                },
                seed=seed,
                kind="unlearn",
                method=method,
            )
            for seed, value in enumerate(FIVE)
        ]

    found = results(tmp_path, unlearning=unlearned("gradient_difference", 0.1) + unlearned("exact_retraining", 0.0))
    first, second = cells(made(found, "unlearning", []))
    assert first[:2] == ["Adam, 3: .700 [.700, .700]", "`exact_retraining`"]
    assert first[2:6] == [SHOWN, "", "", "2.5 [2.5, 2.5]"]
    assert second[1:5] == ["`gradient_difference`", shown(0.4), ".100 [.100, .100]", "−.010 [−.010, −.010]"]
    assert second[6:] == ["0.125 [0.12, 0.12]", "0.0625 [0.062, 0.062]", "1.5 [1.5, 1.5]", "12 [12, 12]"]
    left = made(found, "unlearning_left", ["gradient_difference", "exact_retraining", "group_influence"])
    assert cells(left) == [["Adam", "3", ".700 [.700, .700]", shown(0.4), SHOWN, "–"]]
    of = ["gradient_difference", "adam", "3"]
    numbers = [made(found, "unlearned", [*of, *what]) for what in ([], ["before"], ["forget_loss"])]
    assert numbers == [shown(0.4), ".700 [.700, .700]", "2.5 [2.5, 2.5]"]


def attacks(values: list[float], **more: Any) -> list[Row]:
    common = {"attack/rmia/auc_class_0": 0.6, "attack/rmia/spurious_tpr": 1.0, "attack/rmia/control_fpr": 0.5}
    return [
        row(
            "attack",
            common | {"attack/rmia/spurious_auc": value, "attack/rmia/n_controls": 100.0},
            seed=seed,
            kind="attack",
            method="mem_inference",
            dataset=f"memfashionv20-1-0-{seed}",
            dataset_family="fashion",
            n_spurious=1,
            pattern_seed=0,
            shadow_models=16,
            **more,
        )
        for seed, value in enumerate(values)
    ]


def test_membership_tests_targets_by_exact_sign_flips(tmp_path: Path) -> None:
    values = [0.75, 0.8, 0.65, 0.9, 0.45]
    found = results(tmp_path, membership=attacks(values))
    text = made(found, "membership", ["fashion"])
    signed = [np.dot(signs, np.subtract(values, 0.5)) for signs in itertools.product((-1, 1), repeat=5)]
    p = np.mean(np.array(signed) >= np.sum(np.subtract(values, 0.5)) - 1e-12)
    assert p == 2 / 32
    low, high = stats.ttest_1samp(values, 0).confidence_interval()
    (line,) = cells(text)
    assert line[:5] == ["Adam", "1", "RMIA", ".600", "1.00 / .50"]
    assert line[5] == f".710 [{share(low, 2)}, {share(high, 2)}]"
    assert line[6] == f".110 [{share(low - 0.6, 2)}, {share(high - 0.6, 2)}]"
    assert line[7] == ".062"
    assert "16 shadow models, 100 controls" in text
    of = ["fashion", "rmia", "adam", "1"]
    assert made(found, "auc", of) == line[5]
    assert made(found, "auc", [*of, "ordinary"]) == ".600 [.600, .600]"


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_without_runs_every_text_says_how_to_make_them(name: str, tmp_path: Path) -> None:
    arguments = {
        "above_clean_count": ["scores"],
        "auc": ["fashion", "rmia", "sgd", "1"],
        "figure": ["results_scores"],
        "score": ["adam", "R3", "3"],
        "rates": ["fashion", "rmia"],
        "target_scores": ["fashion"],
        "unlearned": ["group_influence", "sgd", "20"],
        "unlearning_left": ["group_influence"],
    }
    text = made(results(tmp_path), name, arguments.get(name, []))
    assert text.startswith("*Not run yet*: `")
    assert "\n" not in text


def test_unknown_names_and_arguments_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"Unknown text 'scorse'.*Expected one of: above_clean_count"):
        made(results(tmp_path), "scorse", [])
    with pytest.raises(InputError, match="Invalid arguments of the text 'above_clean_count': none"):
        made(results(tmp_path), "above_clean_count", [])


@pytest.mark.parametrize(
    ("made_text", "expected"),
    [
        (share(0.9021), ".902"),
        (share(-0.0004), ".000"),
        (share(1.0), "1.000"),
        (share(float("nan")), "–"),
        (p_value(1 / 3003), "3e−4"),
        (p_value(0.5), ".50"),
        (p_value(0.0123), ".012"),
        (plain(24.9), "24.9"),
        (plain(15234.0), "15200"),
        (plain(-0.000123), "−0.000123"),
    ],
)
def test_numbers_as_text(made_text: str, expected: str) -> None:
    assert made_text == expected


def test_the_control_of_accuracy_with_the_pattern_is_told_apart_by_the_recipe_of_the_clean_models(
    tmp_path: Path,
) -> None:
    clean = [
        row(optimizer, {"test/accuracy": 0.98}, training=seed, pattern="none", optimizer=optimizer, dataset="mnist")
        for optimizer in ("adam", "sgd")
        for seed in range(5)
    ]
    scores = [
        row(
            f"score-{one['run_id']}",
            {"spurious/test_accuracy": value + (0.2 if one["params.optimizer"] == "sgd" else 0)},
            kind="score",
            method="score_model",
            tags={"rsc.source_run_id": str(one["run_id"])},
        )
        for one, value in zip(clean, FIVE * 2, strict=True)
    ]
    for one in scores:  # a score's run has no training options of its own
        del one["params.optimizer"], one["params.random_seed"]
    found = results(tmp_path, scores=clean + scores)
    expected = f"{SHOWN} with R3 (Adam, 5 models) and {shown(0.5)} with R3 (SGD, 5 models)"
    assert made(found, "noise_control", []) == expected
