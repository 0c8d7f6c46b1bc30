"""What the pictures show: read back from the figures."""

import numpy as np
import pytest

from rsc_mlflow.attacks.evaluation import Role, evaluate
from rsc_mlflow.attacks.figures import BINS, page, roc_figure, score_figure, thinned
from rsc_mlflow.attacks.metrics import roc_curve
from rsc_mlflow.attacks.registry import parse_attacks
from tests.attacks.worlds import gaussian_world


def outcomes(spurious: bool) -> list:
    world = gaussian_world(gap=1, n=400)
    roles = np.where(world.members, Role.MEMBER, Role.NONMEMBER).astype(np.int8)
    if spurious:
        roles[:5], roles[-40:] = Role.SPURIOUS, Role.CONTROL
    return [evaluate(attack, world.queries, world.population, roles) for attack in parse_attacks("loss,lira", 8)]


@pytest.mark.parametrize("spurious", [False, True])
def test_each_curve_is_drawn_on_linear_and_on_log_axes(spurious: bool) -> None:
    figure = roc_figure(outcomes(spurious), "title")
    curves = [trace for trace in figure.data if trace.name != "guessing"]
    assert len(curves) == 2 * 2 * (2 if spurious else 1)
    assert figure.layout.xaxis.type != "log"
    assert figure.layout.xaxis2.type == figure.layout.yaxis2.type == "log"


def test_a_thinned_curve_keeps_its_ends_and_lies_on_the_whole_one() -> None:
    rng = np.random.default_rng(0)
    members = rng.random(5000) < 0.5
    curve = roc_curve(rng.normal(members, 1), members)
    fpr, tpr = thinned(curve)
    assert len(fpr) < 700 < len(curve.fpr)
    assert (fpr[-1], tpr[-1]) == (1, 1)
    assert set(zip(fpr, tpr, strict=True)) <= set(zip(curve.fpr, curve.tpr, strict=True))


def test_histograms_hold_every_example_of_every_role() -> None:
    figure = score_figure(outcomes(spurious=True), "title")
    assert len(figure.data) == 2 * 4
    for trace in figure.data:
        assert len(trace.x) == BINS
        assert sum(trace.y) == pytest.approx(1)
    by_name = {trace.name: trace for trace in figure.data}
    flat = by_name["non-members (160)"].y  # non-members are ranked among themselves: 160 over 60 bins, 2 or 3 in each
    assert set(np.round(np.array(flat) * 160)) <= {2, 3}
    assert "spurious members (5)" in {trace.name for trace in figure.data}


def test_a_page_needs_no_network() -> None:
    text = page([roc_figure(outcomes(True), "a"), score_figure(outcomes(True), "b")], "a title")
    assert "<script src" not in text
    assert text.count("Plotly.newPlot(") == 2
    assert len(text) < 7e6


def test_the_name_of_a_run_is_text_on_the_page() -> None:
    evil = "</title><script>alert(1)</script>"
    text = page([roc_figure(outcomes(False), evil)], evil)
    assert "<title>&lt;/title&gt;&lt;script&gt;alert(1)" in text
    assert "<script>alert" not in text


def test_a_clean_target_has_two_histograms_an_attack() -> None:
    names = [trace.name for trace in score_figure(outcomes(spurious=False), "title").data]
    assert names == 2 * ["members (200)", "non-members (200)"]
