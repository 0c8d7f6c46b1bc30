"""Every page on a filled, an empty and an odd store."""

import itertools
from typing import Any

import pandas as pd
import pytest

from dashboards.components import panel_card
from dashboards.downloads import Addresses
from dashboards.legends import entries, without_legend
from dashboards.pages import PAGES
from dashboards.panels import Note, Page, Panel, Picture, SavedView, View, panels
from dashboards.repository import RunRepository
from rsc_mlflow.tracking.frame import RunStore
from tests.dashboards.frames import MadeUpSource, empty, made_up, run, view

FILLED = made_up(700)
IDS = [page.path or "overview" for page in PAGES]


def _search(page: Page) -> str:
    return "?" + "&".join(f"run={i:032x}" for i in (3, 4, 5)) if page.path == "compare" else ""


WITHOUT = {
    "unreadable": "All values of the runs shown here could be read.",
    "views": "No views are saved here.",
    "artifacts": "These runs have neither",
    "optimizer": "Optimizer: all runs with otherwise equal settings have sgd",
}
"""Panel → what it says of the made-up runs, which lack what it shows."""


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_a_filled_store_fills_every_panel(page: Page) -> None:
    look = view(FILLED, _search(page))
    for build in page.panels:
        panel = build(look)
        if panel.key in WITHOUT:
            assert panel.message.startswith(WITHOUT[panel.key])
            continue
        assert panel.message == "", panel.key
        assert panel.plots or panel.show_table or panel.notes
        assert panel.title
        for plot in panel.plots:
            assert plot.figure.data, panel.key


def test_norms_have_a_figure_for_each_family() -> None:
    (page,) = (page for page in PAGES if page.path == "factors")
    (panel,) = (panel for panel in panels(page, view(FILLED)) if panel.key == "norms")
    assert [plot.title for plot in panel.plots] == sorted(set(panel.table["dataset_family"]))
    assert len({tuple(plot.figure.layout.xaxis.range) for plot in panel.plots}) == 1
    for plot in panel.plots:
        norms = {x for trace in plot.figure.data if trace.mode == "markers" for x in trace.x}
        assert norms == set(panel.table.loc[panel.table["dataset_family"] == plot.title, "norm"])


def test_the_caption_of_scores_mentions_clean_models_only_if_they_are_shown() -> None:
    (page,) = (page for page in PAGES if page.path == "scores")
    told = {}
    for measure in ("spurious/score", "test/accuracy"):
        panel = page.panels[0](view(FILLED, f"?measure={measure}"))
        bands = [trace for plot in panel.plots for trace in plot.figure.data if trace.fill == "toself"]
        assert ("clean models" in panel.about) == bool(bands)
        told[measure] = bool(bands)
    assert told == {"spurious/score": True, "test/accuracy": False}


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_an_empty_store_says_what_to_do(page: Page) -> None:
    found = panels(page, view(empty()))
    assert found
    for panel in found:
        assert panel.message, panel.key
        assert "could not be drawn" not in panel.message
    assert any("Create some with:" in panel.message for panel in found)


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_runs_of_other_projects_break_nothing(page: Page) -> None:
    foreign = pd.DataFrame.from_records([run(i, kind="", p_lr=0.1, m={"rmse": 1.0}) for i in range(5)])
    foreign = foreign.drop(columns=[c for c in map(str, foreign) if c.startswith("tags.")])
    for panel in panels(page, view(foreign)):
        assert "could not be drawn" not in panel.message


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_missing_metrics_are_named(page: Page) -> None:
    bare = FILLED[[c for c in FILLED.columns if not c.startswith("metrics.")]]
    for panel in panels(page, view(bare, _search(page))):
        assert "could not be drawn" not in panel.message
    if page.path == "scores":
        assert "has spurious/score" in panels(page, view(bare))[0].message


def test_filters_that_let_nothing_through_say_so() -> None:
    scores = next(page for page in PAGES if page.path == "scores")
    message = panels(scores, view(FILLED, "?family=digits"))[0].message
    assert message.startswith("None of the 700 runs matches the filters")


