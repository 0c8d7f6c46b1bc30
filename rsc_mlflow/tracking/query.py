"""Finding runs again, through MLflow's query API alone."""

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
    """A text as a value of MLflow's filter language, which knows no escapes.

    Raises:
        InputError: the text holds both kinds of quotes, or a backslash or control character.
    """
    if "\\" not in value and value.isprintable():
        for quote in "'\"":
            if quote not in value:
                return f"{quote}{value}{quote}"
    raise InputError(f"{value!r} cannot stand in a query; accepted: printable text with one kind of quotes at most")


def condition(column: str, key: str, value: str) -> str:
    """``column.`key` = 'value'``, with both quoted; ``column`` is ``params``, ``tags`` or ``attributes``."""
    if "`" in key or not key.isprintable():
        raise InputError(f"{key!r} is no {column} name")
    return f"{column}.`{key}` = {quoted(value)}" if column != "attributes" else f"attributes.{key} = {quoted(value)}"


def pages(ask: Callable[[str | None], Any]) -> Iterator[Any]:
    """The items of all pages, the first of which is ``ask(None)``; the store may be away for a while."""
    token: str | None = None
    while True:
        page = with_retries(partial(ask, token), "search")
        yield from page
        token = page.token
        if not token:
            return


def all_experiments(client: MlflowClient) -> list[str]:
    """Ids of all experiments that are not deleted."""
    found = pages(lambda token: client.search_experiments(max_results=_PAGE, page_token=token))
    return [experiment.experiment_id for experiment in found]


def iterate_runs(
    client: MlflowClient,
    conditions: Sequence[str] = (),
    experiment_ids: Sequence[str] | None = None,
    order_by: Sequence[str] = ("attributes.start_time DESC",),
    page: int = _PAGE,
) -> Iterator[Run]:
    """Runs that meet all conditions, page by page (default: newest first, all experiments)."""
    scope = all_experiments(client) if experiment_ids is None else list(experiment_ids)
    ask = partial(client.search_runs, scope, " AND ".join(conditions), max_results=page, order_by=list(order_by))
    if scope:
        yield from pages(lambda token: ask(page_token=token))


def search(
    conditions: Sequence[str] = (), experiment_ids: Sequence[str] | None = None, client: MlflowClient | None = None
) -> pd.DataFrame:
    """All runs that meet the conditions, one row each, newest first, in the columns of :func:`frame.flatten`."""
    return flatten(list(iterate_runs(client or connect(), conditions, experiment_ids)))


def find_training_run(
    dataset: str, model: str, params: Mapping[str, object] | None = None, client: MlflowClient | None = None
) -> Run | None:
    """The newest finished training run of this dataset and model whose parameters agree with ``params``.

    Numbers agree by value: a run started with ``-P learning_rate=0.010`` is found by 0.01.
    """
    conditions = [
        condition("tags", schema.KIND, "train"),
        condition("attributes", "status", "FINISHED"),
        condition("params", "dataset", dataset),
        condition("params", "model", model),
    ]
    return _first(iterate_runs(client or connect(), conditions, page=100), params or {})


def finished_runs(value: str, *, kind: str | None = None, client: MlflowClient | None = None) -> Iterator[Run]:
    """The finished runs of this project with this fingerprint, newest first."""
    conditions = [condition("tags", schema.FINGERPRINT, value), condition("attributes", "status", "FINISHED")]
    if kind is not None:
        conditions.append(condition("tags", schema.KIND, kind))
    found = iterate_runs(client or connect(), conditions, page=_FEW)
    return (run for run in found if schema.KIND in run.data.tags)


def find_by_fingerprint(value: str, *, kind: str | None = None, client: MlflowClient | None = None) -> Run | None:
    """The newest finished run with this fingerprint."""
    return next(finished_runs(value, kind=kind, client=client), None)


def _first(runs: Iterator[Run], params: Mapping[str, object]) -> Run | None:
    for run in runs:
        if all(same_value(run.data.params.get(key, ""), value) for key, value in params.items()):
            return run
    return None
