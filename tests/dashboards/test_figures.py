"""Figures hold the numbers of their tables, and patterns look the same everywhere."""

import itertools
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from dashboards.figures import compare, factors, mitigation, overview, privacy
from dashboards.figures.points import behind, summary
from dashboards.figures.scores import class_map, class_points, score_curves, score_points
from dashboards.figures.style import DARK, LIGHT, PATTERN_MARKS, in_order, pattern_mark
from dashboards.pages import PAGES
from dashboards.pages import factors as factors_page
from dashboards.pages import overview as overview_page
from dashboards.pages import privacy as privacy_page
from dashboards.pages import scores as scores_page
from rsc_mlflow.analysis import comparable, points, poisoned
from rsc_mlflow.patterns import PATTERNS
from rsc_mlflow.replication import seed_interval
from rsc_mlflow.statistics import holm
from tests.dashboards.frames import close, frame, made_up, run, view


def _run(i: int, n: int, seed: int, score: float, p: float = 0.5, **more: Any) -> dict[str, Any]:
    metrics = {"spurious/score": score, "spurious/p_value": p}
    row = run(i, p_pattern="v8", p_n_spurious=n, p_random_seed=seed, p_dataset_family="mnist", m=metrics, **more)
    return row | {"tags.rsc.clean_scores": CLEAN}


CLEAN = json.dumps({str(seed): 0.01 * seed for seed in range(10)})
"""Scores of ten clean models: mean .045."""
RUNS = [_run(0, 1, 0, 0.1), _run(1, 1, 1, 0.2), _run(2, 10, 0, 0.6, 1e-8), _run(3, 10, 1, 0.8, 1e-6)]


def _points(*rows: dict[str, Any], measure: str = "spurious/score", by: tuple[str, ...] = ()) -> pd.DataFrame:
    runs = frame(*rows)
    return score_points(poisoned(runs), measure, by, runs)


def test_curve_shows_means_single_seeds_and_the_clean_models_at_zero() -> None:
    drawn = score_curves(_points(*RUNS), LIGHT, "spurious score")
    band, line, seeds = drawn.data
    assert (list(band.x), list(band.y)) == ([0, 2, 2, 0], [0, 0, 0.09, 0.09])  # all ten clean models
    assert close(line.x, [0, 1, 2])
    assert close(line.y, [0.045, 0.15, 0.7])
    clean = seed_interval([0.01 * seed for seed in range(10)], {"training": range(10)}, bounds=(0, 1))
    assert close([line.error_y.arrayminus[0], line.error_y.array[0]], [0.045 - clean.low, clean.high - 0.045])
    assert close(line.error_y.array[1:], [0, 0])
    assert (list(seeds.x), list(seeds.y)) == ([1, 1, 2, 2], [0.1, 0.2, 0.6, 0.8])
    assert set(line.customdata[2].split(",")) == {f"1:{2:032x}", f"1:{3:032x}"}
    assert list(seeds.customdata) == [line.customdata[k] for k in (1, 1, 2, 2)]
    assert list(seeds.hovertext) == [
        f"single seed: {value:.4f}<br>{line.hovertext[k]}" for k, value in ((1, 0.1), (1, 0.2), (2, 0.6), (2, 0.8))
    ]


def test_significance_is_the_rank_sum_against_clean_models_and_holms_over_points() -> None:
    table = _points(*RUNS).set_index("n_spurious")
    clean = [0.01 * seed for seed in range(10)]
    p = [stats.mannwhitneyu(x, clean, alternative="greater", method="exact").pvalue for x in ([0.1, 0.2], [0.6, 0.8])]
    assert close(table.loc[[1.0, 10.0], "p"], holm(np.array(p)))
    assert table["significant"].to_dict() == {0.0: False, 1.0: True, 10.0: True}
    below = [_run(9, 3, 0, 0.0), _run(8, 3, 1, 0.05)]
    symbols = score_curves(_points(*RUNS, *below), LIGHT, "y").data[1].marker.symbol
    assert list(symbols) == ["diamond", "diamond", "diamond-open", "diamond"]