@pytest.mark.parametrize("page", [page for page in PAGES if page.options], ids=lambda page: page.path)
def test_other_options_draw(page: Page) -> None:
    for place in (0, -1):
        search = "?" + "&".join(f"{option.name}={option.choices[place][0]}" for option in page.options)
        for panel in panels(page, view(FILLED, search)):
            assert "could not be drawn" not in panel.message, (search, panel.key)


def _panel(path: str, place: int, raw: pd.DataFrame, search: str = "", source: object | None = None) -> Panel:
    page = next(page for page in PAGES if page.path == path)
    return page.panels[place](view(raw, search, source))


def test_compare_says_why_it_shows_nothing() -> None:
    one, two = run(0, p_epochs=1), run(1, p_epochs=1)
    raw = pd.DataFrame.from_records([one, two])
    both = f"?run={one['run_id']}&run={two['run_id']}"
    hidden = f"{both}&filter=params.epochs%20=%20'2'"
    assert _panel("compare", 0, raw).message.startswith("Choose up to 100 runs above")
    assert _panel("compare", 0, raw, hidden).message.startswith("None of the chosen runs matches the filters")
    assert _panel("compare", 0, raw, both).note == "These runs have the same parameters."
    assert _panel("compare", 1, raw, both).message.startswith("Parallel coordinates need two runs that differ")
    assert (
        _panel("compare", 2, raw, both, Artifacts({}, {})).message
        == "These runs did not log metrics at several epochs."
    )


def test_a_hundred_runs_are_compared_and_their_notes_and_examples_shown() -> None:
    raw = made_up(150)
    raw["tags.mlflow.note.content"] = [f"note {i}" for i in range(150)]
    table = _panel("compare", 0, raw, "?take=newest").table
    assert len(table) == 100
    assert table["run"].tolist() == raw["run_name"].tolist()[:49:-1]
    assert "epochs" not in table or table["epochs"].nunique() > 1
    lines = _panel("compare", 1, raw, "?take=newest").plots[0].figure.data[0]
    assert all(len(axis["values"]) == 100 for axis in lines.dimensions)
    notes = _panel("compare", 4, raw, f"?run={3:032x}").notes
    assert [(note.run_id, note.text) for note in notes] == [(f"{3:032x}", "note 3")]


def test_pictures_notes_and_saved_views_are_drawn() -> None:
    """Of a writable store with fields to type in, of another one as texts."""
    panel = Panel(
        "all",
        "All",
        pictures=(Picture("a1", "figures/examples.png", "the examples"),),
        notes=(Note("a1", "run 1", "a *note*"),),
        views=(SavedView("mine", "scores?family=mnist", "rsc", "1"),),
    )
    store, source = RunStore("sqlite:///nobody.db"), MadeUpSource(0)
    drawn = {
        writable: str(panel_card(panel, RunRepository(store, source, writer=writer), Addresses("/d/", PAGES[0], "")))
        for writable, writer in ((True, NoWriter()), (False, None))
    }
    for text in drawn.values():
        assert "Img(alt='the examples', src='/d/artifact/a1/figures/examples.png')" in text
        assert "href='/d/scores?family=mnist'" in text
        assert "a *note*" in text
    for form in ("Textarea", "delete the view mine"):
        assert form in drawn[True]
        assert form not in drawn[False]
    assert "read-only" in drawn[False]


class NoWriter:
    """Says no to everything."""

    def set_run_tag(self, run_id: str, key: str, value: str) -> str:
        return "no"

    def set_experiment_tag(self, experiment_id: str, key: str, value: str) -> str:
        return "no"

    def delete_experiment_tag(self, experiment_id: str, key: str) -> str:
        return "no"


def test_matrices_and_weight_maps_stand_side_by_side() -> None:
    rows = [run(n, p_epochs=n) for n in range(2)]
    matrix = {"matrix": [[0, 0.5], [1, 0.25]]}
    source = Artifacts({(0, "spurious_scores.json"): matrix, (1, "weight_map.json"): {"maps": {"a": [[1.0]]}}}, {})
    panel = _panel("compare", 3, pd.DataFrame.from_records(rows), f"?run={0:032x}&run={1:032x}", source)
    assert [plot.title for plot in panel.plots] == ["run 0 (000000): score matrix", "run 1 (000000): a"]
    assert panel.plots[0].figure.data[0].z.tolist() == matrix["matrix"]


