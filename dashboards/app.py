"""The Dash app, in which the URL determines what a page shows.

One callback draws a page from the URL, the theme and the runs.  Another one checks every few seconds whether runs have
changed, and if so updates the figures and tables.  Filters and options only change the URL.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import flask
from dash import ALL, MATCH, ClientsideFunction, Dash, Input, Output, State, ctx, dcc, html, no_update
from dash.development.base_component import Component

from dashboards import components, downloads, tables, writing
from dashboards.data import CHOICES, Filters, choices
from dashboards.downloads import Addresses
from dashboards.figures.style import Theme, theme_named
from dashboards.legends import without_legend
from dashboards.pages import PAGES, page_at
from dashboards.panels import Page, Panel, panels
from dashboards.repository import RunRepository, VisibleRuns
from rsc_mlflow.errors import InputError

ASSETS = Path(__file__).parent / "assets"
TIMEOUT_SECONDS = 0.8
"""Maximum time in seconds that a page waits for a refresh of the runs before it shows those already loaded."""
SLOW_MS, FAST_MS = 5000, 1000
# Loads plotly.js with the page.  By default Dash requests it with the first figure and gives up after 30 seconds, which
# is too early for slow connections.
INDEX = """<!DOCTYPE html>
<html lang="en">
<head>{%metas%}<title>{%title%}</title>{%favicon%}{%css%}
<script>
(function () {
  var asked = new URLSearchParams(location.search).get("theme");
  var kept = (document.cookie.match(/(?:^|; )rsc_theme=(light|dark)/) || [])[1];
  var dark = window.matchMedia && matchMedia("(prefers-color-scheme: dark)").matches;
  var theme = asked === "light" || asked === "dark" ? asked : kept || (dark ? "dark" : "light");
  document.documentElement.dataset.theme = theme;
  document.cookie = "rsc_theme=" + theme + "; path=/; max-age=31536000; SameSite=Strict";
})();
</script>
</head>
<body>{%app_entry%}<footer>{%config%}
<script src="PREFIX_dash-component-suites/plotly/package_data/plotly.min.js"></script>
{%scripts%}{%renderer%}</footer></body>
</html>"""


def build_app(repository: RunRepository, server: flask.Flask, prefix: str) -> Dash:
    """Add the dashboards to a Flask app.

    Args:
        repository: source of the runs.
        server: MLflow's Flask app, or a separate one.
        prefix: path of the pages, starting and ending with a slash.

    Returns:
        The Dash app; ``server`` serves it.
    """
    app = Dash(
        __name__,
        server=server,
        url_base_pathname=prefix,
        assets_folder=str(ASSETS),
        title="Rare spurious correlations",
        update_title="",
        index_string=INDEX.replace("PREFIX", prefix),
        suppress_callback_exceptions=True,
        add_log_handler=False,
        enable_mcp=False,
        use_pages=False,
    )
    app.layout = lambda: layout(repository, prefix)
    _draw(app, repository, prefix)
    _refresh(app, repository, prefix)
    _small(app, repository, prefix)
    downloads.register(server, repository, prefix)
    writing.register(app, repository, prefix)
    return app


def layout(repository: RunRepository, prefix: str) -> Component:
    """Return the layout that all pages share: header, filters, notices and an empty page."""
    mlflow = [html.A("MLflow", href=repository.ui, className="out")] if repository.ui else []
    header = html.Header(
        [
            dcc.Link("Rare spurious correlations", href=prefix, className="brand"),
            html.Nav(id="menu"),
            html.Div([*mlflow, html.Button("Light / dark", id="theme-button", n_clicks=0)], className="side"),
        ]
    )
    return html.Div(
        [
            dcc.Location(id="address", refresh="callback-nav"),
            dcc.Store(id="theme"),
            dcc.Store(id="stamp"),
            dcc.Store(id="saved"),
            dcc.Interval(id="tick", interval=FAST_MS),
            dcc.Store(id="due"),
            header,
            html.Div(id="filters", className="filters"),
            *([writing.view_bar()] if repository.writer is not None else []),
            html.Div(id="banner", role="status"),
            html.Main(id="page"),
        ]
    )


def _theme() -> Theme:
    return theme_named(flask.request.cookies.get("rsc_theme", "light"))


def page_of(pathname: str | None, prefix: str) -> Page | None:
    """Return the page with this path, or None."""
    return page_at((pathname or prefix).removeprefix(prefix.rstrip("/")).strip("/"))


def _draw(app: Dash, repository: RunRepository, prefix: str) -> None:
    @app.callback(  # type: ignore[untyped-decorator]
        Output("page", "children"),
        Output("filters", "children"),
        Output("menu", "children"),
        Output("banner", "children"),
        Output("stamp", "data"),
        Output("tick", "interval"),
        Input("address", "pathname"),
        Input("address", "search"),
        Input("theme", "data"),
        State({"type": "control", "name": ALL, "default": ALL, "kind": ALL}, "value"),
    )
    def draw(pathname: str, search: str, _theme_clicks: int, _values: list[Any]) -> tuple[Any, ...]:
        filters = Filters.parse(search)
        visible = repository.snapshot(TIMEOUT_SECONDS)
        page = page_of(pathname, prefix)
        banner = notices(visible, repository)
        try:
            body, trouble = page_body(page, visible, filters, repository, prefix), None
        except InputError as error:
            message = html.P(str(error), className="message bad", id="bad-filter")
            body, trouble = [html.H1(page.title if page else "No such page"), message], error
        bar = no_update if _bar_shows(filters) and not trouble else _bar(filters, visible)
        interval = SLOW_MS if visible.settled else FAST_MS
        return body, bar, menu(page, filters, prefix), banner, _drawn(visible, pathname, search), interval


def _drawn(visible: VisibleRuns, pathname: str, search: str) -> str:
    """Return a text that identifies the runs and the URL of a page; when it changes, the page has to be updated."""
    return f"{visible.stamp} {pathname}{search}"


def _bar(filters: Filters, visible: VisibleRuns) -> list[Component]:
    reset = html.Button("Reset", id="reset", n_clicks=0)
    return [*components.filter_bar(filters, choices(visible.runs, visible.experiments)), reset]


def _bar_shows(filters: Filters) -> bool:
    """Return whether the browser's filter bar already shows these filters and does not have to be redrawn."""
    shown = {state["id"]["name"]: state.get("value") for state in ctx.states_list[0]}
    if "experiment" not in shown:
        return False
    lists = all(list(shown.get(name) or []) == list(getattr(filters, name)) for name in CHOICES)
    return lists and (shown.get("filter") or "") == filters.filter