def test_a_pattern_has_one_color_symbol_and_dash_on_every_page() -> None:
    visible: dict[str, set[tuple[str, ...]]] = {}
    look = view(made_up(700))
    for page in PAGES:
        for build in page.panels:
            for plot in build(look).plots:
                for trace in plot.figure.data:
                    if trace.name in {one.title for one in PATTERNS.values()}:
                        symbol = np.atleast_1d(trace.marker.symbol)[0].removesuffix("-open")
                        visible.setdefault(trace.name, set()).add((trace.marker.color, symbol))
    assert set(visible) == {one.title for one in PATTERNS.values()}
    assert visible == {name: {(PATTERN_MARKS[name].color, PATTERN_MARKS[name].symbol)} for name in visible}
    assert len({mark.color for name, mark in PATTERN_MARKS.items() if name != "clean"}) == 7


def test_a_family_and_a_pattern_that_are_not_known_here_are_shown_like_any() -> None:
    raw = made_up(700)
    raw["params.pattern"] = raw["params.pattern"].replace("v8", "logo")
    raw["params.dataset_family"] = raw["params.dataset_family"].replace("mnist", "birds")
    raw["params.dataset"] = raw["params.dataset"].str.replace("mnist", "birds").str.replace("v8-", "logo-")
    look = view(raw)
    assert not look.runs["problem"].any()
    assert "logo" in set(look.runs["paper"])
    assert "S3" not in set(look.runs["paper"])
    marks = set()
    for page in PAGES:
        for plot in (plot for build in page.panels for plot in build(look).plots):
            named = [trace for trace in plot.figure.data if trace.name == "logo"]
            marks |= {(trace.marker.color, np.atleast_1d(trace.marker.symbol)[0]) for trace in named}
    color, symbol = pattern_mark("logo").color, pattern_mark("logo").symbol
    assert {(one, name.removesuffix("-open")) for one, name in marks} == {(color, symbol)}
    assert in_order(["logo", "Co", "S1", "clean", "fade"]) == ["S1", "Co", "clean", "fade", "logo"]


def test_class_map_holds_mean_scores_by_pattern_and_class() -> None:
    rows = [
        run(i, p_pattern="v1", p_random_seed=i, m={"spurious/score_target_0": value, "spurious/score_target_2": 0.5})
        for i, value in enumerate([0.2, 0.4])
    ]
    heat = class_map(class_points(frame(*rows), "target", 10), DARK, "x").data[0]
    assert list(heat.x) == ["0", "2"]
    assert close(heat.z, [[0.3, 0.5]])


def test_norm_scatter_and_correlation() -> None:
    norms = {"v1": (1.0, 0.1), "v3": (2.0, 0.3), "v8": (5.0, 0.4), "v20": (12.0, 0.9), "v30": (7.0, 0.7)}
    rows = [
        run(
            i,
            p_dataset_family=family,
            p_pattern=name,
            p_random_seed=0,
            m={"spurious/pattern_norm": norm, "spurious/score": score + 0.01 * i},
        )
        for i, (family, (name, (norm, score))) in enumerate(itertools.product(("digits", "mnist"), norms.items()))
    ]
    rows = [one for one in rows if one["params.dataset_family"] == "digits" or one["params.pattern"] != "v1"]
    table = factors.norm_points(frame(*rows))
    scores = [score + 0.01 * i for i, (_, score) in enumerate(norms.values())]
    expected = stats.pearsonr([n for n, _ in norms.values()], scores).statistic
    words = factors.correlation_words(table)
    assert words.startswith(f"digits: Pearson's r = {expected:.2f} (95 % interval")
    assert "mnist" not in words  # four patterns of a family are too few, and families are never pooled
    drawn = factors.norm_scatter(table, LIGHT).data
    assert [trace.name for trace in drawn if trace.mode == "lines"] == ["least squares, digits"]
    assert sum(len(t.x) for t in drawn if t.mode == "markers") == 9
    assert factors.correlation_words(table.head(2)) == "No correlation, because no family has 5 patterns"