def test_one_strength_is_no_comparison() -> None:
    raw = pd.DataFrame.from_records([run(0, p_pattern="v8", p_input_noise="0", m={"spurious/score": 0.5})])
    message = _panel("mitigation", 1, raw).message
    assert message.startswith("No setting was run at two strengths of input noise. Vary it with a mitigation grid")


class Artifacts(MadeUpSource):
    """Artifacts (run number, path) → content, and histories run number → points."""

    def __init__(self, artifacts: dict[tuple[int, str], object], histories: dict[int, list[tuple[int, float]]]) -> None:
        super().__init__(0)
        self._artifacts, self._histories = artifacts, histories

    def artifact(self, run_id: str, path: str) -> object | None:
        return self._artifacts.get((int(run_id, 16), path))

    def history(self, run_id: str, metric: str) -> list[tuple[int, float]]:
        return self._histories.get(int(run_id, 16), [])


def _of(method: str, *numbers: int, kind: str = "score", **more: Any) -> pd.DataFrame:
    rows = [run(i, kind=kind, p_dataset="digits", **more) | {"tags.rsc.method": method} for i in numbers]
    return pd.DataFrame.from_records(rows)


def test_artifacts_of_other_shapes_are_passed_over() -> None:
    theory = Artifacts({(2, "theory.json"): [1], (1, "theory.json"): {"curves": []}}, {})
    assert _panel("mitigation", 3, _of("theory", 1, 2), "", theory).message == (
        "None of these 2 runs has theory.json, which is logged by: mlflow run . --env-manager=local -e theory"
    )
    maps = Artifacts({(2, "weight_map.json"): [1], (1, "weight_map.json"): {"maps": {"poisoned": [[0.0, 2.0]]}}}, {})
    panel = _panel("weights", 0, _of("visualize_weights", 1, 2), "", maps)
    assert [plot.title for plot in panel.plots] == ["digits: poisoned"]
    assert panel.table[["smallest", "largest"]].to_numpy().tolist() == [[0.0, 2.0]]
    nothing = _panel("weights", 0, _of("visualize_weights", 1, 2), "", Artifacts({}, {}))
    assert nothing.message.startswith("The newest 2 of these runs have no weight_map.json, which is logged by: mlflow")


def test_occlusion_curves_come_from_the_artifact_or_the_metric() -> None:
    curve = {"share": [0, 0.5, 1], "poisoned": [0.9, 0.5, 0.1], "cut short": [0.9], "note": "text"}
    source = Artifacts({(3, "occlusion.json"): curve}, {2: [(0, 0.8), (100, 0.2)]})
    raw = _of("occlusion", 1, 2, 3, p_architecture="MLP", p_random_seed=7)
    panel = _panel("weights", 1, raw, "", source)
    assert [t.name for t in panel.plots[0].figure.data] == ["digits: poisoned", "digits MLP, seed 7"]
    assert panel.table["share"].tolist() == [0, 50, 100, 0, 100]
    assert panel.table["probability"].tolist() == [0.9, 0.5, 0.1, 0.8, 0.2]


def test_roc_curves_are_those_of_the_newest_two_attacks_that_have_any() -> None:
    curve = {"lira": {"fpr": [0, 1], "tpr": [0, 1]}, "odd": {"fpr": [0]}, "note": "text"}
    raw = _of("mem_inference", 1, 2, 3, 4, kind="attack", p_random_seed=0, m={"attack/lira/auc": 0.5})
    panel = _panel("privacy", 4, raw, "", Artifacts({(i, "roc.json"): curve for i in (1, 2, 4)}, {}))
    links = [plot.figure.data[1].customdata[0] for plot in panel.plots]
    assert links == [f"1:{4:032x}", f"1:{2:032x}"]
    assert [t.name for t in panel.plots[0].figure.data] == ["chance", "lira"]
    none = _panel("privacy", 4, raw, "", Artifacts({(4, "roc.json"): [1]}, {}))
    assert none.message.startswith("The newest attack runs have no roc.json, which is logged by: mlflow run")


