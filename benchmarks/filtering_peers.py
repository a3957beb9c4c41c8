"""Compare Winnow's filters with data-juicer and datatrove on one core. ``filtering.py --peers`` calls this module.

Every package reads the same Parquet file in a separate process, applies the same rules and writes the kept rows to a
Parquet file. Two tasks are measured:

- ``rules``: exact duplicates, four word lists, the number of characters and words, and a regular expression;
- ``near_duplicates``: MinHash over word trigrams, on rows without exact duplicates.

Imports are excluded. The peers are optional: ``pip install py-data-juicer datatrove 'xxhash<4' tokenizers`` in a
separate environment, whose Python is the option ``--peers-python``. data-juicer also needs aiohttp, ray and torch.
It has no operator for a regular expression, so the benchmark implements a batched filter, as its developer guide
describes. A dataset can hold the result of only one ``FlaggedWordFilter``, so its statistics are removed after each
word list.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

THRESHOLD, NGRAM, PERMUTATIONS, BANDS, BAND_ROWS = 0.8, 3, 128, 9, 13
"""The LSH parameters are those that datasketch, which Winnow uses, chooses for 128 permutations and threshold 0.8."""

CHARACTERS, WORDS = (40, 400), (8, 60)
REPEATED_LETTER = r"([a-z])\1\1"  # drops rows that match
WANTED, UNWANTED = ("nike", "product", "praise"), "blame"
TASKS = ("rules", "near_duplicates")
PEERS = {"data_juicer": "data_juicer", "datatrove": "datatrove"}
"""The package to import, by the name of the peer."""


def compare_peers(
    templates: list[str], words: dict[str, list[str]], rows: int, pythons: list[str], tasks: list[str], folder: Path
) -> dict[str, Any]:
    """Run tasks in every package, and compare the times and the kept rows.

    Args:
        templates: Sentences that the rows start with.
        words: The word lists ``nike``, ``product``, ``praise`` and ``blame``. Only entries of ASCII letters are used.
        rows: The number of rows.
        pythons: Python interpreters that have the peers installed.
        tasks: The tasks to run, of ``TASKS``.
        folder: An empty folder for the files.
    """
    single = {name: [word for word in words[name] if re.fullmatch(r"[a-z]+", word)] for name in (*WANTED, UNWANTED)}
    (folder / "words.json").write_text(json.dumps(single), "utf-8")
    write_rows(templates, rows, folder)
    measured: dict[str, Any] = {"rows": rows}
    runners = {"winnow": sys.executable}
    for name, package in PEERS.items():
        python = find_python(package, pythons)
        if python is None:
            measured[name] = f"not measured: none of {', '.join(pythons)} can import {package}"
        else:
            runners[name] = python
    for name, python in runners.items():
        measured[name] = {task: run_in_process(name, task, python, folder) for task in tasks}
        versions = [measured[name][task].pop("version") for task in tasks]
        measured[name]["version"] = versions[0]
    return measured | compare_results(measured, list(runners)[1:], tasks, folder)


def compare_results(measured: dict[str, Any], peers: list[str], tasks: list[str], folder: Path) -> dict[str, Any]:
    """Add the ratios to each peer's results, and return whether all kept rows of the task ``rules`` are identical."""
    ours = measured["winnow"]
    identical = []
    for name in peers:
        theirs = measured[name]
        seconds = {task: [item[task]["cpu_seconds"] for item in (theirs, ours)] for task in tasks}
        ratios = {task: peer / winnow for task, (peer, winnow) in seconds.items()}
        totals = [sum(values) for values in zip(*seconds.values(), strict=True)]
        theirs["total_ratio"] = totals[0] / totals[1]
        different = {task: len(read_kept("winnow", task, folder) ^ read_kept(name, task, folder)) for task in tasks}
        if "rules" in tasks:
            identical.append(not different["rules"])
            theirs |= {"ratio": ratios["rules"], "different_rows": different["rules"]}
        if "near_duplicates" in tasks:
            agreement = 1 - different["near_duplicates"] / ours["near_duplicates"]["rows"]
            theirs |= {"near_duplicates_ratio": ratios["near_duplicates"], "near_duplicates_agreement": agreement}
    return {"identical": bool(identical) and all(identical)}