def test_attack_points_and_controls() -> None:
    row = run(0, kind="attack", p_pattern="v8", p_n_spurious=10, m={"attack/lira/auc": 0.6}) | {
        "metrics.attack/lira/spurious_tpr": 0.9,
        "metrics.attack/lira/control_fpr": 0.4,
    }
    runs = frame(row)
    assert privacy.attack_points(runs, ["paper"], "auc")[["attack", "mean"]].to_numpy().tolist() == [["lira", 0.6]]
    figure = privacy.sides(privacy.side_points(runs), LIGHT)
    assert [(t.name, list(t.y)) for t in figure.data] == [
        ("members with the pattern", [0.9]),
        ("non-members with the pattern (control)", [0.4]),
    ]


def test_each_measure_of_a_mitigation_has_a_panel_of_its_own_over_a_common_axis() -> None:
    metrics = {"spurious/score": 0.5, "test/accuracy": 0.9, "spurious/test_accuracy": 0.6}
    runs = frame(*(run(i, p_weight_decay=w, p_pattern="v8", m=metrics) for i, w in enumerate(["0", "0.1"])))
    table = mitigation.mitigation_points(runs, "weight_decay", ["paper"])
    drawn = mitigation.stacked(table, "weight_decay", LIGHT, "weight decay")
    assert [(t.yaxis, list(t.y)) for t in drawn.data] == [("y", [0.5, 0.5]), ("y2", [0.9, 0.9]), ("y3", [0.6, 0.6])]
    assert {trace.xaxis for trace in drawn.data} == {None}
    ends = [axis.domain for axis in (drawn.layout.yaxis, drawn.layout.yaxis2, drawn.layout.yaxis3)]
    assert (ends[0][1], ends[2][0]) == (1, pytest.approx(0))
    assert all(below[1] < above[0] for above, below in itertools.pairwise(ends))


def test_scores_show_the_recipe_with_most_points_and_say_what_is_not_drawn() -> None:
    """Of MNIST two numbers with 30 epochs of Adam, one with 5 epochs of SGD, and one of two classes."""
    usual: dict[str, Any] = {
        "p_dataset": "mnistv8-3-0-0",
        "p_dataset_family": "mnist",
        "p_pattern": "v8",
        "p_random_seed": 0,
    }
    rows = [
        run(n, p_n_spurious=n, p_epochs=30, p_optimizer="adam", m={"spurious/score": 0.9}, **usual) for n in (3, 20)
    ]
    other = {**usual, "p_n_spurious": 3, "m": {"spurious/score": 0.1}}
    rows += [run(8, p_epochs=5, p_optimizer="sgd", **other)]
    panel = scores_page.curves(view(pd.DataFrame.from_records(rows)))
    assert panel.table["mean"].tolist() == [0.9, 0.9]
    assert panel.notice.startswith(
        "Shown: mnist: adam · 30 epochs (2 runs). Not shown: mnist: sgd · 5 epochs (1 run). "
        "Runs with different settings are not averaged. These runs differ in optimizer (adam, sgd), epochs (5, 30)."
    )
    each = scores_page.curves(view(pd.DataFrame.from_records(rows), "?recipes=each"))
    assert [plot.title for plot in each.plots] == ["mnist · adam · 30 epochs", "mnist · sgd · 5 epochs"]
    assert each.plots[1].figure.data[0].y.tolist() == [0.1]
    assert "Not shown" not in each.notice


def test_attacks_on_unlearned_models_are_kept_apart() -> None:
    """Whatever the filter hides: of the runs that made the targets it lets none through here."""
    scored: dict[str, Any] = {"p_pattern": "v8", "m": {"attack/lira/auc": 0.6}}
    sources = {3: 1, 4: 2, 5: 99, 6: 99}  # attack → unlearning run, training run, and runs that are gone
    rows = [run(1, kind="unlearn"), run(2, kind="train"), run(7, kind="attack", **scored)]
    for attack, source in sources.items():
        uri = "auto" if attack == 5 else "models:/m-1"
        row = run(attack, kind="attack", p_model_uri=uri, **scored)
        rows.append(row | {"tags.rsc.source_run_id": f"{source:032x}"})
    raw = pd.DataFrame.from_records(rows)
    for search, expected in (("", {4, 5, 7}), ("target_model=unlearned", {3})):
        for hides in ("", "filter=tags.rsc.kind%20=%20'attack'&"):
            panel = privacy_page.auc(view(raw, f"?{hides}{search}"))
            links = ",".join(panel.table["links"])
            assert set(links.split(",")) == {f"1:{number:032x}" for number in expected}
            assert panel.note.endswith("Left out: 1 attack on models whose own runs were deleted")


