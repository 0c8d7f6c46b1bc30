"""Messages of commands: shown once, on what is standard error at the moment, and nowhere before they are asked for."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from rsc_mlflow import messages

ROOT = Path(__file__).parents[1]
PROGRAM = """
from rsc_mlflow import messages
messages.say("quiet")
messages.show()
messages.show()
messages.say("100 %s")
messages.note("look here")
"""


def test_a_library_is_quiet_until_a_command_shows_its_messages() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "100 %s\nnote: look here\n")


def test_messages_follow_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    messages.say("here")
    assert capsys.readouterr().err == "here\n"


def test_only_this_module_and_the_server_print_to_standard_error() -> None:
    """The bars of rich write to it as well, but no lines of ours."""
    printing = re.compile(r"print\([^\n]*file=sys\.stderr|^\s+file=sys\.stderr,$|sys\.stderr\.write", re.MULTILINE)
    found = {path.name for path in (ROOT / "rsc_mlflow").rglob("*.py") if printing.search(path.read_text())}
    assert found == {"messages.py", "server.py"}
