"""Renders filters, options and panels as Dash components."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd
from dash import dcc, html
from dash.development.base_component import Component

from dashboards import tables
from dashboards.alike import RECIPES
from dashboards.data import CHOICES, Filters
from dashboards.downloads import Addresses
from dashboards.export import FORMATS, SIZES
from dashboards.figures.points import counted
from dashboards.legends import legend, without_legend
from dashboards.panels import SAME_RUNS, LogExcerpt, Option, Page, Panel, Picture, Plot
from dashboards.repository import RunRepository, VisibleRuns
from dashboards.writing import READ_ONLY, note_form, view_item

GRAPH = {"displayModeBar": False, "responsive": True, "doubleClick": "reset"}


def control_id(name: str, default: str = "", kind: str = "one") -> dict[str, str]:
    """Return the id of a control whose value is kept in the URL; the browser omits defaults from the URL.

    Args:
        name: of the parameter in the URL.
        default: value that is omitted.
        kind: ``one`` or ``many`` values.
    """
    return {"type": "control", "name": name, "default": default, "kind": kind}


FIRST = ("experiment", "family", "architecture", "optimizer")
"""Filters that are always visible; the others are below *More filters*."""


def filter_bar(filters: Filters, choices: Mapping[str, Mapping[str, str]]) -> list[Component]:
    """Return the filters, which apply to every page."""
    boxes = {name: _filter(name, getattr(filters, name), choices.get(name, {})) for name in CHOICES}
    control = control_id("filter")
    text = dcc.Input(
        id=control,
        value=filters.filter,
        type="text",
        debounce=True,
        placeholder="params.batch_size = '128' and metrics.\"test/accuracy\" > 0.9",
        spellCheck=False,
    )
    used = sum(bool(getattr(filters, name)) for name in CHOICES if name not in FIRST)
    more = html.Details(
        [
            html.Summary(f"More filters ({used} set)" if used else "More filters"),
            html.Div([box for name, box in boxes.items() if name not in FIRST], className="filters-more"),
        ],
        open=used > 0,
        className="more wide",
    )
    return [*(boxes[name] for name in FIRST), labeled("MLflow filter (press Enter)", control, text, "wide"), more]


def _filter(name: str, chosen: Sequence[str], known: Mapping[str, str]) -> Component:
    labels = {**known, **{value: value for value in chosen if value not in known}}
    control = control_id(name, kind="many")
    options = [{"label": label, "value": value} for value, label in labels.items()]
    dropdown = dcc.Dropdown(id=control, options=options, value=list(chosen), multi=True, placeholder="all")
    return labeled(CHOICES[name][0], control, dropdown)


def labeled(label: str, control_id: Mapping[str, str], control: Component, kind: str = "") -> Component:
    """Return a control with a label above it, which is also linked to it for screen readers."""
    spelled = json.dumps(control_id, sort_keys=True, separators=(",", ":"))  # as Dash writes ids into the page
    return html.Div([html.Label(label, htmlFor=spelled, className="label"), control], className=f"control {kind}")


def option_bar(page: Page, filters: Filters) -> Component:
    """Return the options of a page."""
    boxes = [
        labeled(option.label, control_id(option.name, option.default), _dropdown(option, filters))
        for option in page.options
    ]
    return html.Div(boxes, className="options")


def _dropdown(option: Option, filters: Filters) -> Component:
    given = filters.options.get(option.name, ())
    value = given[0] if given and given[0] in dict(option.choices) else option.default
    return dcc.Dropdown(
        id=control_id(option.name, option.default),
        options=[{"label": label, "value": choice} for choice, label in option.choices],
        value=value,
        clearable=False,
        searchable=False,
    )


def run_chooser(runs: pd.DataFrame, chosen: Sequence[str]) -> Component:
    """Return the selection of runs on the page Compare; its suggestions match the typed text."""
    control = control_id("run", kind="many")
    dropdown = dcc.Dropdown(
        id=control,
        options=run_options(runs, "", chosen),
        value=list(chosen),
        multi=True,
        placeholder="type a part of a name",
    )
    return html.Div([labeled("Runs", control, dropdown, "wide")], className="options")


def run_options(runs: pd.DataFrame, text: str, chosen: Sequence[str]) -> list[dict[str, str]]:
    """Return the chosen runs, and at most 50 runs whose name contains the text or whose id starts with it."""
    name, wanted = runs["run_name"].astype(str), text.strip().lower()
    fits = name.str.lower().str.contains(wanted, regex=False) | runs["run_id"].str.startswith(wanted or " ")
    rows = pd.concat([runs[runs["run_id"].isin(list(chosen))], runs[fits].head(50)]).drop_duplicates("run_id")
    return [
        {"label": f"{name} · {status.lower()} · {run_id[:6]}", "value": run_id}
        for name, status, run_id in zip(rows["run_name"], rows["status"], rows["run_id"], strict=True)
    ]


def panel_card(panel: Panel, repository: RunRepository, addresses: Addresses) -> Component:
    """Return a panel with its caption, and either its message or its figures, table and downloads."""
    about = [html.P(panel.about, className="about")] if panel.about else []
    message: list[Component] = [html.P(panel.message, className="message")] if panel.message else []
    content = message or _content(panel, repository, addresses)
    name = "panel wide" if is_wide(panel) else "panel"
    return html.Section([html.H2(panel.title), *about, *content], className=name, id=f"panel-{panel.key}")


def _content(panel: Panel, repository: RunRepository, addresses: Addresses) -> list[Component]:
    writable = repository.writer is not None
    parts: list[Component] = [_notice(panel, addresses)] if panel.notice else []
    if panel.notice_at:
        parts = [html.P(SAME_RUNS.format(panel.notice_at), className="note")]
    if panel.plots:
        plots = [_plot(panel, index, addresses) for index in range(len(panel.plots))]
        parts += [*legend([plot.figure for plot in panel.plots]), html.Div(plots, className="plots")]
    if panel.pictures:
        parts.append(html.Div([_picture(picture, addresses) for picture in panel.pictures], className="plots pictures"))
    if panel.views:
        parts.append(html.Ul([view_item(view, addresses.prefix, writable) for view in panel.views]))
    if panel.notes:
        parts += [] if writable else [html.P(READ_ONLY, className="note")]
        parts.append(html.Div([note_form(note, writable) for note in panel.notes], className="plots"))
    if panel.note:
        parts.append(html.P(panel.note, className="note", id={"type": "note", "panel": panel.key}))
    if len(panel.table):
        parts.append(_data(panel, repository, addresses))
    return parts + [_log(log) for log in panel.logs]


def _log(log: LogExcerpt) -> Component:
    return html.Details([html.Summary(log.title), html.Pre(log.text)], className="log")


def _notice(panel: Panel, addresses: Addresses) -> Component:
    """Return the notice; on pages with the option ``RECIPES``, with a link that shows all recipes or only one."""
    words = html.Summary(panel.notice, id={"type": "notice", "panel": panel.key})
    folded = html.Details(words, title="show or fold the whole notice")
    if RECIPES not in addresses.page.options:
        return html.Div(folded, className="unlike")
    filters = Filters.parse(addresses.search)
    options = {name: value for name, value in filters.options.items() if name != RECIPES.name}
    apart = filters.options.get(RECIPES.name) == ("each",) or options.get("group") == ("recipe",)
    if apart:
        text, options = "Only the most common recipe", {k: v for k, v in options.items() if v != ("recipe",)}
    else:
        text, options = "One figure per recipe", options | {RECIPES.name: ("each",)}
    search = replace(filters, options=options).search()
    address = f"{addresses.prefix}{addresses.page.path}{search}"
    return html.Div([folded, dcc.Link(text, href=address, className="recipes")], className="unlike")


def panels_class(panels: Sequence[Panel]) -> str:
    """Return the CSS classes of a page's panels: one narrow panel takes the whole width, three share a row."""
    narrow = sum(not is_wide(panel) for panel in panels)
    return "panels" + {1: " alone", 3: " three"}.get(narrow, "")