def test_strengths_are_compared_in_settings_that_have_all_of_them() -> None:
    """Pattern v20 was run at three strengths, v8 at two and v3 without mitigation only."""
    ran = [
        ("v20", "0"),
        ("v20", "0.1"),
        ("v20", "1"),
        ("v8", "0"),
        ("v8", "0.1"),
        ("v3", "0"),
        ("v3", "0"),
        ("v3", "0"),
    ]
    rows = [run(i, p_pattern=p, p_input_noise=s, m={"spurious/score": i / 10}) for i, (p, s) in enumerate(ran)]
    kept = comparable(frame(*rows), "input_noise", [], ["pattern"])
    assert kept["pattern"].tolist() == ["v20"] * 3
    assert mitigation.mitigation_points(kept, "input_noise").query("measure == 'spurious/score'")["mean"].tolist() == [
        0.0,
        0.1,
        0.2,
    ]
    two = comparable(frame(*rows[3:]), "input_noise", [], ["pattern"])  # without v20, v8 is the only one to compare
    assert two["pattern"].tolist() == ["v8"] * 2
    assert comparable(frame(*rows)[:0], "input_noise", [], ["pattern"]).empty


def test_sweeps_count_jobs_once_a_fingerprint() -> None:
    sweep = {"tags.rsc.sweep": "s"}
    rows = [
        run(0, kind="sweep", p_n_jobs=4) | sweep,
        run(1, fingerprint="a") | sweep,
        run(2, fingerprint="b", status="FAILED") | sweep,
        run(3, fingerprint="b") | sweep,
        run(4, fingerprint="c", status="FAILED") | sweep,
        run(5, fingerprint="d", status="RUNNING") | sweep,
    ]
    row = overview.sweep_table(frame(*rows)).iloc[0]
    assert row[["jobs", "finished", "failed", "running"]].tolist() == [4, 2, 1, 1]
    assert row["key"] == "s"
    rows[0]["metrics.sweep/finished"] = 3.0  # one was there before the sweep, and carries no tag of it
    assert overview.sweep_table(frame(*rows)).iloc[0]["finished"] == 3
    rows[0] |= {"metrics.sweep/left": 4.0, "metrics.sweep/failed": 1.0}  # eight in all, with those required
    rows[0] |= {"metrics.sweep/running": 2.0}  # of the four left
    assert overview.sweep_table(frame(*rows)).iloc[0]["jobs"] == 8
    rows[0] |= {"metrics.sweep/failed": 3.0}  # two failed before their run was created
    rows.append(run(6, fingerprint="e", status="KILLED") | sweep)
    assert overview.sweep_table(frame(*rows)).iloc[0][["failed", "stopped"]].tolist() == [3, 1]


def test_compare_shows_only_what_differs() -> None:
    runs = frame(run(0, p_optimizer="sgd", p_epochs=2), run(1, p_optimizer="adam", p_epochs=2))
    table = compare.differing(runs, "params.")
    assert list(table.columns) == ["optimizer"]
    assert sorted(table["optimizer"]) == ["adam", "sgd"]
    more = frame(run(0, p_epochs=10), run(1, p_epochs=9, p_note="x"))
    assert compare.differing(more, "params.")["epochs"].tolist() == [9.0, 10.0]  # numbers sort as such
    assert compare.differing(more, "params.", ["note"])["note"].tolist() == ["x", ""]


def test_names_and_tags_cannot_bring_html_into_a_figure() -> None:
    evil = "<img src=x onerror=alert(1)>"
    scored: dict[str, Any] = {"p_n_parameters": 1, "p_pattern": "v8", "m": {"spurious/score": 0.1}}
    runs = frame(run(0, p_architecture=evil, **scored), run(1, p_architecture="MLP", **scored))
    panel = factors_page.architectures(replace(view(made_up(30)), runs=runs, every=runs))
    assert evil not in panel.plots[0].figure.to_json().replace("\\u003c", "<").replace("\\u003e", ">")


