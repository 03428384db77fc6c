"""The table of who may import whom, held against every import statement of the package."""

import ast
from pathlib import Path

import mfh

ROOT = Path(mfh.__file__).parent
# Each room may import itself and what stands above it.
ORDER = [
    ("_version",),
    ("_checks",),
    ("_system",),
    ("_rows",),
    ("_run_result",),
    ("_formula_kernels",),
    ("_formulas",),
    ("arms", "metrics", "loss_options", "recipe"),
    ("config",),
    ("results",),
    ("stats",),
    ("crossed", "sequential", "influence"),
    ("comparing",),
    ("_report",),
    ("losses",),
    ("tasks",),
    ("_saliency", "_focus"),
    ("models",),
    ("data",),
    ("training",),
    ("_study", "_diagnose"),
    ("_distill", "_export"),
    ("estimator",),
    ("experiments",),
    ("commands",),
    ("cli",),
]
# Narrower than the order: the report reads results alone, and the state of a run that has not ended.
ONLY = {
    "_report": {
        "_report", "arms", "comparing", "crossed", "results", "stats", "_system", "_checks", "_version",
    }
}  # fmt: skip
ROOMS = [room for rooms in ORDER for room in rooms]
RANK = {room: rank for rank, rooms in enumerate(ORDER) for room in rooms}


def room_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def modules() -> list[Path]:
    skipped = {"__init__", "__main__"}
    return [path for path in sorted(ROOT.rglob("*.py")) if room_of(path) not in skipped]


def imported_rooms(path: Path) -> set[str]:
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "mfh":
            parts = node.module.split(".")
            names = [parts[1]] if len(parts) > 1 else [alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [a.name.split(".")[1] for a in node.names if a.name.startswith("mfh.")]
        rooms |= set(names)
    return rooms


def test_every_module_has_a_place_in_the_table() -> None:
    assert {room_of(path) for path in modules()} - set(ROOMS) == set()
    assert len(modules()) > 20


def test_no_module_imports_what_stands_below_it() -> None:
    wrong = []
    for path in modules():
        mine = room_of(path)
        for other in imported_rooms(path):
            assert other in RANK, f"{path} imports mfh.{other}, which the table does not know"
            allowed = other in ONLY[mine] if mine in ONLY else RANK[other] <= RANK[mine]
            if not allowed:
                wrong.append(f"{path.relative_to(ROOT)} imports {other}")
    assert wrong == []


def test_nobody_imports_the_command_line() -> None:
    importers = {room_of(path) for path in modules() if "cli" in imported_rooms(path)}
    assert importers <= {"cli"}
