"""Every promise in SECURITY.md names tests that exist."""

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
ROWS = re.findall(r"^\|.*\| `(\S+\.py)` \| (.+) \|$", (TESTS.parent / "SECURITY.md").read_text(), re.MULTILINE)


@pytest.mark.parametrize(("file", "names"), ROWS)
def test_the_tests_of_a_promise_exist(file: str, names: str) -> None:
    found = re.findall(r"^def (test_\w+)", (TESTS / file).read_text(), re.MULTILINE)
    wanted = re.findall(r"`(\w+)`", names)
    assert wanted
    for part in wanted:
        assert any(part in name for name in found), part


def test_the_table_was_read() -> None:
    assert len(ROWS) == (TESTS.parent / "SECURITY.md").read_text().count(".py` |")