def test_the_clean_model_at_zero_comes_from_clean_runs_where_no_run_names_it() -> None:
    def clean(i: int, seed: int, score: float, **more: Any) -> dict[str, Any]:
        reference = {"reference/v1/score_target_2": score, "reference/v1/score_target_3": 0.9}
        return run(i, p_pattern="none", p_random_seed=seed, p_dataset_family="mnist", m=reference, **more)

    tested = run(
        9,
        p_pattern="v1",
        p_n_spurious=5,
        p_target_class=2,
        p_dataset_family="mnist",
        p_random_seed=0,
        m={"spurious/score": 0.5},
    )
    others = [clean(3, 0, 0.7, p_optimizer="adam"), clean(4, 1, 0.7) | {"params.dataset_family": "fashion"}]
    table = _points(*RUNS, tested, clean(5, 0, 0.2), clean(6, 1, 0.4), *others)
    at_zero = table[table["baseline"]].set_index("paper")
    assert at_zero["mean"].to_dict() == {"S1": pytest.approx(0.3), "S3": pytest.approx(0.045)}
    assert [at_zero[name]["S1"] for name in ("runs", "units", "each")] == [2, 2, (0.2, 0.4)]


def test_bars_longer_than_the_scale_are_cut_and_means_are_not() -> None:
    table = _points(*(_run(i, 1, i, value) for i, value in enumerate((0, 0, 0, 1, 1))))
    table["high"] = np.where(table["high"].isna(), np.nan, 2.0)  # a Student interval, say
    low, high = score_curves(table, LIGHT, "y").layout.yaxis.range
    assert -0.1 < low < 0.01
    assert 1 < high < 1.1


def test_runs_that_have_not_ended_are_counted_and_left_out() -> None:
    running = [run(i, status="RUNNING", p_pattern="v8", p_random_seed=i, m={"spurious/score": 0.5}) for i in (7, 8)]
    table = points(frame(*RUNS, *running), ["paper"], "spurious/score")
    assert table[["runs", "running"]].to_numpy().tolist() == [[4, 2]]
    assert "2 still running" in behind(table.iloc[0])
    assert "2 still running and left out" in summary(table)


def test_roc_curves_of_one_attack_share_a_color_and_the_controlled_one_is_dashed() -> None:
    line = ([0.1, 1.0], [0.2, 1.0])
    drawn = privacy.roc_curves({"lira/spurious": line, "lira": line, "shadow": line}, LIGHT, "1:a")
    looks = [(t.name, t.line.color, t.line.dash) for t in drawn.data[1:]]
    assert [name for name, _, _ in looks] == ["shadow", "lira", "lira, with pattern"]
    assert looks[1][1] == looks[2][1] != looks[0][1]
    assert [dash for _, _, dash in looks] == ["solid", "solid", "dash"]
    assert [t.showlegend for t in drawn.data[1:]] == [True, True, False]  # one entry an attack leaves room on a phone


def test_runs_that_train_shadow_models_are_no_attacks() -> None:
    attack = run(0, kind="attack", p_pattern="v8", p_n_spurious=10, m={"attack/lira/auc": 0.6})
    shadow = run(1, kind="attack", status="FAILED", p_pattern="v8", p_n_spurious=10)
    runs = frame(attack | {"tags.rsc.method": "mem_inference"}, shadow | {"tags.rsc.method": "shadow_models"})
    table = privacy_page.auc(replace(view(made_up(30)), runs=runs, every=runs)).table
    assert table[["runs", "failed"]].to_numpy().tolist() == [[1, 0]]


def test_two_classes_and_quarters_are_told_from_the_plain_form() -> None:
    """A two-class run's score is the mean of both classes', which stand beside it."""
    names = {"mnistv8-10-0-0": "0", "twoclassmnistv8-10-0-1-0": "0-1", "memmnistv8-10-0-0": "0"}
    rows = [_run(i, 10, 0, 0.1 * (i + 1), p_dataset=n, p_target_class=t) for i, (n, t) in enumerate(names.items())]
    rows[1] |= {"metrics.spurious/score_target_0": 0.2, "metrics.spurious/score_target_1": 0.8}
    assert "kind of dataset" in points(frame(*rows), ["paper"], "spurious/score")["mixed"].iloc[0]
    table = _points(*rows, by=("form",))
    table = table[table["n_spurious"] == 10].set_index("form")
    assert table["mean"].to_dict() == pytest.approx({"one class": 0.1, "two classes": 0.5, "quarters": 0.3})
    assert [table[name]["two classes"] for name in ("target_1", "target_2")] == pytest.approx([0.2, 0.8])
    drawn = [trace.name for trace in score_curves(table.loc[["two classes"]], LIGHT, "y").data]
    assert drawn == ["S3", "S3, first target class", "S3, second target class"]


