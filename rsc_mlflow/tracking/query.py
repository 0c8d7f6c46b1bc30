"""Functions that find runs with MLflow's search API."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import pandas as pd
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from rsc_mlflow.errors import InputError
from rsc_mlflow.tracking import schema
from rsc_mlflow.tracking.frame import flatten
from rsc_mlflow.tracking.store import connect, with_retries
from rsc_mlflow.tracking.values import same_value

_PAGE = 1000
_FEW = 5


def quoted(value: str) -> str:
    """Return a text quoted for MLflow's filter language, which has no escape sequences.

    Raises:
        InputError: the text contains both kinds of quotes, a backslash or a control character.
    """
    if "\\" not in value and value.isprintable():
        for quote in "'\"":
            if quote not in value:
                return f"{quote}{value}{quote}"
    raise InputError(f"Invalid value in a query: {value!r}. Expected printable text with at most one kind of quotes.")


def condition(column: str, key: str, value: str) -> str:
    """Return a condition for a search, e.g. ``condition("params", "optimizer", "adam")``.

    Args:
        column: ``params``, ``tags`` or ``attributes``.
        key: name of the parameter, tag or attribute.
        value: the value that it must equal.

    Raises:
        InputError: the key or the value cannot be written in MLflow's filter language.
    """
    if "`" in key or not key.isprintable():
        raise InputError(f"Invalid name in {column}: {key!r}. Expected printable text without backticks.")
    return f"{column}.`{key}` = {quoted(value)}" if column != "attributes" else f"attributes.{key} = {quoted(value)}"


def pages(ask: Callable[[str | None], Any]) -> Iterator[Any]:
    """Yield the items of all pages of a query; retry during an outage of the store.

    Args:
        ask: returns a page for the token of the previous page; None: the first page.
    """
    token: str | None = None
    while True:
        page = with_retries(partial(ask, token), "search")
        yield from page
        token = page.token
        if not token:
            return


def all_experiments(client: MlflowClient) -> list[str]:
    """Return the ids of all experiments that are not deleted."""
    found = pages(lambda token: client.search_experiments(max_results=_PAGE, page_token=token))
    return [experiment.experiment_id for experiment in found]


def iterate_runs(
    client: MlflowClient,
    conditions: Sequence[str] = (),
    experiment_ids: Sequence[str] | None = None,
    order_by: Sequence[str] = ("attributes.start_time DESC",),
    page: int = _PAGE,
) -> Iterator[Run]:
    """Yield the runs that meet all conditions.

    Args:
        client: MLflow's client.
        conditions: conditions in MLflow's filter language, e.g. from :func:`condition`.
        experiment_ids: experiments to search; None: all that are not deleted.
        order_by: order of the runs, by default newest first.
        page: number of runs per request.
    """
    scope = all_experiments(client) if experiment_ids is None else list(experiment_ids)
    ask = partial(client.search_runs, scope, " AND ".join(conditions), max_results=page, order_by=list(order_by))
    if scope:
        yield from pages(lambda token: ask(page_token=token))


def search(
    conditions: Sequence[str] = (), experiment_ids: Sequence[str] | None = None, client: MlflowClient | None = None
) -> pd.DataFrame:
    """Return the runs that meet all conditions as a data frame, newest first.

    Args:
        conditions: as for :func:`iterate_runs`.
        experiment_ids: as for :func:`iterate_runs`.
        client: MLflow's client; None: that of the current tracking store.

    Returns:
        One row per run with MLflow's column names (``run_id``, ``status``, ``params.…``, ``metrics.…``, ``tags.…``).
    """
    return flatten(list(iterate_runs(client or connect(), conditions, experiment_ids)))


def find_training_run(
    dataset: str, model: str, params: Mapping[str, object] | None = None, client: MlflowClient | None = None
) -> Run | None:
    """Return the newest finished training run of a dataset and model; None if there is none.

    Args:
        dataset: dataset name, e.g. ``mnistv20-3-0-0``.
        model: model name, e.g. ``ce-tor-LargeMLP``.
        params: required values of parameters.  Numbers are compared by value: 0.01 finds a run started with
            ``-P learning_rate=0.010``.
        client: MLflow's client; None: that of the current tracking store.
    """
    conditions = [
        condition("tags", schema.KIND, "train"),
        condition("attributes", "status", "FINISHED"),
        condition("params", "dataset", dataset),
        condition("params", "model", model),
    ]
    return _first(iterate_runs(client or connect(), conditions, page=100), params or {})


def finished_runs(value: str, *, kind: str | None = None, client: MlflowClient | None = None) -> Iterator[Run]:
    """Yield the finished runs of this project with this fingerprint, newest first."""
    conditions = [condition("tags", schema.FINGERPRINT, value), condition("attributes", "status", "FINISHED")]
    if kind is not None:
        conditions.append(condition("tags", schema.KIND, kind))
    found = iterate_runs(client or connect(), conditions, page=_FEW)
    return (run for run in found if schema.KIND in run.data.tags)


def find_by_fingerprint(value: str, *, kind: str | None = None, client: MlflowClient | None = None) -> Run | None:
    """Return the newest finished run with this fingerprint; None if there is none."""
    return next(finished_runs(value, kind=kind, client=client), None)


def _first(runs: Iterator[Run], params: Mapping[str, object]) -> Run | None:
    for run in runs:
        if all(same_value(run.data.params.get(key, ""), value) for key, value in params.items()):
            return run
    return None