def menu(page: Page | None, filters: Filters, prefix: str) -> list[Component]:
    """Return links to all pages; they keep the filters, but not the options of the page."""
    search = replace(filters, options={}).search()
    return [
        dcc.Link(other.title, href=f"{prefix}{other.path}{search}", className="here" if other is page else "")
        for other in PAGES
    ]


def notices(visible: VisibleRuns, repository: RunRepository) -> list[Component]:
    """Return a notice if the store does not answer, or if runs are still being loaded."""
    snapshot = visible.snapshot
    if snapshot.error:
        known = (
            f"This page shows the {len(visible.runs):,} runs loaded before."
            if len(visible.runs)
            else "No runs have been loaded."
        )
        text = (
            f"The tracking store {repository.where} does not answer. {known} Check that its server is running and that "
            "this address is correct. The page retries automatically."
        )
        reason = html.Details([html.Summary("Error message"), html.Code(snapshot.error[:600])])
        return [html.Div([html.P(text), reason], className="notice bad", id="store-gone")]
    if not snapshot.complete:
        text = (
            f"Loading all runs for the first time: {len(visible.runs):,} so far, newest first. Figures are incomplete."
        )
        return [html.Div(html.P(text), className="notice", id="loading")]
    if visible.stale:
        when = time.strftime("%H:%M:%S", time.gmtime(snapshot.fetched_at))
        text = f"This page shows the runs as of {when} UTC. Newer changes are being loaded."
        return [html.Div(html.P(text), className="notice", id="loading")]
    return []