def test_an_unknown_option_value_is_the_default() -> None:
    scores = next(page for page in PAGES if page.path == "scores")
    panel = scores.panels[0](view(FILLED, "?facet=nonsense&measure=../../etc/passwd"))
    assert panel.table.equals(scores.panels[0](view(FILLED)).table)


def test_failures_have_a_panel_only_where_there_are_some() -> None:
    overview = next(page for page in PAGES if page.path == "")
    keys = [panel.key for panel in panels(overview, view(FILLED))]
    assert keys == ["runs", "sweeps", "newest", "failures", "models"]
    good = FILLED[~FILLED["status"].isin(["FAILED", "KILLED"])]
    assert [panel.key for panel in panels(overview, view(good))] == ["runs", "sweeps", "newest", "models"]


def test_a_panel_that_cannot_be_made_leaves_the_others(caplog: pytest.LogCaptureFixture) -> None:
    def broken(_view: View) -> Panel:
        raise ZeroDivisionError

    page = Page("odd", "Odd", "", (broken, *PAGES[0].panels[:1]))
    second, first = panels(page, view(FILLED))  # panels that show something come first
    assert first.message == "This panel could not be drawn (ZeroDivisionError). See the log for details."
    assert (second.key, second.message) == ("runs", "")
    assert "panel broken" in caplog.text


def test_lines_and_facets_are_any_parameter() -> None:
    """A line per optimizer, a figure per architecture: as counted by hand, with the pattern held equal."""
    rows = [
        run(
            number,
            p_pattern="v8",
            p_n_spurious=3,
            p_optimizer=optimizer,
            p_architecture=architecture,
            p_dataset_family="digits",
            p_random_seed=seed,
            m={"spurious/score": number / 100},
        )
        for number, (optimizer, architecture, seed) in enumerate(
            itertools.product(("adam", "sgd"), ("MLP", "CNN002"), range(2))
        )
    ]
    raw = pd.DataFrame.from_records(rows)
    panel = _panel("scores", 0, raw, "?group=optimizer&facet=architecture")
    assert [plot.title for plot in panel.plots] == ["CNN002", "MLP"]
    drawn = {
        (plot.title, trace.name): trace.y[0]
        for plot in panel.plots
        for trace in plot.figure.data
        if trace.mode == "lines+markers"
    }
    means = {("MLP", "adam"): 0.005, ("CNN002", "adam"): 0.025, ("MLP", "sgd"): 0.045, ("CNN002", "sgd"): 0.065}
    assert drawn == {key: pytest.approx(value) for key, value in means.items()}
    recipes = _panel("scores", 0, raw, "?group=recipe&facet=none")
    names = {trace.name for trace in recipes.plots[0].figure.data if trace.mode == "lines+markers"}
    assert names == {f"{a} · {o}" for o, a in itertools.product(("adam", "sgd"), ("MLP", "CNN002"))}


def test_one_value_of_a_factor_is_told_in_words_and_not_drawn() -> None:
    rows = [run(n, p_pattern="v8", p_architecture="MLP", m={"spurious/score": 0.5}) for n in range(3)]
    panel = _panel("factors", 0, pd.DataFrame.from_records(rows))
    assert panel.plots == ()
    assert panel.message.startswith("Architecture: all runs with otherwise equal settings have MLP")


