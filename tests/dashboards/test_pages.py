"""Every page on a filled, an empty and an odd store."""

import pandas as pd
import pytest

from dashboards.pages import PAGES
from dashboards.panels import Page, Panel, View, panels
from rsc_mlflow.names import PATTERNS
from tests.dashboards.frames import empty, made_up, run, view

FILLED = made_up(700)
IDS = [page.path or "overview" for page in PAGES]


def _search(page: Page) -> str:
    return "?" + "&".join(f"run={i:032x}" for i in (3, 4, 5)) if page.path == "compare" else ""


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_a_filled_store_fills_every_panel(page: Page) -> None:
    look = view(FILLED, _search(page))
    for build in page.panels:
        panel = build(look)
        assert panel.message == "", panel.key
        assert panel.plots or panel.show_table
        assert panel.title
        for plot in panel.plots:
            assert plot.figure.data, panel.key


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_an_empty_store_says_what_to_do(page: Page) -> None:
    found = panels(page, view(empty()))
    assert found
    for panel in found:
        assert panel.message, panel.key
        assert "could not be drawn" not in panel.message
    assert any("Make some:" in panel.message for panel in found)


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_runs_of_other_projects_break_nothing(page: Page) -> None:
    foreign = pd.DataFrame.from_records([run(i, kind="", p_lr=0.1, m={"rmse": 1.0}) for i in range(5)])
    foreign = foreign.drop(columns=[c for c in foreign if c.startswith("tags.")])
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
    assert message.startswith("The filters let none of 700 runs through")


@pytest.mark.parametrize("page", [page for page in PAGES if page.options], ids=lambda page: page.path)
def test_other_options_draw(page: Page) -> None:
    for place in (0, -1):
        search = "?" + "&".join(f"{option.name}={option.choices[place][0]}" for option in page.options)
        for panel in panels(page, view(FILLED, search)):
            assert "could not be drawn" not in panel.message, (search, panel.key)


def test_an_unknown_option_value_is_the_default() -> None:
    scores = next(page for page in PAGES if page.path == "scores")
    panel = scores.panels[0](view(FILLED, "?facet=nonsense&measure=../../etc/passwd"))
    assert panel.table.equals(scores.panels[0](view(FILLED)).table)


def test_curves_agree_with_a_plain_group_by() -> None:
    panel = next(page for page in PAGES if page.path == "scores").panels[0](view(FILLED, "?facet=none&runs=all"))
    looked = view(FILLED)
    train = looked.runs[(looked.runs["kind"] == "train") & ~looked.runs["lost"]]
    for paper in PATTERNS.values():
        rows = train[(train["paper"] == paper) & (train["n"] == 10)]
        by_hand = rows.groupby("seed")["metrics.spurious/score"].mean().mean()
        row = panel.table[(panel.table["paper"] == paper) & (panel.table["n"] == 10)]
        if len(rows):
            assert row["mean"].iloc[0] == pytest.approx(by_hand)


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
    first, second = panels(page, view(FILLED))
    assert first.message == "This panel could not be drawn (ZeroDivisionError). The log says more."
    assert (second.key, second.message) == ("runs", "")
    assert "panel broken" in caplog.text
