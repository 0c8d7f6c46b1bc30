"""Saves notes and views, the only things that users can change through the dashboards.

A note is the description of a run (tag ``mlflow.note.content``), a view is the tag ``rsc.view.NAME`` of an experiment.
Both are written through MLflow's own routes with the user's credentials, so MLflow's permissions apply.
"""

import re
from typing import Any

from dash import MATCH, Dash, Input, Output, State, ctx, dcc, html, no_update
from dash.development.base_component import Component

from dashboards.data import Filters
from dashboards.panels import Note, SavedView
from dashboards.repository import RunRepository, VisibleRuns, Writer
from rsc_mlflow.errors import InputError
from rsc_mlflow.tracking import schema

NAME = re.compile(r"[\w .-]{1,60}")
LONGEST = 5000
"""Maximum number of characters of a tag; every store accepts as many."""
DELETED = "View deleted."
READ_ONLY = "These dashboards are read-only. To save views and notes, open the dashboards of MLflow's server."


def view_bar() -> Component:
    """Return the form that saves the current URL under a name."""
    name = dcc.Input(id="view-name", type="text", placeholder="a name", maxLength=60)
    label = html.Label("Save this view as", htmlFor="view-name")
    parts = [label, name, html.Button("Save", id="view-save", n_clicks=0), html.Span(id="view-said", role="status")]
    return html.Details([html.Summary("Save this view"), html.Div(parts, className="save-view")], className="views")


def view_item(view: SavedView, prefix: str, writable: bool) -> Component:
    """Return an entry of the list of saved views: link, page, experiment and, if ``writable``, a delete button."""
    link = dcc.Link(view.name, href=f"{prefix}{view.address}")
    place = f" · {view.address.partition('?')[0] or 'overview'} · experiment {view.experiment} "
    if not writable:
        return html.Li([link, place])
    key = {"experiment": view.experiment_id, "name": view.name}
    button = html.Button("Delete", title=f"delete the view {view.name}")
    message = f"Delete the view {view.name}? It disappears for everybody who can see it."
    delete = dcc.ConfirmDialogProvider(button, id={"type": "view-delete", **key}, message=message)
    said = html.Span(id={"type": "view-gone", **key}, role="status")
    return html.Li([html.Span([link, place, delete]), said], id={"type": "view", **key}, className="view")


def note_form(note: Note, writable: bool) -> Component:
    """Return a form to edit a run's description; only its text unless ``writable``."""
    if not writable:
        return html.Div([html.H3(note.label), html.P(note.text or "no description", className="note")])
    key = {"run": note.run_id}
    text = dcc.Textarea(id={"type": "note-text", **key}, value=note.text, maxLength=LONGEST, title=note.label)
    save = html.Button("Save", id={"type": "note-save", **key}, n_clicks=0)
    said = html.Span(id={"type": "note-said", **key}, role="status")
    return html.Div([html.H3(note.label), text, html.Div([save, " ", said])], className="note-form")


def register(app: Dash, repository: RunRepository, prefix: str) -> None:
    """Add the callbacks that save notes and save and delete views."""

    @app.callback(  # type: ignore[untyped-decorator]
        Output({"type": "note-said", "run": MATCH}, "children"),
        Input({"type": "note-save", "run": MATCH}, "n_clicks"),
        State({"type": "note-text", "run": MATCH}, "value"),
        prevent_initial_call=True,
    )
    def save_note(clicks: int, text: str | None) -> Any:
        return said(lambda: _save_note(repository, ctx.triggered_id["run"], text or "")) if clicks else no_update

    @app.callback(  # type: ignore[untyped-decorator]
        Output("view-said", "children"),
        Input("view-save", "n_clicks"),
        State("view-name", "value"),
        State("address", "pathname"),
        State("address", "search"),
        prevent_initial_call=True,
    )
    def save_view(clicks: int, name: str | None, pathname: str, search: str) -> Any:
        path = pathname.removeprefix(prefix.rstrip("/")).strip("/")
        return said(lambda: _save_view(repository, name or "", path, search or "")) if clicks else no_update

    @app.callback(  # type: ignore[untyped-decorator]
        Output({"type": "view-gone", "experiment": MATCH, "name": MATCH}, "children"),
        Output({"type": "view", "experiment": MATCH, "name": MATCH}, "className"),
        Input({"type": "view-delete", "experiment": MATCH, "name": MATCH}, "submit_n_clicks"),
        prevent_initial_call=True,
    )
    def delete_view(clicks: int) -> tuple[Any, Any]:
        if not clicks:
            return no_update, no_update
        words = said(lambda: _delete_view(repository, **{k: ctx.triggered_id[k] for k in ("experiment", "name")}))
        return words, "view gone" if words == DELETED else "view"


def said(work: Any) -> str:
    """Return the message for the user: the result of ``work``, or the text of its ``InputError``."""
    try:
        return str(work())
    except InputError as error:
        return str(error)


def _writer(repository: RunRepository) -> Writer:
    if repository.writer is None:
        raise InputError(READ_ONLY)
    return repository.writer


def _save_note(repository: RunRepository, run_id: str, text: str) -> str:
    if not (repository.snapshot().runs["run_id"] == run_id).any():
        raise InputError("This run does not exist, or you may not read it.")
    refused = _writer(repository).set_run_tag(run_id, schema.DESCRIPTION, text[:LONGEST])
    return refused or "Saved."


def _save_view(repository: RunRepository, name: str, path: str, search: str) -> str:
    if not NAME.fullmatch(name.strip()):
        raise InputError("Enter a name for the view: 1 to 60 letters, digits, spaces, dots, dashes or underscores.")
    experiment = _experiment(repository.snapshot(), Filters.parse(search))
    address = f"{path}{search}"
    if len(address) > LONGEST:
        raise InputError(f"This URL has {len(address):,} characters. The URL of a view can have at most {LONGEST:,}.")
    refused = _writer(repository).set_experiment_tag(experiment, f"{schema.VIEW_PREFIX}{name.strip()}", address)
    return refused or "Saved; it is listed on Overview."


def _delete_view(repository: RunRepository, experiment: str, name: str) -> str:
    if experiment not in repository.snapshot().experiments:
        raise InputError("This experiment does not exist, or you may not read it.")
    return _writer(repository).delete_experiment_tag(experiment, f"{schema.VIEW_PREFIX}{name}") or DELETED


def _experiment(visible: VisibleRuns, filters: Filters) -> str:
    """Return the id of the experiment to save a view in: the one in the filters, or the only one with runs."""
    chosen = [key for key, name in visible.experiments.items() if name in filters.experiment or not filters.experiment]
    with_runs = set(visible.runs["experiment_id"])
    known = [key for key in chosen if key in with_runs] or chosen
    if len(known) != 1:
        raise InputError("Choose one experiment in the filters first. A view is saved as a tag of its experiment.")
    return known[0]
