"""`winnow export`: exports a study to a folder for a paper's appendix, with a script that reproduces the study."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from rich.console import Console
from rich.markup import escape

from winnow.commands.rerun import PACKAGES_ARTIFACT, PATCH_ARTIFACT, add_recorded_numerics, format_defaults_note
from winnow.comparison import CollectedStudy, Comparison, analyze, collect_study
from winnow.config import (
    ExportConfig,
    TrainConfig,
    construct,
    find_defaulted_keys,
    load_stored_config,
    read_user_permissions,
    restore_cell,
)
from winnow.errors import WinnowError
from winnow.reporting import write_comparison_report
from winnow.run.run_components import check_store
from winnow.studies import Joblib
from winnow.studies.parallelism import share_machine
from winnow.studies.plan_runner import print_failures, run_plan
from winnow.studies.process_coordination import track_study_run
from winnow.studies.study_cell import build_study_cells
from winnow.studies.study_plan import plan_jobs
from winnow.tracking import Store, close_stale_runs, keys, load_attempts
from winnow.tracking.run_queries import read_text_artifact
from winnow.untrusted_text import check_name, escape_markdown, neutralize_row, sanitize_file_name

if TYPE_CHECKING:
    from mlflow import MlflowClient

CHECKSUMS_FILE = "SHA256SUMS"
DECLARED_KEYS = (
    "primary_metric", "secondary_metrics", "equivalence_margin", "specificity_metric", "subjects",
    "comparison_subjects", "guard_metric", "cost_margin", "looks", "block_by_seed", "arms", "baseline", "filter",
    "tested_filters",
    "control", "ablations", "seeds", "max_steps", "filter_words", "probe_words", "factors", "cell_levels", "select",
)  # fmt: skip
MACHINE_KEYS = ("tracking", "output_dir")
"""Configuration keys for storage locations. An export omits these keys, which do not affect the results."""

REMAKE_SCRIPT = '''"""Reproduce this study: check the files, train every cell, compare the arms, and check every number.

    python remake.py [FOLDER [PACKAGE ...]]

The script requires Winnow, the packages in constraints.txt, and the data files at the paths in configs/. If the study
used your own code, list your packages. The exit code is 0 if every number is identical.
"""

import sys
from pathlib import Path

from winnow.commands.export import remake

if __name__ == "__main__":
    output, *packages = sys.argv[1:] or ["remade"]
    sys.exit(remake(Path(__file__).parent, Path(output), packages))
'''

README_TEMPLATE = """# {study}: {verdict}

{sentences}