def test_sweeps_of_one_grid_have_a_bar_each_and_a_running_one_comes_first() -> None:
    def sweep(number: int, name: str, status: str = "FINISHED") -> list[dict[str, Any]]:
        tags = {"tags.rsc.sweep": f"s{number}", "run_name": name}
        jobs = [run(100 * number + job) | {"tags.rsc.sweep": f"s{number}"} for job in range(number)]
        return [run(number, kind="sweep", status=status, p_n_jobs=4) | tags, *jobs]

    runs = frame(*sweep(1, "sweep scores"), *sweep(2, "sweep scores"), *sweep(3, "sweep mnist", "RUNNING"))
    table = overview.sweep_table(runs)
    assert table["finished"].tolist() == [3, 2, 1]
    drawn = overview.sweep_bars(table, LIGHT)
    finished = drawn.data[0]
    assert (list(finished.y), list(finished.x)) == ([0, 1, 2], [75, 50, 25])
    assert list(drawn.layout.yaxis.ticktext) == ["mnist", "scores", "scores"]


def test_more_sweeps_than_bars_are_told() -> None:
    rows = [run(i, kind="sweep") | {"tags.rsc.sweep": f"s{i}"} for i in range(14)]
    panel = overview_page.sweeps(view(pd.DataFrame.from_records(rows)))
    assert panel.note == "14 sweeps, the newest 12 drawn. Newest: run 13 (finished), 0 jobs finished"
    assert len(panel.plots[0].figure.data[0].y) == 12


def test_a_long_name_takes_several_lines_of_a_legend_which_leaves_half_of_the_figure() -> None:
    label = "incremental_retraining mnistv20-100-0-2 <LargeMLP> adam seed 0"
    drawn = compare.curves({label: [(1, 0.5)]}, ["1:a"], LIGHT, "y")
    assert drawn.data[0].name == "incremental_retraining mnistv20-100-0-2<br>&lt;LargeMLP&gt; adam seed 0"
    assert drawn.layout.height == 340
    eight = {f"{label} {i}": [(1, 0.5)] for i in range(8)}
    assert compare.curves(eight, ["1:a"] * 8, LIGHT, "y").layout.height == 120 + 2 * 8 * 2 * 18


def test_a_class_that_one_pattern_lacks_is_an_empty_cell() -> None:
    rows = [run(0, p_pattern="v1", m={"spurious/score_target_0": 0.2, "spurious/score_target_1": 0.4})]
    rows.append(run(1, p_pattern="v8", m={"spurious/score_target_0": 0.6}))
    heat = class_map(class_points(frame(*rows), "target", 2), LIGHT, "x").data[0]
    assert (list(heat.y), list(heat.x)) == (["S1", "S3"], ["0", "1"])
    assert close(heat.z, [[0.2, 0.4], [0.6, np.nan]])
    assert heat.text is None
    assert heat.hovertext[1][1] == "S3, class 1: no run"
    assert heat.customdata[1][1] == ""


def test_numbers_too_close_for_their_ticks_share_one() -> None:
    table = _points(*(_run(i, n, 0, 0.1) for i, n in enumerate((1, 10, 11, 100))))
    assert list(score_curves(table, LIGHT, "y").layout.xaxis.ticktext) == ["0", "1", "10", "100"]


def test_a_correlation_that_is_not_defined_says_so() -> None:
    rows = [
        run(i, p_pattern=name, m={"spurious/pattern_norm": 2.0, "spurious/score": i / 10})
        for i, name in enumerate(("v1", "v3", "v8", "v18", "v20"))
    ]
    words = factors.correlation_words(factors.norm_points(frame(*rows)))
    assert words.endswith(": Pearson's r is not defined, because all points have the same norm or the same score")
