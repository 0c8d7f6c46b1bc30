"""``constraints.txt`` holds one tested version of every dependency, and nothing about where it came from."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
LINES = (ROOT / "constraints.txt").read_text().splitlines()


def _declared() -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    return [Requirement(text) for group in groups for text in group]


def _versions(python: str) -> dict[str, str]:
    """Name → version for a Python on Linux; a name that stands there twice is a mistake."""
    environment = {"python_version": python, "python_full_version": f"{python}.0", "sys_platform": "linux"}
    found: dict[str, str] = {}
    for requirement in map(Requirement, LINES):
        if requirement.marker is None or requirement.marker.evaluate(environment):
            assert requirement.name not in found
            found[canonicalize_name(requirement.name)] = str(requirement.specifier).removeprefix("==")
    return found


@pytest.mark.parametrize("line", LINES)
def test_a_line_is_a_name_a_version_and_perhaps_a_condition(line: str) -> None:
    assert re.fullmatch(r"[a-z0-9-]+==[0-9][a-z0-9.]*( ; [a-z_ ='0-9.*<>!()PA-Z-]+)?", line)


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
def test_every_dependency_has_a_version_within_its_range(python: str) -> None:
    versions = _versions(python)
    for requirement in _declared():
        assert requirement.specifier.contains(versions[canonicalize_name(requirement.name)]), requirement


def test_the_changelog_says_what_was_tested() -> None:
    versions = _versions("3.11")
    unreleased = (ROOT / "CHANGELOG.md").read_text().split("\n## ")[1]
    tested = " ".join(unreleased.split())
    for name, package in (("MLflow", "mlflow"), ("PyTorch", "torch"), ("Ray", "ray")):
        assert f"{name} {versions[package]}" in tested


def test_the_accepted_mlflow_is_the_tested_one() -> None:
    """Its internals are used (``mlflow_compat.py``): a version counts as accepted once its tests have passed."""
    (mlflow,) = [requirement for requirement in _declared() if requirement.name == "mlflow"]
    tested = _versions("3.11")["mlflow"]
    major, minor, _ = map(int, tested.split("."))
    assert {str(part) for part in mlflow.specifier} == {f">={tested}", f"<{major}.{minor + 1}"}