| file | contents |
|---|---|
| `report.html`, `report.md` | the comparison report |
| `comparison.json` | every number of the comparison |
| `tables/` | the tables as CSV in full precision, as Markdown and as LaTeX (booktabs) |
| `figures/` | the figures as SVG and PNG |
| `figures/print/` | every panel 3.3 inches (8.4 cm) wide with text of 7 to 8 points, in color and in grayscale |
| `declaration.json` | the declaration, stored before the first run |
| `seeds.csv` | every training run: arm, seed, run id and fingerprints |
| `configs/` | the full configuration of every training run |
| `constraints.txt` | the installed packages, for `pip install -c constraints.txt` |
| `code/` | the commit and the uncommitted changes |
| `remake.py` | reproduces the study and checks that the numbers are identical |
| `SHA256SUMS` | checksums, for `sha256sum -c SHA256SUMS` |
"""


def run_export(config: ExportConfig, console: Console) -> Path:
    """Export a study to a folder and return the folder.

    Raises:
        WinnowError: If the study does not exist or has no finished run, or if the folder contains files that are not
            from an earlier export.
    """
    store = construct(config.tracking, "tracking", Store, config.allow_targets)
    folder = config.folder or config.output_dir / config.study / "export"
    if folder.exists() and any(folder.iterdir()) and not (folder / CHECKSUMS_FILE).exists():
        raise WinnowError(
            f"the folder {folder} contains files that are not from an earlier export. Choose an empty folder.", "folder"
        )
    study = collect_study(store.tracking_uri, config.study)
    comparison = analyze(study)
    write_comparison_report(comparison, study, folder, print_figures=True)
    client = store.client()
    missing_artifacts = _write_runs(client, study, folder)
    sentences = "\n".join(map(escape_markdown, comparison.verdict.sentences))
    readme = README_TEMPLATE.format(
        study=study.name, verdict=escape_markdown(comparison.verdict.sentence), sentences=sentences
    )
    declaration = {name: value for name, value in asdict(study.declaration).items() if name in DECLARED_KEYS}
    _write_text_file(folder / "README.md", readme)
    _write_text_file(folder / "remake.py", REMAKE_SCRIPT)
    _write_text_file(folder / "declaration.json", json.dumps({"study": study.name, **declaration}, indent=2) + "\n")
    _write_checksums(folder)
    console.print(f"{len(study.runs)} training runs, {len(comparison.findings)} contrasts: {escape(str(folder))}")
    for description in missing_artifacts:
        console.print(f"[yellow]missing[/yellow]  {escape(description)}")
    return folder


def _write_runs(client: MlflowClient, study: CollectedStudy, folder: Path) -> list[str]:
    """Write the configuration and environment of every training run, and describe each missing file."""
    rows, missing_artifacts, commits, patch, packages = [], [], set(), "", ""
    for cell in study.runs:
        stem = "-".join(map(sanitize_file_name, (cell.arm, *cell.levels.values())))
        name = f"{stem}-seed-{cell.seed}.yaml"
        text = read_text_artifact(client, cell.run_id, keys.RESOLVED_CONFIG)
        if text is None:
            missing_artifacts.append(
                f"the configuration of {cell.title}: artifact {keys.RESOLVED_CONFIG} does not exist"
            )
        else:
            stored_tree = add_recorded_numerics(load_stored_config(text), client, cell.run_id)
            tree = {key: value for key, value in stored_tree.items() if key not in MACHINE_KEYS}
            _write_text_file(folder / "configs" / name, yaml.safe_dump(tree, sort_keys=False, allow_unicode=True))
        tags = [cell.tags.get(tag, "") for tag in (keys.CELL_ID, keys.CORPUS, keys.TOKENIZER, keys.HELD_OUT)]
        rows.append([cell.arm, cell.level, cell.seed, cell.run_id, *tags])
        commits.add(cell.tags.get(keys.COMMIT, "not recorded"))
        patch = patch or read_text_artifact(client, cell.run_id, PATCH_ARTIFACT) or ""
        packages = read_text_artifact(client, cell.run_id, PACKAGES_ARTIFACT) or packages
    with (folder / "seeds.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["arm", "levels", "seed", "run_id", "cell", "corpus", "tokenizer", "held_out"])
        writer.writerows(map(neutralize_row, rows))
    # Omit Winnow itself, because pip cannot install it from a package index.
    requirements = [line for line in packages.splitlines() if not line.startswith("winnow==")]
    _write_text_file(folder / "constraints.txt", "\n".join(requirements) + "\n")
    _write_text_file(folder / "code/commit.txt", "\n".join(sorted(commits)) + "\n")
    if patch:
        _write_text_file(folder / "code/uncommitted.patch", patch + "\n")
    return missing_artifacts


def _write_text_file(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


def _compute_checksum(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _write_checksums(folder: Path) -> None:
    files = sorted(file for file in folder.rglob("*") if file.is_file() and file.name != CHECKSUMS_FILE)
    _write_text_file(
        folder / CHECKSUMS_FILE,
        "".join(f"{_compute_checksum(file)}  {file.relative_to(folder).as_posix()}\n" for file in files),
    )


def remake(folder: Path, output: Path, allow_targets: Sequence[str] = ()) -> int:
    """Train every cell of an exported study again, compare the arms, and print every number that differs.

    If an earlier call used the same output folder, its finished cells are skipped and its interrupted cells resume.

    Args:
        folder: The folder written by :func:`run_export`.
        output: The folder for the new store, the models and the comparison.
        allow_targets: Your own packages that the configurations may use. The packages listed in the exported
            configurations are ignored, because an export must not control which code is executed.

    Returns:
        The exit code: 0 if all numbers are identical, 1 if any number differs or a cell failed.

    Raises:
        WinnowError: If a file in the folder is missing or has changed since the export.
    """
    console = Console(highlight=False)
    _check_checksums(folder)
    output = output.resolve()
    store = Store(uri=f"sqlite:///{output}/mlflow.db", artifacts=str(output / "artifacts"))
    check_store(store)
    declaration = json.loads((folder / "declaration.json").read_text(encoding="utf-8"))
    name = check_name(declaration["study"])
    tracking = {"_target_": "winnow.tracking.Store", "uri": store.uri, "artifacts": store.artifacts}
    stored_trees = [
        load_stored_config(file.read_text(encoding="utf-8")) for file in sorted((folder / "configs").glob("*.yaml"))
    ]
    local_settings = {"tracking": tracking, "output_dir": str(output)}
    permissions = read_user_permissions(allow_targets)
    cells = [
        restore_cell({**stored_tree, **local_settings}, [], TrainConfig, permissions) for stored_tree in stored_trees
    ]
    filled_keys_by_cell = [
        find_defaulted_keys({**stored_tree, **local_settings}, cell.config_dict)
        for stored_tree, cell in zip(stored_trees, cells, strict=True)
    ]
    if filled_keys := list(dict.fromkeys(key for names in filled_keys_by_cell for key in names)):
        console.print(f"[yellow]note[/yellow]  {escape(format_defaults_note(filled_keys))}", soft_wrap=True)
    study_cells = build_study_cells(cells)
    experiment = store.experiment(name)
    close_stale_runs(store, experiment)
    with track_study_run(store, f"{name} (reproduced)", declaration, output / name) as parent:
        plan = plan_jobs(study_cells, load_attempts(store, experiment), parent.run_id)
        parallel_plan = share_machine(plan.jobs, Joblib(), len(study_cells), lambda: None)
        plan = dataclasses.replace(plan, jobs=parallel_plan.jobs)
        failures = run_plan(study_cells, plan, parallel_plan.launcher, store, console)
    if failures:
        print_failures(console, failures)
        return 1
    study = collect_study(store.tracking_uri, name)
    comparison = analyze(study)
    write_comparison_report(comparison, study, output / "comparison")
    original = json.loads((folder / "comparison.json").read_text(encoding="utf-8"))
    return 1 if _print_differences(original, comparison, console) else 0


def _check_checksums(folder: Path) -> None:
    lines = (folder / CHECKSUMS_FILE).read_text(encoding="utf-8").splitlines()
    entries = [line.partition("  ") for line in lines]
    changed_files = [
        name
        for checksum, _, name in entries
        if not (folder / name).is_file() or _compute_checksum(folder / name) != checksum
    ]
    if changed_files:
        raise WinnowError(
            f"these files in {folder} are missing or have changed since the export: {', '.join(changed_files)}. "
            "Restore these files, or export the study again.",
            CHECKSUMS_FILE,
        )


def _print_differences(original: dict[str, Any], comparison: Comparison, console: Console) -> int:
    """Print each score and contrast that differs from the original comparison, and return the number printed."""
    new = json.loads(json.dumps(comparison.as_dict()))
    pairs = {
        f"{arm}, mean": (scores["mean"], new["arms"].get(arm, {}).get("mean"))
        for arm, scores in original["arms"].items()
    }
    contrasts = {(contrast["metric"], contrast["a"], contrast["b"]): contrast for contrast in new["contrasts"]}
    for contrast in original["contrasts"]:
        metric, a, b = contrast["metric"], contrast["a"], contrast["b"]
        reproduced_contrast = contrasts.get((metric, a, b), {})
        pairs |= {
            f"{metric}, {a} - {b}, {key}": (contrast[key], reproduced_contrast.get(key))
            for key in ("difference", "ci_low", "ci_high", "p_holm")
        }
    different = {name: values for name, values in pairs.items() if values[0] != values[1]}
    for name, (original_value, reproduced_value) in different.items():
        console.print(f"differs  {escape(name)}: original {original_value}, reproduced {reproduced_value}")
    total = len(pairs)
    result = f"{len(different)} of {total} numbers differ" if different else f"all {total} numbers are identical"
    verdicts = original["verdict"]["sentence"], comparison.verdict.sentence
    console.print(f"{result}; verdict: original: {escape(verdicts[0])} Reproduced: {escape(verdicts[1])}")
    return len(different)
