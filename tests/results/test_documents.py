"""Markers in documents, and the project's own documents, whose generated parts are those of ``results/*.csv``."""

import re
import shutil
from pathlib import Path

import pytest

from entry_points.command import status
from results.__main__ import cli
from results.documents import filled
from rsc_mlflow.errors import InputError
from tests.results.made_up import results
from tests.results.test_texts import FIVE, SHOWN, scored

ROOT = Path(__file__).parents[2]


def shout(name: str, arguments: object) -> str:
    return f"{name.upper()} {arguments}"


def test_blocks_and_text_within_a_line() -> None:
    text = "a <!-- results: one x -->old<!-- end --> b\n<!-- results: two -->\nold\nold\n<!-- end -->\n"
    expected = "a <!-- results: one x -->ONE ['x']<!-- end --> b\n<!-- results: two -->\nTWO []\n<!-- end -->\n"
    assert filled(text, shout) == expected
    assert filled(expected, shout) == expected
    for text in ("no marker", "between `<!-- results: NAME -->` and `<!-- end -->`"):
        assert filled(text, shout) == text


@pytest.mark.parametrize(
    "text",
    [
        "<!-- results: one --> no end",
        "<!-- results: one --> <!-- results: two --> <!-- end -->",
        "<!-- results: -->x<!-- end -->",
    ],
)
def test_a_marker_needs_a_name_and_an_end_of_its_own(text: str) -> None:
    with pytest.raises(InputError, match="has no"):
        filled(text, shout)


def test_several_lines_do_not_fit_within_a_line() -> None:
    with pytest.raises(InputError, match="several lines"):
        filled("a <!-- results: one --><!-- end -->", lambda name, arguments: "a\nb")


@pytest.mark.parametrize("start", ["", "  ", "- ", "* ", "12. ", "a\n  "])
def test_a_line_that_begins_with_a_marker_would_be_html(start: str) -> None:
    with pytest.raises(InputError, match="Put a word before it"):
        filled(f"{start}<!-- results: one -->x<!-- end -->", shout)


def test_the_projects_documents_are_what_the_results_give(capsys: pytest.CaptureFixture[str]) -> None:
    assert status(cli, ["render", "--check"]) == 0, capsys.readouterr().out


def test_a_typed_number_is_found_and_put_right(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    shutil.copy(ROOT / "README.md", tmp_path)
    results(tmp_path / "data", scores=scored(FIVE))
    where = ["--root", str(tmp_path), "--data", str(tmp_path / "data")]
    assert status(cli, ["render", "--check", *where]) == 1
    assert SHOWN in capsys.readouterr().out
    assert status(cli, ["render", *where]) == 0
    assert (tmp_path / "docs" / "images" / "results_scores.png").read_bytes().startswith(b"\x89PNG")
    assert status(cli, ["render", "--check", *where]) == 0
    page = tmp_path / "docs" / "results.md"
    page.write_text(page.read_text().replace(SHOWN, ".400 [.10, .50]", 1))
    capsys.readouterr()
    assert status(cli, ["render", "--check", *where]) == 1
    out = capsys.readouterr().out
    assert "-| Adam | R3 | 3 | .400 [.10, .50]" in out
    assert f"+| Adam | R3 | 3 | {SHOWN}" in out


def test_pages_of_results_hold_no_typed_result() -> None:
    """Outside of markers there is no number that looks like a score (three digits behind the point)."""
    for name in ("README.md", "docs/results.md", "docs/paper.md", "docs/membership.md", "docs/unlearning.md"):
        text = re.sub(r"<!-- results:.*?<!-- end -->", "", (ROOT / name).read_text(), flags=re.DOTALL)
        text = re.sub(r"```.*?```|`[^`]*`|\]\([^)]*\)", "", text, flags=re.DOTALL)
        typed = [match[0] for match in re.finditer(r"(?<![\d\w])0?\.\d{3,}", text)]
        assert set(typed) <= {"0.002"}, name  # the default damping
