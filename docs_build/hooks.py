"""Hooks of MkDocs: add the generated pages and the style sheet, and rewrite links for the site."""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from docs_build.links import COPIED, for_site, root_pages
from docs_build.reference import API, API_INDEX, reference_pages

STYLE = Path(__file__).with_name("site.css")
_ROLE = re.compile(r":(?:attr|class|data|exc|func|meth|mod):<code>[~.]*")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add the pages of the Python API to the navigation, below Reference."""
    pages = [API_INDEX, *({f"rsc_mlflow.{name}": f"reference/api/{name}.md"} for name in API)]
    for section in config.nav or []:
        if "Reference" in section:
            section["Reference"].append({"Python API": pages})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the reference, the documents of the project's root and the style sheet."""
    for path, text in (root_pages() | reference_pages()).items():
        files.append(File.generated(config, path, content=text))
    files.append(File.generated(config, STYLE.name, abs_src_path=str(STYLE)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Rewrite the links of documents in docs/."""
    path = page.file.src_uri
    if path in COPIED.values() or path.startswith("reference/"):
        return markdown
    return for_site(markdown, posixpath.join("docs", posixpath.dirname(path)), path)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn the roles of reStructuredText in docstrings, such as ``:func:``, into plain code."""
    return _ROLE.sub("<code>", html)
