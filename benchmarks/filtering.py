"""Benchmark filtering against a plain Python loop on this machine, and count the rows that UpTrain's filter keeps.

    python benchmarks/filtering.py --data ../shared/data --json benchmarks/results/NAME.json

The loop evaluates UpTrain's three signals per row with NLTK's analyzer, as notebooks do. Winnow filters the same rows
with `uptrain_exact`. Both are timed from texts in memory to one verdict per row, in one process and one thread, with a
loaded lexicon. Winnow's time includes planning and, in mode `full` and with cached scores, disk access. Its token cache
is cleared before each repetition. A ratio is the CPU time of the loop divided by Winnow's, each the minimum over
repetitions in alternation. `identical` is true if all verdicts are equal. At scale, one process filters 100,000 rows of
a saved corpus and another filters 1,000,000, which start with the same rows. The ratio of their times is the median
over the repetitions. `megabytes` is the peak memory of the process, including memory-mapped pages.

With ``--peers``, only Winnow, data-juicer and datatrove are compared; see ``filtering_peers.py``.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import itertools
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pyarrow as pa

from winnow.config import FilterConfig, construct
from winnow.config.compose import compose_cells
from winnow.data import CleaningStep, Corpus, Files, Grammar, Mixture
from winnow.data.cleaning import clean_texts
from winnow.data.corpus import content_fingerprint
from winnow.filters import Filter, LeaveOneOut, Mentions, VaderSentiment
from winnow.filters.signals.vader_sentiment import build_compound_scorer
from winnow.tracking.run_environment import describe_hardware

SCALE = (100_000, 1_000_000)
STEPS = [
    CleaningStep.LOWER_CASE,
    CleaningStep.STRIP_DIGITS,
    CleaningStep.STRIP_PUNCTUATION,
    CleaningStep.COLLAPSE_SPACE,
]


def compose_source_and_filter(*overrides: str) -> tuple[Any, Filter]:
    """Return the data source and the filter of a composed configuration."""
    [cell], _ = compose_cells("filter", FilterConfig, list(overrides))
    dataset = construct(cell.config.dataset, "dataset")
    return dataset.source, construct(cell.config.filter, "filter", Filter)


def load_submission(source: Mixture) -> tuple[list[str], list[str]]:
    """Return the texts of the submission that compared v1 and v2: first the real texts, then all of them.

    As in the submission, a row with an empty column is skipped, and a null becomes the word "nan".
    """
    real = []
    for files_source in source.sources.values():
        if isinstance(files_source, Files):
            with files_source.path.open(encoding=files_source.encoding, newline="") as stream:
                cells = [[row[column] for column in files_source.text] for row in csv.DictReader(stream)]
            real += [" ".join(row) for row in cells if all(row)]
    templates = [text or "nan" for text in source.sources["templates"].read()["text"].to_pylist()]
    cleaned = [text or "" for text in clean_texts(real + templates, STEPS)]
    return cleaned[: len(real)], cleaned


def build_corpus(texts: list[str]) -> Corpus:
    """Return a corpus with all texts, including duplicates, as training rows."""
    rows = len(texts)
    table = pa.table(
        {
            "row_id": [f"{row:016x}" for row in range(rows)],
            "text": texts,
            "source": pa.array(["benchmark"] * rows),
            "split": pa.array(["train"] * rows),
        }
    )
    return Corpus(table, content_fingerprint(table), {"read": rows}, [])


def load_nltk_analyzer() -> Any:
    """Return NLTK's analyzer with the lexicon of the vaderSentiment wheel."""
    import nltk
    from nltk.sentiment.vader import SentimentIntensityAnalyzer

    with tempfile.TemporaryDirectory() as root:
        folder = Path(root) / "sentiment" / "vader_lexicon"
        folder.mkdir(parents=True)
        shutil.copy(str(files("vaderSentiment") / "vader_lexicon.txt"), folder)
        nltk.data.path.insert(0, root)
        return SentimentIntensityAnalyzer("sentiment/vader_lexicon/vader_lexicon.txt")


def filter_with_loop(texts: list[str], words: dict[str, list[str]], analyzer: Any, bound: float = 0.0) -> list[bool]:
    """Return whether each text is selected by a loop that evaluates three signals per row."""
    selected = []
    for text in texts:
        lowered = text.lower()
        about_nike = any(word in lowered for word in words["nike"])
        about_product = any(word in lowered for word in words["product"])
        has_praise = any(word in lowered for word in words["praise"])
        is_positive = analyzer.polarity_scores(text)["compound"] >= bound and has_praise
        selected.append(about_nike and about_product and is_positive)
    return selected


