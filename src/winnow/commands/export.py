"""A study as a folder for a paper's appendix, with a script that makes it all again."""

from __future__ import annotations

import csv
import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from rich.console import Console

from winnow.commands.rerun import PACKAGES, PATCH, defaults_notice
from winnow.comparison import CollectedStudy, Comparison, analyze, collect_study
from winnow.config import ExportConfig, TrainConfig, construct, defaults_of_now, read_cell
from winnow.errors import WinnowError
from winnow.reporting import write_comparison_report
from winnow.run.components import check_store
from winnow.studies import InProcess
from winnow.studies.execution import print_failures, run_plan
from winnow.studies.joining import declared_run
from winnow.studies.plan import plan_jobs
from winnow.studies.study_cell import build_study_cells
from winnow.tracking import Store, attempts, close_stale_runs, keys
from winnow.tracking.query import artifact_text

if TYPE_CHECKING:
    from mlflow import MlflowClient

SUMS = "SHA256SUMS"
DECLARED = (
    "primary_metric", "secondary_metrics", "equivalence_margin", "block_by_seed", "arms", "baseline", "filter",
    "control", "ablations", "seeds", "max_steps", "filter_words", "probe_words",
)  # fmt: skip
OF_THE_MACHINE = ("tracking", "output_dir")
"""Parts of a configuration that say where things are kept and nothing about what is computed."""

REMAKE = '''"""Make this study again: check the files, train every cell, compare, and set each number beside the first.

    python remake.py [FOLDER]

It needs Winnow and the packages in constraints.txt, and the data files where configs/ names them. The exit code is 0
where every number is equal.
"""

import sys
from pathlib import Path

from winnow.commands.export import remake

if __name__ == "__main__":
    sys.exit(remake(Path(__file__).parent, Path(sys.argv[1] if len(sys.argv) > 1 else "remade")))
'''

README = """# {study}: {word}

{sentences}

| here | what it is |
|---|---|
| `report.html`, `report.md` | the comparison, to read |
| `comparison.json` | every number of it |
| `tables/` | the tables as CSV with every digit, as Markdown and as LaTeX (booktabs) |
| `figures/` | the figures as SVG and PNG |
| `declaration.json` | what was declared before the first run |
| `seeds.csv` | every training: arm, seed, run id and fingerprints |
| `configs/` | the whole configuration of every training |
| `constraints.txt` | the installed packages, for `pip install -c constraints.txt` |
| `code/` | the commit, and the changes to it that were not committed |
| `remake.py` | makes all of it again and says whether the numbers are equal |
| `SHA256SUMS` | checksums, for `sha256sum -c SHA256SUMS` |
"""


def run_export(config: ExportConfig, console: Console) -> Path:
    """Write a study's folder for an appendix, and return it.

    Raises:
        WinnowError: The study is unknown or has no finished run (key ``study``), or the folder holds something
            already (key ``folder``).
    """
    store = construct(config.tracking, "tracking", Store, config.allow_targets)
    folder = config.folder or config.output_dir / config.study / "export"
    if folder.exists() and any(folder.iterdir()) and not (folder / SUMS).exists():
        raise WinnowError(f"{folder} holds files that are no export. Choose an empty folder.", "folder")
    study = collect_study(store.tracking_uri, config.study)
    comparison = analyze(study)
    write_comparison_report(comparison, study, folder)
    client = store.client()
    lost = _write_runs(client, study, folder)
    sentences = "\n".join(comparison.verdict.sentences)
    told = README.format(study=study.name, word=comparison.verdict.word, sentences=sentences)
    declaration = {name: value for name, value in asdict(study.declaration).items() if name in DECLARED}
    _write(folder / "README.md", told)
    _write(folder / "remake.py", REMAKE)
    _write(folder / "declaration.json", json.dumps({"study": study.name, **declaration}, indent=2) + "\n")
    _write_sums(folder)
    console.print(f"{len(study.cells)} trainings, {len(comparison.findings)} contrasts: {folder}")
    for one in lost:
        console.print(f"[yellow]left out[/yellow]  {one}")
    return folder


