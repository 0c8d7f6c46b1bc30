"""Signals in real processes: the first is noted and waits for a check, a later second one ends the process."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from rsc_mlflow import cancellation
from rsc_mlflow.cancellation import Cancelled, cancellable, check

WORKING = """
import sys, time
from rsc_mlflow.cancellation import Cancelled, cancellable, check
try:
    with cancellable():
        print("working", flush=True)
        time.sleep(float(sys.argv[1]))  # cannot be interrupted, like an export
        print("undisturbed", flush=True)
        check()
        print("not reached")
except Cancelled as error:
    print(error)
"""


def working(seconds: float) -> subprocess.Popen[str]:
    """A process in the middle of work that lasts so long."""
    command = [sys.executable, "-c", WORKING, str(seconds)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "working\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_work_between_two_checks_is_not_interrupted_and_an_echo_is_ignored(number: signal.Signals) -> None:
    process = working(2.0)
    for _ in range(2):  # one Ctrl-C often arrives twice: from the terminal, and from the program that forwards it
        process.send_signal(number)
    out, errors = process.communicate(timeout=60)
    assert out.splitlines() == ["undisturbed", f"stopped by {number.name}"]
    assert process.returncode == 0
    assert "send the signal again to stop immediately" in errors


def test_a_second_ctrl_c_stops_at_once() -> None:
    process = working(600.0)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    while "to stop immediately" not in process.stderr.readline():
        assert process.poll() is None
    time.sleep(cancellation.ECHO_SECONDS + 0.2)
    process.send_signal(signal.SIGINT)
    assert process.wait(300) == -signal.SIGINT
    process.communicate()


def test_a_signal_raises_once_and_only_in_the_main_thread() -> None:
    before = signal.getsignal(signal.SIGINT)
    with cancellable():
        with pytest.raises(Cancelled, match="stopped by SIGINT"), cancellable():  # noqa: PT012 - the order of it
            os.kill(os.getpid(), signal.SIGINT)
            thread = threading.Thread(target=check)
            thread.start()
            thread.join()
            cancellation.sleep(60)
        check()  # what closes the runs afterwards may check
    assert signal.getsignal(signal.SIGINT) is before


def test_a_block_that_ends_without_a_check_is_stopped_at_its_end() -> None:
    with pytest.raises(Cancelled, match="stopped by SIGTERM"), cancellable():
        os.kill(os.getpid(), signal.SIGTERM)


def test_a_request_is_a_first_signal_however_often_it_is_made() -> None:
    """Where nothing can be cancelled, it says so."""
    assert not cancellation.request()
    with cancellable():
        assert [cancellation.request() for _ in range(3)] == [True] * 3
        with pytest.raises(Cancelled, match="stopped by SIGTERM"):
            check()
        assert cancellation.request()
        check()
    assert not cancellation.request()
