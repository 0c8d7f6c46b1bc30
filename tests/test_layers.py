"""The house: data flows one way, and MLflow is known only where results are written down and found."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
LAYERS = (
    ("errors", "rng", "names", "statistics", "scratch", "startup"),
    ("data",),
    ("models",),
    ("training",),
    ("scoring", "theory"),
    ("unlearning", "attacks"),
    ("analysis", "tracking"),
    ("experiments",),
    ("sweeps",),
    ("server",),
)
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
KNOWS_MLFLOW = ("rsc_mlflow/tracking/", "rsc_mlflow/sweeps/", "rsc_mlflow/server.py", "entry_points/")


def modules(*folders: str) -> Iterator[Path]:
    for folder in folders:
        yield from sorted((ROOT / folder).rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def layer(dotted: str) -> str | None:
    parts = dotted.split(".")
    return parts[1] if parts[0] == "rsc_mlflow" and len(parts) > 1 and parts[1] in LEVEL else None


def test_every_module_has_a_layer() -> None:
    for path in modules("rsc_mlflow"):
        name = path.relative_to(ROOT / "rsc_mlflow").parts[0].removesuffix(".py")
        assert name == "__init__" or name in LEVEL, f"{path} belongs to no layer"


def test_nothing_imports_to_its_right() -> None:
    for path in modules("rsc_mlflow"):
        own = path.relative_to(ROOT / "rsc_mlflow").parts[0].removesuffix(".py")
        for dotted in imports(path):
            if own != "__init__" and (other := layer(dotted)):
                assert LEVEL[other] <= LEVEL[own], f"{path} imports {dotted}"
            assert not dotted.startswith("entry_points"), f"{path} imports {dotted}"


def test_siblings_on_one_level_do_not_know_each_other() -> None:
    for name in ("unlearning", "attacks"):
        for path in modules(f"rsc_mlflow/{name}"):
            others = {layer(dotted) for dotted in imports(path)} & {"unlearning", "attacks"}
            assert others <= {name}, path


def test_mlflow_is_imported_only_where_results_are_written_down_and_found() -> None:
    for path in modules("rsc_mlflow", "entry_points", "dashboards"):
        where = path.relative_to(ROOT).as_posix()
        knows = any(dotted.split(".")[0] == "mlflow" for dotted in imports(path))
        assert not knows or where.startswith(KNOWS_MLFLOW), f"{where} imports mlflow"
