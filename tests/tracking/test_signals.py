"""Signals while runs are open, while one is being closed, and while the store is asked."""

import os
import signal
import threading
import time

import pytest
from mlflow import MlflowClient

from rsc_mlflow.tracking import schema, signals
from rsc_mlflow.tracking.run import open_run
from rsc_mlflow.tracking.signals import Interrupted, deferred, interruptible, shielded
from rsc_mlflow.tracking.store import undivided, with_retries
from tests.interruptions import interrupted_everywhere


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


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


def test_nothing_is_tried_again_while_a_signal_waits(sqlite_store: str) -> None:
    calls = []

    def away() -> None:
        calls.append(None)
        interrupt()
        raise OSError("the store is away")

    with interruptible(), pytest.raises(Interrupted), undivided():
        with_retries(away, "what a run cannot be opened without", 60)
    assert len(calls) == 1


def test_a_call_to_a_server_may_be_broken_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with interruptible(), pytest.raises(Interrupted), undivided():  # noqa: PT012 - which line it leaves
        interrupt()
        raise AssertionError("not reached")


def test_a_signal_at_any_statement_of_a_run_leaves_it_killed(
    sqlite_store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite's file stays locked while an exception holds an open cursor: closing the run would fail."""
    monkeypatch.setenv("RSC_RETRY_TIMEOUT_SECONDS", "1")

    def run() -> None:
        with open_run(kind="train", name="a run", params={"epochs": 1}) as opened:
            opened.metrics({"train/loss": 1.0}, 1)
            opened.flush()
            opened.set_tags({schema.KIND: "train"})

    run()
    stopped = 0
    for number in interrupted_everywhere(run, 7):
        stopped += 1
        endings = [found.info.status for found in MlflowClient().search_runs(["1"])]
        assert endings.pop() == "FINISHED"  # the first
        assert set(endings) <= {"KILLED"}, number
    assert len(endings) > stopped / 2 > 5  # the others were stopped before there was a run