def page_body(
    page: Page | None, visible: VisibleRuns, filters: Filters, repository: RunRepository, prefix: str
) -> list[Component]:
    """Return a page's heading, options and panels.

    Raises:
        InputError: ``filters.filter`` is not a valid MLflow filter.
    """
    if page is None:
        return [html.H1("No such page"), html.P(["Back to the ", dcc.Link("overview", href=prefix), "."])]
    view = repository.view(visible, filters, _theme())
    parts: list[Component] = [html.H1(page.title), html.P(page.about, className="about")]
    if page.options:
        parts.append(components.option_bar(page, filters))
    if page.path == "compare":
        parts.append(components.run_chooser(view.every, filters.options.get("run", ())))
    drawn = panels(page, view)
    links = Addresses(prefix, page, filters.search())
    cards = [components.panel_card(p, repository, links) for p in drawn]
    return [*parts, html.Div(cards, className=components.panels_class(drawn))]


def _refresh(app: Dash, repository: RunRepository, prefix: str) -> None:
    graph, note, table, notice = (
        {"type": "graph", "panel": ALL, "index": ALL},
        {"type": "note", "panel": ALL},
        {"type": "rows", "panel": ALL},
        {"type": "notice", "panel": ALL},
    )

    @app.callback(  # type: ignore[untyped-decorator]
        Output("page", "children", allow_duplicate=True),
        Output("banner", "children", allow_duplicate=True),
        Output("stamp", "data", allow_duplicate=True),
        Output("tick", "interval", allow_duplicate=True),
        Output(graph, "figure"),
        Output(graph, "style"),
        Output(note, "children"),
        Output(table, "rowData"),
        Output(notice, "children"),
        Input("due", "data"),
        State("address", "pathname"),
        State("address", "search"),
        State("stamp", "data"),
        prevent_initial_call=True,
    )
    def refresh(_ticks: int, pathname: str, search: str, stamp: str | None) -> tuple[Any, ...]:
        graphs, notes, grids, warned = (ctx.outputs_list[i] for i in (4, 6, 7, 8))
        same = *[[no_update] * len(graphs)] * 2, *([no_update] * len(part) for part in (notes, grids, warned))
        visible = repository.snapshot()
        interval = SLOW_MS if visible.settled else FAST_MS
        page = page_of(pathname, prefix)
        drawn_from = _drawn(visible, pathname, search)
        if drawn_from == stamp or page is None:
            return no_update, no_update, no_update, no_update, *same
        filters = Filters.parse(search)
        banner = notices(visible, repository)
        try:
            drawn = panels(page, repository.view(visible, filters, _theme()))
        except InputError:
            return no_update, banner, drawn_from, interval, *same
        whole = {panel.key for panel in drawn if panel.show_table}  # others exist only after they were unfolded
        another = not (stamp or "").endswith(f" {pathname}{search}")  # an earlier refresh replaced the page after draw
        if another or _ids(graphs, notes, [g for g in grids if g["id"]["panel"] in whole], warned) != _expected(drawn):
            return page_body(page, visible, filters, repository, prefix), banner, drawn_from, interval, *same
        by_key = {panel.key: panel for panel in drawn}
        plots = [by_key[g["id"]["panel"]].plots[g["id"]["index"]] for g in graphs]
        figures = [without_legend(plot.figure) for plot in plots]
        styles = [components.graph_style(plot) for plot in plots]
        texts = [by_key[n["id"]["panel"]].note for n in notes]
        rows = [tables.row_data(by_key[t["id"]["panel"]].table, repository) for t in grids]
        words = [by_key[n["id"]["panel"]].notice for n in warned]
        return no_update, banner, drawn_from, interval, figures, styles, texts, rows, words


