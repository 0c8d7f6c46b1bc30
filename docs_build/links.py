"""Links between documents, rewritten for the site: documents of the root become pages, other files plain text."""

import posixpath
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
COPIED = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
COPIED |= {"SECURITY.md": "security_policy.md"}
"""Documents of the project's root → their pages."""
_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")


def root_pages() -> dict[str, str]:
    """Path of each copied page below docs/ → its Markdown, with the links of the site."""
    return {page: for_site((ROOT / name).read_text(encoding="utf-8"), "", page) for name, page in COPIED.items()}


def for_site(markdown: str, folder: str, page: str) -> str:
    """Markdown with its links rewritten for the site.

    Args:
        markdown: the text of a document.
        folder: the document's folder, relative to the project's root.
        page: path of the page relative to docs/.
    """

    def replaced(match: re.Match[str]) -> str:
        picture, text, link = match.groups()
        if re.match(r"[a-z]+:|#|/", link):
            return match[0]
        path, mark, anchor = link.partition("#")
        target = posixpath.normpath(posixpath.join(folder, path))
        if target.startswith("docs/"):
            found = target.removeprefix("docs/")
        elif target in COPIED:
            found = COPIED[target]
        else:
            return str(text)
        return f"{picture}[{text}]({posixpath.relpath(found, posixpath.dirname(page) or '.')}{mark}{anchor})"

    return _LINK.sub(replaced, markdown)
