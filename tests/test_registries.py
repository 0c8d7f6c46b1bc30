"""The registry's form and the loading of plug-ins, with real packages in a temporary folder."""

import json
import os
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from rsc_mlflow.errors import InputError
from rsc_mlflow.registries import Registry

REGISTRY = "from rsc_mlflow.registries import Registry\n{} = Registry[int]('thing', '{}')"


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
    return folder


def run(code: str, *folders: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([*map(str, folders), str(Path(__file__).parents[1])])
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**os.environ, **environment, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def colors() -> Registry[int]:
    registry = Registry[int]("color")
    registry.register("green", 2)
    registry.register("blue", 1)
    return registry


def test_entries_come_back_in_order_of_registration() -> None:
    registry = colors()
    assert registry.names() == ("green", "blue")
    assert dict(registry) == {"green": 2, "blue": 1}
    assert (registry["blue"], registry.get("red"), registry.get("red", 0), len(registry)) == (1, None, 0, 2)
    assert "blue" in registry
    assert "red" not in registry


def test_an_unknown_name_is_told_what_is_accepted_and_what_is_near() -> None:
    with pytest.raises(
        InputError, match=r"^Unknown color 'gren'\. Did you mean 'green'\? Expected one of: green, blue\.$"
    ):
        colors()["gren"]
    with pytest.raises(InputError, match=r"^Unknown color 'xyz'\. Expected one of: green, blue\.$"):
        colors()["xyz"]


def test_a_name_is_registered_once() -> None:
    registry = colors()
    with pytest.raises(InputError, match=r"^The color 'green' is already registered\. Choose another name\.$"):
        registry.register("green", 3)
    assert registry["green"] == 2


def test_a_package_is_imported_at_the_first_look_up_and_not_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(
        tmp_path,
        {
            "fruits/__init__.py": REGISTRY.format("FRUITS", "fruits"),
            "fruits/b.py": "from fruits import FRUITS\nFRUITS.register('pear', 1)",
            "fruits/a.py": "from fruits import FRUITS\nFRUITS.register('apple', 2)",
        },
    )
    monkeypatch.syspath_prepend(tmp_path)
    import fruits  # type: ignore[import-not-found]

    assert "fruits.a" not in sys.modules
    assert fruits.FRUITS.names() == ("apple", "pear")


def test_threads_wait_for_the_first_look_up_of_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(
        tmp_path,
        {
            "slow/__init__.py": REGISTRY.format("SLOW", "slow"),
            "slow/one.py": "import time, slow\ntime.sleep(0.3)\nslow.SLOW.register('one', 1)",
        },
    )
    monkeypatch.syspath_prepend(tmp_path)
    import slow  # type: ignore[import-not-found]

    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.append(slow.SLOW["one"])) for _ in range(4)]
    for thread in threads:
        thread.start()
        time.sleep(0.02)
    for thread in threads:
        thread.join(timeout=10)
    assert found == [1, 1, 1, 1]


SHOW = "from rsc_mlflow import plugins; print(plugins.versions())"


def test_plugins_of_the_variable_and_of_installed_packages_are_loaded_with_their_versions(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "mine.py": "__version__ = '3.1'",
            "bare.py": "",
            "installed.py": "print('imported')",
            "package-2.5.dist-info/METADATA": "Metadata-Version: 2.1\nName: package\nVersion: 2.5\n",
            "package-2.5.dist-info/entry_points.txt": "[rsc_mlflow.plugins]\nanything = installed\n",
        },
    )
    done = run(SHOW, tmp_path, RSC_PLUGINS="mine, bare,")
    assert done.stderr == ""
    assert done.stdout.splitlines() == ["imported", "{'mine': '3.1', 'bare': 'unknown', 'installed': '2.5'}"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "ModuleNotFoundError: No module named 'bad'"),
        ("def", "SyntaxError: "),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("raise ValueError('two\\nlines')", "ValueError: two lines"),
    ],
)
def test_a_plugin_that_cannot_be_imported_is_one_line_each_time(text: str | None, reason: str, tmp_path: Path) -> None:
    if text is not None:
        write(tmp_path, {"bad.py": text})
    code = """
        from rsc_mlflow import plugins
        from rsc_mlflow.errors import InputError
        for _ in range(2):
            try:
                plugins.load()
            except InputError as error:
                print(error)
    """
    first, second = run(code, tmp_path, RSC_PLUGINS="bad").stdout.splitlines()
    assert first == second
    assert first.startswith(f"Cannot load the plug-in 'bad' (RSC_PLUGINS): {reason}")


def test_a_command_imports_plugins_from_the_current_folder_after_installed_modules(tmp_path: Path) -> None:
    """``-P`` starts Python without the current folder, as for the installed ``rsc``."""
    write(tmp_path, {"here.py": "__version__ = '1.0'", "json.py": "print('shadows')"})
    done = subprocess.run(
        [sys.executable, "-P", "-c", SHOW],
        cwd=tmp_path,
        env={**os.environ, "RSC_PLUGINS": "here,json", "PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == ""
    assert done.stdout == "{'here': '1.0', 'json': '" + str(getattr(json, "__version__", "unknown")) + "'}\n"