def write_rows(templates: list[str], rows: int, folder: Path) -> None:
    """Write the input of both tasks: a fifth of the rows are exact duplicates, and a fifth are near-duplicates.

    Each original row is a template sentence followed by 4 to 20 random words. A near-duplicate has one more word. The
    texts have no punctuation, because data-juicer's word lists split texts only at whitespace, whereas the boundaries
    of a word in Winnow and in regular expressions include hyphens.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = np.random.default_rng(0)
    letters = rng.integers(97, 123, (50_000, 6), dtype=np.uint8)
    vocabulary = [row.tobytes().decode()[: 3 + index % 4] for index, row in enumerate(letters)]
    sentences = [" ".join(re.sub(r"[^a-z]", " ", text.lower()).split()) for text in templates]
    texts: list[str] = []
    for start in range(0, rows, 1_000):
        count = min(1_000, rows - start)
        kinds, sizes = rng.random(count), rng.integers(4, 21, count)
        words, earlier = rng.integers(0, len(vocabulary), (count, 21)), rng.random(count)
        for row in range(count):
            if texts and kinds[row] < 0.2:
                texts.append(texts[int(earlier[row] * len(texts))])
            elif texts and kinds[row] < 0.4:
                texts.append(f"{texts[int(earlier[row] * len(texts))]} {vocabulary[words[row, 20]]}")
            else:
                tail = " ".join(vocabulary[index] for index in words[row, : sizes[row]])
                texts.append(f"{sentences[(start + row) % len(sentences)]} {tail}")
    unique = dict(zip(reversed(texts), reversed(range(rows)), strict=True))  # the first row of each text
    for task, numbers in zip(TASKS, (range(rows), sorted(unique.values())), strict=True):
        (folder / task).mkdir(parents=True)
        table = pa.table({"id": [str(row) for row in numbers], "text": [texts[row] for row in numbers]})
        pq.write_table(table, folder / task / "rows.parquet", row_group_size=100_000)


def find_python(package: str, pythons: list[str]) -> str | None:
    """Return the first of several Python interpreters that can import a package."""
    for python in pythons:
        if subprocess.run([python, "-c", f"import {package}"], capture_output=True, check=False).returncode == 0:
            return python
    return None


def run_in_process(name: str, task: str, python: str, folder: Path) -> dict[str, Any]:
    """Run one task of one package in a new process on one core; return its measurements."""
    single = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    # data-juicer would install missing packages, such as a CUDA build of torch, while it runs.
    offline = {"HF_HOME": str(folder / "hf"), "HF_HUB_OFFLINE": "1", "PIP_NO_INDEX": "1", "UV_OFFLINE": "1"}
    environment = os.environ | single | offline
    if name != "winnow":
        environment.pop("PYTHONPATH", None)
    command = [python, str(Path(__file__).resolve()), name, task, str(folder)]
    result = subprocess.run(command, check=False, capture_output=True, text=True, env=environment, cwd=folder)
    if result.returncode:
        raise RuntimeError(f"{name} failed in {task}: {result.stderr[-2000:]}")
    measured: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return measured


def read_kept(name: str, task: str, folder: Path) -> set[str]:
    """Return the IDs of the rows that a package kept."""
    import pyarrow.parquet as pq

    return set(pq.read_table(folder / f"{name}-{task}", columns=["id"])["id"].to_pylist())


def measure(name: str, task: str, folder: Path) -> dict[str, Any]:
    """Run one task in this process on one core; return the times, the rate and the peak memory."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    prepare = {"winnow": prepare_winnow, "data_juicer": prepare_data_juicer, "datatrove": prepare_datatrove}[name]
    words = json.loads((folder / "words.json").read_text("utf-8"))
    version, run = prepare(task, words, folder)
    pa.array([""])  # imports pandas, which pyarrow otherwise does during the run
    elapsed, cpu = time.perf_counter(), cpu_seconds()
    run()
    elapsed, cpu = time.perf_counter() - elapsed, cpu_seconds() - cpu
    rows = pq.read_metadata(folder / task / "rows.parquet").num_rows
    return {
        "rows": rows,
        "kept": len(read_kept(name, task, folder)),
        "cpu_seconds": cpu,
        "seconds": elapsed,
        "rows_per_cpu_second": rows / cpu,
        "megabytes": peak_megabytes(),
        "version": version,
    }