def _write_runs(client: MlflowClient, study: CollectedStudy, folder: Path) -> list[str]:
    """Write what every training was made of, and return what is gone from the store."""
    rows, lost, commits, patch, installed = [], [], set(), "", ""
    for cell in study.cells:
        name = f"{cell.arm}-seed-{cell.seed}.yaml"
        text = artifact_text(client, cell.run_id, keys.CONFIG)
        if text is None:
            lost.append(f"the configuration of {cell.arm} seed {cell.seed}, whose artifact {keys.CONFIG} is gone")
        else:
            tree = {key: value for key, value in yaml.safe_load(text).items() if key not in OF_THE_MACHINE}
            _write(folder / "configs" / name, yaml.safe_dump(tree, sort_keys=False, allow_unicode=True))
        tags = [cell.tags.get(tag, "") for tag in (keys.CELL, keys.CORPUS, keys.TOKENIZER, keys.HELD_OUT)]
        rows.append([cell.arm, cell.seed, cell.run_id, *tags])
        commits.add(cell.tags.get(keys.COMMIT, "not recorded"))
        patch = patch or artifact_text(client, cell.run_id, PATCH) or ""
        installed = artifact_text(client, cell.run_id, PACKAGES) or installed
    with (folder / "seeds.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["arm", "seed", "run_id", "cell", "corpus", "tokenizer", "held_out"])
        writer.writerows(rows)
    # The package itself is not on an index under its own name.
    kept = [line for line in installed.splitlines() if not line.startswith("winnow==")]
    _write(folder / "constraints.txt", "\n".join(kept) + "\n")
    _write(folder / "code/commit.txt", "\n".join(sorted(commits)) + "\n")
    if patch:
        _write(folder / "code/uncommitted.patch", patch + "\n")
    return lost


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


def _sum(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _write_sums(folder: Path) -> None:
    files = sorted(file for file in folder.rglob("*") if file.is_file() and file.name != SUMS)
    _write(folder / SUMS, "".join(f"{_sum(file)}  {file.relative_to(folder).as_posix()}\n" for file in files))


def remake(folder: Path, output: Path) -> int:
    """Make an exported study again, and print number by number whether it is equal.

    Cells that finished in an earlier call with the same output are kept, and interrupted ones resume.

    Args:
        folder: What :func:`run_export` wrote.
        output: Where the new store, models and comparison go.

    Returns:
        0 if the numbers are equal, 1 if some differ or a cell failed.

    Raises:
        WinnowError: A file of the folder is not the one that was exported.
    """
    console = Console(highlight=False)
    _check_sums(folder)
    output = output.resolve()
    store = Store(uri=f"sqlite:///{output}/mlflow.db", artifacts=str(output / "artifacts"))
    check_store(store)
    declaration = json.loads((folder / "declaration.json").read_text(encoding="utf-8"))
    name = declaration["study"]
    tracking = {"_target_": "winnow.tracking.Store", "uri": store.uri, "artifacts": store.artifacts}
    trees = [yaml.safe_load(file.read_text(encoding="utf-8")) for file in sorted((folder / "configs").glob("*.yaml"))]
    here = {"tracking": tracking, "output_dir": str(output)}
    cells = [read_cell({**tree, **here}, [], TrainConfig) for tree in trees]
    added = [defaults_of_now({**tree, **here}, cell.tree) for tree, cell in zip(trees, cells, strict=True)]
    if filled := list(dict.fromkeys(key for names in added for key in names)):
        console.print(f"[yellow]note[/yellow]  {defaults_notice(filled)}", soft_wrap=True)
    grid = build_study_cells(cells)
    experiment = store.experiment(name)
    close_stale_runs(store, experiment)
    with declared_run(store, f"{name} (remade)", declaration, output / name) as parent:
        plan = plan_jobs(grid, attempts(store, experiment), parent.run_id)
        failures = run_plan(grid, plan, InProcess(), store, console)
    if failures:
        print_failures(console, failures)
        return 1
    study = collect_study(store.tracking_uri, name)
    comparison = analyze(study)
    write_comparison_report(comparison, study, output / "comparison")
    first = json.loads((folder / "comparison.json").read_text(encoding="utf-8"))
    return 1 if _differences(first, comparison, console) else 0


def _check_sums(folder: Path) -> None:
    lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
    entries = [line.partition("  ") for line in lines]
    changed = [name for known, _, name in entries if not (folder / name).is_file() or _sum(folder / name) != known]
    if changed:
        raise WinnowError(
            f"{', '.join(changed)} in {folder} changed since the export, or are gone; export again.", SUMS
        )


def _differences(first: dict[str, Any], made: Comparison, console: Console) -> int:
    """Print each arm's scores and each contrast's numbers beside the first ones, and count those that differ."""
    now = json.loads(json.dumps(made.as_dict()))
    pairs = {
        f"{arm}, mean": (told["mean"], now["arms"].get(arm, {}).get("mean")) for arm, told in first["arms"].items()
    }
    again = {(one["metric"], one["a"], one["b"]): one for one in now["contrasts"]}
    for told in first["contrasts"]:
        found = again.get((told["metric"], told["a"], told["b"]), {})
        place = f"{told['metric']}, {told['a']} - {told['b']}"
        pairs |= {
            f"{place}, {key}": (told[key], found.get(key)) for key in ("difference", "ci_low", "ci_high", "p_holm")
        }
    wrong = 0
    for place, (then, value) in pairs.items():
        if then != value:
            wrong += 1
            console.print(f"differs  {place}: then {then}, now {value}")
    told = f"all {len(pairs)} numbers are equal" if not wrong else f"{wrong} of {len(pairs)} numbers differ"
    console.print(f"{told}; verdict then {first['verdict']['word']}, now {made.verdict.word}")
    return wrong
