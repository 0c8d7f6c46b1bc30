"""The house: data flows one way, and MLflow is known only where results are written down and found."""

import ast
import graphlib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
LAYERS = (
    (
        "errors",
        "messages",
        "cancellation",
        "fields",
        "registries",
        "architectures",
        "families",
        "patterns",
        "roots",
        "user_files",
        "rng",
        "names",
        "config",
        "statistics",
        "replication",
        "tempdirs",
    ),
    ("data",),
    ("models",),
    ("training",),
    ("scoring", "theory"),
    ("unlearning", "attacks"),
    ("analysis", "tracking"),
    ("experiments", "plugins"),
    ("sweeps", "api"),
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


def test_the_service_stands_on_the_package_and_the_package_on_nothing_of_it() -> None:
    """The server alone knows the dashboards, entry points know both, and nothing of these knows tests or benchmarks."""
    known = {"rsc_mlflow": {"rsc_mlflow"}, "dashboards": {"rsc_mlflow", "dashboards"}}
    known["entry_points"] = known["dashboards"] | {"entry_points"}
    known["results"] = {"rsc_mlflow", "entry_points", "results"}
    ours = known["entry_points"] | {"results", "benchmarks", "tests"}
    for folder, allowed in known.items():
        for path in modules(folder):
            found = {dotted.split(".")[0] for dotted in imports(path)} & ours
            more = {"dashboards"} if path == ROOT / "rsc_mlflow" / "server.py" else set()
            assert found <= allowed | more, f"{path} imports {sorted(found - allowed)}"


def test_there_is_no_circle_among_modules() -> None:
    """Imports inside functions count: they are how a circle is hidden."""
    paths = {}
    for path in modules("rsc_mlflow", "dashboards", "entry_points", "results", "benchmarks", "tests"):
        dotted = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        paths[dotted.removesuffix(".__init__")] = path
    graph = {name: {dotted for dotted in imports(path) if dotted in paths} - {name} for name, path in paths.items()}
    assert len(graph) > 200
    assert sum(map(len, graph.values())) > len(graph)
    list(graphlib.TopologicalSorter(graph).static_order())  # CycleError names the circle


def test_no_file_is_longer_than_400_lines() -> None:
    folders = ("rsc_mlflow", "dashboards", "entry_points", "results", "benchmarks", "tests", "grids")
    found = [path for folder in folders for path in (ROOT / folder).rglob("*.*")]
    lengths = {
        path.relative_to(ROOT).as_posix(): len(path.read_text().splitlines())
        for path in found
        if path.suffix in (".py", ".js", ".css", ".yaml")
    }
    assert len(lengths) > 200
    assert {name: length for name, length in lengths.items() if length > 400} == {}


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