def test_every_page_with_figures_of_runs_groups_and_facets_by_any_parameter() -> None:
    """Two optimizers and two architectures, seeds 0 and 1: titles, places and means as counted by hand."""
    made: dict[str, Any] = {"p_pattern": "v8", "p_n_spurious": 3, "p_dataset_family": "digits"}
    rows = [
        run(
            16 * place + number,
            kind=kind,
            p_optimizer=optimizer,
            p_architecture=architecture,
            p_random_seed=seed,
            p_weight_decay=0.1 * seed if kind == "train" else 0,
            m={name: number / 100, "gap/spurious/score": number / 100},
            **made,
        )
        | {"tags.rsc.method": method}
        for place, (kind, name, method) in enumerate(
            [
                ("train", "spurious/score", "none"),
                ("unlearn", "spurious/score", "group_influence"),
                ("attack", "attack/lira/auc", "mem_inference"),
            ]
        )
        for number, (optimizer, architecture, seed) in enumerate(
            itertools.product(("adam", "sgd"), ("MLP", "CNN002"), range(2))
        )
    ]
    raw, search = pd.DataFrame.from_records(rows), "?group=optimizer&facet=architecture"
    means = {("CNN002", "adam"): 0.025, ("CNN002", "sgd"): 0.065, ("MLP", "adam"): 0.005, ("MLP", "sgd"): 0.045}
    for path, place in (("unlearning", 2), ("privacy", 0)):
        panel = _panel(path, place, raw, search)
        assert [plot.title for plot in panel.plots] == ["CNN002", "MLP"], path
        drawn = {
            (plot.title, category): value
            for plot in panel.plots
            for category, value in zip(plot.figure.layout.xaxis.ticktext, plot.figure.data[0].y, strict=True)
        }
        assert drawn == {key: pytest.approx(value) for key, value in means.items()}, path
    for panel in (_panel("mitigation", 0, raw, search), _panel("factors", 2, raw, f"{search}&factor=weight_decay")):
        assert [plot.title for plot in panel.plots] == ["CNN002", "MLP"], panel.key
        traces = {(p.title, t.name): list(t.y) for p in panel.plots for t in p.figure.data if t.yaxis in (None, "y")}
        ends = {("MLP", "adam"): [0.0, 0.01], ("CNN002", "sgd"): [0.06, 0.07]}
        assert {key: traces[key] for key in ends} == ends, panel.key


def test_a_parameter_that_some_runs_lack_has_a_facet_for_those() -> None:
    rows = [run(n, p_pattern="v8", p_n_spurious=3, m={"spurious/score": 0.5}) for n in range(2)]
    rows[0]["params.momentum"] = "0.9"
    panel = _panel("scores", 0, pd.DataFrame.from_records(rows), "?facet=momentum")
    assert [plot.title for plot in panel.plots] == ["momentum 0.9", "no momentum"]


def test_mitigation_never_averages_over_numbers_of_examples() -> None:
    rows = [
        run(n, p_pattern="v8", p_n_spurious=count, p_weight_decay=decay, m={"spurious/score": n / 10})
        for n, (count, decay) in enumerate([(3, 0), (3, 0.1), (3, 0.2), (10, 0), (10, 0.1), (20, 0)])
    ]
    raw = pd.DataFrame.from_records(rows)
    shown = {number: _panel("mitigation", 0, raw, f"?n={number}") for number in ("all", "common", "10")}
    scores = {number: panel.table["mean"].round(1).tolist() for number, panel in shown.items()}
    assert scores == {"all": [0.0, 0.1, 0.2], "common": [0.0, 0.1, 0.2], "10": [0.3, 0.4]}
    assert all((panel.table["mixed"] == "").all() for panel in shown.values())


def test_figures_side_by_side_have_one_legend_and_one_range() -> None:
    """The legend of three families names each pattern once, filled where any of its points is; files keep their own."""
    raw = FILLED
    panel = panels(next(page for page in PAGES if page.path == "scores"), view(raw))[0]
    figures = [plot.figure for plot in panel.plots]
    assert len(figures) == 3
    assert len({one.layout.yaxis.range for one in figures}) == 1
    named = [entry.name for entry in entries(figures)]
    every = {t.name for one in figures for t in one.data if t.showlegend is not False}
    assert sorted(named) == sorted(every)
    first = next(entry for entry in entries(figures) if entry.name == "S2")
    assert (first.color, first.symbol, first.dash) == ("#0072B2", "square", "dash")
    assert without_legend(figures[0])["layout"]["showlegend"] is False
    assert figures[0].layout.showlegend is True