def is_wide(panel: Panel) -> bool:
    """Return whether a panel takes the whole width of the page."""
    return panel.wide or len(panel.plots) > 1 or panel.show_table or bool(panel.pictures or panel.notes)


def _plot(panel: Panel, index: int, addresses: Addresses) -> Component:
    plot = panel.plots[index]
    name = f"{panel.key}-{plot.title or 'figure'}"
    key = {"panel": panel.key, "index": index}
    head = [html.H3(plot.title), _save(panel, index, addresses)]
    graph = dcc.Graph(
        id={"type": "graph", **key},
        figure=without_legend(plot.figure),
        config=GRAPH,
        responsive=True,
        style=graph_style(plot),
    )
    picked = html.Div(id={"type": "picked", **key}, className="picked", **{"aria-live": "polite"})
    words = " ".join(part for part in (f"Figure: {panel.title}.", plot.title, panel.about, panel.note) if part)
    described = html.Div(graph, role="figure", **{"aria-label": words})
    return html.Div([html.Div(head, className="head"), described, picked], className="plot", **{"data-name": name})


def _picture(picture: Picture, addresses: Addresses) -> Component:
    image = html.Img(src=addresses.picture(picture), alt=picture.title)
    return html.Figure([image, html.Figcaption(picture.title)])


