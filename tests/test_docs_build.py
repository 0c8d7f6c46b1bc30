"""The documentation site's generated pages and rewritten links; `make docs` builds the whole site."""

import dataclasses

import pytest

from docs_build.links import for_site
from docs_build.reference import entry_points_page, names_page, schema_names
from entry_points.commands import entry_point
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


@pytest.mark.parametrize("name", ["train_classifier", "group_influence", "mem_inference", "sweep", "serve"])
def test_every_option_of_a_command_is_in_the_reference(name: str) -> None:
    (section,) = [part for part in entry_points_page().split("\n## ") if part.startswith(f"{name}\n")]
    for field in option_fields(entry_point(name).options_class):
        required = field.default is dataclasses.MISSING
        assert f"| `{field.name}` | {'required' if required else f'`{param_text(field.default)}`'} |" in section


def test_every_stored_name_is_in_the_reference_with_its_meaning() -> None:
    names = schema_names()
    assert {heading: len(rows) > 10 for heading, rows in names.items()} == dict.fromkeys(names, True)
    assert [constant for rows in names.values() for constant, _, text in rows if not text] == []
    assert "| `spurious/score` | `SPURIOUS_SCORE` | Share of all test images" in names_page()
