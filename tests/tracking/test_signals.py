"""Signals while runs are open, while one is being closed, and while the store is asked."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy
from mlflow import MlflowClient

from rsc_mlflow.tracking import schema, signals
from rsc_mlflow.tracking.run import open_run
from rsc_mlflow.tracking.signals import Interrupted, deferred, interruptible, shielded


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


@contextmanager
def at_each_statement(call: Callable[[], None]) -> Iterator[None]:
    """Calls it in the main thread while the cursor of an SQL statement is open."""

    def statement_done(*arguments: Any) -> None:
        if threading.current_thread() is threading.main_thread():
            call()

    sqlalchemy.event.listen(sqlalchemy.Engine, "after_cursor_execute", statement_done)
    try:
        yield
    finally:
        sqlalchemy.event.remove(sqlalchemy.Engine, "after_cursor_execute", statement_done)


def test_a_second_signal_does_not_break_off_the_closing() -> None:
    """One Ctrl-C often arrives twice: from the terminal, and from the program that forwards it."""
    with interruptible():
        with shielded():
            os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(Interrupted, match="stopped by SIGTERM"):
            os.kill(os.getpid(), signal.SIGTERM)


def test_a_deferred_signal_waits_for_the_end_of_the_block() -> None:
    done = []
    with interruptible():
        with pytest.raises(Interrupted, match="stopped by SIGINT"), deferred():  # noqa: PT012 - the order of it
            with deferred():
                interrupt()
                os.kill(os.getpid(), signal.SIGTERM)  # its echo
                done.append("inner")
            done.append("outer")
        with deferred():
            done.append("nothing waits any more")
    assert done == ["inner", "outer", "nothing waits any more"]


def test_who_insists_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "INSISTING_SECONDS", 0.1)
    with interruptible():
        with pytest.raises(Interrupted, match="stopped by SIGTERM"), deferred():  # noqa: PT012 - which line it leaves
            interrupt()
            time.sleep(0.2)
            os.kill(os.getpid(), signal.SIGTERM)
            raise AssertionError("not reached")
        with deferred():  # and none is left over
            pass


def test_without_an_open_run_nothing_is_deferred() -> None:
    """Python's own handler raises at once."""
    with pytest.raises(KeyboardInterrupt), deferred():  # noqa: PT012 - which line it leaves
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("not reached")


def test_a_signal_in_another_threads_block_is_not_deferred() -> None:
    inside, over = threading.Event(), threading.Event()

    def hold() -> None:
        with deferred():
            inside.set()
            over.wait(30)

    with interruptible():
        thread = threading.Thread(target=hold)
        thread.start()
        assert inside.wait(30)
        with pytest.raises(Interrupted):
            interrupt()
        over.set()
        thread.join()


def test_a_signal_at_any_statement_of_a_run_leaves_it_killed(
    sqlite_store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite's file stays locked while an exception holds an open cursor: closing the run would fail."""
    monkeypatch.setenv("RSC_PATIENCE_SECONDS", "1")

    def run() -> None:
        with open_run(kind="train", name="a run", params={"epochs": 1}) as opened:
            opened.metrics({"train/loss": 1.0}, 1)
            opened.flush()
            opened.set_tags({schema.KIND: "train"})

    run()
    stopped = 0
    for number in range(0, 1000, 7):
        before = iter(range(number))
        sent: list[int] = []

        def at_the_chosen_one(number: int = number, before: Iterator[int] = before, sent: list[int] = sent) -> None:
            if next(before, None) is None and not sent:
                sent.append(number)
                interrupt()

        raised = False
        with at_each_statement(at_the_chosen_one):
            try:
                run()
            except Interrupted:
                raised = True
        assert raised == bool(sent)
        if not sent:  # the run has fewer statements
            break
        stopped += 1
        endings = [found.info.status for found in MlflowClient().search_runs(["1"])]
        assert endings.pop() == "FINISHED"  # the first
        assert set(endings) <= {"KILLED"}, number
    assert len(endings) > stopped / 2 > 5  # the others were stopped before there was a run
