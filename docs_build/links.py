"""Rewrites links between documents for the site: documents of the root are pages; links to other files become text."""

import posixpath
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
COPIED = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
COPIED |= {"SECURITY.md": "security_policy.md"}
"""Documents of the project's root → their pages."""
_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")


def root_pages() -> dict[str, str]:
    """Return the Markdown of each copied page, with the links of the site, by its path below docs/."""
    return {page: for_site((ROOT / name).read_text(encoding="utf-8"), "", page) for name, page in COPIED.items()}


def for_site(markdown: str, folder: str, page: str) -> str:
    """Return Markdown with its links rewritten for the site.

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
