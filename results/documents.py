"""Markdown with generated parts: ``<!-- results: NAME ARGUMENT… -->`` generated text ``<!-- end -->``.

A marker at the end of a line starts a block on separate lines; any other marker contains text within its
line, for example in a cell of a table.  A marker in backticks is text about markers.
"""

import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from results.groups import NOT_RUN
from results.studies import Results
from results.texts import made
from rsc_mlflow.errors import InputError

_START = re.compile(r"(?<!`)<!-- results:")
_BULLET = re.compile(r"^\s*([-*]|\d+\.)?\s*")
_MARKED = re.compile(r"(?<!`)<!-- results: (?P<call>\S[^\n]*?) -->(?P<old>.*?)<!-- end -->", re.DOTALL)


def rendered(root: Path, results: Results) -> dict[Path, tuple[str, str]]:
    """The documents in ``root`` whose generated parts are out of date: path → (old, new) text.

    Raises:
        InputError: a marker without an end, or with an unknown name.
    """
    changed: dict[Path, tuple[str, str]] = {}
    for path in sorted([*root.glob("*.md"), *(root / "docs").glob("*.md")]):
        old = path.read_text(encoding="utf-8")
        new = filled(old, partial(made, results), path.name)
        if new != old:
            changed[path] = (old, new)
    return changed


def filled(text: str, make: Callable[[str, Sequence[str]], str], name: str = "text") -> str:
    """The document with every generated part updated.

    Args:
        text: the document.
        make: name and arguments of a marker → its text.
        name: of the document, for messages.

    Raises:
        InputError: a marker without an end or a name; one within a line that begins it, or gives several lines.
    """
    if len(_START.findall(text)) != len(_MARKED.findall(text)) or any(
        _START.search(match["old"]) for match in _MARKED.finditer(text)
    ):
        raise InputError(f"{name}: a marker `<!-- results: … -->` has no matching `<!-- end -->`.")

    def fill(match: re.Match[str]) -> str:
        head = f"<!-- results: {match['call']} -->"
        call, *arguments = match["call"].split()
        text = make(call, arguments).strip()
        if match["old"].startswith("\n"):
            return f"{head}\n{text}\n<!-- end -->"
        if text.startswith(NOT_RUN):  # its command does not fit into a sentence or a cell
            text = NOT_RUN.lower()
        if "\n" in text:
            raise InputError(f"{name}: {head} gives several lines. Put the marker at the end of a line.")
        if not _BULLET.sub("", match.string[: match.start()].rpartition("\n")[2]):
            raise InputError(f"{name}: Markdown treats a line that starts with {head} as HTML. Put a word before it.")
        return f"{head}{text}<!-- end -->"

    return _MARKED.sub(fill, text)
