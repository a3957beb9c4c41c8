"""The house's walls: which room may import which, and what stays light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "winnow"

MAY_IMPORT = {
    "errors": set(),
    "config": {"errors"},
    "look": set(),
    "data": {"errors"},
    "filters": {"errors", "data", "look"},
    "training": {"errors", "data"},
    "evaluation": {"errors", "data", "look", "training", "filters"},  # filters for VADER's fast reading alone
    "tracking": {"errors"},
    "comparison": {"errors", "look", "tracking"},
    "parts": {"errors", "config", "data", "filters", "training", "evaluation", "tracking"},
    "overview": {"config", "filters", "parts", "preparation"},
    "preparation": {"errors", "config", "data", "filters", "training", "parts"},
    "arithmetic": {"config", "training", "parts", "preparation"},
    "fitting": {"errors", "config", "training", "tracking", "parts", "preparation"},
    "lineage": {"data", "filters", "parts", "preparation", "tracking"},
    "base_scores": {"data", "evaluation"},
    "measurement": {"errors", "config", "training", "evaluation", "parts", "preparation", "base_scores", "data"},
    "recording": {
        "config",
        "lineage",
        "data",
        "evaluation",
        "filters",
        "parts",
        "preparation",
        "measurement",
        "tracking",
    },
    "pipeline": {
        "errors",
        "config",
        "evaluation",
        "tracking",
        "parts",
        "preparation",
        "arithmetic",
        "fitting",
        "measurement",
        "overview",
        "recording",
        "training",
    },
    "studies": {
        "errors",
        "config",
        "data",
        "filters",
        "tracking",
        "comparison",
        "parts",
        "preparation",
        "recording",
        "pipeline",
    },
    "commands": {
        "errors",
        "config",
        "look",
        "data",
        "filters",
        "training",
        "evaluation",
        "tracking",
        "comparison",
        "parts",
        "preparation",
        "measurement",
        "overview",
        "recording",
        "pipeline",
    },
    "cli": {"errors", "config", "tracking", "commands", "pipeline", "studies"},
    "__main__": {"cli"},
}


def room_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported_rooms(path: Path) -> set[str]:
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = (
                [f"{node.module}.{alias.name}" for alias in node.names] if node.module == "winnow" else [node.module]
            )
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        rooms |= {name.split(".")[1] for name in names if name.startswith("winnow.")}
    return rooms - {"__version__"}


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: str(path.relative_to(SOURCE)))
def test_each_room_imports_only_what_the_design_allows(path: Path) -> None:
    room = room_of(path)
    if room == "__init__":
        assert not imported_rooms(path)
        return
    assert imported_rooms(path) <= MAY_IMPORT[room] | {room}


@pytest.mark.parametrize(
    "module", ["winnow.cli", "winnow.config", "winnow.data", "winnow.filters", "winnow.comparison"]
)
def test_light_rooms_work_without_torch(module: str) -> None:
    heavy = {"torch", "transformers", "mlflow", "matplotlib"}
    code = f"import {module}, sys; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
