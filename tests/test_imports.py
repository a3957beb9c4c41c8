"""The package map: which package may import which, and what stays light."""

import ast
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "winnow"

MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "fsync": set(),
    "garbage_collection": set(),
    "machine": set(),
    "formatting": set(),
    "metrics": set(),
    "untrusted_text": set(),
    "config": {"errors", "untrusted_text"},
    "data": {"errors", "fsync", "untrusted_text"},
    "tracking": {"errors", "fsync", "machine", "metrics", "untrusted_text"},
    "filters": {"errors", "data", "untrusted_text"},
    "training": {"errors", "fsync", "machine", "data"},
    "comparison": {"errors", "formatting", "metrics", "config", "tracking"},
    "reporting": {"errors", "formatting", "metrics", "untrusted_text", "data", "filters", "tracking", "comparison"},
    "evaluation": {
        "errors",
        "metrics",
        "untrusted_text",
        "data",
        "filters",
        "training",
    },  # filters only for the fast VADER scorer
    "run": {
        "errors",
        "garbage_collection",
        "metrics",
        "untrusted_text",
        "config",
        "data",
        "filters",
        "training",
        "evaluation",
        "tracking",
        "reporting",
    },
    "studies": {"errors", "metrics", "config", "data", "filters", "tracking", "comparison", "reporting", "run"},
    "commands": {
        "errors",
        "formatting",
        "metrics",
        "untrusted_text",
        "config",
        "data",
        "filters",
        "training",
        "evaluation",
        "tracking",
        "comparison",
        "reporting",
        "run",
        "studies",
    },
    "search": {
        "errors",
        "formatting",
        "metrics",
        "config",
        "data",
        "tracking",
        "comparison",
        "reporting",
        "run",
        "studies",
    },
    "api": {"comparison", "config", "data", "errors", "studies", "tracking"},
    "stream": {"config", "api", "data", "errors", "filters", "reporting"},
    "cli": {"errors", "garbage_collection", "config", "tracking", "commands", "run", "studies", "search"},
}
CONTENTS: dict[str, str] = {
    "errors": "errors that name the key, the problem and the fix",
    "fsync": "atomic, durable writes",
    "garbage_collection": "how often Python's garbage collector runs",
    "machine": "the processor and the user's cache folder",
    "formatting": "numbers and lists as text",
    "metrics": "metric names, directions, units and labels",
    "untrusted_text": "the rule for names, and escaping for Markdown, CSV files and file names",
    "config": "schema, composition, validation, `_target_` objects",
    "data": "sources, cleaning, splits, the corpus and its cache",
    "tracking": "the MLflow store, run life cycle, offline spool",
    "filters": "signals, expressions, verdicts, controls",
    "training": "tokens, masking, batches, the efficient forward pass, Lightning module and checkpoints",
    "comparison": "collecting runs, statistics, verdicts",
    "reporting": "pages, figures and tables",
    "evaluation": "held-out metrics, probes, loading models",
    "run": "one run: inputs, baseline, fit, evaluate, log",
    "studies": "plans, launchers, jobs, the study's declaration",
    "commands": "one module per command",
    "search": "the command search: trials on validation data, and their confirmation",
    "api": "the public Python API: training and comparing studies, reading corpora",
    "stream": "the public Python API: rows that arrive in batches",
    "cli": "the entry point",
}
DOCUMENT = Path(__file__).parents[1] / "docs" / "architecture.md"
MARKERS = ("<!-- package map -->", "<!-- end -->")


def package_map() -> str:
    """Return the package map as a Markdown table, lowest packages first."""
    rows = [
        f"| `{package}` | {CONTENTS[package]} | {', '.join(f'`{name}`' for name in sorted(allowed)) or 'nothing'} |"
        for package, allowed in MAY_IMPORT.items()
    ]
    return "\n".join(["| package | contents | may import |", "|---|---|---|", *rows])


def with_package_map(text: str) -> str:
    """Return the architecture page with the current package map between its markers."""
    before, rest = text.split(MARKERS[0])
    return f"{before}{MARKERS[0]}\n{package_map()}\n{MARKERS[1]}{rest.split(MARKERS[1])[1]}"


def test_the_architecture_page_shows_the_package_map() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert with_package_map(text) == text, "run: python tests/test_imports.py"


MAX_DEPTH = 8
"""Packages on the longest import chain, the first and the last included."""


def name_of(path: Path) -> str:
    return ".".join(("winnow", *path.relative_to(SOURCE).with_suffix("").parts)).removesuffix(".__init__")


MODULES = {name_of(path): path for path in sorted(SOURCE.rglob("*.py"))}


def package_of(module: str) -> str:
    return module.split(".")[1]


def imports_of(module: str) -> set[str]:
    """Return the modules of Winnow that a module imports anywhere, type-only imports included."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                found.add(full if full in MODULES else node.module)
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name for name in found if name.startswith("winnow.") and name != "winnow.__version__"} - {module}


def cycle_in(graph: dict[str, set[str]]) -> list[str]:
    """Return the nodes of one cycle, or an empty list."""
    done: set[str] = set()

    def visit(node: str, path: list[str]) -> list[str]:
        if node in path:
            return path[path.index(node) :]
        if node in done:
            return []
        for other in sorted(graph.get(node, ())):
            if found := visit(other, [*path, node]):
                return found
        done.add(node)
        return []

    return next((found for node in sorted(graph) if (found := visit(node, []))), [])


@pytest.mark.parametrize("module", [name for name in MODULES if name not in ("winnow", "winnow.__main__")])
def test_each_package_imports_only_what_the_design_allows(module: str) -> None:
    package = package_of(module)
    assert {package_of(name) for name in imports_of(module)} <= MAY_IMPORT[package] | {package}


def test_modules_do_not_import_in_cycles() -> None:
    assert cycle_in({module: imports_of(module) for module in MODULES}) == []
    assert cycle_in({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c"]


def test_the_longest_import_chain_is_short() -> None:
    used = {package: set[str]() for package in MAY_IMPORT}
    for module in MODULES:
        if module not in ("winnow", "winnow.__main__"):
            used[package_of(module)] |= {package_of(name) for name in imports_of(module)} - {package_of(module)}

    def depth(package: str) -> int:
        return 1 + max((depth(other) for other in used[package]), default=0)

    assert max(map(depth, used)) <= MAX_DEPTH


def test_module_names_are_unique() -> None:
    names = Counter(
        path.stem for path in MODULES.values() if path.stem != "__init__" and path.parent.name != "commands"
    )
    assert [name for name, count in names.items() if count > 1] == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "module", ["winnow.cli", "winnow.config", "winnow.data", "winnow.filters", "winnow.comparison", "winnow.reporting"]
)
def test_light_packages_work_without_torch(module: str) -> None:
    heavy = {"torch", "transformers", "mlflow", "matplotlib"}
    code = f"import {module}, sys; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


if __name__ == "__main__":
    DOCUMENT.write_text(with_package_map(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
