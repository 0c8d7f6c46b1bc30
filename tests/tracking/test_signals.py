"""Signals while runs are open, and while one is being closed."""

import os
import signal

import pytest

from rsc_mlflow.tracking.signals import Interrupted, interruptible, shielded


def test_a_second_signal_does_not_break_off_the_closing() -> None:
    """One Ctrl-C often arrives twice: from the terminal, and from the program that forwards it."""
    with interruptible():
        with shielded():
            os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(Interrupted, match="stopped by SIGTERM"):
            os.kill(os.getpid(), signal.SIGTERM)
