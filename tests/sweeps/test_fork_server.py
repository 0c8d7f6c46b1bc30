"""The fork server of a sweep's workers."""

import subprocess
import sys
from pathlib import Path

import pytest

WARM_UP = """
import signal, threading
from multiprocessing import forkserver
from pathlib import Path
from rsc_mlflow.sweeps.fork_server import start_fork_server

signal.signal(signal.SIGINT, signal.default_int_handler)
in_a_thread = threading.Thread(target=start_fork_server).start  # Python sets no signals there
for begin in (start_fork_server, in_a_thread):
    begin()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
status = Path(f"/proc/{forkserver._forkserver._forkserver_pid}/status").read_text()
ignored = next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("SigIgn:"))
print(ignored >> (signal.SIGINT - 1) & 1)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="what a process ignores is read from Linux's /proc")
def test_the_process_that_imports_for_the_workers_does_not_hear_ctrl_c() -> None:
    """It has only begun to import; a traceback of that would say nothing to who stopped the sweep."""
    done = subprocess.run([sys.executable, "-c", WARM_UP], capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout.strip()) == (0, "1"), done.stderr