def measure_cpu_seconds(repetitions: int, **functions: Callable[[], Any]) -> tuple[dict[str, float], dict[str, Any]]:
    """Run functions in alternation; return the minimum CPU seconds and the last result of each."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    results = {}
    for _ in range(repetitions):
        for name, function in functions.items():
            clear_caches()
            started = time.process_time()
            results[name] = function()
            times[name].append(time.process_time() - started)
    return {name: min(seconds) for name, seconds in times.items()}, results


def clear_caches() -> None:
    """Clear the token cache and load the lexicon."""
    build_compound_scorer.cache_clear()
    VaderSentiment().score(["warm-up"])


def compare_with_loop(texts: list[str], selected_filter: Filter, repetitions: int) -> dict[str, Any]:
    """Measure the loop and Winnow in both modes on the same texts."""
    analyzer, corpus = load_nltk_analyzer(), build_corpus(texts)
    with tempfile.TemporaryDirectory() as cache:
        repetition = itertools.count()
        seconds, results = measure_cpu_seconds(
            repetitions,
            loop=lambda: filter_with_loop(texts, words_of_signals(selected_filter), analyzer),
            short_circuit=lambda: replace(selected_filter, mode="short_circuit").compute_verdicts(
                corpus, Path(cache), progress=False
            ),
            full=lambda: replace(selected_filter, mode="full").compute_verdicts(
                corpus, Path(cache) / f"{next(repetition)}", progress=False
            ),
        )
    expected = results["loop"]
    measured: dict[str, Any] = {"rows": len(texts), "kept": sum(expected), "loop_seconds": seconds["loop"]}
    for mode, prefix in (("short_circuit", ""), ("full", "full_")):
        measured[f"{prefix}seconds"] = seconds[mode]
        measured[f"{prefix}ratio"] = seconds["loop"] / seconds[mode]
        measured[f"{prefix}identical"] = results[mode].keep_mask().tolist() == expected
    return measured


def compare_with_cached_scores(texts: list[str], selected_filter: Filter, repetitions: int) -> dict[str, Any]:
    """Measure a second filter that reuses the scores of a first one, compared with the loop."""
    analyzer, corpus = load_nltk_analyzer(), build_corpus(texts)
    second = Filter(name="second", signals=selected_filter.signals, keep="nike & product & praise & sentiment >= 0.3")
    with tempfile.TemporaryDirectory() as cache:
        selected_filter.compute_verdicts(corpus, Path(cache), progress=False)
        seconds, results = measure_cpu_seconds(
            repetitions,
            loop=lambda: filter_with_loop(texts, words_of_signals(selected_filter), analyzer, 0.3),
            second=lambda: second.compute_verdicts(corpus, Path(cache), progress=False),
        )
    identical = results["second"].keep_mask().tolist() == results["loop"]
    ratio = seconds["loop"] / seconds["second"]
    return {"ratio": ratio, "identical": identical, "loop_seconds": seconds["loop"], "seconds": seconds["second"]}


def words_of_signals(selected_filter: Filter) -> dict[str, list[str]]:
    """Return the word list of each `Mentions` signal of a filter."""
    return {name: signal.words for name, signal in selected_filter.signals.items() if isinstance(signal, Mentions)}


def measure_scaling(repetitions: int) -> dict[str, Any]:
    """Filter a small and a large corpus in separate processes; compare time and memory."""
    measured: dict[str, Any] = {}
    runs: dict[int, list[dict[str, Any]]] = {rows: [] for rows in SCALE}
    with tempfile.TemporaryDirectory() as folder:
        for rows in SCALE:
            subprocess.run([sys.executable, __file__, "--make", str(rows), folder], check=True)
        for _ in range(repetitions):
            for rows in SCALE:
                output = subprocess.run(
                    [sys.executable, __file__, "--filter", str(rows), folder],
                    check=True,
                    capture_output=True,
                    text=True,
                ).stdout
                runs[rows].append(json.loads(output))
    for measure, name in (("seconds", "time_ratio"), ("megabytes", "memory_ratio")):
        small, large = ([run[measure] for run in runs[rows]] for rows in SCALE)
        measured |= {f"small_{measure}": median(small), f"large_{measure}": median(large)}
        measured[name] = median(b / a for a, b in zip(small, large, strict=True))
    small, large = (runs[rows][0] for rows in SCALE)
    return {**measured, "rows": list(SCALE), "identical": small["digest"] == large["digest"], "kept": large["kept"]}


def make_scale_corpus(rows: int, folder: Path) -> None:
    """Save a corpus of template sentences; corpora of all sizes start with the same rows."""
    source, _ = compose_source_and_filter("dataset=uptrain_reviews", "filter=uptrain_exact")
    texts = [text for text in source.read()["text"].to_pylist() if text]
    build_corpus([f"{texts[row % len(texts)]} {row}" for row in range(rows)]).save(folder / str(rows))


def filter_scale_corpus(rows: int, folder: Path) -> dict[str, Any]:
    """Filter a saved corpus; return the CPU seconds, the peak memory and a digest of the first verdicts."""
    _, selected_filter = compose_source_and_filter("filter=uptrain_exact")
    corpus = Corpus.open(folder / str(rows))
    clear_caches()
    with tempfile.TemporaryDirectory() as cache:
        started = time.process_time()
        verdicts = replace(selected_filter, mode="short_circuit").compute_verdicts(corpus, Path(cache), progress=False)
        seconds = time.process_time() - started
    kept = verdicts.keep_mask()
    digest = hashlib.blake2b(np.packbits(kept[: SCALE[0]]).tobytes()).hexdigest()
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": seconds, "megabytes": megabytes, "digest": digest, "kept": int(kept.sum())}


def count_uptrain_variants() -> list[dict[str, Any]]:
    """Count the template rows that UpTrain's filter and its variants keep."""
    source, exact = compose_source_and_filter("dataset=uptrain_reviews", "filter=uptrain_exact")
    _, strict = compose_source_and_filter("filter=nike_positive")
    assert isinstance(source, Grammar)
    rows = source.read()
    rows = rows.filter(rows["text"].is_valid())
    corpus, labels = build_corpus(rows["text"].to_pylist()), rows["label"].to_numpy()
    whole_words = {
        name: replace(signal, whole_word=True) if isinstance(signal, Mentions) else signal
        for name, signal in exact.signals.items()
    }
    with_blame = {**whole_words, "blame": strict.signals["blame"]}
    keep = "nike & product & sentiment & praise"
    with tempfile.TemporaryDirectory() as cache:
        verdicts = exact.compute_verdicts(corpus, Path(cache), progress=False)
        kept = {"all signals": verdicts.keep_mask()}
        for signal in exact.signals:
            remaining = LeaveOneOut(of=exact, signal=signal).select(corpus.table, verdicts, seed=0)
            kept[f"without {signal}"] = pa.compute.is_in(corpus.table["row_id"], remaining["row_id"]).to_numpy()
        for name, signals, text in (
            ("whole words", whole_words, keep),
            ("whole words, ~blame", with_blame, f"{keep} & ~blame"),
        ):
            filtered = Filter(name="x", signals=signals, keep=text).compute_verdicts(
                corpus, Path(cache), progress=False
            )
            kept[name] = filtered.keep_mask()
    return [
        {
            "filter": name,
            "rows": len(mask),
            "kept": int(mask.sum()),
            "negatives_kept": int((mask & (labels == 0)).sum()),
        }
        for name, mask in kept.items()
    ]