def peak_megabytes() -> float:
    """Return the peak memory of this process. ``ru_maxrss`` would include the memory of the parent before ``exec``."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(re.findall(r"VmHWM:\s+(\d+) kB", status.read_text())[0]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def cpu_seconds() -> float:
    """Return the CPU time of this process and its finished child processes."""
    return sum(os.times()[:4])


Prepared = tuple[str, Callable[[], None]]
"""The version of a package, and a function that runs the task."""


def prepare_winnow(task: str, words: dict[str, list[str]], folder: Path) -> Prepared:
    """Return a function that ingests the file, which removes exact duplicates, and applies a filter."""
    import datasketch  # noqa: F401 (Winnow imports it when it is needed)
    import pyarrow as pa
    import pyarrow.parquet as pq

    from winnow import __version__
    from winnow.data import Corpus, Files
    from winnow.data.ingestion import read_clean_rows
    from winnow.filters import Duplicate, Filter, Length, Mentions, Regex

    pa.set_cpu_count(1)
    if task == "rules":
        signals: dict[str, Any] = {name: Mentions(words=entries) for name, entries in words.items()}
        signals |= {
            "characters": Length(at_least=CHARACTERS[0], at_most=CHARACTERS[1]),
            "words": Length(unit="words", at_least=WORDS[0], at_most=WORDS[1]),
            "repeated": Regex(pattern=REPEATED_LETTER, ignore_case=False),
        }
        keep = f"{' & '.join(WANTED)} & ~{UNWANTED} & characters & words & ~repeated"
    else:
        signals = {"near": Duplicate(threshold=THRESHOLD, words=NGRAM, permutations=PERMUTATIONS)}
        keep = "near"
    selected = Filter(name="peers", signals=signals, keep=keep, mode="short_circuit")

    def run() -> None:
        source = Files(path=folder / task / "rows.parquet", text=["text"], columns=["id"])
        rows = read_clean_rows(source, "peers", [], {}).rows
        ids = rows["id"].cast(pa.int64()).cast(pa.string())  # Winnow reads numbers as float64
        table = rows.set_column(rows.column_names.index("id"), "id", ids)
        table = table.append_column("row_id", ids).append_column("split", pa.array(["train"] * len(rows)))
        verdicts = selected.compute_verdicts(Corpus(table, "peers", {}, []), folder / "cache", progress=False)
        (folder / f"winnow-{task}").mkdir()
        pq.write_table(table.filter(verdicts.keep_mask()).select(["id", "text"]), folder / f"winnow-{task}/0.parquet")

    return __version__, run


def prepare_datatrove(task: str, words: dict[str, list[str]], folder: Path) -> Prepared:
    """Return a function that runs datatrove's filters and the stages of its deduplication with local executors."""
    from importlib.metadata import version

    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.dedup import (
        ExactDedupConfig,
        ExactDedupFilter,
        ExactDedupSignature,
        ExactFindDedups,
        MinhashConfig,
        MinhashDedupBuckets,
        MinhashDedupCluster,
        MinhashDedupFilter,
        MinhashDedupSignature,
    )
    from datatrove.pipeline.filters import LambdaFilter, RegexFilter
    from datatrove.pipeline.readers import ParquetReader
    from datatrove.pipeline.writers import ParquetWriter
    from datatrove.utils.text import TextNormConfig
    from datatrove.utils.word_tokenizers import WordTokenizer

    work, output = str(folder / f"datatrove-work-{task}"), str(folder / f"datatrove-{task}")
    patterns = {name: re.compile(rf"\b(?:{'|'.join(entries)})\b", re.IGNORECASE) for name, entries in words.items()}

    class SplitTokenizer(WordTokenizer):  # type: ignore[misc]
        """Splits at whitespace, as Winnow does; datatrove's own tokenizers need spaCy or NLTK and take longer."""

        def word_tokenize(self, text: str) -> list[str]:
            return text.split()

        def sent_tokenize(self, text: str) -> list[str]:
            return [text]

        def span_tokenize(self, text: str) -> list[tuple[int, int]]:
            return [(0, len(text))]

    def content(document: Any) -> str:
        return document.text.lower()

    def execute(*steps: Any, tasks: int = 1) -> None:
        LocalPipelineExecutor(pipeline=list(steps), tasks=tasks, workers=1, skip_completed=False).run()

    def has_length(document: Any) -> bool:
        text = document.text
        return CHARACTERS[0] <= len(text) <= CHARACTERS[1] and WORDS[0] <= len(text.split()) <= WORDS[1]

    def mentions(name: str) -> Any:
        search = patterns[name].search
        return LambdaFilter(lambda document: search(document.text) is not None)

    def read(path: str) -> Any:
        return ParquetReader(path, read_metadata=False)

    def run_rules() -> None:
        unwanted = RegexFilter(rf"(?i)\b(?:{'|'.join(words[UNWANTED])})\b")
        filters = [*map(mentions, WANTED), unwanted, LambdaFilter(has_length), RegexFilter(REPEATED_LETTER)]
        execute(read(str(folder / task)), *filters, ParquetWriter(f"{work}/kept"))
        config = ExactDedupConfig(content_getter=content)
        execute(read(f"{work}/kept"), ExactDedupSignature(f"{work}/signatures", config))
        execute(ExactFindDedups(f"{work}/signatures", f"{work}/duplicates", config))
        execute(read(f"{work}/kept"), ExactDedupFilter(f"{work}/duplicates", config), ParquetWriter(output))

    def run_near() -> None:
        norm = TextNormConfig(norm_numbers=False, norm_unicode_diacritics=False)
        config = MinhashConfig(n_grams=NGRAM, num_buckets=BANDS, hashes_per_bucket=BAND_ROWS, norm_config=norm)
        source = str(folder / task)
        execute(read(source), MinhashDedupSignature(f"{work}/signatures", config, language=SplitTokenizer()))
        execute(MinhashDedupBuckets(f"{work}/signatures", f"{work}/buckets", config=config), tasks=BANDS)
        execute(MinhashDedupCluster(f"{work}/buckets", f"{work}/remove", config=config))
        execute(read(source), MinhashDedupFilter(f"{work}/remove"), ParquetWriter(output))

    return version("datatrove"), run_rules if task == "rules" else run_near


