"""What the pictures show: read back from the figures."""

from typing import Any

import numpy as np
import pytest

from rsc_mlflow.attacks.base import parse_attacks
from rsc_mlflow.attacks.evaluation import Role, evaluate
from rsc_mlflow.attacks.figures import BINS, roc_figure, score_figure, thinned
from rsc_mlflow.attacks.metrics import auc, roc_curve
from tests.attacks.worlds import gaussian_world


def outcomes(spurious: bool) -> list[Any]:
    world = gaussian_world(gap=1, n=400)
    roles = np.where(world.members, Role.MEMBER, Role.NONMEMBER).astype(np.int8)
    if spurious:
        roles[:5], roles[-40:] = Role.SPURIOUS, Role.CONTROL
    return [evaluate(attack, world.queries, world.population, roles) for attack in parse_attacks("loss,lira", 8)]


@pytest.mark.parametrize("spurious", [False, True])
def test_each_curve_is_drawn_on_linear_and_on_log_axes(spurious: bool) -> None:
    found = outcomes(spurious)
    axes = roc_figure(found).axes
    assert [(axis.get_xscale(), axis.get_yscale()) for axis in axes] == [
        ("linear", "linear"),
        ("log", "log"),
    ] * (1 + spurious)
    for place, axis in enumerate(axes):
        *curves, guessing = axis.lines
        assert np.array_equal(guessing.get_xdata(), guessing.get_ydata())
        assert guessing.get_linestyle() == "--"
        for outcome, curve in zip(found, curves, strict=True):
            scores, members = outcome.spurious() if place > 1 else outcome.ordinary()[:2]
            assert np.array_equal(np.asarray(curve.get_xydata()).T, thinned(roc_curve(scores, members)))
            assert curve.get_label() == f"{outcome.attack.title} ({auc(scores, members):.3f})"


def test_the_axes_of_curves_say_what_they_show() -> None:
    found = outcomes(spurious=True)
    axes = roc_figure(found).axes
    whose = ("ordinary members", "spurious members versus controls")
    assert [axis.get_title() for axis in axes] == [f"{who}, {kind}" for who in whose for kind in ("linear", "log-log")]
    assert {(axis.get_xlabel(), axis.get_ylabel()) for axis in axes} == {("false-positive rate", "true-positive rate")}
    assert [axis.get_xlim() for axis in axes] == [(0, 1), (1e-4, 1)] * 2
    assert [axis.get_ylim() for axis in axes] == [(0, 1.01), (1e-4, 1.05)] * 2
    for axis in axes[::2]:
        legend = axis.get_legend()
        assert legend is not None
        assert legend.get_title().get_text() == "attack (AUC)"
        assert [text.get_text() for text in legend.get_texts()] == [line.get_label() for line in axis.lines[:-1]]


def test_a_thinned_curve_keeps_its_ends_and_lies_on_the_whole_one() -> None:
    rng = np.random.default_rng(0)
    members = rng.random(5000) < 0.5
    curve = roc_curve(rng.normal(members, 1), members)
    fpr, tpr = thinned(curve)
    assert len(fpr) <= 200 < len(curve.fpr)
    assert (fpr[0], fpr[-1], tpr[-1]) == (0, 1, 1)
    step = np.diff(curve.fpr).max()
    assert np.diff(fpr).max() < 1 / 99 + step, "the linear axis has 100 points"
    small = (fpr > 0.01) & (fpr < 0.1)
    assert np.diff(np.log10(fpr[small])).max() < 5 / 99 + step / 0.01, "the logarithmic axis has 20 points per decade"
    assert set(zip(fpr, tpr, strict=True)) <= set(zip(curve.fpr, curve.tpr, strict=True))


def test_histograms_hold_every_example_of_every_role() -> None:
    axes = score_figure(outcomes(spurious=True)).axes
    assert len(axes) == 2
    for axis in axes:
        *histograms, _threshold = axis.lines
        assert len(histograms) == 4
        for line in histograms:
            assert len(np.asarray(line.get_xdata())) == BINS
            assert np.asarray(line.get_ydata()).sum() == pytest.approx(1)
    shares = {line.get_label(): line.get_ydata() for line in axes[-1].lines}
    flat = shares["non-members (160)"]  # non-members are ranked among themselves: 160 over 60 bins, 2 or 3 in each
    assert set(np.round(np.array(flat) * 160)) <= {2, 3}
    assert "spurious members (5)" in shares


def test_histograms_and_threshold_are_counted_on_the_scale_of_non_members() -> None:
    found = outcomes(spurious=True)
    for axis, outcome in zip(score_figure(found).axes, found, strict=True):
        others = outcome.scores(Role.NONMEMBER)

        def share_below(score: float, others: np.ndarray = others) -> float:
            return float(((others < score).sum() + (others <= score).sum()) / (2 * len(others)))

        *histograms, threshold = axis.lines
        assert np.asarray(threshold.get_xdata())[0] == pytest.approx(share_below(outcome.result.threshold))
        for role, line in zip((Role.MEMBER, Role.NONMEMBER, Role.SPURIOUS, Role.CONTROL), histograms, strict=True):
            scores = outcome.scores(role)
            bins = [min(int(share_below(score) * BINS + 1e-9), BINS - 1) for score in scores]
            assert line.get_ydata() == pytest.approx(np.bincount(bins, minlength=BINS) / len(scores))
            assert line.get_xdata() == pytest.approx((np.arange(BINS) + 0.5) / BINS)
        assert (axis.get_title(), axis.get_ylabel()) == (outcome.attack.title, "share of examples")
        assert axis.get_xlabel().startswith("score, as the share of non-members with lower scores")
        assert axis.get_xlim() == (0, 1)
        legend = axis.get_legend()
        assert legend is not None
        assert [text.get_text() for text in legend.get_texts()] == [line.get_label() for line in histograms]


def test_a_clean_target_has_two_histograms_an_attack() -> None:
    for axis in score_figure(outcomes(spurious=False)).axes:
        *histograms, _threshold = axis.lines
        assert [line.get_label() for line in histograms] == ["members (200)", "non-members (200)"]


def test_ten_attacks_are_ten_curves_that_can_be_told_apart() -> None:
    found = outcomes(spurious=False) * 5
    curves = roc_figure(found).axes[0].lines[:-1]
    assert len(curves) == 10
    assert len({(curve.get_color(), curve.get_linestyle()) for curve in curves}) == 10
