"""Read the sample files of lm-evaluation-harness, so that `winnow compare` can compare arms by them.

With `--log_samples`, the harness writes one file per model and task, `samples_TASK_TIME.jsonl`, with one line per
document and filter. A line has the keys `doc_id`, `doc`, `doc_hash`, `filter` and `metrics` (the names of the metrics),
and one key per metric. Older versions write neither `filter` nor `metrics`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from winnow.errors import WinnowError, did_you_mean

if TYPE_CHECKING:
    import pandas as pd

RUN_PATTERNS: Final = (
    r"(?P<arm>[^/]+?)[-_.]seed[-_=]?(?P<seed>\d+)(?=[/._-])",
    r"(?P<arm>[^/]+)/seed[-_=]?(?P<seed>\d+)/",
    r"(?P<arm>[^/]+)/(?P<seed>\d+)/",
)
"""Where a path contains the arm and the seed: `ARM-seed-SEED`, `ARM/seed-SEED/` or `ARM/SEED/`."""

_TIME: Final = r"_\d{4}-\d\d-\d\dT[\d.:-]+"
_OTHER_KEYS: Final = (
    "doc_id",
    "doc",
    "doc_hash",
    "target",
    "arguments",
    "resps",
    "filtered_resps",
    "filter",
    "metrics",
)


@dataclass(frozen=True)
class SampleOptions:
    """How the sample files are read.

    Attributes:
        runs: A part of the path that contains `{arm}` and `{seed}`; `None` searches for common patterns.
        metric: The metric; `None` if the files have a single metric.
        filter: The filter of the harness; `None` if the files have a single filter.
        cluster: A key of `doc` whose value is the cluster of a document; `None` if documents are independent.
    """

    runs: str | None = None
    metric: str | None = None
    filter: str | None = None
    cluster: str | None = None


def read_samples(files: Sequence[Path], options: SampleOptions) -> pd.DataFrame:
    """Return the scores in sample files, with the columns `arm`, `seed`, `item`, `score` and `cluster:cluster`.

    An item is a document of a task. The column of the cluster is missing if no cluster was chosen.

    Raises:
        WinnowError: If a file cannot be read, if the arm or the seed of a file is unknown, if no metric or filter was
            chosen from several ones, or if two files contradict each other.
    """
    import pandas as pd

    rows: list[dict[str, Any]] = []
    files_by_run: dict[tuple[str, str, str], Path] = {}
    hashes: dict[str, tuple[str, Path]] = {}
    for file in files:
        arm, seed = find_run(file, options.runs)
        task = re.sub(rf"^samples_|{_TIME}$", "", file.stem)
        if (first := files_by_run.setdefault((arm, seed, task), file)) != file:
            raise WinnowError(
                f"{first} and {file} both have the task {task} of arm {arm}, seed {seed}. Remove one of them.", "scores"
            )
        for sample in _select_filter(list(_iterate_lines(file)), file, options.filter):
            item = f"{task}/{sample['doc_id']}"
            doc_hash = str(sample.get("doc_hash", ""))
            first_hash, first_file = hashes.setdefault(item, (doc_hash, file))
            if doc_hash != first_hash:
                raise WinnowError(
                    f"the document {item} differs between {first_file} and {file} (doc_hash). Evaluate all models on "
                    "the same documents.",
                    "scores",
                )
            row = {"arm": arm, "seed": seed, "item": item, "score": _read_score(sample, file, options.metric)}
            rows.append(row | ({"cluster:cluster": _read_cluster(sample, file, options.cluster)}))
    table = pd.DataFrame(rows)
    return table if options.cluster else table.drop(columns="cluster:cluster")


def find_run(file: Path, pattern: str | None) -> tuple[str, str]:
    """Return the arm and the seed in the path of a file.

    >>> find_run(Path("results/full/seed-2/model/samples_arc.jsonl"), None)
    ('full', '2')
    >>> find_run(Path("v2_run7/samples_arc.jsonl"), "{arm}_run{seed}")
    ('v2', '7')
    """
    path = file.as_posix()
    patterns = RUN_PATTERNS if pattern is None else (_compile_pattern(pattern),)
    for expression in patterns:
        if matches := list(re.finditer(rf"(?:^|(?<=/)){expression}", path)):
            return matches[-1]["arm"], matches[-1]["seed"]
    if pattern is not None:
        raise WinnowError(f"the path {path} does not contain {pattern!r}. Change the pattern or the path.", "--runs")
    raise WinnowError(
        f"the path {path} does not contain an arm and a seed. Write the samples to folders such as "
        "results/full/seed-1, or state the pattern, as in --runs 'results/{arm}_{seed}'.",
        "scores",
    )


def _compile_pattern(pattern: str) -> str:
    if any(pattern.count(field) != 1 for field in ("{arm}", "{seed}")):
        raise WinnowError(f"expected {{arm}} and {{seed}} once each, got {pattern!r}. Add what is missing.", "--runs")
    expression = re.escape(pattern)
    return expression.replace(r"\{arm\}", r"(?P<arm>[^/]+?)").replace(r"\{seed\}", r"(?P<seed>\d+)")


def _iterate_lines(file: Path) -> Iterator[dict[str, Any]]:
    """Yield the samples of a file."""
    try:
        with file.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                sample = json.loads(line) if line.strip() else None
                if sample is None:
                    continue
                if not isinstance(sample, dict) or "doc_id" not in sample:
                    raise WinnowError(
                        f"line {number} of {file} has no doc_id. Choose files that lm-evaluation-harness wrote with "
                        "--log_samples.",
                        "scores",
                    )
                yield sample
    except (OSError, ValueError) as error:
        raise WinnowError(
            f"{file} cannot be read as JSON Lines ({error}). Choose files that lm-evaluation-harness wrote with "
            "--log_samples.",
            "scores",
        ) from error


def _select_filter(samples: list[dict[str, Any]], file: Path, name: str | None) -> list[dict[str, Any]]:
    """Return the samples with a filter of the harness, such as `strict-match`."""
    if not samples:
        raise WinnowError(f"{file} has no samples. Remove it.", "scores")
    filters = list(dict.fromkeys(str(sample.get("filter", "none")) for sample in samples))
    if name is None and len(filters) == 1:
        return samples
    if name not in filters:
        problem = f"{file} has several filters" if name is None else f"{file} has no filter {name!r}"
        hint = did_you_mean(name, filters) if name else ""
        raise WinnowError(f"{problem}.{hint} Choose one with --filter: {', '.join(filters)}.", "--filter")
    return [sample for sample in samples if str(sample.get("filter", "none")) == name]


def _read_score(sample: dict[str, Any], file: Path, metric: str | None) -> float:
    metrics = sample.get("metrics") or [
        key for key, value in sample.items() if key not in _OTHER_KEYS and isinstance(value, int | float)
    ]
    if metric is None and len(metrics) == 1:
        metric = str(metrics[0])
    if metric is None or metric not in metrics:
        problem = f"{file} has several metrics" if metric is None else f"{file} has no metric {metric!r}"
        hint = did_you_mean(metric, metrics) if metric else ""
        raise WinnowError(f"{problem}.{hint} Choose one with --metric: {', '.join(metrics) or 'none'}.", "--metric")
    value = sample.get(metric)
    if not isinstance(value, int | float):
        raise WinnowError(
            f"the metric {metric} of document {sample['doc_id']} in {file} is not a number, but {value!r:.60}. Choose "
            f"a metric with one number per document: {', '.join(metrics)}.",
            "--metric",
        )
    return float(value)


def _read_cluster(sample: dict[str, Any], file: Path, key: str | None) -> str:
    if key is None:
        return ""
    doc = sample.get("doc")
    if not isinstance(doc, dict) or key not in doc:
        available = ", ".join(doc) if isinstance(doc, dict) else "none"
        raise WinnowError(
            f"document {sample['doc_id']} in {file} has no key {key!r}. Choose a key of doc: {available}.", "--cluster"
        )
    return str(doc[key])
