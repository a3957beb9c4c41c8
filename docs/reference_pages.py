"""Writes the reference pages of the documentation site from the schema, the metric definitions and the command line.

`conf.py` runs this script before every build, so the pages cannot differ from the code.
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from winnow.commands.argument_parsers import build_parser
from winnow.commands.config_key_help import COMMAND_SCHEMAS, list_keys
from winnow.metrics import MetricDefinition
from winnow.metrics.metric_catalog import HELD_OUT_SCORES, PROBE_SCORES, RUN_METRIC_PATTERNS, RUN_METRICS

API_PACKAGES = {
    "data": "Sources, cleaning and splits",
    "filters": "Signals, filters and controls",
    "training": "Tokens, masking, the forward pass and the Lightning module",
    "evaluation": "Held-out metrics and probes",
    "metrics": "Metric names, directions and units",
    "comparison": "Contrasts, intervals, corrections and power",
    "reporting": "Reports and figures",
    "tracking": "MLflow stores and runs",
    "studies": "Studies and launchers",
}
"""The packages in the reference of public functions, with a title for each."""


def write_reference(folder: Path) -> None:
    """Write all reference pages to a folder. A page that is already up to date is not touched."""
    pages = {
        "configuration": _build_configuration_page(),
        "metrics": _build_metrics_page(),
        "commands": _build_commands_page(),
        "security": _read_root_page("SECURITY.md"),
        "changelog": _read_root_page("CHANGELOG.md"),
        **{f"api_{package}": _build_api_page(package, title) for package, title in API_PACKAGES.items()},
    }
    folder.mkdir(exist_ok=True)
    for name, text in pages.items():
        page = folder / f"{name}.md"
        if not page.exists() or page.read_text(encoding="utf-8") != text:
            page.write_text(text, encoding="utf-8")


def _read_root_page(name: str) -> str:
    """Return a page from the root of the repository with links that work in the folder of the reference pages."""
    text = (Path(__file__).parents[1] / name).read_text(encoding="utf-8")
    for target, link in {"docs/": "../", "SECURITY.md": "security.md", "CHANGELOG.md": "changelog.md"}.items():
        text = text.replace(f"]({target}", f"]({link}")
    return text


def _build_configuration_page() -> str:
    lines = [
        "# Configuration keys\n",
        "Set a key on the command line as `KEY=VALUE`, or in a file in `conf/`. A config group is a folder of YAML "
        "files; `winnow COMMAND --choices` lists the options of each group. `???` marks a key without a default.\n",
    ]
    for command in COMMAND_SCHEMAS:
        lines.append(f"## winnow {command}\n")
        lines += [f"`{key.name}={key.default}` ({key.type})\n: {key.meaning}\n" for key in list_keys(command)]
    return "\n".join(lines)


def _build_metrics_page() -> str:
    probes = "Logged as `probe/PROBE/SCORE`. `{n}` is a number, such as the 10 in `positive_at_10`."
    sections: list[tuple[str, str, Mapping[str, MetricDefinition]]] = [
        ("Probes", probes, PROBE_SCORES),
        ("Held-out rows", "Logged as `SPLIT/SLICE/SCORE`, such as `test/all/loss`.", HELD_OUT_SCORES),
        ("Runs", "Logged once per run or once per step.", RUN_METRICS),
        ("Families", "Names with a variable component, given as regular expressions.", dict(RUN_METRIC_PATTERNS)),
    ]
    lines = ["# Metrics\n", "A metric without a direction is descriptive and cannot be a primary metric.\n"]
    for title, introduction, definitions in sections:
        rows = [
            [f"`{name}`", definition.label, definition.unit, definition.direction or "none"]
            for name, definition in definitions.items()
        ]
        table = _format_table(["metric", "meaning", "unit", "better direction"], rows)
        lines += [f"## {title}\n", f"{introduction}\n", table]
    return "\n".join(lines)


def _build_commands_page() -> str:
    main_parser = build_parser()
    subparsers = next(action for action in main_parser._actions if isinstance(action, argparse._SubParsersAction))
    lines = ["# Commands\n", "```text", main_parser.format_help().rstrip(), "```\n"]
    for name, parser in subparsers.choices.items():
        text = parser.format_help().partition("\nkeys, as KEY=DEFAULT")[0].rstrip()
        lines += [f"## winnow {name}\n", "```text", text, "```\n"]
        lines += [f"Keys: [winnow {name}](configuration.md#winnow-{name}).\n"] if name in COMMAND_SCHEMAS else []
    return "\n".join(lines)


def _build_api_page(package: str, title: str) -> str:
    module = importlib.import_module(f"winnow.{package}")
    lines = [f"# winnow.{package}\n", f"{title}.\n"]
    for name in module.__all__:
        value = getattr(module, name)
        if not getattr(value, "__module__", "").startswith(module.__name__):
            continue  # a constant or a type alias, or a class that is documented with its own package
        directive = "autoclass" if isinstance(value, type) else "autofunction"
        lines += ["```{eval-rst}", f".. {directive}:: winnow.{package}.{name}"]
        lines += ["   :members:"] * (directive == "autoclass") + ["```\n"]
    return "\n".join(lines)


def _format_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    table = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(text.replace("|", "\\|") for text in row) + " |" for row in table) + "\n"