def _save(panel: Panel, index: int, addresses: Addresses) -> Component:
    """Return the menu that saves a figure: as the browser shows it, or drawn on the server at one of ``SIZES``."""
    key = {"panel": panel.key, "index": index}
    shown = [
        html.Button(kind, id={"type": "image", "format": kind.lower(), **key}, title=f"download as {kind}", n_clicks=0)
        for kind in ("PNG", "SVG")
    ]
    rows = [
        html.P(
            [
                f"{name}, {size.width_cm:g} × {size.height_cm:g} cm: ",
                *(
                    html.A(kind.upper(), href=addresses.figure(panel, index, kind, name), download="", className=kind)
                    for kind in FORMATS
                ),
            ]
        )
        for name, size in SIZES.items()
    ]
    choices = html.Div([html.P(["as shown: ", *shown]), *rows], className="sizes")
    return html.Details([html.Summary("Save"), choices], className="save")


def graph_style(plot: Plot) -> dict[str, str]:
    """Return the CSS height and minimum width of a figure."""
    return {"height": f"{plot.figure.layout.height}px", "minWidth": f"{plot.least_width}px"}


def _data(panel: Panel, repository: RunRepository, addresses: Addresses) -> Component:
    links = [
        html.A(kind, href=addresses.table(panel, end), className=end, title=f"download the data as {kind}", download="")
        for kind, end in (("CSV", "csv"), ("LaTeX", "tex"))
    ]
    downloads = html.P(links, className="downloads")
    if panel.show_table:
        return html.Div([grid(panel, repository), downloads], className="whole")
    key = {"panel": panel.key}
    fold = html.Details(
        [
            html.Summary("Data behind it", id={"type": "fold", **key}, n_clicks=0),
            html.Div(id={"type": "folded", **key}, className="table"),
        ]
    )
    return html.Div([fold, downloads], className="data")


def grid(panel: Panel, repository: RunRepository) -> Component:
    """Return the panel's table."""
    return tables.grid(panel.table, repository, panel.title, {"type": "rows", "panel": panel.key})


def run_link(text: str, address: str) -> Component:
    """Return a link that opens a run in MLflow's UI in a new tab."""
    return html.A(text, href=address, target="_blank", rel="noopener", title="open the run in MLflow")


def picked_runs(links: str, visible: VisibleRuns, repository: RunRepository, compare: str) -> list[Any]:
    """Return a list of the runs behind a clicked point, with links.

    Args:
        links: "experiment:run,…".
        visible: runs that the user may read; others are not listed.
        repository: source of the runs' addresses.
        compare: path of the page Compare.
    """
    wanted = [link.split(":", 1)[1] for link in links.split(",") if ":" in link]
    rows = visible.runs[visible.runs["run_id"].isin(wanted)]
    items = []
    row: Any
    for row in rows.itertuples():
        address = repository.run_address(row.experiment_id, row.run_id)
        name = f"{row.run_name or row.run_id}"
        label = run_link(name, address) if address else html.Span([name, " ", html.Code(row.run_id)])
        seed = f" · seed {row.random_seed}" if row.random_seed else ""
        items.append(html.Li([label, f"{seed} · {row.status.lower()}"]))
    query = "&".join(f"run={run_id}" for run_id in rows["run_id"])
    more = [dcc.Link("Compare these runs", href=f"{compare}?{query}")] if query else []
    return [html.P([f"{counted(len(rows), 'run')} behind this point. ", *more]), html.Ul(items)]