def prepare_data_juicer(task: str, words: dict[str, list[str]], folder: Path) -> Prepared:
    """Return a function that runs data-juicer's operators, batched where they support batches, in this process."""
    import datasets
    from data_juicer import __version__
    from data_juicer.core.data import NestedDataset
    from data_juicer.ops.base_op import Filter
    from data_juicer.ops.deduplicator.document_deduplicator import DocumentDeduplicator
    from data_juicer.ops.deduplicator.document_minhash_deduplicator import DocumentMinhashDeduplicator
    from data_juicer.ops.filter.flagged_words_filter import FlaggedWordFilter
    from data_juicer.ops.filter.text_length_filter import TextLengthFilter
    from data_juicer.ops.filter.words_num_filter import WordsNumFilter
    from data_juicer.utils.constant import Fields

    class RegexMismatchFilter(Filter):  # type: ignore[misc]
        _batched_op = True
        search = staticmethod(re.compile(REPEATED_LETTER).search)

        def compute_stats_batched(self, samples: Any) -> Any:
            for text, stat in zip(samples["text"], samples[Fields.stats], strict=True):
                stat["matches"] = self.search(text) is not None
            return samples

        def process_batched(self, samples: Any) -> Any:
            return [not stat["matches"] for stat in samples[Fields.stats]]

    def word_filter(name: str) -> Any:
        assets = folder / "assets" / name
        assets.mkdir(parents=True, exist_ok=True)
        (assets / "flagged_words.json").write_text(json.dumps({"en": words[name]}), "utf-8")
        bounds = {"max_ratio": 0.0} if name == UNWANTED else {"min_ratio": 1e-9, "max_ratio": 1.0}
        return FlaggedWordFilter(lang="en", flagged_words_dir=str(assets), **bounds)

    # Operators without batches are faster with `turbo`, which omits the handling of errors per row.
    if task == "rules":
        lengths = [TextLengthFilter(*CHARACTERS), WordsNumFilter(min_num=WORDS[0], max_num=WORDS[1])]
        exact = DocumentDeduplicator(lowercase=True, turbo=True)
        ops = [*map(word_filter, (*WANTED, UNWANTED)), *lengths, RegexMismatchFilter(), exact]
    else:
        ops = [
            DocumentMinhashDeduplicator(
                tokenization="space", window_size=NGRAM, num_permutations=PERMUTATIONS, jaccard_threshold=THRESHOLD,
                num_bands=BANDS, num_rows_per_band=BAND_ROWS, turbo=True,
            )
        ]  # fmt: skip
    for op in ops:
        op.num_proc, op.auto_op_parallelism = None, False  # no worker process
    datasets.disable_progress_bars()

    def run() -> None:
        path, cache = str(folder / task / "rows.parquet"), str(folder / f"data_juicer-work-{task}")
        dataset = NestedDataset(datasets.load_dataset("parquet", data_files=path, split="train", cache_dir=cache))
        for op in ops:
            dataset = dataset.process(op, open_monitor=False)
            if Fields.stats in dataset.column_names:
                dataset = NestedDataset(dataset.remove_columns([Fields.stats]))
        (folder / f"data_juicer-{task}").mkdir()
        dataset.select_columns(["id", "text"]).to_parquet(str(folder / f"data_juicer-{task}/0.parquet"))

    return __version__, run


def main() -> None:
    """Run one task of one package and print its measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=["winnow", *PEERS])
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    print(json.dumps(measure(options.name, options.task, options.folder)))


if __name__ == "__main__":
    main()
