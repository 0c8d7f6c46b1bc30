"""The documentation site's generated pages and rewritten links; `make docs` builds the whole site."""

import dataclasses
import re

import pytest

from docs_build.links import for_site
from docs_build.reference import API, api_index, entry_points_page, names_page, schema_names
from entry_points.commands import commands, entry_point
from rsc_mlflow.fields import option_fields, param_text


@pytest.mark.parametrize(
    ("folder", "page", "text", "expected"),
    [
        ("", "index.md", "[a](docs/concepts.md#x)", "[a](concepts.md#x)"),
        ("", "index.md", "![a](docs/images/scores.png)", "![a](images/scores.png)"),
        ("", "index.md", "[a](CONTRIBUTING.md)", "[a](contributing.md)"),
        ("", "index.md", "[`results/`](results) and [b](https://mlflow.org)", "`results/` and [b](https://mlflow.org)"),
        ("docs", "paper.md", "[a](theory.md#top), [b](#here), [c](../results)", "[a](theory.md#top), [b](#here), c"),
        ("docs", "security.md", "[a](../SECURITY.md)", "[a](security_policy.md)"),
        ("docs/tutorials", "tutorials/first_run.md", "[a](../concepts.md)", "[a](../concepts.md)"),
        ("docs/tutorials", "tutorials/first_run.md", "[a](own_data.md)", "[a](own_data.md)"),
    ],
)
def test_links_of_the_repository_become_links_of_the_site(folder: str, page: str, text: str, expected: str) -> None:
    assert for_site(text, folder, page) == expected


def _sections() -> dict[str, str]:
    """The reference of each command, by its name."""
    return dict(part.split("\n", 1) for part in entry_points_page().split("\n### ")[1:])


def test_every_command_is_in_the_reference_once() -> None:
    assert entry_points_page().count("\n### ") == len(_sections())
    assert set(_sections()) == set(commands())


@pytest.mark.parametrize("name", ["train_classifier", "group_influence", "mem_inference", "sweep", "serve"])
def test_every_option_of_a_command_is_in_its_section_or_the_one_that_it_links_to(name: str) -> None:
    sections = _sections()
    linked = re.findall(r"\(#(\w+)\)\.", sections[name])
    rows = "\n".join(sections[one] for one in (name, *linked))
    for field in option_fields(entry_point(name).options_class):
        required = field.default is dataclasses.MISSING
        default = "required" if required else f"`{param_text(field.default)}`"
        assert re.search(rf"^\| `{field.name}` \| .+ \| {re.escape(default)} \|", rows, re.MULTILINE), field.name


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("group_influence", "| `solver` | Solver of (H"),
        ("incremental_retraining", "| `epochs` | Epoch to stop at"),
        ("mem_inference", "| `dataset` | Name of the dataset, e.g. memmnistv20-3-0-0."),
        ("unlearn", "| `method` | Method to run. | required | one of: exact_retraining, "),
        ("attack", "| `method` | Method to run. | required | one of: mem_inference, shadow, "),
    ],
)
def test_a_command_lists_the_options_that_differ_from_those_of_the_linked_command(name: str, start: str) -> None:
    assert f"\n{start}" in _sections()[name]


def test_every_module_of_the_api_has_a_purpose_in_the_index() -> None:
    rows = dict(re.findall(r"^\| \[`rsc_mlflow\.([\w.]+)`\]\(\1\.md\) \| (.+) \|$", api_index(), re.MULTILINE))
    assert tuple(rows) == API
    assert rows["api"].startswith("Python interface: train, load,")


def test_every_stored_name_is_in_the_reference_with_its_meaning() -> None:
    names = schema_names()
    assert {heading: len(rows) > 10 for heading, rows in names.items()} == dict.fromkeys(names, True)
    assert [constant for rows in names.values() for constant, _, text in rows if not text] == []
    assert "| `spurious/score` | Spurious score: share of all test images" in names_page()
    assert "| `attack/{attack}/spurious_auc` | AUC of spurious members" in names_page()