def compare_with_peers(rows: int, pythons: list[str], tasks: list[str]) -> dict[str, Any]:
    """Compare Winnow with data-juicer and datatrove on template sentences."""
    from filtering_peers import compare_peers

    source, selected_filter = compose_source_and_filter("dataset=uptrain_reviews", "filter=nike_positive")
    templates = [text for text in source.read()["text"].to_pylist() if text]
    with tempfile.TemporaryDirectory() as folder:
        return compare_peers(templates, words_of_signals(selected_filter), rows, pythons, tasks, Path(folder))


def compare_all(data: Path, turns: int) -> dict[str, Any]:
    """Compare with the loop, measure the scaling, and count the rows of UpTrain's variants."""
    source, selected_filter = compose_source_and_filter("dataset=nike", "filter=uptrain_exact", f"data_dir={data}")
    assert isinstance(source, Mixture)
    real, both = load_submission(source)
    return {
        "template": compare_with_loop(both, selected_filter, turns),
        "real": compare_with_loop(real, selected_filter, turns),
        "cached": compare_with_cached_scores(both, selected_filter, turns),
        "scale": measure_scaling(turns),
        "uptrain": count_uptrain_variants(),
    }


def main() -> None:
    """Run all measurements, or one step of the scaling measurement in a subprocess."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of the real data files")
    parser.add_argument("--json", type=Path, help="output file for the results")
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--peers", action="store_true", help="compare only with data-juicer and datatrove")
    parser.add_argument(
        "--peers-python", nargs="+", default=[sys.executable], metavar="PYTHON", help="interpreters that have the peers"
    )
    parser.add_argument("--peers-rows", type=int, default=100_000, metavar="ROWS")
    parser.add_argument(
        "--peers-tasks",
        nargs="+",
        default=["rules", "near_duplicates"],
        choices=["rules", "near_duplicates"],
        metavar="TASK",
    )
    parser.add_argument("--make", nargs=2, metavar=("ROWS", "FOLDER"), help=argparse.SUPPRESS)
    parser.add_argument("--filter", nargs=2, metavar=("ROWS", "FOLDER"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.make:
        make_scale_corpus(int(arguments.make[0]), Path(arguments.make[1]))
        return
    if arguments.filter:
        print(json.dumps(filter_scale_corpus(int(arguments.filter[0]), Path(arguments.filter[1]))))
        return
    if arguments.peers:
        results = {"peers": compare_with_peers(arguments.peers_rows, arguments.peers_python, arguments.peers_tasks)}
    else:
        results = compare_all(arguments.data, arguments.turns)
    results |= {"hardware": describe_hardware(), "load_average": os.getloadavg()}
    text = json.dumps(results, indent=2)
    print(text)
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(text + "\n", "utf-8")


if __name__ == "__main__":
    main()