def _ids(*groups: Sequence[Mapping[str, Any]]) -> list[set[tuple[Any, ...]]]:
    return [{tuple(v for k, v in sorted(item["id"].items()) if k != "type") for item in group} for group in groups]


def _expected(drawn: Sequence[Panel]) -> list[set[tuple[Any, ...]]]:
    good = [panel for panel in drawn if not panel.message]
    return [
        {(index, panel.key) for panel in good for index in range(len(panel.plots))},
        {(panel.key,) for panel in good if panel.note},
        {(panel.key,) for panel in good if len(panel.table) and panel.show_table},
        {(panel.key,) for panel in good if panel.notice},
    ]


def _small(app: Dash, repository: RunRepository, prefix: str) -> None:
    control = {"type": "control", "name": ALL, "default": ALL, "kind": ALL}
    client = [
        ("to_address", Output("address", "search"), [Input(control, "value")], [State("address", "search")]),
        ("due", Output("due", "data"), [Input("tick", "n_intervals")], []),
        ("reset", Output("address", "search", allow_duplicate=True), [Input("reset", "n_clicks")], []),
        ("set_title", Output("saved", "data", allow_duplicate=True), [Input("menu", "children")], []),
        ("toggle_theme", Output("theme", "data"), [Input("theme-button", "n_clicks")], []),
        (
            "save_image",
            Output("saved", "data"),
            [Input({"type": "image", "format": ALL, "panel": ALL, "index": ALL}, "n_clicks")],
            [],
        ),
    ]
    for name, output, inputs, states in client:
        app.clientside_callback(ClientsideFunction("rsc", name), output, inputs, states, prevent_initial_call=True)

    @app.callback(  # type: ignore[untyped-decorator]
        Output({"type": "picked", "panel": MATCH, "index": MATCH}, "children"),
        Input({"type": "graph", "panel": MATCH, "index": MATCH}, "clickData"),
        prevent_initial_call=True,
    )
    def pick(clicked: Mapping[str, Any] | None) -> Any:
        links = links_of(clicked)
        return (
            components.picked_runs(links, repository.snapshot(), repository, f"{prefix}compare") if links else no_update
        )

    @app.callback(  # type: ignore[untyped-decorator]
        Output({"type": "folded", "panel": MATCH}, "children"),
        Input({"type": "fold", "panel": MATCH}, "n_clicks"),
        State("address", "pathname"),
        State("address", "search"),
        prevent_initial_call=True,
    )
    def unfold(clicks: int, pathname: str, search: str) -> Any:
        page = page_of(pathname, prefix)
        if clicks != 1 or page is None:  # refresh updates a table that was unfolded before
            return no_update
        view = repository.view(repository.snapshot(), Filters.parse(search), _theme())
        wanted = ctx.triggered_id["panel"]
        panel = next((panel for panel in panels(page, view) if panel.key == wanted), None)
        return components.grid(panel, repository) if panel is not None else no_update

    @app.callback(  # type: ignore[untyped-decorator]
        Output(components.control_id("run", kind="many"), "options"),
        Input(components.control_id("run", kind="many"), "search_value"),
        State(components.control_id("run", kind="many"), "value"),
        State("address", "search"),
        prevent_initial_call=True,
    )
    def suggest(text: str | None, chosen: Sequence[str] | None, search: str) -> Any:
        if not text:
            return no_update
        visible = repository.snapshot()
        try:
            runs = Filters.parse(search).apply(visible.runs, visible.experiments)
        except InputError:
            runs = visible.runs
        return components.run_options(runs, text, chosen or ())


def links_of(clicked: Mapping[str, Any] | None) -> str:
    """Return the runs of a clicked point as "experiment:run,…"; empty if it has none."""
    point: Any = next(iter((clicked or {}).get("points", ())), {})
    data = point.get("customdata")
    while isinstance(data, list) and data:
        data = data[0]
    return data if isinstance(data, str) else ""
